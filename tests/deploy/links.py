"""What one document says of another must be true. Each policy takes documents and returns complaints."""

import re
from urllib.parse import urlsplit

from pydantic import SecretStr

from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.settings import Settings
from tests.deploy.manifests import Document
from tests.deploy.policies import R_SERVICE, Policy, containers, pods

NAME = "app.kubernetes.io/name"
ALWAYS_THERE = {("ServiceAccount", "default", "")}
OF_OTHERS = {"postgresql-password", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
"""Keys of secrets that the chart and the AWS libraries read."""


def secret_settings() -> set[str]:
    """The variables of settings.py that are secrets."""
    return {name.upper() for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None}


def plain_settings() -> set[str]:
    """All its other variables."""
    return {name.upper() for name in Settings.model_fields} - secret_settings()


def r_variables() -> set[str]:
    """The variables that the R services read, found in their code; a token's name is put together there."""
    code = "".join(file.read_text() for file in (CHECKOUT / "r_plumber").glob("*/**/*.R") if "tests" not in file.parts)
    tokens = {name for name in secret_settings() if name.startswith("R_")}
    return set(re.findall(r"\bR_(?:SERVICE|BRMS)_[A-Z_]+[A-Z]\b", code)) | tokens


def _there(documents: list[Document]) -> set[tuple[str, str, str]]:
    """(kind, name, key) of all that a pod may name; an ExternalSecret is the Secret it makes."""
    found = set(ALWAYS_THERE)
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        found.add((kind, name, ""))
        found.update((kind, name, key) for key in document.get("data", {}))
        if kind == "ExternalSecret":
            target = document["spec"]["target"]["name"]
            found.add(("Secret", target, ""))
            found.update(("Secret", target, entry["secretKey"]) for entry in document["spec"]["data"])
    return found


def _named_by(template: Document) -> set[tuple[str, str, str]]:
    spec = template["spec"]
    named = {("ServiceAccount", spec.get("serviceAccountName", "default"), "")}
    for volume in spec.get("volumes", []):
        if "persistentVolumeClaim" in volume:
            named.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], ""))
        if "configMap" in volume:
            named.add(("ConfigMap", volume["configMap"]["name"], ""))
        if "secret" in volume:
            named.add(("Secret", volume["secret"]["secretName"], ""))
    for container in containers(template):
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if (key := source.get("secretKeyRef")) is not None:
                named.add(("Secret", key["name"], key["key"]))
            if (key := source.get("configMapKeyRef")) is not None:
                named.add(("ConfigMap", key["name"], key["key"]))
        for source in container.get("envFrom", []):
            kind = "Secret" if "secretRef" in source else "ConfigMap"
            named.add((kind, next(part["name"] for part in source.values() if isinstance(part, dict)), ""))
    return named


def references_exist(documents: list[Document]) -> list[str]:
    """Secrets with their keys, ConfigMaps, claims and accounts that pods name, and the stores of secrets."""
    there = _there(documents)
    complaints = [
        f"{owner}: there is no {' '.join(part for part in missing if part)}"
        for owner, template in pods(documents)
        for missing in sorted(_named_by(template) - there)
    ]
    for document in documents:
        if document["kind"] == "ExternalSecret":
            store = document["spec"]["secretStoreRef"]
            if (store["kind"], store["name"], "") not in there:
                complaints.append(f"ExternalSecret {document['metadata']['name']}: there is no store {store['name']}")
    return complaints


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a label selector of Kubernetes (matchLabels, matchExpressions with In) selects these labels."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", f"no test reads the operator {expression['operator']}"
        exact = exact and labels.get(expression["key"]) in expression["values"]
    return exact


def _labels(template: Document) -> dict[str, str]:
    labels: dict[str, str] = template["metadata"].get("labels", {})
    return labels


def selectors_select_one(documents: list[Document]) -> list[str]:
    """A Service, a budget, a network policy: each about one Deployment. Ports and what autoscalers name are there."""
    complaints = []
    for document in documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        selector = {
            "Service": {"matchLabels": spec.get("selector", {})},
            "PodDisruptionBudget": spec.get("selector", {}),
            "NetworkPolicy": spec.get("podSelector", {}),
        }.get(kind)
        if selector is not None:
            selected = [template for _, template in pods(documents) if _selects(selector, _labels(template))]
            kinds = {_labels(template).get("component") or _labels(template)[NAME] for template in selected}
            if len(kinds) != 1:
                complaints.append(f"{kind} {name} selects {len(kinds)} kinds of pods")
                continue
            given = [port for container in containers(selected[0]) for port in container.get("ports", [])]
            ports = {port[by] for port in given for by in ("name", "containerPort")}
            complaints += [f"{kind} {name}: no port {port}" for port in _ports(document) - ports]
        if kind == "HorizontalPodAutoscaler":
            target = spec["scaleTargetRef"]
            if (target["kind"], target["name"], "") not in _there(documents):
                complaints.append(f"{kind} {name} scales {target['name']}, which is not there")
    return complaints


