"""What is demanded of pods, whatever Kubernetes would allow. Each policy takes documents and returns complaints."""

import re
from collections.abc import Callable, Iterator

from tests.deploy.manifests import Document

Policy = Callable[[list[Document]], list[str]]
PINNED = re.compile(r"(:(?!latest$)[\w][\w.-]*|@sha256:[0-9a-f]{64})$")
R_SERVICE = {"app.kubernetes.io/component": "r-service"}


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Each pod template with the name of what makes pods of it."""
    for document in documents:
        spec = document.get("spec", {})
        if "template" in spec and document["kind"] != "ExternalSecret":
            yield f"{document['kind']} {document['metadata']['name']}", spec["template"]


def containers(template: Document) -> list[Document]:
    """The containers of a pod, those that run before it included."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def _of_containers(documents: list[Document], fault: Callable[[Document], list[str]]) -> list[str]:
    return [
        f"{owner}, container {container['name']}: {said}"
        for owner, template in pods(documents)
        for container in containers(template)
        for said in fault(container)
    ]


def images_are_pinned(documents: list[Document]) -> list[str]:
    """Every image has a tag that is not `latest`, or a digest."""
    return _of_containers(
        documents,
        lambda container: [] if PINNED.search(container["image"]) else [f"image {container['image']} is not pinned"],
    )


def resources_are_bounded(documents: list[Document]) -> list[str]:
    """Every container asks for processor and memory, and has a limit of both."""

    def missing(container: Document) -> list[str]:
        given = container.get("resources", {})
        return [
            f"no {side[:-1]} of {what}"
            for side in ("requests", "limits")
            for what in ("cpu", "memory")
            if what not in given.get(side, {})
        ]

    return _of_containers(documents, missing)


def containers_are_confined(documents: list[Document]) -> list[str]:
    """No root, no writing to the image, no more rights than it began with, the runtime's own seccomp profile."""

    def open_doors(container: Document) -> list[str]:
        context = container.get("securityContext", {})
        doors = []
        if context.get("readOnlyRootFilesystem") is not True:
            doors.append("writable root file system")
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            doors.append("may gain privileges")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            doors.append("keeps capabilities")
        if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
            doors.append("runs as root")
        return doors

    complaints = _of_containers(documents, open_doors)
    for owner, template in pods(documents):
        context = template["spec"].get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            complaints.append(f"{owner}: runs as root")
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            complaints.append(f"{owner}: no seccomp profile")
        shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if template["spec"].get(name)]
        complaints += [f"{owner}: {name}" for name in shared]
    return complaints


def r_services_hold_no_cluster_token(documents: list[Document]) -> list[str]:
    """R services have accounts of their own, and cannot speak to the API server."""
    accounts = [template["spec"].get("serviceAccountName") for _, template in _r_services(documents)]
    complaints = [
        f"{owner}: a token of the cluster is mounted"
        for owner, template in _r_services(documents)
        if template["spec"].get("automountServiceAccountToken") is not False
    ]
    if len(set(accounts)) != len(accounts) or None in accounts:
        complaints.append(f"R services share accounts: {accounts}")
    return complaints


def r_services_are_probed(documents: list[Document]) -> list[str]:
    """Alive is /healthz, ready is /readyz; the other way round a busy service would be restarted."""
    wanted = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    return [
        f"{owner}: {probe} does not ask {path}"
        for owner, template in _r_services(documents)
        for probe, path in wanted.items()
        if template["spec"]["containers"][0].get(probe, {}).get("httpGet", {}).get("path") != path
    ]


def _r_services(documents: list[Document]) -> list[tuple[str, Document]]:
    return [
        (owner, template)
        for owner, template in pods(documents)
        if template["metadata"].get("labels", {}).items() >= R_SERVICE.items()
    ]


def nothing_is_scheduled_beside_dagster(documents: list[Document]) -> list[str]:
    """No CronJob: schedules and sensors are Dagster's."""
    return [f"{one['kind']} {one['metadata']['name']}" for one in documents if one["kind"] == "CronJob"]


POD_POLICIES: tuple[Policy, ...] = (
    images_are_pinned,
    resources_are_bounded,
    containers_are_confined,
    r_services_hold_no_cluster_token,
    r_services_are_probed,
    nothing_is_scheduled_beside_dagster,
)
