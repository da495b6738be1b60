"""Every check finds the mistake it is for: planted in documents that are right, one at a time."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy import links, policies
from tests.deploy.manifests import Document, find, helm_values
from tests.deploy.policies import Policy
from tests.deploy.validation import faults, misfits

Deployed = Callable[[str], list[Document]]
Mistake = Callable[[list[Document]], Any]


def pod(documents: list[Document], kind: str, name: str) -> Document:
    """The pod template of a Deployment or Job."""
    template: Document = find(documents, kind, name)["spec"]["template"]
    return template


def container(documents: list[Document], name: str = "r-growth", kind: str = "Deployment") -> Document:
    """Its first container."""
    first: Document = pod(documents, kind, name)["spec"]["containers"][0]
    return first


def run_of(documents: list[Document]) -> Document:
    """The Job of a run."""
    (job,) = [one for one in documents if one["metadata"]["name"].startswith("dagster-run-")]
    return job


def spec(documents: list[Document], kind: str, name: str = "r-irt") -> Document:
    """What one document wants."""
    wanted: Document = find(documents, kind, name)["spec"]
    return wanted


def settings(documents: list[Document]) -> Document:
    """The data of the ConfigMap."""
    data: Document = find(documents, "ConfigMap", "seedtest-settings")["data"]
    return data


def peer(documents: list[Document]) -> Document:
    """Whom the IRT service's network policy lets in."""
    only: Document = spec(documents, "NetworkPolicy")["ingress"][0]["from"][0]
    return only


def without(documents: list[Document], kind: str, name: str) -> None:
    """Take a document away."""
    documents.remove(find(documents, kind, name))


