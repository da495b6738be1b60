"""The real K8sRunLauncher, configured as the chart configures it from the values."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.launcher import LaunchRunContext
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_k8s import K8sRunLauncher

from tests.deploy.manifests import Document

NAMESPACE = "seedtest"
CONTEXT = "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"
SECTIONS = {
    "containerConfig": "container_config",
    "podSpecConfig": "pod_spec_config",
    "podTemplateSpecMetadata": "pod_template_spec_metadata",
    "jobSpecConfig": "job_spec_config",
    "jobMetadata": "job_metadata",
}


def launcher_config(values: Document, kubeconfig: Path) -> dict[str, Any]:
    """The launcher's config in the instance, but for the way to the API server: that is a kubeconfig's."""
    given = values["runLauncher"]["config"]["k8sRunLauncher"]
    return {
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "job_namespace": NAMESPACE,
        "image_pull_policy": given["imagePullPolicy"],
        "service_account_name": values["serviceAccount"]["name"],
        "dagster_home": values["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "env_config_maps": [source["name"] for source in given["envConfigMaps"]],
        "env_secrets": [source["name"] for source in given["envSecrets"]],
        "labels": given["labels"],
        "resources": given["resources"],
        "security_context": given["securityContext"],
        "volumes": given["volumes"],
        "volume_mounts": given["volumeMounts"],
        "run_k8s_config": {SECTIONS[name]: section for name, section in given["runK8sConfig"].items()},
    }


def launch(
    values: Document,
    folder: Path,
    tags: dict[str, Any] | None = None,
    *,
    location: int = 0,
    server: str = "http://127.0.0.1:9",
    batch_api: Any = None,
) -> str:
    """Launch a run of an empty job in the code server's image.

    Args:
        values: Helm's.
        folder: for a kubeconfig and Dagster's storage.
        tags: the run's, with JSON as values.
        location: which of the code servers' run it is, in their order.
        server: address of the API server.
        batch_api: stands in for the client of that server, if given.

    Returns:
        The run's id.
    """
    kubeconfig = folder / "kubeconfig.yaml"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(server)))
    checked = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), launcher_config(values, kubeconfig))
    assert checked.success, checked.errors
    launcher = K8sRunLauncher(**checked.value, k8s_client_batch_api=batch_api)
    written = {tag: json.dumps(value) for tag, value in (tags or {}).items()}
    code_server = values["dagster-user-deployments"]["deployments"][location]
    with dg.instance_for_test(temp_dir=str(folder)) as instance:
        launcher.register_instance(instance)
        run = instance.create_run_for_job(_nothing, tags=written, job_code_origin=_origin(code_server))
        launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
        return run.run_id


def launched_job(values: Document, folder: Path, tags: dict[str, Any] | None = None, *, location: int = 0) -> Document:
    """The Job that the launcher would create for a run, as it goes over the wire."""
    created = _Recorder()
    launch(values, folder, tags, location=location, batch_api=created)
    return created.document


class _Recorder:
    """Takes the Job instead of an API server."""

    document: Document

    def create_namespaced_job(self, body: kubernetes.client.V1Job, namespace: str, **_options: Any) -> None:
        self.document = kubernetes.client.ApiClient().sanitize_for_serialization(body)
        self.document["metadata"].setdefault("namespace", namespace)


@dg.job
def _nothing() -> None:
    """A run that has nothing to do."""


def container_context(code_server: Document) -> Document | None:
    """What a code server is told, in its environment, to say of its runs' pods."""
    variables = {variable["name"]: variable["value"] for variable in code_server.get("env", [])}
    context: Document | None = json.loads(variables.get(CONTEXT, "null"))
    return context


def _origin(code_server: Document) -> JobPythonOrigin:
    image = code_server["image"]
    return JobPythonOrigin(
        job_name="_nothing",
        repository_origin=RepositoryPythonOrigin(
            executable_path="python",
            code_pointer=ModuleCodePointer("seedtest_assets.definitions", "definitions"),
            container_image=f"{image['repository']}:{image['tag']}",
            entry_point=["dagster"],
            container_context=container_context(code_server),
        ),
    )


def _kubeconfig(server: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }
