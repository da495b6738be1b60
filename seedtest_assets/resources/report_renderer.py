"""Renders reports in bounded worker processes: as many as asked for, however many reports there are.

A worker that dies or hangs costs its reports a second try, one by one; the one that ends its worker again is named.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any

from seedtest_assets.failures import PermanentFailure, TransientFailure
from seedtest_assets.reports.language import FOLDER
from seedtest_assets.reports.renderers import FONT, Bundled, Format, Quarto, Renderer
from seedtest_assets.reports.rendering import Rendered, Request
from seedtest_assets.settings import settings

__all__ = ["Format", "Rendered", "Renderer", "Request", "render_batch", "renderer"]

DESIGN = FOLDER
REPORT_SECONDS = 60.0
"""A report that takes longer hangs."""
START_SECONDS = 120.0
REPORTS_OF_A_WORKER = 500
"""Then a fresh one takes its place: whatever memory the libraries kept is given back."""
AHEAD = 2
"""Chunks that a worker has, the one that it works on included."""


def renderer(design: Path = DESIGN) -> Renderer:
    """What REPORT_RENDERER chooses; auto: Quarto where it is on PATH.

    Args:
        design: the folder of _quarto.yml, report.lua, styles.css and template.typ.

    Raises:
        PermanentFailure: Quarto is chosen and not there, or the font of the reports is missing.
    """
    chosen, fonts = settings().report_renderer, settings().report_fonts
    has_quarto = shutil.which("quarto") is not None
    if chosen == "quarto" and not has_quarto:
        raise PermanentFailure("REPORT_RENDERER=quarto, and no quarto is on PATH. Install it, or set bundled.")
    bundled = Bundled(design, fonts)
    if not bundled.has_font:
        raise PermanentFailure(
            f"{FONT} is not in {fonts}. Run: apt-get install fonts-noto-cjk, or set REPORT_FONTS to its folder."
        )
    return bundled if chosen == "bundled" or not has_quarto else Quarto(design, fonts)


def render_batch(
    requests: Iterable[Request],
    formats: Collection[Format],
    workers: int | None = None,
    scratch: Path | None = None,
    *,
    using: Renderer | None = None,
    report_seconds: float = REPORT_SECONDS,
) -> Generator[Rendered]:
    """Render reports, in any order. What is not asked for yet is not made: few requests and results are in memory.

    Args:
        requests: the reports to make; read as workers become free.
        formats: of each report.
        workers: processes at most; by default REPORT_WORKERS, and all processors that this process may use for 0.
        scratch: where the reports' folders are while they are made; by default the system's folder.
        using: the renderer; by default `renderer()`.
        report_seconds: after which a report counts as hung.

    Yields:
        Each report, or its problem. Closing the generator ends the workers.

    Raises:
        PermanentFailure: as `renderer`.
        TransientFailure: a worker ended before its first report.
    """
    chosen = using or renderer()
    most = (settings().report_workers if workers is None else workers) or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="seedtest-reports-", dir=scratch) as folder:
        crew = _Crew(chosen, tuple(formats), Path(folder), most, report_seconds)
        try:
            yield from crew.render(iter(requests))
        finally:
            crew.stop()


@dataclass(frozen=True)
class _Chunk:
    """Reports that a worker makes together.

    Attributes:
        requests: of the reports.
        again: whether it is the second try of a report, on its own.
    """

    requests: Sequence[Request]
    again: bool = False


class _Worker:
    """One process, and the chunks that it has, the first of which it works on."""

    def __init__(self, start: tuple[Any, ...], report_seconds: float) -> None:
        self.chunks: deque[_Chunk] = deque()
        self.given = 0
        self.report_seconds = report_seconds
        self.connection, theirs = Pipe()
        with theirs:
            descriptor = theirs.fileno()
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "seedtest_assets.reports.worker", str(descriptor)],
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C is for the pipeline, which ends its workers
            )
        self.is_ready = False
        self.deadline = time.monotonic() + START_SECONDS
        self._send(start)

    @property
    def has_room(self) -> bool:
        return len(self.chunks) < AHEAD and self.given < REPORTS_OF_A_WORKER

    @property
    def is_spent(self) -> bool:
        return not self.chunks and not self.has_room

    def give(self, chunk: _Chunk) -> None:
        self.chunks.append(chunk)
        self.given += len(chunk.requests)
        if self.is_ready and len(self.chunks) == 1:
            self.restart_clock()
        self._send(chunk.requests)

    def restart_clock(self) -> None:
        self.deadline = time.monotonic() + self.report_seconds * len(self.chunks[0].requests)

    def receive(self) -> list[Rendered]:
        """What it has made since; nothing when it says that it is ready.

        Raises:
            EOFError, OSError: it has ended.
        """
        message = self.connection.recv()
        rendered: list[Rendered] = []
        if self.is_ready:
            rendered = message
            self.chunks.popleft()
        self.is_ready = True
        if self.chunks:
            self.restart_clock()
        return rendered

    def stop(self) -> int:
        """End it and its pandoc, if they have not ended by themselves; the exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.connection.close()
        return self.process.wait()

    def _send(self, message: object) -> None:
        with suppress(OSError):  # it has ended, which `receive` finds
            self.connection.send(message)


