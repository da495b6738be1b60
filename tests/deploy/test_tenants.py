"""Several schools on one cluster: each with its schema's role, its code server, its runs, and nobody else's."""

import json
import os
from pathlib import Path

import pytest
import yaml

from seedtest_assets.settings import Settings
from tests.deploy.launching import container_context, launched_job
from tests.deploy.links import LINK_POLICIES
from tests.deploy.manifests import KUBERNETES, Document, chart_documents, find, helm_values, render
from tests.deploy.policies import POD_POLICIES, Policy, containers, pods
from tests.deploy.test_manifests import images_of_the_pipeline
from tests.deploy.validation import faults, misfits

ROLE = "tenant-database-"
TENANTS = sorted(folder.name for folder in (KUBERNETES / "tenants").iterdir() if folder.name != "template")


@pytest.fixture(scope="module", params=["dev", "prod"])
def overlay(request: pytest.FixtureRequest) -> str:
    """An environment whose object store has keys, and one in which roles do."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def values(overlay: str) -> Document:
    return helm_values(overlay, KUBERNETES / "dagster-values-tenants.yaml")


@pytest.fixture(scope="module")
def runs(values: Document, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Document]:
    """The Job of a run of each tenant, as the real launcher makes it."""
    servers = values["dagster-user-deployments"]["deployments"]
    return {
        server["name"]: launched_job(values, tmp_path_factory.mktemp(server["name"]), location=place)
        for place, server in enumerate(servers)
    }


@pytest.fixture(scope="module")
def documents(
    overlay: str, values: Document, runs: dict[str, Document], tmp_path_factory: pytest.TempPathFactory
) -> list[Document]:
    """What a cluster gets: an environment with its tenants, the chart's pods, a run of each tenant."""
    folder = tmp_path_factory.mktemp("overlay")
    relative = os.path.relpath(KUBERNETES, folder)
    with_tenants = {
        "namespace": "seedtest",
        "resources": [f"{relative}/overlays/{overlay}", *(f"{relative}/tenants/{name}" for name in TENANTS)],
        "components": [f"{relative}/components/images"],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(with_tenants))
    return [*render(folder), *chart_documents(values), *runs.values()]


def sources(template: Document) -> list[str]:
    """Names of the ConfigMaps and Secrets that a pod's environment comes from, in the order in which they win."""
    found = []
    for container in containers(template):
        for source in container.get("envFrom", []):
            found += [part["name"] for part in source.values() if isinstance(part, dict)]
        for variable in container.get("env", []):
            references = variable.get("valueFrom", {}).values()
            found += [part["name"] for part in references if isinstance(part, dict) and "name" in part]
    return found


def tenants_are_apart(documents: list[Document]) -> list[str]:
    """A pod that is told of a tenant has that tenant's role and settings, after those of all, and no other role."""
    complaints = []
    for owner, template in pods(documents):
        named = sources(template)
        roles = {name for name in named if name == "seedtest-database" or name.startswith(ROLE)}
        tenants = {name.removeprefix("tenant-") for name in named if name.startswith("tenant-") and name not in roles}
        if not tenants:
            complaints += [f"{owner}: {role}, and no tenant" for role in roles if role.startswith(ROLE)]
        elif len(tenants) > 1 or roles != {ROLE + next(iter(tenants))}:
            complaints.append(f"{owner}: {sorted(tenants)} with {sorted(roles)}")
        elif "seedtest-settings" in named and named.index("seedtest-settings") > named.index(f"tenant-{tenants.pop()}"):
            complaints.append(f"{owner}: the settings of all win over the tenant's")
    return complaints


def test_there_are_tenants_and_their_code_servers_have_their_names(values: Document) -> None:
    servers = [server["name"] for server in values["dagster-user-deployments"]["deployments"]]
    assert sorted(servers) == TENANTS
    assert len(TENANTS) > 1


@pytest.mark.parametrize("name", TENANTS)
def test_a_tenant_is_named_once_and_the_name_can_be_one(documents: list[Document], name: str) -> None:
    data = find(documents, "ConfigMap", f"tenant-{name}")["data"]
    assert data["SEEDTEST_TENANT"] == name
    assert Settings(**{variable.lower(): value for variable, value in data.items()}).seedtest_tenant == name
    secret = find(documents, "ExternalSecret", f"tenant-database-{name}")["spec"]
    assert secret["target"]["name"] == secret["data"][0]["remoteRef"]["key"] == f"tenant-database-{name}"


def test_documents_fit_their_schemas(documents: list[Document], values: Document) -> None:
    assert [fault for document in documents for fault in misfits(document)] == []
    assert faults("dagster-values.json", values) == []


@pytest.mark.parametrize("policy", [*POD_POLICIES, *LINK_POLICIES, tenants_are_apart], ids=lambda one: one.__name__)
def test_policies_are_kept(documents: list[Document], policy: Policy) -> None:
    assert policy(documents) == []


def test_one_image_of_the_pipeline(documents: list[Document]) -> None:
    assert len(images_of_the_pipeline(documents)) == 1


@pytest.mark.parametrize("name", TENANTS)
def test_a_run_has_what_its_server_passes_on(values: Document, runs: dict[str, Document], name: str) -> None:
    (server,) = [one for one in values["dagster-user-deployments"]["deployments"] if one["name"] == name]
    template = runs[name]["spec"]["template"]
    context = container_context(server)
    assert context is not None
    assert {*context["k8s"]["env_config_maps"], *context["k8s"]["env_secrets"]} <= set(sources(template))
    of_every_run = values["runLauncher"]["config"]["k8sRunLauncher"]["envSecrets"]
    assert {secret["name"] for secret in of_every_run} <= set(sources(template))
    assert template["spec"]["serviceAccountName"] == "seedtest-run"
    assert template["spec"]["containers"][0]["resources"] != server["resources"]
    of_the_server = {source["name"] for source in (*server["envConfigMaps"], *server["envSecrets"])}
    assert {name for name in of_the_server if name != "seedtest-settings"} == {
        *context["k8s"]["env_config_maps"],
        *context["k8s"]["env_secrets"],
    }


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        (("tenant-north", "tenant-south"), "['south'] with ['tenant-database-north']"),
        (("tenant-database-north", "tenant-database-south"), "['north'] with ['tenant-database-south']"),
        (("tenant-database-north", "seedtest-database"), "['north'] with ['seedtest-database']"),
        (("tenant-north", "tenant-nrth"), "['nrth'] with ['tenant-database-north']"),
    ],
)
def test_a_name_in_the_wrong_place_is_found(
    values: Document, tmp_path: Path, mistake: tuple[str, str], complaint: str
) -> None:
    wrong = json.loads(json.dumps(values))
    server = wrong["dagster-user-deployments"]["deployments"][0]
    old, new = map(json.dumps, mistake)
    (context,) = server["env"]
    context["value"] = context["value"].replace(old, new)
    job = launched_job(wrong, tmp_path)
    assert tenants_are_apart([job]) == [f"Job {job['metadata']['name']}: {complaint}"]
    assert tenants_are_apart([launched_job(values, tmp_path)]) == []
