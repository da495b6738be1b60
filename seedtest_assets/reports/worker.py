"""A process that makes reports: `python -m seedtest_assets.reports.worker DESCRIPTOR`, its connection to the pipeline.

It is a program and no fork or spawn of multiprocessing, which would import the pipeline's main module (Dagster's, as
a rule) in each of them. It leads a session of its own and ends with it, pandoc included, when the pipeline is gone.
"""

import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from seedtest_assets.reports.rendering import Request, render


def main() -> None:
    """Answer chunks of requests until the pipeline is gone."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    renderer, formats, scratch = connection.recv()
    connection.send("ready")
    chunks: SimpleQueue[Sequence[Request]] = SimpleQueue()
    threading.Thread(target=_receive, args=(connection, chunks, scratch), daemon=True).start()
    try:
        while True:
            connection.send(render(renderer, chunks.get(), formats, scratch))
    except Exception as error:  # noqa: BLE001 - its message may quote a student's data: where and what must do
        sys.exit(f"{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}")


def _receive(connection: "Connection[Any, Any]", chunks: SimpleQueue[Sequence[Request]], scratch: Path) -> None:
    """Hand chunks on. The end of the connection is the end of the pipeline: nothing of it may stay."""
    try:
        while True:
            chunks.put(connection.recv())
    except (EOFError, OSError):
        shutil.rmtree(scratch, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