PLANTED: list[tuple[Policy, Mistake, str]] = [
    (
        policies.images_are_pinned,
        lambda docs: container(docs).update(image="registry.example/seedtest/r-services:latest"),
        "Deployment r-growth, container r: image registry.example/seedtest/r-services:latest is not pinned",
    ),
    (
        policies.images_are_pinned,
        lambda docs: container(docs, "seedtest-migrate", "Job").update(image="registry.example:5000/pipeline"),
        "is not pinned",
    ),
    (
        policies.resources_are_bounded,
        lambda docs: container(docs)["resources"]["limits"].pop("memory"),
        "Deployment r-growth, container r: no limit of memory",
    ),
    (
        policies.resources_are_bounded,
        lambda docs: run_of(docs)["spec"]["template"]["spec"]["containers"][0].pop("resources"),
        "no request of cpu",
    ),
    (
        policies.containers_are_confined,
        lambda docs: pod(docs, "Deployment", "r-glmm")["spec"]["securityContext"].update(runAsUser=0),
        "Deployment r-glmm: runs as root",
    ),
    (
        policies.containers_are_confined,
        lambda docs: container(docs, "dagster-daemon")["securityContext"].update(runAsUser=0),
        "Deployment dagster-daemon, container dagster: runs as root",
    ),
    (
        policies.containers_are_confined,
        lambda docs: pod(docs, "Deployment", "r-irt")["spec"]["securityContext"].pop("runAsNonRoot"),
        "Deployment r-irt: runs as root",
    ),
    (
        policies.containers_are_confined,
        lambda docs: container(docs)["securityContext"].update(readOnlyRootFilesystem=False),
        "writable root file system",
    ),
    (
        policies.containers_are_confined,
        lambda docs: container(docs)["securityContext"].update(capabilities={"drop": ["ALL"], "add": ["NET_RAW"]}),
        "keeps capabilities",
    ),
    (
        policies.containers_are_confined,
        lambda docs: container(docs)["securityContext"].pop("allowPrivilegeEscalation"),
        "may gain privileges",
    ),
    (
        policies.containers_are_confined,
        lambda docs: pod(docs, "Job", "seedtest-migrate")["spec"]["securityContext"].pop("seccompProfile"),
        "Job seedtest-migrate: no seccomp profile",
    ),
    (
        policies.containers_are_confined,
        lambda docs: pod(docs, "Deployment", "r-irt")["spec"].update(hostNetwork=True),
        "Deployment r-irt: hostNetwork",
    ),
    (
        policies.r_services_hold_no_cluster_token,
        lambda docs: pod(docs, "Deployment", "r-irt")["spec"].pop("automountServiceAccountToken"),
        "Deployment r-irt: a token of the cluster is mounted",
    ),
    (
        policies.r_services_hold_no_cluster_token,
        lambda docs: pod(docs, "Deployment", "r-irt")["spec"].update(serviceAccountName="r-glmm"),
        "R services share accounts",
    ),
    (
        policies.r_services_are_probed,
        lambda docs: container(docs)["livenessProbe"]["httpGet"].update(path="/readyz"),
        "livenessProbe does not ask /healthz",
    ),
    (
        policies.nothing_is_scheduled_beside_dagster,
        lambda docs: docs.append({"kind": "CronJob", "apiVersion": "batch/v1", "metadata": {"name": "nightly"}}),
        "CronJob nightly",
    ),
    (
        links.references_exist,
        lambda docs: without(docs, "ExternalSecret", "r-growth-token"),
        "Deployment r-growth: there is no Secret r-growth-token R_BRMS_INTERNAL_TOKEN",
    ),
    (
        links.references_exist,
        lambda docs: spec(docs, "ExternalSecret", "seedtest-dagster")["data"][0].update(secretKey="password"),
        "Deployment dagster-webserver: there is no Secret seedtest-dagster postgresql-password",
    ),
    (
        links.references_exist,
        lambda docs: without(docs, "ExternalSecret", "seedtest-webhook"),
        "there is no Secret seedtest-webhook",
    ),
    (
        links.references_exist,
        lambda docs: without(docs, "ConfigMap", "seedtest-settings"),
        "there is no ConfigMap seedtest-settings",
    ),
    (
        links.references_exist,
        lambda docs: without(docs, "ServiceAccount", "seedtest-run"),
        "there is no ServiceAccount seedtest-run",
    ),
    (
        links.references_exist,
        lambda docs: without(docs, "SecretStore", "seedtest"),
        "ExternalSecret seedtest-database: there is no store seedtest",
    ),
    (
        links.references_exist,
        lambda docs: pod(docs, "Deployment", "r-irt")["spec"]["volumes"].append(
            {"name": "spool", "persistentVolumeClaim": {"claimName": "seedtest-spool"}}
        ),
        "Deployment r-irt: there is no PersistentVolumeClaim seedtest-spool",
    ),
    (
        links.dagster_hears_dagster_alone,
        lambda docs: without(docs, "NetworkPolicy", "dagster-code-servers"),
        "Deployment dagster-user-deployments-seedtest hears everybody",
    ),
    (
        links.dagster_hears_dagster_alone,
        lambda docs: spec(docs, "NetworkPolicy", "dagster-webserver").update(ingress=[{}]),
        "Deployment dagster-webserver hears [",
    ),
    (
        links.dagster_hears_dagster_alone,
        lambda docs: spec(docs, "NetworkPolicy", "dagster-code-servers")["ingress"][0]["from"].append(
            {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "r-service"}}}
        ),
        "'Deployment r-irt'",
    ),
    (
        links.selectors_select_one,
        lambda docs: spec(docs, "NetworkPolicy", "dagster-code-servers")["ingress"][0]["ports"][0].update(port=3031),
        "NetworkPolicy dagster-code-servers: no port 3031",
    ),
    (
        links.selectors_select_one,
        lambda docs: spec(docs, "Service")["selector"].update({"app.kubernetes.io/name": "irt"}),
        "Service r-irt selects 0 kinds of pods",
    ),
    (
        links.selectors_select_one,
        lambda docs: spec(docs, "NetworkPolicy").update(podSelector={}),
        "NetworkPolicy r-irt selects 9 kinds of pods",
    ),
    (
        links.selectors_select_one,
        lambda docs: spec(docs, "PodDisruptionBudget").pop("selector"),
        "PodDisruptionBudget r-irt selects 9 kinds of pods",
    ),
    (
        links.selectors_select_one,
        lambda docs: spec(docs, "HorizontalPodAutoscaler")["scaleTargetRef"].update(name="irt"),
        "HorizontalPodAutoscaler r-irt scales irt, which is not there",
    ),
    (
        links.selectors_select_one,
        lambda docs: spec(docs, "Service")["ports"][0].update(targetPort="web"),
        "Service r-irt: no port web",
    ),
    (
        links.network_lets_in_the_callers,
        lambda docs: run_of(docs)["spec"]["template"]["metadata"]["labels"].pop("seedtest/calls-r-services"),
        "calls but is not let in",
    ),
    (
        links.network_lets_in_the_callers,
        lambda docs: peer(docs)["podSelector"]["matchExpressions"][0].update(key="seedtest/call-r-services"),
        "Deployment r-irt: nobody has the label that is let in",
    ),
    (
        links.network_lets_in_the_callers,
        lambda docs: pod(docs, "Deployment", "dagster-daemon")["metadata"]["labels"].update(
            {"seedtest/calls-r-services": "true"}
        ),
        "Deployment dagster-daemon is let in but does not call",
    ),
    (
        links.network_lets_in_the_callers,
        lambda docs: spec(docs, "NetworkPolicy")["ingress"][0].pop("from"),
        "Deployment r-irt: lets in more than pods",
    ),
    (
        links.network_lets_in_the_callers,
        lambda docs: peer(docs).update(namespaceSelector={}),
        "Deployment r-irt: lets in more than pods",
    ),
    (
        links.network_lets_in_the_callers,
        lambda docs: spec(docs, "NetworkPolicy")["egress"][0]["ports"].append({"protocol": "TCP", "port": 443}),
        "Deployment r-irt: may ask more than names",
    ),
    (
        links.network_lets_in_the_callers,
        lambda docs: without(docs, "NetworkPolicy", "r-irt"),
        "Deployment r-irt: no network policy",
    ),
    (
        links.variables_are_read,
        lambda docs: settings(docs).update(MIRT_LOOKBACK_WEEKS="9"),
        "ConfigMap seedtest-settings: MIRT_LOOKBACK_WEEKS is no setting",
    ),
    (
        links.variables_are_read,
        lambda docs: settings(docs).update(DATABASE_URL="postgresql://seedtest:secret@db/seedtest"),
        "ConfigMap seedtest-settings: DATABASE_URL is no setting",
    ),
    (
        links.variables_are_read,
        lambda docs: spec(docs, "ExternalSecret", "r-growth-token")["data"][0].update(secretKey="R_GROWTH_TOKEN"),
        "ExternalSecret r-growth-token: R_GROWTH_TOKEN is no secret setting",
    ),
    (
        links.variables_are_read,
        lambda docs: container(docs)["env"].append({"name": "R_SERVICE_MAX_MEMORY", "value": "1"}),
        "Deployment r-growth: no R service reads R_SERVICE_MAX_MEMORY",
    ),
    (
        links.addresses_are_services,
        lambda docs: settings(docs).update(R_BRMS_BASE_URL="http://r-brms"),
        "R_BRMS_BASE_URL: http://r-brms is no Service",
    ),
    (
        links.addresses_are_services,
        lambda docs: settings(docs).update(R_IRT_BASE_URL="http://r-irt:8000"),
        "R_IRT_BASE_URL: http://r-irt:8000 is no Service",
    ),
]


