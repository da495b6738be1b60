"""This machine as the pipeline's environment: what is not given is started, and stopped by its last user.

Users of a home hold a shared lock on `users.lock`. Whoever starts or stops something holds `start.lock`,
so two commands never race. The kernel drops both locks of a process that dies, however it dies.
"""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from sqlalchemy import make_url

from seedtest_assets.local.home import CHECKOUT, home
from seedtest_assets.local.postgres import EmbeddedPostgres
from seedtest_assets.local.processes import handling, undisturbed
from seedtest_assets.local.services import SERVICES, RServices
from seedtest_assets.settings import settings

VARIABLES = (
    "DATABASE_URL",
    "DAGSTER_DATABASE_URL",
    "DAGSTER_HOME",
    "REPORT_FOLDER",
    *(service.base_url for service in SERVICES),
    *(service.token for service in SERVICES),
)
DRIVER = "postgresql+psycopg2"


@contextmanager
def local_machine(*, services: bool = True) -> Iterator[dict[str, str]]:
    """Start what the environment does not give, for the duration of a `with` block.

    DATABASE_URL unset: embedded PostgreSQL. DAGSTER_DATABASE_URL unset: the database `dagster` of the
    same server as DATABASE_URL; on a server of your own it must exist. R_<NAME>_BASE_URL unset: that R
    service. DAGSTER_HOME unset: `dagster/` in the home, configured by deploy/dagster.yaml. S3_BUCKET and
    REPORT_FOLDER unset: reports are kept in `objects/` in the home.

    The last user to leave stops what was started, unless `seedtest services start` asked to keep it.
    SIGTERM and a closed terminal end the block as Ctrl-C does.

    Args:
        services: False when only the databases are needed.

    Yields:
        The variables, which are also in `os.environ` until the block ends.

    Raises:
        PostgresError, ServiceError: something cannot be started; the message says what to do.
    """
    machine = Machine(home())
    before = dict(os.environ)
    with _ending_on_signals(), machine.in_use():
        try:
            os.environ.update(machine.start(services=services))
            settings.cache_clear()
            yield {name: os.environ[name] for name in VARIABLES if name in os.environ}
        finally:
            os.environ.clear()
            os.environ.update(before)
            settings.cache_clear()


class Machine:
    """What one home can run: a PostgreSQL server, the R services, a Dagster home.

    Args:
        folder: the home; made when missing, open to passers-by because PostgreSQL may run as another user.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder / "postgres")
        self.services = RServices(folder / "services")
        self._keep = folder / "keep"
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Be a user of the home; on leaving, the last user stops what runs unless it is to be kept."""
        with (self.folder / "users.lock").open("w") as users:
            with self._starting():
                fcntl.flock(users, fcntl.LOCK_SH)
            try:
                yield
            finally:
                with undisturbed(), self._starting():
                    if _alone(users) and not self._keep.exists():
                        self._stop()

    def start(self, *, services: bool = True) -> dict[str, str]:
        """Start what the environment does not give; returns the variables that make it complete."""
        with self._starting():
            variables = self._databases() | self._dagster_home() | self._reports()
            if services:
                not_given = tuple(service for service in SERVICES if not os.environ.get(service.base_url))
                variables |= self.services.start(not_given)
        return variables

    def keep(self) -> dict[str, str]:
        """Start everything, to run until `stop`; returns the variables."""
        with self.in_use():
            variables = self.start()
            self._keep.touch()
        return variables

    def stop(self) -> None:
        """Stop everything that runs, in use or not."""
        with self._starting():
            self._keep.unlink(missing_ok=True)
            self._stop()

    def kept(self) -> bool:
        """Whether what runs outlives its users."""
        return self._keep.exists()

    def _stop(self) -> None:
        try:
            self.services.stop()
        finally:
            self.postgres.stop()

    def _databases(self) -> dict[str, str]:
        url = os.environ.get("DATABASE_URL")
        if not url:
            self.postgres.start()
            url = self.postgres.url("seedtest")
        dagster_url = os.environ.get("DAGSTER_DATABASE_URL") or _beside(url)
        return {"DATABASE_URL": url, "DAGSTER_DATABASE_URL": dagster_url}

    def _dagster_home(self) -> dict[str, str]:
        variables = {"DAGSTER_DISABLE_TELEMETRY": "yes"}
        if not os.environ.get("DAGSTER_HOME"):
            folder = self.folder / "dagster"
            folder.mkdir(exist_ok=True)
            shutil.copyfile(CHECKOUT / "deploy" / "dagster.yaml", folder / "dagster.yaml")
            variables["DAGSTER_HOME"] = str(folder)
        return variables

    def _reports(self) -> dict[str, str]:
        given = os.environ.get("S3_BUCKET") or os.environ.get("REPORT_FOLDER")
        return {} if given else {"REPORT_FOLDER": str(self.folder / "objects")}

    @contextmanager
    def _starting(self) -> Iterator[None]:
        with (self.folder / "start.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _beside(url: str) -> str:
    """The database `dagster` of the server that `url` names."""
    other = make_url(url).set(drivername=DRIVER, database="dagster")
    return other.render_as_string(hide_password=False)


def _alone(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _ending_on_signals() -> AbstractContextManager[None]:
    """Let signals end the block as Ctrl-C does.

    SIGINT is among them because a script's background jobs, and all their children, ignore it otherwise;
    Dagster then ignores SIGTERM too.
    """
    return handling({signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _exit, signal.SIGHUP: _exit})
