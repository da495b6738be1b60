"""Dagster's chart itself with the values, where it is at hand: `helm pull dagster/dagster --version 1.13.27`, then
DAGSTER_CHART=dagster-1.13.27.tgz. It is in no package registry, so that elsewhere these tests are skipped.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from seedtest_assets.local.home import CHECKOUT
from tests.deploy.launching import NAMESPACE, launcher_config
from tests.deploy.manifests import KUBERNETES, OVERLAYS, Document, chart_documents, find, helm_values
from tests.deploy.policies import POD_POLICIES, Policy, containers, pods
from tests.deploy.validation import misfits

CHART = os.environ.get("DAGSTER_CHART")
HELM = shutil.which("helm")
pytestmark = pytest.mark.skipif(not CHART or not HELM, reason="DAGSTER_CHART names no chart, or there is no helm")


@dataclass(frozen=True)
class Values:
    """An environment's values, and the file that comes last, if any."""

    overlay: str
    last: tuple[Path, ...] = ()

    def merged(self) -> Document:
        """As one document."""
        return helm_values(self.overlay, *self.last)


def helm(*arguments: str, values: Values) -> str:
    """What helm prints about the chart with these values."""
    assert HELM is not None
    overlay = KUBERNETES / "overlays" / values.overlay / "dagster-values.yaml"
    files = (KUBERNETES / "dagster-values.yaml", overlay, *values.last)
    command = [HELM, *arguments, str(CHART), f"--namespace={NAMESPACE}", *(f"--values={file}" for file in files)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return made.stdout


@pytest.fixture(params=[*OVERLAYS, "spool", "tenants"])
def values(request: pytest.FixtureRequest) -> Values:
    """Those of an environment, or of production with more."""
    name: str = request.param
    return Values(name) if name in OVERLAYS else Values("prod", (KUBERNETES / f"dagster-values-{name}.yaml",))


@pytest.fixture
def made(values: Values) -> list[Document]:
    """The chart's documents with them."""
    return list(filter(None, yaml.safe_load_all(helm("template", "dagster", values=values))))


@pytest.fixture
def instance(made: list[Document], tmp_path: Path) -> Document:
    """The instance's config, as Dagster reads it: what it does not know is an error."""
    (tmp_path / "dagster.yaml").write_text(find(made, "ConfigMap", "dagster-instance")["data"]["dagster.yaml"])
    config, _ = dagster_instance_config(str(tmp_path))
    return dict(config)


def test_the_chart_takes_the_values(values: Values, made: list[Document]) -> None:
    helm("lint", "--strict", values=values)
    assert [fault for document in made for fault in misfits(document)] == []


@pytest.mark.parametrize("policy", POD_POLICIES, ids=lambda policy: policy.__name__)
def test_its_pods_keep_the_policies(made: list[Document], policy: Policy) -> None:
    assert policy(made) == []


def test_its_images_are_of_one_registry_each(made: list[Document]) -> None:
    images = {container["image"] for _, template in pods(made) for container in containers(template)}
    assert images
    assert [image for image in sorted(images) if sum("." in part for part in image.split("/")[:-1]) != 1] == []


def test_its_pods_may_listen_where_they_are_asked(made: list[Document]) -> None:
    (webserver,) = find(made, "Deployment", "dagster-dagster-webserver")["spec"]["template"]["spec"]["containers"]
    (port,) = [one["containerPort"] for one in webserver["ports"]]
    assert port >= 1024  # it is not root
    assert webserver["readinessProbe"]["httpGet"]["port"] == port


def test_its_pods_get_what_is_checked_elsewhere(values: Values, made: list[Document]) -> None:
    expected = list(pods(chart_documents(values.merged())))
    assert len(list(pods(made))) == len(expected)
    for _, template in expected:
        (container,) = containers(template)
        assert any(
            made_one["image"] == container["image"]
            and made_one["resources"] == container["resources"]
            and all(source in made_one["envFrom"] for source in container["envFrom"])
            for _, made_template in pods(made)
            for made_one in made_template["spec"]["containers"]
        ), container


def test_its_instance_is_that_of_a_machine(instance: Document) -> None:
    usual = yaml.safe_load((CHECKOUT / "deploy" / "dagster.yaml").read_text())
    for one in (instance, usual):
        one["concurrency"].pop("runs")  # as many as an environment has room for
    same = ("concurrency", "run_retries", "telemetry", "nux")
    assert {name: instance[name] for name in same} == {name: usual[name] for name in same}


def test_its_launcher_is_that_which_is_checked_elsewhere(values: Values, instance: Document, tmp_path: Path) -> None:
    way = ("load_incluster_config", "kubeconfig_file")  # to the API server
    expected = launcher_config(values.merged(), tmp_path)
    given = instance["run_launcher"]["config"]
    assert {name: value for name, value in given.items() if name not in way} == {
        name: value for name, value in expected.items() if name not in way
    }