@pytest.mark.parametrize(("policy", "mistake", "said"), PLANTED, ids=[row[2] for row in PLANTED])
def test_a_policy_finds_the_mistake(deployed: Deployed, policy: Policy, mistake: Mistake, said: str) -> None:
    documents = deployed("prod")
    assert policy(documents) == []
    mistake(documents)
    complaints = policy(documents)
    assert any(said in complaint for complaint in complaints), complaints


MISFITS: list[tuple[Mistake, str]] = [
    (lambda docs: container(docs).update(redinessProbe={}), "Deployment r-growth"),
    (lambda docs: container(docs)["resources"].update(limit={"cpu": 1}), "Deployment r-growth"),
    (lambda docs: spec(docs, "Service").update(sessionAffinty="ClientIP"), "Service r-irt"),
    (lambda docs: spec(docs, "HorizontalPodAutoscaler").update(minReplicas="two"), "HorizontalPodAutoscaler r-irt"),
    (lambda docs: find(docs, "Service", "r-irt").update(apiVersion="v2"), "Service r-irt"),
    (lambda docs: spec(docs, "ExternalSecret", "seedtest-s3").update(refreshInterval="hourly"), "ExternalSecret"),
    (lambda docs: spec(docs, "ExternalSecret", "seedtest-s3")["data"][0].update(remoteref={}), "ExternalSecret"),
    (lambda docs: spec(docs, "SecretStore", "seedtest")["provider"]["aws"].pop("region"), "SecretStore seedtest"),
    (lambda docs: find(docs, "SecretStore", "seedtest").update(kind="SecretStor"), "SecretStor seedtest"),
    (lambda docs: run_of(docs)["spec"].update(backofLimit=1), "Job dagster-run-"),
]


@pytest.mark.parametrize(("mistake", "subject"), MISFITS)
def test_a_schema_finds_the_mistake(deployed: Deployed, mistake: Mistake, subject: str) -> None:
    documents = deployed("dev")
    mistake(documents)
    kind = subject.split(maxsplit=1)[0]
    found = [fault for document in documents if document["kind"] == kind for fault in misfits(document)]
    assert found
    assert all(fault.startswith(subject) for fault in found), found


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda values: values["dagsterDaemon"]["runRetries"].update(retryOnOpFailure=False), "retryOnOpFailure"),
        (lambda values: values["concurrency"]["pools"].update(default_limit=1), "default_limit"),
        (lambda values: values["postgresql"].update(postgresqlScheme="postgresql"), "postgresqlScheme"),
        (lambda values: values["postgresql"].pop("postgresqlHost"), "postgresqlHost"),
        (lambda values: values["runLauncher"]["config"]["k8sRunLauncher"].update(envSecret=[]), "envSecret"),
        (lambda values: values.update(userDeployments={}), "userDeployments"),
    ],
)
def test_the_schema_of_values_finds_the_mistake(mistake: Callable[[Document], Any], said: str) -> None:
    values = helm_values("prod")
    mistake(values)
    assert any(said in fault for fault in faults("dagster-values.json", values))
