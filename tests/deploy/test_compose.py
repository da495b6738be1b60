"""deploy/compose.yaml fits the specification, keeps the policies and agrees with what is beside it."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.services import SERVICES
from seedtest_assets.settings import Settings
from tests.deploy import compose as rules
from tests.deploy.compose import (
    DEPLOY,
    PIPELINE,
    POLICIES,
    R_SERVICES,
    MissingVariable,
    Policy,
    compose,
    environment,
    interpolated,
)
from tests.deploy.manifests import KUBERNETES, Document, find, rendered

GUIDE = (CHECKOUT / "docs" / "compose.md").read_text()


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """What make-env.sh writes into an empty folder."""
    shutil.copytree(DEPLOY / "compose", tmp_path / "compose")
    return made_env(tmp_path)


def made_env(folder: Path) -> dict[str, str]:
    subprocess.run([folder / "compose" / "make-env.sh"], check=True)
    return {name: str(value) for name, value in dotenv_values(folder / ".env", interpolate=False).items()}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
def test_policies_are_kept(policy: Policy) -> None:
    assert policy(compose()) == []


def has_docker_compose() -> bool:
    asked = [shutil.which("docker") or "false", "compose", "version"]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not has_docker_compose(), reason="no docker compose here")
def test_docker_compose_reads_it_as_the_tests_do(variables: dict[str, str], tmp_path: Path) -> None:
    command = ["docker", "compose", "-f", rules.COMPOSE, "--env-file", tmp_path / ".env", "config"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    read = subprocess.run(command, check=True, capture_output=True, text=True, env=kept)
    theirs, ours = yaml.safe_load(read.stdout)["services"], interpolated(compose(), variables)["services"]
    assert theirs.keys() == ours.keys()
    for name, service in ours.items():
        assert theirs[name].get("environment", {}) == environment(service)
        assert theirs[name]["command"] == service["command"]


Mistake = Callable[[Document], Any]


def service(document: Document, name: str) -> Document:
    """One service."""
    found: Document = document["services"][name]
    return found


PLANTED: list[tuple[Policy, Mistake, str]] = [
    (rules.misfits, lambda all_: service(all_, "daemon").update(depend_on={}), "depend_on"),
    (
        rules.misfits,
        lambda all_: service(all_, "postgres")["healthcheck"].update(start_intervall="1s"),
        "start_intervall",
    ),
    (rules.misfits, lambda all_: service(all_, "postgres")["deploy"]["resources"].update(limit={}), "limit"),
    (rules.misfits, lambda all_: all_.update(network={}), "network"),
    (
        rules.images_are_pinned,
        lambda all_: service(all_, "objects").update(image="docker.io/chrislusf/seaweedfs:latest"),
        "objects: image docker.io/chrislusf/seaweedfs:latest is not pinned",
    ),
    (rules.images_are_pinned, lambda all_: service(all_, "postgres").update(image="postgres"), "is not pinned"),
    (rules.containers_are_confined, lambda all_: service(all_, "daemon").pop("user"), "daemon: runs as root"),
    (rules.containers_are_confined, lambda all_: service(all_, "r-irt").update(user="0:10001"), "r-irt: runs as root"),
    (rules.containers_are_confined, lambda all_: service(all_, "r-irt").update(user="root"), "r-irt: runs as root"),
    (rules.containers_are_confined, lambda all_: service(all_, "bucket").pop("read_only"), "writable root"),
    (rules.containers_are_confined, lambda all_: service(all_, "objects").update(cap_add=["CHOWN"]), "capabilities"),
    (rules.containers_are_confined, lambda all_: service(all_, "objects").pop("security_opt"), "gain privileges"),
    (
        rules.containers_are_confined,
        lambda all_: service(all_, "code-server")["volumes"].append("/var/run/docker.sock:/var/run/docker.sock"),
        "code-server: /var/run/docker.sock:/var/run/docker.sock is the host's",
    ),
    (rules.containers_are_confined, lambda all_: service(all_, "daemon").update(network_mode="host"), "the host's"),
    (
        rules.resources_are_bounded,
        lambda all_: service(all_, "r-glmm")["deploy"]["resources"]["limits"].pop("memory"),
        "r-glmm: no limit of memory",
    ),
    (
        rules.resources_are_bounded,
        lambda all_: service(all_, "r-growth")["deploy"]["resources"]["limits"].update(cpus="4"),
        "more processors than a small machine has",
    ),
    (rules.resources_are_bounded, lambda all_: service(all_, "r-irt").update(tmpfs=["/tmp"]), "no /tmp of a size"),
    (
        rules.starts_in_order,
        lambda all_: service(all_, "code-server")["depends_on"].update(irt={"condition": "service_healthy"}),
        "code-server: waits for irt, which is not there",
    ),
    (rules.starts_in_order, lambda all_: service(all_, "r-irt").pop("healthcheck"), "r-irt: no health check"),
    (
        rules.starts_in_order,
        lambda all_: service(all_, "code-server")["depends_on"]["migrate"].update(condition="service_started"),
        "code-server: waits for migrate to be service_started",
    ),
    (
        rules.starts_in_order,
        lambda all_: service(all_, "migrate").update(restart="unless-stopped"),
        "waits for migrate to be service_completed_successfully",
    ),
    (rules.references_exist, lambda all_: all_["volumes"].pop("spool"), "r-irt: no spool in volumes"),
    (rules.references_exist, lambda all_: all_["networks"].update(spare={}), "networks: nobody uses spare"),
    (rules.references_exist, lambda all_: service(all_, "daemon").pop("networks"), "is in the network of all"),
    (
        rules.references_exist,
        lambda all_: all_["configs"]["databases"].update(file="compose/database.sql"),
        "configs: no file compose/database.sql",
    ),
    (
        rules.references_exist,
        lambda all_: service(all_, "migrate")["build"].update(dockerfile="deploy/Dockerfile"),
        "migrate: no deploy/Dockerfile",
    ),
    (
        rules.only_the_webserver_is_published,
        lambda all_: service(all_, "webserver").update(ports=["0.0.0.0:3000:3000"]),
        "webserver: 0.0.0.0:3000:3000 is open to other machines",
    ),
    (
        rules.only_the_webserver_is_published,
        lambda all_: service(all_, "webserver").update(ports=["3000:3000"]),
        "webserver: 3000:3000 is open to other machines",
    ),
    (
        rules.only_the_webserver_is_published,
        lambda all_: service(all_, "postgres").update(ports=["127.0.0.1:5432:5432"]),
        "postgres: 127.0.0.1:5432:5432 is published",
    ),
    (rules.only_the_webserver_is_published, lambda all_: all_["networks"].update(irt=None), "outward"),
    (
        rules.r_services_hear_their_callers,
        lambda all_: service(all_, "r-growth")["environment"].pop("R_BRMS_INTERNAL_TOKEN"),
        "r-growth: no R_BRMS_INTERNAL_TOKEN",
    ),
    (
        rules.r_services_hear_their_callers,
        lambda all_: service(all_, "code-server")["environment"].update(R_IRT_INTERNAL_TOKEN="another"),
        "r-irt: hears ['code-server'], its token have []",
    ),
    (
        rules.r_services_hear_their_callers,
        lambda all_: service(all_, "webserver")["networks"].append("forecast"),
        "r-forecast: hears ['code-server', 'webserver'], its token have ['code-server']",
    ),
    (
        rules.variables_are_read,
        lambda all_: service(all_, "code-server")["environment"].update(R_GROWTH_BASE_URL="http://r-growth:8000"),
        "code-server: nobody reads R_GROWTH_BASE_URL",
    ),
    (
        rules.variables_are_read,
        lambda all_: service(all_, "r-irt")["environment"].update(R_SERVICE_CORE="1"),
        "r-irt: nobody reads R_SERVICE_CORE",
    ),
    (
        rules.variables_are_read,
        lambda all_: service(all_, "postgres")["environment"].update(SEEDTEST_PASSWD="x"),
        "postgres: nobody reads SEEDTEST_PASSWD",
    ),
    (
        rules.addresses_are_services,
        lambda all_: service(all_, "code-server")["environment"].update(R_IRT_BASE_URL="http://irt:8000"),
        "code-server: R_IRT_BASE_URL names irt, which it does not reach",
    ),
    (
        rules.addresses_are_services,
        lambda all_: service(all_, "code-server")["environment"].update(AWS_ENDPOINT_URL_S3="http://objects:9000"),
        "objects does not listen on 9000",
    ),
    (
        rules.addresses_are_services,
        lambda all_: service(all_, "daemon").update(networks=["dagster"]),
        "daemon: DAGSTER_DATABASE_URL names postgres, which it does not reach",
    ),
    (
        rules.variables_are_documented,
        lambda all_: service(all_, "webserver").update(ports=["127.0.0.1:${UI_PORT:-3000}:3000"]),
        "UI_PORT is not in env.example",
    ),
    (
        rules.variables_are_documented,
        lambda all_: service(all_, "postgres")["environment"].update(
            POSTGRES_PASSWORD="${POSTGRES_PASSWORD:-postgres}"
        ),
        "POSTGRES_PASSWORD may be missing",
    ),
]


@pytest.mark.parametrize(("policy", "mistake", "said"), PLANTED, ids=[row[2] for row in PLANTED])
def test_a_policy_finds_the_mistake(policy: Policy, mistake: Mistake, said: str) -> None:
    document = compose()
    mistake(document)
    complaints = policy(document)
    assert any(said in complaint for complaint in complaints), complaints


def test_without_a_secret_nothing_starts(variables: dict[str, str]) -> None:
    interpolated(compose(), variables)
    secrets = set(variables) - {"WEBSERVER_PORT"}
    assert {one.token for one in SERVICES} < secrets
    for name in secrets:
        for given in ({**variables, name: ""}, {known: value for known, value in variables.items() if known != name}):
            with pytest.raises(MissingVariable, match=rf"{name} is missing: run deploy/compose/make-env\.sh"):
                interpolated(compose(), given)


def test_a_variable_must_say_what_holds_without_it() -> None:
    for text in ("$NAME", "${NAME}", "${NAME-default}"):
        with pytest.raises(ValueError, match="Invalid placeholder"):
            interpolated({"key": [text]}, {"NAME": "value"})
    assert interpolated("$$HOME ${A:-b} ${B:?c}", {"B": "d"}) == "$HOME b d"


def test_secrets_are_new_private_and_kept(variables: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secrets = [value for name, value in variables.items() if name != "WEBSERVER_PORT"]
    assert all(re.fullmatch("[0-9a-f]{48}", secret) for secret in secrets)
    assert len(set(secrets)) == len(secrets)
    kept = [line for line in file.read_text().splitlines() if not line.startswith("R_GLMM")]
    file.write_text("\n".join(["WEBSERVER_PORT=3100", *kept[:-1], ""]))
    again = made_env(tmp_path)
    assert again.keys() == variables.keys()
    changed = {name for name, value in variables.items() if again[name] != value}
    assert changed == {"R_GLMM_INTERNAL_TOKEN", "WEBSERVER_PORT"}


def test_git_ignores_secrets() -> None:
    names = [DEPLOY / ".env", DEPLOY / "settings.env"]
    ignored = subprocess.run(["git", "check-ignore", *names], check=False, capture_output=True, text=True, cwd=CHECKOUT)
    assert len(ignored.stdout.split()) == len(names)


def gib(text: str) -> float:
    """A quantity of memory, as Compose or as Kubernetes writes it."""
    number, unit = re.fullmatch(r"(\d+)([gm])i?", text.lower()).groups()  # type: ignore[union-attr]
    return int(number) / {"g": 1, "m": 1024}[unit]


@pytest.mark.parametrize("name", [f"r-{one.name}" for one in SERVICES])
def test_r_services_are_those_of_the_cluster(name: str) -> None:
    ours = service(compose(), name)
    (theirs,) = find(rendered("prod"), "Deployment", name)["spec"]["template"]["spec"]["containers"]
    assert ours["command"] == theirs["args"]
    limits, cluster = ours["deploy"]["resources"]["limits"], theirs["resources"]["limits"]
    (size,) = re.findall(r"size=(\w+)", ours["tmpfs"][0])
    assert ("exec" in ours["tmpfs"][0]) == (name == "r-growth")  # without it no compiled model is loaded
    assert gib(limits["memory"]) == gib(cluster["memory"]) + gib(size)
    assert float(limits["cpus"]) <= float(cluster["cpu"])
    given = {variable["name"]: variable.get("value") for variable in theirs["env"]}
    assert ours["environment"]["R_SERVICE_WORKER_MEMORY_MB"] == given["R_SERVICE_WORKER_MEMORY_MB"]
    assert float(ours["environment"]["R_SERVICE_CORES"]) == float(limits["cpus"])


def test_the_code_server_has_room_for_its_runs() -> None:
    values = yaml.safe_load((KUBERNETES / "dagster-values.yaml").read_text())
    (server,) = values["dagster-user-deployments"]["deployments"]
    run = values["runLauncher"]["config"]["k8sRunLauncher"]["resources"]["limits"]["memory"]
    instance = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    needed = gib(server["resources"]["limits"]["memory"])
    needed += instance["concurrency"]["runs"]["max_concurrent_runs"] * gib(run)
    ours = service(compose(), "code-server")
    (size,) = re.findall(r"size=(\w+)", ours["tmpfs"][0])
    assert gib(ours["deploy"]["resources"]["limits"]["memory"]) >= needed + gib(size)


def test_images_are_those_of_the_cluster_each_built_once() -> None:
    services = compose()["services"].values()
    for kind, name, image in (("Job", "seedtest-migrate", PIPELINE), ("Deployment", "r-irt", R_SERVICES)):
        (theirs,) = find(rendered("prod"), kind, name)["spec"]["template"]["spec"]["containers"]
        users = [one for one in services if one["image"].startswith(f"{image}:")]
        assert {one["image"].partition("/")[2] for one in users} == {theirs["image"].partition("/seedtest/")[2]}
        assert sum("build" in one for one in users) == 1


def test_the_code_location_is_that_of_one_machine() -> None:
    (location,) = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text())["load_from"]
    (server,) = yaml.safe_load((DEPLOY / "compose" / "workspace.yaml").read_text())["load_from"]
    assert server["grpc_server"]["location_name"] == location["python_module"]["location_name"]
    command = service(compose(), server["grpc_server"]["host"])["command"]
    assert command[command.index("--port") + 1] == str(server["grpc_server"]["port"])
    assert command[command.index("--module-name") + 1] == location["python_module"]["module_name"]


def test_the_pipeline_reads_its_settings(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    given = environment(service(interpolated(compose(), variables), "code-server"))
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    read = Settings()
    needed = [variable for known in SERVICES for variable in (known.base_url, known.token)]
    needed += ["S3_BUCKET", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "DATABASE_URL", "DAGSTER_DATABASE_URL"]
    assert [name for name in needed if not getattr(read, name.lower())] == []
    spooled = service(compose(), "r-irt")
    assert str(read.r_service_spool_dir) == spooled["environment"]["R_SERVICE_SPOOL_DIR"]
    assert f"spool:{read.r_service_spool_dir}:ro" in spooled["volumes"]
    assert f"spool:{read.r_service_spool_dir}" in service(compose(), "code-server")["volumes"]


def test_the_guide_names_what_is_there() -> None:
    document = compose()
    called = set(re.findall(r"docker compose (?:exec|run --rm|restart|logs)(?: -\w+)* ([a-z-]+)", GUIDE))
    assert called
    assert called <= document["services"].keys()
    assert {one for one in document["services"] if f"`{one}`" not in GUIDE} == set()
    files = set(re.findall(r"deploy/compose[\w./-]*\w", GUIDE))
    assert [one for one in sorted(files) if not (CHECKOUT / one).exists()] == []