class _Crew:
    """The workers of a batch."""

    def __init__(
        self, renderer: Renderer, formats: Sequence[Format], scratch: Path, most: int, report_seconds: float
    ) -> None:
        self.renderer, self.formats, self.scratch = renderer, formats, scratch
        self.most, self.report_seconds = most, report_seconds
        self.workers: list[_Worker] = []
        self.again: deque[_Chunk] = deque()

    def render(self, requests: Iterator[Request]) -> Iterator[Rendered]:
        while True:
            self._hand_out(requests)
            busy = [worker for worker in self.workers if worker.chunks]
            if not busy:
                return
            first = min(worker.deadline for worker in busy)
            wait([worker.connection for worker in busy], max(0.0, first - time.monotonic()))
            for worker in busy:
                yield from self._look_after(worker)

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()

    def _hand_out(self, requests: Iterator[Request]) -> None:
        """Give work to whoever has least of it, as long as somebody has room and there is work."""
        while True:
            free = min(
                (each for each in self.workers if each.has_room), key=lambda each: len(each.chunks), default=None
            )
            may_grow = len(self.workers) < self.most
            if free is None and not may_grow:
                return
            chunk = self._next(requests)
            if chunk is None:
                return
            if free is None or (free.chunks and may_grow):
                free = _Worker((self.renderer, self.formats, self.scratch), self.report_seconds)
                self.workers.append(free)
            free.give(chunk)

    def _next(self, requests: Iterator[Request]) -> _Chunk | None:
        if self.again:
            return self.again.popleft()
        chunk = tuple(islice(requests, self.renderer.chunk))
        return _Chunk(chunk) if chunk else None

    def _look_after(self, worker: _Worker) -> Iterator[Rendered]:
        if worker.connection.poll():
            try:
                rendered = worker.receive()
            except (EOFError, OSError):
                yield from self._replace(worker, "its process ended")
                return
            if worker.is_spent:
                self._dismiss(worker)
            yield from rendered
        elif worker.deadline < time.monotonic():
            yield from self._replace(worker, f"it took longer than {worker.report_seconds:g} s")

    def _replace(self, worker: _Worker, why: str) -> Iterator[Rendered]:
        """Take the work of a worker that died or hangs back. What it worked on is tried again one by one, once."""
        code = self._dismiss(worker)
        if not worker.is_ready:
            raise TransientFailure(f"A process that renders reports ended before its first (exit code {code}).")
        current, *others = worker.chunks
        self.again.extend(others)
        if current.again:
            yield from (Rendered(request.key, {}, f"{why}, twice") for request in current.requests)
        else:
            self.again.extend(_Chunk((request,), again=True) for request in current.requests)

    def _dismiss(self, worker: _Worker) -> int:
        self.workers.remove(worker)
        return worker.stop()
