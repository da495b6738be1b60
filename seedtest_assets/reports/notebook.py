"""Runs the cells of a .qmd and writes the document that is left: text, without any code.

What cells may be, and what becomes of them, is in `subset`. Everything runs in this process, each document in a
namespace of its own: a Jupyter kernel to a report would cost seconds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from io import StringIO
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

import yaml

FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
CELL = re.compile(r"^(?P<fence>`{3,})\{python\}[ ]*\n(?P<code>.*?)^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"^#\| (.*)\n?", re.MULTILINE)
INLINE = re.compile(r"(?<!`)`\{python\} (?P<code>[^`\n]+)`(?!`)")
KEPT = ("title", "subtitle", "author", "lang", "keywords", "description")
"""Front matter that a document without code still needs."""

Options = dict[str, Any]
Result = TypeVar("Result")


class ReportError(Exception):
    """A report cannot be made. The message names a place and a kind of error, nothing of a student's."""


@dataclass(frozen=True)
class Cell:
    """A ```` ```{python} ```` cell: its options, and its code as it stands in the source from `line` on."""

    line: int
    options: Options
    source: str
    code: CodeType

    @property
    def is_parameters(self) -> bool:
        """Whether its assignments are defaults that a report overrides."""
        return "parameters" in self.options.get("tags", [])

    @property
    def prints(self) -> bool:
        """Whether what it prints is part of the document."""
        return self.options.get("output") == "asis"


@dataclass(frozen=True)
class Inline:
    """A `` `{python} expression` `` in the text."""

    line: int
    code: CodeType


@dataclass(frozen=True)
class Notebook:
    """A .qmd in its parts, in their order."""

    front_matter: dict[str, Any]
    parts: tuple[str | Cell | Inline, ...]


def execute(source: Path, folder: Path) -> Path:
    """Run a document's cells with `folder`/report.json as their `data`, and write `folder`/report.qmd.

    Args:
        source: the .qmd.
        folder: the report's own; what its cells draw goes there too.

    Returns:
        The document without code. What was inserted is not looked at for code again.

    Raises:
        ReportError: the source breaks a rule, or a cell failed; it names the line and the exception's type.
    """
    notebook = parse(source.read_text(encoding="utf-8"), source.name)
    printed = StringIO()
    namespace: dict[str, Any] = {"__name__": "__main__", "print": partial(print, file=printed)}
    written: list[str] = []
    for part in notebook.parts:
        if isinstance(part, str):
            written.append(part)
        elif isinstance(part, Inline):
            written.append(_inserted(_value(part, namespace, source.name)))
        else:
            _run(part, namespace, source.name)
            if part.is_parameters:
                namespace["data"] = str(folder / "report.json")
            if part.prints:
                written.append(_inserted(printed.getvalue()))
            printed.seek(0)
            printed.truncate()
    front_matter = {
        key: _filled(value, namespace, source.name) for key, value in notebook.front_matter.items() if key in KEPT
    }
    document = folder / "report.qmd"
    header = yaml.safe_dump({**front_matter, "engine": "markdown"}, allow_unicode=True, sort_keys=False, width=10**6)
    # What no encoding knows (half a surrogate pair) becomes a question mark.
    document.write_text(f"---\n{header}---\n{''.join(written)}", encoding="utf-8", errors="replace")
    return document


@lru_cache(maxsize=16)
def parse(text: str, name: str) -> Notebook:
    """Take a document apart and compile its code.

    Args:
        text: of the .qmd.
        name: of its file, for messages.

    Raises:
        ReportError: no front matter, options that are no YAML, or code that does not compile.
    """
    header = FRONT_MATTER.match(text)
    if header is None:
        raise ReportError(f"{name}: it does not begin with front matter between two lines of ---")
    front_matter = _yaml(header[1], name, 2)
    parts: list[str | Cell | Inline] = []
    end = header.end()
    for found in CELL.finditer(text, end):
        parts += _prose(text, end, found.start(), name)
        parts.append(_cell(text, found, name))
        end = found.end()
    parts += _prose(text, end, len(text), name)
    return Notebook(front_matter, tuple(parts))


def _cell(text: str, found: re.Match[str], name: str) -> Cell:
    line = _line(text, found.start("code"))
    options = _yaml("\n".join(OPTION.findall(found["code"])), name, line)
    return Cell(line, options, found["code"], _compiled(found["code"], name, line, "exec"))


def _prose(text: str, start: int, end: int, name: str) -> list[str | Cell | Inline]:
    parts: list[str | Cell | Inline] = []
    for found in INLINE.finditer(text, start, end):
        line = _line(text, found.start())
        parts += [text[start : found.start()], Inline(line, _compiled(found["code"].strip(), name, line, "eval"))]
        start = found.end()
    return [*parts, text[start:end]]


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _compiled(code: str, name: str, line: int, mode: str) -> CodeType:
    try:
        return compile("\n" * (line - 1) + code, name, mode)
    except SyntaxError as error:
        raise ReportError(f"{name}, line {error.lineno}: {type(error).__name__}") from None


def _yaml(text: str, name: str, line: int) -> dict[str, Any]:
    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError:
        raise ReportError(f"{name}, line {line}: no YAML") from None
    if not isinstance(value, dict):
        raise ReportError(f"{name}, line {line}: no YAML of the form key: value")
    return value


def _run(cell: Cell, namespace: dict[str, Any], name: str) -> None:
    _guarded(lambda: exec(cell.code, namespace), name, cell.line)  # noqa: S102 - our own document


def _value(inline: Inline, namespace: dict[str, Any], name: str) -> str:
    return _guarded(lambda: str(eval(inline.code, namespace)), name, inline.line)  # noqa: S307 - our own document


def _guarded(run: Callable[[], Result], name: str, line: int) -> Result:
    """Run; an error says where and of what type, for its message may quote a student's data."""
    try:
        return run()
    except Exception as error:  # noqa: BLE001 - a document's code may raise anything
        trace, kind = error.__traceback__, type(error).__name__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    raise ReportError(f"{name}, line {line}: {kind}")


def _filled(value: Any, namespace: dict[str, Any], name: str) -> Any:
    """Front matter with its inline code replaced. It is evaluated last, when the cells have made what it names."""
    if isinstance(value, list):
        return [_filled(item, namespace, name) for item in value]
    if not isinstance(value, str):
        return value
    return "".join(
        _inserted(_value(part, namespace, name)) if isinstance(part, Inline) else str(part)
        for part in _prose(value, 0, len(value), name)
    ).strip()


def _inserted(text: str) -> str:
    """Text that Quarto takes for no shortcode: those are replaced before Markdown is read."""
    return text.replace("{{<", r"{\{<")