def _ports(document: Document) -> set[str | int]:
    spec = document["spec"]
    if document["kind"] == "Service":
        return {port["targetPort"] for port in spec["ports"]}
    return {port["port"] for rule in spec.get("ingress", []) for port in rule.get("ports", [])}


def network_lets_in_the_callers(documents: list[Document]) -> list[str]:
    """An R service hears those pods that hold its token, all of them and no others; it asks nobody but for names."""
    complaints = []
    policies = [one for one in documents if one["kind"] == "NetworkPolicy"]
    for owner, service in pods(documents):
        if not _labels(service).items() >= R_SERVICE.items():
            continue
        own = [one["spec"] for one in policies if _selects(one["spec"]["podSelector"], _labels(service))]
        if not own:
            complaints.append(f"{owner}: no network policy")
        peers = [peer for spec in own for rule in spec["ingress"] for peer in rule.get("from", [{}])]
        complaints += [f"{owner}: lets in more than pods" for peer in peers if set(peer) != {"podSelector"}]
        egress = [(rule.get("to"), port["port"]) for spec in own for rule in spec["egress"] for port in rule["ports"]]
        if any(port != 53 or not to for to, port in egress):
            complaints.append(f"{owner}: may ask more than names")
        token = {named for named in _named_by(service) if named[0] == "Secret"}
        for caller, template in pods(documents):
            calls = bool(_names(token) & _names(_named_by(template))) and template is not service
            heard = any(_selects(peer.get("podSelector", {}), _labels(template)) for peer in peers)
            if calls != heard:
                complaints.append(
                    f"{owner}: {caller} {'calls but is not let in' if calls else 'is let in but does not call'}"
                )
        if not any(
            _selects(peer.get("podSelector", {}), _labels(template))
            for peer in peers
            for _, template in pods(documents)
        ):
            complaints.append(f"{owner}: nobody has the label that is let in")
    return complaints


def dagster_hears_dagster_alone(documents: list[Document]) -> list[str]:
    """Neither asks for a password: a webserver hears nobody, a code server the webserver and the daemon."""
    callers: dict[str, set[str]] = {
        "dagster-webserver": set(),
        "user-deployments": {"dagster-webserver", "dagster-daemon"},
    }
    policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
    complaints = []
    for owner, template in pods(documents):
        component = _labels(template).get("component", "")
        if component in callers:
            own = [spec for spec in policies if _selects(spec["podSelector"], _labels(template))]
            peers = [peer for spec in own for rule in spec.get("ingress", []) for peer in rule.get("from", [{}])]
            heard = {
                _labels(other).get("component", name)
                for name, other in pods(documents)
                if any(_selects(peer.get("podSelector", {}), _labels(other)) for peer in peers)
            }
            if not own or any(set(peer) != {"podSelector"} for peer in peers) or heard != callers[component]:
                complaints.append(f"{owner} hears {sorted(heard) if own else 'everybody'}")
    return complaints


def _names(named: set[tuple[str, str, str]]) -> set[tuple[str, str]]:
    return {(kind, name) for kind, name, _ in named if kind == "Secret"}


def variables_are_read(documents: list[Document]) -> list[str]:
    """Every variable in a ConfigMap, a Secret or an R service is one that somebody reads."""
    complaints = []
    for document in documents:
        name = document["metadata"]["name"]
        if document["kind"] == "ConfigMap" and name == "seedtest-settings":
            unknown = set(document["data"]) - plain_settings()
            complaints += [f"ConfigMap {name}: {variable} is no setting" for variable in sorted(unknown)]
        if document["kind"] == "ExternalSecret":
            unknown = {entry["secretKey"] for entry in document["spec"]["data"]} - secret_settings() - OF_OTHERS
            complaints += [f"ExternalSecret {name}: {variable} is no secret setting" for variable in sorted(unknown)]
    for owner, template in pods(documents):
        if _labels(template).items() >= R_SERVICE.items():
            given = {variable["name"] for container in containers(template) for variable in container["env"]}
            unknown = {variable for variable in given if variable.startswith("R_")} - r_variables()
            complaints += [f"{owner}: no R service reads {variable}" for variable in sorted(unknown)]
    return complaints


def addresses_are_services(documents: list[Document]) -> list[str]:
    """The R services' addresses in the settings are Services, on the port they listen on."""
    services = {
        one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]}
        for one in documents
        if one["kind"] == "Service"
    }
    (settings,) = [one["data"] for one in documents if one["metadata"]["name"] == "seedtest-settings"]
    complaints = []
    for variable, address in settings.items():
        if re.fullmatch(r"R_[A-Z]+_BASE_URL", variable):
            url = urlsplit(address)
            if (url.port or 80) not in services.get(url.hostname or "", set()):
                complaints.append(f"{variable}: {address} is no Service")
    return complaints


LINK_POLICIES: tuple[Policy, ...] = (
    references_exist,
    selectors_select_one,
    network_lets_in_the_callers,
    dagster_hears_dagster_alone,
    variables_are_read,
    addresses_are_services,
)
