"""Child processes that any later command can find and end, with all their descendants."""

import json
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

HOST = "127.0.0.1"
Handler = Callable[[int, FrameType | None], None] | signal.Handlers
MARK = "SEEDTEST_PROCESS"


class RecordedProcess:
    """A program in a session of its own, recorded in a file.

    The program and its descendants carry a random mark in their environment. It tells them apart from
    whatever else may come to bear a recorded process number, and finds children that outlived their parent.

    Args:
        record: JSON file with the mark, the process number and the port; readable by its owner alone.
    """

    def __init__(self, record: Path) -> None:
        self.record = record
        self._child: subprocess.Popen[bytes] | None = None

    def start(
        self,
        command: Sequence[str | Path],
        *,
        port: int,
        log: Path,
        cwd: Path,
        environment: Mapping[str, str],
    ) -> None:
        """Start `command`, its output in `log` (begun anew), safe from this terminal's Ctrl-C.

        Raises:
            OSError: the program cannot be started.
        """
        content: dict[str, str | int] = {"mark": (mark := secrets.token_hex(16)), "port": port}
        self._write(content)  # before the program, so that a crash in between leaves nobody unknown
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._child = subprocess.Popen(  # noqa: S603 - our own programs
                command,
                cwd=cwd,
                env={**environment, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._write({**content, "pid": self._child.pid})

    def alive(self) -> bool:
        """Whether the program itself (not only a descendant) runs."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """The program's process number while it runs."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid  # its mark cannot be read in the moment in which it becomes its program
        recorded = self._recorded()
        try:
            process = psutil.Process(int(recorded["pid"]))
        except (KeyError, psutil.NoSuchProcess):
            return None  # never started, or ended
        return process.pid if _mark(process) == recorded["mark"] else None

    def port(self) -> int | None:
        """The port that the program was last started on."""
        port = self._recorded().get("port")
        return int(port) if port is not None else None

    def members(self) -> list[psutil.Process]:
        """The program and all its descendants that run now."""
        pid, mark = self.pid(), self._recorded().get("mark")
        if mark is None:
            return []
        return [process for process in psutil.process_iter() if process.pid == pid or _mark(process) == mark]

    def was_stopped(self) -> bool:
        """Whether the program was asked to end since it was last started, by this or any other command."""
        return "stopped" in self._recorded()

    def stop(self, *, grace: float) -> None:
        """End the program and its descendants, however it takes; safe from an impatient second Ctrl-C.

        The program is asked first (SIGTERM), after `grace` seconds all that is left of it (a run in progress
        then notes that it was interrupted), and after as many again what is left is killed.
        """
        with undisturbed():
            pid = self.pid()
            if pid is not None:
                self._write({**self._recorded(), "stopped": True})
                os.kill(pid, signal.SIGTERM)
                self._wait(grace)
            if self._signal(signal.SIGTERM):
                self._wait(grace)
            while self._signal(signal.SIGKILL):
                self._wait(0.1)
            if self._child is not None:
                self._child.wait()
                self._child = None

    def _signal(self, number: signal.Signals) -> bool:
        """Signal all that is left; False when nothing is. psutil refuses numbers that changed hands."""
        members = self.members()
        for process in members:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return bool(members)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _recorded(self) -> dict[str, str | int]:
        try:
            content: dict[str, str | int] = json.loads(self.record.read_text())
        except FileNotFoundError:
            return {}
        return content

    def _write(self, content: Mapping[str, str | int]) -> None:
        write_private(self.record, json.dumps(content))


@contextmanager
def handling(handlers: Mapping[signal.Signals, Handler]) -> Iterator[None]:
    """Handle signals so inside a `with` block, and as before after it. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def undisturbed() -> AbstractContextManager[None]:
    """Ignore interruptions inside a `with` block, so that nothing is stopped by halves."""
    return handling(dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN))


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None  # ended, a zombie, or somebody else's


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(file)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, empty when there is none."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def any_free_port() -> int:
    """A loopback port that nobody uses, chosen by the kernel."""
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
