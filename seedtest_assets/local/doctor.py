"""What this machine has, what it lacks, and the command that brings it."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from seedtest_assets.failures import PermanentFailure, TransientFailure
from seedtest_assets.local.home import CHECKOUT, home, installation
from seedtest_assets.local.machine import Machine
from seedtest_assets.local.processes import port_is_free
from seedtest_assets.local.services import COMPILED, MODELS, SERVICES, is_ready
from seedtest_assets.local.webserver import PORTS, Webserver
from seedtest_assets.reports.renderers import named
from seedtest_assets.resources.artifact_store import ArtifactStore
from seedtest_assets.resources.report_renderer import renderer
from seedtest_assets.settings import settings

NEEDED_BYTES = 2 * 1024**3
RUNTIME_PACKAGES = ("r_plumber/apt-packages.txt", "quarto_reports/apt-packages.txt")
TEST_PACKAGES = ("r_plumber/apt-packages-test.txt", "tests/apt-packages.txt")


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report.

    Attributes:
        what: the thing looked at.
        good: True, False, or None for what is optional or starts by itself when it is needed.
        found: what was found.
        fix: the command or step that mends it when it is not good.
    """

    what: str
    good: bool | None
    found: str
    fix: str = ""


def checks() -> Iterator[Check]:
    """Look at the machine, changing nothing: Python, packages, database, migrations, services, disk."""
    machine = Machine(home())
    python = f"{platform.python_version()} at {sys.executable}"
    yield Check("Python", sys.version_info >= (3, 11), python, "install Python 3.11 or newer")
    yield _virtual_environment(machine.folder)
    yield from _debian_packages()
    yield _bayesian_models()
    yield from _database(machine)
    yield from _services(machine)
    yield from _reports()
    url = Webserver(machine.folder).url()
    port = next(filter(port_is_free, PORTS))
    yield Check("webserver", True if url else None, url or f"not running; port {port} is free for it", "./run up")
    free = shutil.disk_usage(machine.folder).free
    yield Check("disk", free > NEEDED_BYTES, f"{free / 1024**3:.1f} GB free", f"free 2 GB at {machine.folder}")


def _virtual_environment(folder: Path) -> Check:
    if Path(sys.prefix) != folder / "venv":
        return Check("virtual environment", None, f"your own, {sys.prefix}")
    stamp = folder / "installed"
    fresh = stamp.exists() and stamp.read_text().strip() == installation()
    found = "as requirements.lock says" if fresh else "not from today's requirements.lock"
    return Check("virtual environment", fresh, found, "./run install")


def _debian_packages() -> Iterator[Check]:
    query = shutil.which("dpkg-query")
    if query is None:
        yield Check("Debian packages", None, "no dpkg here", "install R with the packages of r_plumber/")
        return
    listed = subprocess.run(  # noqa: S603 - fixed arguments
        [query, "--show", "--showformat", "${db:Status-Abbrev} ${Package} ${Version}\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = (line.split() for line in listed.splitlines())
    installed = {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "ii"}
    for package in _packages(RUNTIME_PACKAGES):
        yield Check(package, package in installed, installed.get(package, "missing"), "./run install")
    for package in _packages(TEST_PACKAGES):
        good = True if package in installed else None
        yield Check(package, good, installed.get(package, "missing, only tests need it"), "./run test")


def _packages(files: tuple[str, ...]) -> list[str]:
    lines = (line for file in files for line in (CHECKOUT / file).read_text().splitlines())
    return sorted({word for line in lines for word in line.split("#")[0].split()})


def _bayesian_models() -> Check:
    folder = Path(os.environ.get(MODELS, COMPILED))
    found = sorted(file.name.partition("-")[0] for file in folder.glob("*.rds"))
    return Check("Bayesian models", bool(found), ", ".join(found) or f"none in {folder}", "./run install")


def _database(machine: Machine) -> Iterator[Check]:
    given = os.environ.get("DATABASE_URL")
    if not given and not machine.postgres.running():
        yield Check("database", None, "embedded, not running; commands start it when they need it")
        return
    url = sa.make_url(given or machine.postgres.url()).set(drivername="postgresql+psycopg2")
    shown = url.render_as_string(hide_password=True)
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as connection:
            at = set(MigrationContext.configure(connection).get_current_heads())
    except sa.exc.OperationalError as error:
        yield Check("database", False, f"{shown}: {error.orig}".strip(), "mend or unset DATABASE_URL")
        return
    yield Check("database", True, shown)
    head = set(ScriptDirectory.from_config(Config(CHECKOUT / "alembic.ini")).get_heads())
    yield Check("migrations", at == head, ", ".join(sorted(at)) or "none yet", "./run seedtest migrate")


def _reports() -> Iterator[Check]:
    try:
        yield Check("reports", True, f"by {named(renderer())}")
    except PermanentFailure as failure:
        yield Check("reports", False, "cannot be rendered", str(failure.description))
    if not settings().s3_bucket and not settings().report_folder:
        yield Check("object store", None, f"the folder {home() / 'objects'}; S3_BUCKET names a bucket")
        return
    try:
        yield Check("object store", True, ArtifactStore().check())
    except (PermanentFailure, TransientFailure) as failure:
        yield Check("object store", False, str(failure), "mend or unset S3_BUCKET")


def _services(machine: Machine) -> Iterator[Check]:
    for service, status in zip(SERVICES, machine.services.status(), strict=True):
        what = f"R service {service.name}"
        if given := os.environ.get(service.base_url):
            good = is_ready(given)
            yield Check(what, good, f"{given}{'' if good else ' is not ready'}", f"mend or unset {service.base_url}")
        elif status.pid is None:
            yield Check(what, None, "not running; commands start it when they need it")
        else:
            found = f"{status.url}, process {status.pid}{'' if status.ready else ', not ready'}"
            yield Check(what, status.ready, found, "./run down")
