"""What kustomize and the values come to fits the schemas and keeps the policies, in every environment."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from seedtest_assets.cli import app
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.services import SERVICES
from seedtest_assets.settings import Settings
from tests.deploy.links import LINK_POLICIES, plain_settings
from tests.deploy.manifests import KUBERNETES, OVERLAYS, Document, find, helm_values, render, rendered
from tests.deploy.policies import PINNED, POD_POLICIES, Policy
from tests.deploy.validation import NEWEST, OLDEST, faults, misfits

KINDS_OF_A_SERVICE = (
    "Deployment",
    "Service",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ServiceAccount",
)
CHANGED_BY_THE_BASE = {"REPORT_WORKERS"} | {service.base_url for service in SERVICES}
Deployed = Callable[[str], list[Document]]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_documents_fit_their_schemas(deployed: Deployed, overlay: str, version: str) -> None:
    assert [fault for document in deployed(overlay) for fault in misfits(document, version)] == []


@pytest.mark.parametrize("policy", [*POD_POLICIES, *LINK_POLICIES], ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_are_kept(deployed: Deployed, overlay: str, policy: Policy) -> None:
    assert policy(deployed(overlay)) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_has_all_its_kinds(overlay: str) -> None:
    documents = rendered(overlay)
    for service in SERVICES:
        for kind in KINDS_OF_A_SERVICE:
            document = find(documents, kind, f"r-{service.name}")
            assert document["metadata"]["namespace"] == find_namespace(documents)
        (container,) = find(documents, "Deployment", f"r-{service.name}")["spec"]["template"]["spec"]["containers"]
        assert container["args"][0] == service.name
        assert service.token in {variable["name"] for variable in container["env"]}


def find_namespace(documents: list[Document]) -> str:
    """The one namespace, which is among the documents."""
    (name,) = [one["metadata"]["name"] for one in documents if one["kind"] == "Namespace"]
    return str(name)


def test_environments_are_apart() -> None:
    documents = {overlay: rendered(overlay) for overlay in OVERLAYS}
    for told_apart in (
        [find_namespace(one) for one in documents.values()],
        [find(one, "SecretStore", "seedtest")["spec"]["provider"]["aws"]["prefix"] for one in documents.values()],
        [find(one, "ConfigMap", "seedtest-settings")["data"]["S3_BUCKET"] for one in documents.values()],
        [helm_values(overlay)["postgresql"]["postgresqlHost"] for overlay in OVERLAYS],
    ):
        assert len(set(told_apart)) == len(OVERLAYS), told_apart


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_are_complete_and_can_be_read(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = find(rendered(overlay), "ConfigMap", "seedtest-settings")["data"]
    assert set(data) == plain_settings()
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    defaults = Settings().model_dump()
    for variable, value in data.items():
        monkeypatch.setenv(variable, value)
    read = Settings().model_dump()
    changed = {name.upper() for name in defaults if read[name] != defaults[name]}
    assert changed == CHANGED_BY_THE_BASE | of_the_overlay(overlay)


def of_the_overlay(overlay: str) -> set[str]:
    """The settings that an overlay's kustomization.yaml writes out."""
    kustomization = yaml.safe_load((KUBERNETES / "overlays" / overlay / "kustomization.yaml").read_text())
    return {literal.split("=")[0] for made in kustomization["configMapGenerator"] for literal in made["literals"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_values_have_keys_of_the_chart(overlay: str) -> None:
    assert faults("dagster-values.json", helm_values(overlay)) == []
    assert faults("dagster-values.json", helm_values(overlay, KUBERNETES / "dagster-values-spool.yaml")) == []


def test_values_are_the_instance_of_one_machine() -> None:
    instance = yaml.safe_load((CHECKOUT / "deploy" / "dagster.yaml").read_text())
    values = helm_values("staging")
    concurrency, daemon = values["concurrency"], values["dagsterDaemon"]
    limits = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["jobSpecConfig"]
    assert concurrency["pools"]["defaultLimit"] == instance["concurrency"]["pools"]["default_limit"]
    assert concurrency["pools"]["granularity"] == instance["concurrency"]["pools"]["granularity"]
    assert daemon["runMonitoring"]["maxRuntimeSeconds"] == instance["run_monitoring"]["max_runtime_seconds"]
    assert concurrency["runs"]["maxConcurrentRuns"] == instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert daemon["runMonitoring"]["enabled"] is instance["run_monitoring"]["enabled"]
    assert limits["activeDeadlineSeconds"] == instance["run_monitoring"]["max_runtime_seconds"]
    assert daemon["runRetries"] == {
        "enabled": instance["run_retries"]["enabled"],
        "maxRetries": instance["run_retries"]["max_retries"],
        "retryOnAssetOrOpFailure": instance["run_retries"]["retry_on_asset_or_op_failure"],
    }
    assert values["telemetry"] == instance["telemetry"]
    assert values["additionalInstanceConfig"] == {"nux": instance["nux"]}


def test_the_code_server_is_the_code_location_of_one_machine() -> None:
    (location,) = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text())["load_from"]
    for overlay in OVERLAYS:
        (code_server,) = helm_values(overlay)["dagster-user-deployments"]["deployments"]
        assert code_server["dagsterApiGrpcArgs"] == ["-m", location["python_module"]["module_name"]]
        assert code_server["name"] == location["python_module"]["location_name"]


def test_the_migration_calls_a_command_that_there_is() -> None:
    job = find(rendered("prod"), "Job", "seedtest-migrate")
    program, command = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert program == "seedtest"
    assert command in {known.callback.__name__ for known in app.registered_commands if known.callback is not None}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_one_image_of_the_pipeline(deployed: Deployed, overlay: str) -> None:
    assert len(images_of_the_pipeline(deployed(overlay))) == 1


def images_of_the_pipeline(documents: list[Document]) -> set[str]:
    """The images of all pods but the R services'."""
    return {
        container["image"]
        for one in documents
        if one["kind"] in {"Deployment", "Job"} and not one["metadata"]["name"].startswith("r-")
        for container in one["spec"]["template"]["spec"]["containers"]
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_that_the_chart_alone_uses_are_pinned(overlay: str) -> None:
    values = helm_values(overlay)
    for image in (values["postgresql"]["image"], values["busybox"]["image"]):
        assert PINNED.search(f"{image['repository']}:{image['tag']}"), image


def test_runs_and_the_irt_service_share_the_spool(deployed: Deployed, tmp_path: Path) -> None:
    relative = os.path.relpath(KUBERNETES, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": [f"{relative}/overlays/prod"], "components": [f"{relative}/components/spool"]})
    )
    documents = render(tmp_path)
    assert [fault for document in documents for fault in misfits(document)] == []
    place = find(documents, "ConfigMap", "seedtest-settings")["data"]["R_SERVICE_SPOOL_DIR"]
    service = find(documents, "Deployment", "r-irt")["spec"]["template"]["spec"]
    run = helm_values("prod", KUBERNETES / "dagster-values-spool.yaml")["runLauncher"]["config"]["k8sRunLauncher"]
    claim = find(documents, "PersistentVolumeClaim", "seedtest-spool")["metadata"]["name"]
    for volumes, mounts in (
        (service["volumes"], service["containers"][0]["volumeMounts"]),
        (run["volumes"], run["volumeMounts"]),
    ):
        (volume,) = [one["name"] for one in volumes if one.get("persistentVolumeClaim", {}).get("claimName") == claim]
        assert [one["mountPath"] for one in mounts if one["name"] == volume] == [place]
