"""Makes reports, each in a folder of its own: a document's cells are run, what is left is rendered.

The processes that render import this module and no more of the pipeline.
"""

import json
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seedtest_assets.reports.notebook import ReportError, execute
from seedtest_assets.reports.renderers import Format, Renderer


@dataclass(frozen=True)
class Request:
    """A report to make: of a document, with the JSON object that its cells read.

    Attributes:
        key: what the caller knows it by.
        source: the .qmd.
        data: the report's JSON object.
    """

    key: str
    source: Path
    data: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Rendered:
    """A report that was made, or why not.

    Attributes:
        key: of the request.
        files: content by format; empty when there is a problem.
        problem: what is wrong, without anything of a student's.
    """

    key: str
    files: dict[Format, bytes] = field(repr=False)
    problem: str | None = None


def render(
    renderer: Renderer, requests: Sequence[Request], formats: Collection[Format], scratch: Path
) -> list[Rendered]:
    """Make reports, each in a folder of its own under `scratch` that is gone in the end."""
    problems: dict[Path, str | None] = {}
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch))) for _ in requests]
        for request, folder in zip(requests, folders, strict=True):
            try:
                (folder / "report.json").write_text(json.dumps(request.data), encoding="utf-8")
                execute(request.source, folder)
            except ReportError as error:
                problems[folder] = str(error)
        if sound := [folder for folder in folders if folder not in problems]:
            problems.update(renderer.render(sound, formats))
        return [
            _rendered(request.key, folder, formats, problems[folder])
            for request, folder in zip(requests, folders, strict=True)
        ]


def _rendered(key: str, folder: Path, formats: Collection[Format], problem: str | None) -> Rendered:
    if problem is not None:
        return Rendered(key, {}, problem)
    return Rendered(key, {wanted: (folder / f"report.{wanted}").read_bytes() for wanted in formats})
