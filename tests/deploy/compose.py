"""deploy/compose.yaml as Docker Compose reads it, and what is demanded of it. Each policy returns complaints."""

import re
import string
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from dotenv import dotenv_values

from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.services import SERVICES
from tests.deploy.links import plain_settings, r_variables, secret_settings
from tests.deploy.manifests import Document
from tests.deploy.policies import PINNED

DEPLOY = CHECKOUT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
EXAMPLE = DEPLOY / "compose" / "env.example"
PIPELINE, R_SERVICES = "seedtest/pipeline", "seedtest/r-services"
OF_OTHERS = {
    PIPELINE: {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    R_SERVICES: {"OPENBLAS_NUM_THREADS"},
    "docker.io/library/postgres": {"POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"},
}
"""By image, variables that are no settings of ours."""
FEWEST_PROCESSORS = 2  # Docker refuses a limit of more than the machine has

Policy = Callable[[Document], list[str]]


def compose() -> Document:
    """The file, variables not put in, for the caller to change as it likes."""
    document: Document = yaml.safe_load(COMPOSE.read_text())
    return document


class MissingVariable(ValueError):
    """A variable without which Compose does not start."""


class _Text(string.Template):
    """Text in which a variable says what holds without it; Compose's other forms are refused."""

    idpattern = r"(?!)"
    braceidpattern = r"[A-Z][A-Z0-9_]*:[?-][^}]*"


class _Variables(dict[str, str]):
    def __getitem__(self, expression: str) -> str:
        name, _, rest = expression.partition(":")
        value = self.get(name, "")
        if not value and rest[0] == "?":
            raise MissingVariable(f"{name} is missing: {rest[1:]}")
        return value or rest[1:]


def interpolated(part: Any, variables: dict[str, str]) -> Any:
    """A part of the file with its variables put in.

    Raises:
        MissingVariable: one that must be given is not, or is empty.
    """
    if isinstance(part, dict):
        return {key: interpolated(value, variables) for key, value in part.items()}
    if isinstance(part, list):
        return [interpolated(value, variables) for value in part]
    return _Text(part).substitute(_Variables(variables)) if isinstance(part, str) else part


def environment(service: Document) -> dict[str, str]:
    """The variables of a service: those of its files that are there, a later file's first, and over them its own."""
    files = [file for named in service.get("env_file", []) if (file := DEPLOY / named["path"]).exists()]
    given = {name: value or "" for file in files for name, value in dotenv_values(file, interpolate=False).items()}
    return given | service.get("environment", {})


def misfits(document: Document) -> list[str]:
    """What of the file the Compose Specification does not allow."""
    found = jsonschema.Draft202012Validator(get_builtin_schema("vendor.compose-spec")).iter_errors(document)
    return [f"{'.'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in found]


def images_are_pinned(document: Document) -> list[str]:
    """Every image has a tag that is not `latest`, or a digest."""
    return [
        f"{name}: image {service.get('image')} is not pinned"
        for name, service in document["services"].items()
        if not PINNED.search(service.get("image", ""))
    ]


def containers_are_confined(document: Document) -> list[str]:
    """No root, no writing to the image, no more rights than it began with, nothing of the host's."""
    complaints = []
    for name, service in document["services"].items():
        if service.get("read_only") is not True:
            complaints.append(f"{name}: writable root file system")
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
            complaints.append(f"{name}: keeps capabilities")
        if "no-new-privileges:true" not in service.get("security_opt", []) or service.get("privileged"):
            complaints.append(f"{name}: may gain privileges")
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(service.get("user", ""))):
            complaints.append(f"{name}: runs as root")
        shared = [key for key in ("network_mode", "pid", "ipc", "userns_mode") if service.get(key) == "host"]
        complaints += [f"{name}: shares the host's {key}" for key in shared]
        complaints += [
            f"{name}: {volume} is the host's" for volume in service.get("volumes", []) if not volume[0].isalpha()
        ]
    return complaints


def resources_are_bounded(document: Document) -> list[str]:
    """Every container has limits, of processors no more than a small machine has; memory that is a disk has one too."""
    complaints = []
    for name, service in document["services"].items():
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        complaints += [f"{name}: no limit of {what}" for what in ("cpus", "memory", "pids") if what not in limits]
        if float(limits.get("cpus", 0)) > FEWEST_PROCESSORS:
            complaints.append(f"{name}: more processors than a small machine has")
        if not any(re.match(r"/tmp:(\w+,)*size=\d", mount) for mount in service.get("tmpfs", [])):
            complaints.append(f"{name}: no /tmp of a size")
    return complaints


def starts_in_order(document: Document) -> list[str]:
    """What is waited for is there, and can be waited for; what ends is not restarted, what stays is asked how it is."""
    complaints = []
    services = document["services"]
    for name, service in services.items():
        once = service.get("restart") == "no"
        if not once and "test" not in service.get("healthcheck", {}):
            complaints.append(f"{name}: no health check")
        for other, how in service.get("depends_on", {}).items():
            if other not in services:
                complaints.append(f"{name}: waits for {other}, which is not there")
                continue
            ends = services[other].get("restart") == "no"
            if how["condition"] != ("service_completed_successfully" if ends else "service_healthy"):
                complaints.append(f"{name}: waits for {other} to be {how['condition']}")
    return complaints


def references_exist(document: Document) -> list[str]:
    """Volumes, networks and configs that services name are declared, and what is declared is used; files are there."""
    complaints = []
    used: dict[str, set[str]] = {"volumes": set(), "networks": set(), "configs": set()}
    for name, service in document["services"].items():
        named = {
            "volumes": [volume.partition(":")[0] for volume in service.get("volumes", [])],
            "networks": service.get("networks", []),
            "configs": [config["source"] for config in service.get("configs", [])],
        }
        for kind, names in named.items():
            used[kind].update(names)
            complaints += [f"{name}: no {one} in {kind}" for one in names if one not in document[kind]]
        host = service.get("network_mode", "").removeprefix("service:")
        if host and host not in document["services"]:
            complaints.append(f"{name}: no service {host}")
        if not host and not service.get("networks"):
            complaints.append(f"{name}: is in the network of all")
        complaints += [
            f"{name}: no file {file['path']}"
            for file in service.get("env_file", [])
            if file.get("required", True) and not (DEPLOY / file["path"]).is_file()
        ]
        if "build" in service and not (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists():
            complaints.append(f"{name}: no {service['build']['dockerfile']}")
    complaints += [f"{kind}: nobody uses {one}" for kind in used for one in sorted(set(document[kind]) - used[kind])]
    complaints += [
        f"configs: no file {config['file']}"
        for config in document["configs"].values()
        if not (DEPLOY / config["file"]).is_file()
    ]
    return complaints


def only_the_webserver_is_published(document: Document) -> list[str]:
    """Ports of this machine: the webserver's, on loopback. Networks that lead out of it: the webserver's."""
    complaints = []
    for name, service in document["services"].items():
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                complaints.append(f"{name}: {port} is open to other machines")
            if name != "webserver":
                complaints.append(f"{name}: {port} is published")
    outward = {name for name, network in document["networks"].items() if not (network or {}).get("internal")}
    if outward != {"dagster"}:
        complaints.append(f"networks that lead outward: {sorted(outward)}")
    return complaints


def r_services_hear_their_callers(document: Document) -> list[str]:
    """Each R service has its token, and is alone with those that have the same."""
    complaints = []
    services = document["services"]
    for known in SERVICES:
        name = f"r-{known.name}"
        service = services[name]
        token = service["environment"].get(known.token)
        if not token:
            complaints.append(f"{name}: no {known.token}")
        callers = {one for one, other in services.items() if token and environment(other).get(known.token) == token}
        peers = {one for one, other in services.items() if set(other.get("networks", [])) & set(service["networks"])}
        if peers != callers | {name} or callers <= {name}:
            complaints.append(f"{name}: hears {sorted(peers - {name})}, its token have {sorted(callers - {name})}")
    return complaints


def variables_are_read(document: Document) -> list[str]:
    """Every variable of a container is one that settings.py, an R service or a script of the container reads."""
    complaints = []
    for name, service in document["services"].items():
        image = service["image"].rpartition(":")[0]
        scripts = "".join(
            (DEPLOY / document["configs"][config["source"]]["file"]).read_text()
            for config in service.get("configs", [])
        )
        read = OF_OTHERS.get(image, set()) | set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", scripts))
        if image == PIPELINE:
            read |= plain_settings() | secret_settings()
        if image == R_SERVICES:
            read |= r_variables()
        complaints += [f"{name}: nobody reads {one}" for one in sorted(set(environment(service)) - read)]
    return complaints


def addresses_are_services(document: Document) -> list[str]:
    """Every address in a variable is a service in a network of the same, on the port that it listens on."""
    complaints = []
    services = document["services"]
    for name, service in services.items():
        for variable, value in environment(service).items():
            if "://" not in value:
                continue
            url = urlsplit(re.sub(r"\$\{.*?\}", "x", value))
            other = services.get(url.hostname or "", {})
            if not set(other.get("networks", [])) & set(service.get("networks", [])):
                complaints.append(f"{name}: {variable} names {url.hostname}, which it does not reach")
            elif url.port and str(url.port) not in " ".join(other["command"]):
                complaints.append(f"{name}: {variable}: {url.hostname} does not listen on {url.port}")
    return complaints


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (text for value in part.values() for text in _texts(value))
    elif isinstance(part, list):
        yield from (text for value in part for text in _texts(value))
    elif isinstance(part, str):
        yield part


def variables_are_documented(document: Document) -> list[str]:
    """Every ${VARIABLE} is in the example, every one of the example is used, and without a secret nothing starts."""
    text = EXAMPLE.read_text()
    documented = dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))
    secrets = set(re.findall(r"^([A-Z][A-Z0-9_]+)=$", text, re.MULTILINE))
    used = [one for part in _texts(document) for one in re.findall(r"\$\{(\w+)(:?[?+-]?)", part)]
    names = {name for name, _ in used}
    complaints = [f"{name} is not in {EXAMPLE.name}" for name in sorted(names - documented.keys())]
    complaints += [f"{name} of {EXAMPLE.name} is not used" for name in sorted(documented.keys() - names)]
    complaints += [f"{name} may be missing" for name, form in sorted(set(used)) if name in secrets and form != ":?"]
    return complaints


POLICIES: tuple[Policy, ...] = (
    misfits,
    images_are_pinned,
    containers_are_confined,
    resources_are_bounded,
    starts_in_order,
    references_exist,
    only_the_webserver_is_published,
    r_services_hear_their_callers,
    variables_are_read,
    addresses_are_services,
    variables_are_documented,
)
