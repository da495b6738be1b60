"""A run on Kubernetes: the real launcher creates its Job on an API server."""

import asyncio
import json
from pathlib import Path

import kmock
import pytest

from seedtest_assets.definitions import definitions
from tests.deploy.launching import NAMESPACE, launch, launched_job
from tests.deploy.manifests import Document, helm_values
from tests.deploy.validation import misfits

JOBS = kmock.resource("batch/v1/jobs")


async def created_on_a_server(values: Document, folder: Path) -> tuple[str, Document]:
    """The run's id, and the one Job that an API server has after its launch."""
    async with kmock.KubernetesEmulator() as api, kmock.Server(api):
        run_id = await asyncio.to_thread(launch, values, folder, server=str(api.url).rstrip("/"))
        (created,) = [made.raw for (kind, *_), made in api.objects.items() if kind == JOBS]
    return run_id, created


def test_the_launcher_creates_the_job_of_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):  # the server is on this machine
        monkeypatch.delenv(proxy, raising=False)
    values = helm_values("prod")
    run_id, created = asyncio.run(created_on_a_server(values, folder))
    assert misfits(created) == []
    assert created["metadata"]["name"] == f"dagster-run-{run_id}"
    template = created["spec"]["template"]
    (container,) = template["spec"]["containers"]
    (code_server,) = values["dagster-user-deployments"]["deployments"]
    assert container["image"] == f"{code_server['image']['repository']}:{code_server['image']['tag']}"
    assert container["args"][:3] == ["dagster", "api", "execute_run"]
    assert run_id in container["args"][-1]
    assert template["spec"]["serviceAccountName"] == "seedtest-run"
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert template["metadata"]["labels"]["dagster/run-id"] == run_id


@pytest.mark.parametrize("job", ["intake_job", "weekly_models_job", "reports_job"])
def test_a_jobs_tag_gives_its_runs_their_size_and_nothing_else(folder: Path, job: str) -> None:
    values = helm_values("prod")
    tag = json.loads(definitions().resolve_job_def(job).tags["dagster-k8s/config"])
    usual = launched_job(values, folder)["spec"]["template"]
    tagged = launched_job(values, folder, {"dagster-k8s/config": tag})
    assert misfits(tagged) == []
    changed = tagged["spec"]["template"]
    resources = changed["spec"]["containers"][0].pop("resources")
    assert resources == tag["container_config"]["resources"]
    assert usual["spec"]["containers"][0].pop("resources") != resources
    for template in (usual, changed):  # what is a run's own in any case
        template["spec"]["containers"][0].pop("args")
        template["metadata"]["labels"].pop("dagster/run-id")
        template["metadata"].pop("name")
    assert changed == usual
    assert tagged["metadata"]["namespace"] == NAMESPACE
