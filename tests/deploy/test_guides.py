"""docs/deploy.md and docs/migration.md leave nothing out that there is, and name nothing that is not."""

import json
import re

import dagster as dg
import pytest

from seedtest_assets import tables
from seedtest_assets.definitions import definitions
from seedtest_assets.local.home import CHECKOUT
from tests.deploy.links import plain_settings, secret_settings
from tests.deploy.manifests import KUBERNETES, Document, helm_values
from tests.deploy.validation import NEWEST, OLDEST

DEPLOY = (CHECKOUT / "docs" / "deploy.md").read_text()
JOB = re.compile(r"`(\w+)`")
MIGRATION = (CHECKOUT / "docs" / "migration.md").read_text()


@pytest.fixture(scope="module")
def loaded() -> dg.Definitions:
    """The code location."""
    return definitions()


def test_placeholders_are_in_the_guide() -> None:
    text = "".join(file.read_text() for file in KUBERNETES.rglob("*") if file.is_file())
    placeholders = set(re.findall(r"[\w.-]*\.example\b|\b0{11}\d\b|seedtest-[a-z]+-reports\b", text))
    assert placeholders
    assert sorted(one for one in placeholders if one not in DEPLOY) == []


def test_files_in_the_guide_are_there() -> None:
    named = re.findall(r"`((?:base|overlays|components)/[\w./*-]+)`|(deploy/kubernetes/[\w./-]+\w)", DEPLOY)
    paths = {inside or str(whole).removeprefix("deploy/kubernetes/") for inside, whole in named}
    assert paths
    assert [path for path in sorted(paths) if not list(KUBERNETES.glob(path))] == []


def test_versions_in_the_guide_are_those_that_are_checked() -> None:
    assert f"| Kubernetes {OLDEST} or newer | " in DEPLOY
    assert f"checked against {OLDEST} and {NEWEST} |" in DEPLOY


def test_every_job_has_a_size(loaded: dg.Definitions) -> None:
    sizes = DEPLOY[DEPLOY.index("| job | requests |") :].partition("\n\n")[0]
    named = {name for row in sizes.splitlines() if row.startswith("| `") for name in JOB.findall(row.split("|")[1])}
    assert named == {job.name for job in loaded.jobs or []}


def test_the_sizes_of_jobs_are_those_of_their_tags(loaded: dg.Definitions) -> None:
    sizes = DEPLOY[DEPLOY.index("| job | requests |") :].partition("\n\n")[0]
    for row in sizes.splitlines()[2:]:
        jobs, *amounts, _ = row.strip("| ").split(" | ")
        for job in JOB.findall(jobs):
            tag = loaded.resolve_job_def(job).tags.get("dagster-k8s/config")
            given = json.loads(tag)["container_config"]["resources"] if tag else of_every_run()
            found = [f"{given[side]['cpu']}, {given[side]['memory']}" for side in ("requests", "limits")]
            assert found == [amount.removeprefix("default: ") for amount in amounts], job


def of_every_run() -> Document:
    """The resources of a run whose job has no tag."""
    resources: Document = helm_values("prod")["runLauncher"]["config"]["k8sRunLauncher"]["resources"]
    return resources


def test_every_schedule_and_sensor_has_its_place(loaded: dg.Definitions) -> None:
    names = {one.name for one in [*(loaded.schedules or []), *(loaded.sensors or [])]}
    assert names
    assert sorted(name for name in names if f"`{name}`" not in MIGRATION) == []


def test_every_table_has_its_place() -> None:
    named = set(re.findall(r"`(?:\w+\.)?(\w+)`", MIGRATION))
    assert sorted(table.name for table in tables.metadata.tables.values() if table.name not in named) == []


def test_variables_are_ours() -> None:
    table = MIGRATION[MIGRATION.index("## Variables") :]
    named = set(re.findall(r"\b[A-Z0-9]+(?:_[A-Z0-9]+)+\b", table))
    assert named
    assert sorted(named - plain_settings() - secret_settings()) == []
