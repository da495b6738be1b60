"""What a report's .qmd may consist of: the part of Quarto that both renderers make the same of, and its check.

- Front matter: title, subtitle, author, lang, keywords, description (inline code is replaced in them), and what only
  Quarto reads: format, jupyter, execute, params, engine.
- Cells of Python, all in one namespace. Each has one of
  `#| tags: [parameters]` (defaults; after it `data` is the path of the report's JSON document),
  `#| include: false` (runs, shows nothing), or
  `#| output: asis` (what it prints is Markdown; it ends in no value, which Quarto would show too).
- Inline code, `` `{python} expression` ``: str() of the value, as Markdown. Whoever inserts names escapes them.
- Headings (## and deeper: the title is #), paragraphs, emphasis, lists, block quotes, footnotes, pipe tables, links
  (https, mailto, #id).
- Fenced divs `::: {.class}` and spans `[text]{.class}` of the classes below; `{.new-page}` begins a page of the PDF.
- Figures, files beside the document: `![caption](name.svg){fig-alt="what there is to see"}`.

Not: raw HTML, TeX or Typst, mathematics, citations, cross-references, shortcodes `{{< >}}`, callouts, code that is
shown. The reader knows none of them, so that in a student's data they are text.
"""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypandoc

from seedtest_assets.reports.notebook import Cell, Inline, Notebook, ReportError, parse

READER = "markdown" + "".join(
    f"-{extension}"
    for extension in (
        *("raw_html", "raw_tex", "raw_attribute", "native_divs", "native_spans", "markdown_in_html_blocks"),
        *("latex_macros", "tex_math_dollars", "citations", "example_lists", "line_blocks"),
        *("grid_tables", "multiline_tables", "simple_tables"),
    )
)
"""Pandoc's name of the Markdown that reports are read as; _quarto.yml says the same."""

FRONT_MATTER = frozenset(
    {
        "title",
        "subtitle",
        "author",
        "lang",
        "keywords",
        "description",
        "format",
        "jupyter",
        "execute",
        "params",
        "engine",
    }
)
CELL_OPTIONS = frozenset({"tags", "include", "output"})
CLASSES = frozenset(
    {"tiles", "tile", "columns", "column", "figure-row", "summary", "advice", "note"}
    | {"value", "label", "muted", "good", "watch"}
    | {"new-page", "unnumbered"}
)
"""Of divs, spans and headings. report.lua and template.typ know what they look like."""

REFUSED = {
    "RawBlock": "raw HTML, TeX or Typst",
    "RawInline": "raw HTML, TeX or Typst",
    "Math": "mathematics",
    "Cite": "a citation or cross-reference",
    "CodeBlock": "a block of code",
}
CHART = re.compile(r"[\w-]+\.svg", re.ASCII)
LINKS = ("https://", "mailto:", "#")
Node = dict[str, Any]


def check(source: Path) -> list[str]:
    """What in a .qmd is not in the subset, in words; empty when all is.

    Code is checked as it stands, text as if every inline value and output were empty.
    """
    text = source.read_text(encoding="utf-8")
    try:
        notebook = parse(text, source.name)
    except ReportError as error:
        return [str(error)]
    found = [f"front matter: {key}" for key in notebook.front_matter if key not in FRONT_MATTER]
    found += [f"front matter: {key} is missing" for key in ("title", "lang") if key not in notebook.front_matter]
    for cell in (part for part in notebook.parts if isinstance(part, Cell)):
        found += [f"line {cell.line}: {what}" for what in _cell(cell)]
    if "{{<" in text:
        found.append("a shortcode {{< >}}")
    return found + list(dict.fromkeys(_prose(notebook)))


def _cell(cell: Cell) -> Iterator[str]:
    yield from (f"cell option {key}" for key in cell.options if key not in CELL_OPTIONS)
    hidden = cell.options.get("include") is False
    if (hidden, cell.prints, cell.is_parameters).count(True) != 1:
        yield "a cell has one of tags: [parameters], include: false, output: asis"
    last = ast.parse(cell.source).body[-1:]
    if cell.prints and last and isinstance(last[0], ast.Expr) and not isinstance(last[0].value, ast.Call):
        yield "the cell ends in a value: print it"


def _prose(notebook: Notebook) -> Iterator[str]:
    text = "".join("x" if isinstance(part, Inline) else part for part in notebook.parts if not isinstance(part, Cell))
    run = subprocess.run(  # noqa: S603 - pandoc of this installation
        [pypandoc.get_pandoc_path(), "--from=markdown-native_divs-native_spans", "--to=json"],
        input=text,
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    for node in _nodes(json.loads(run.stdout)["blocks"]):
        kind, content = node["t"], node.get("c", [])
        if kind in REFUSED:
            yield REFUSED[kind]
        elif kind in ("Div", "Span"):
            yield from _classes(content[0])
        elif kind == "Header":
            yield from _classes(content[1])
            if content[0] == 1:
                yield "a heading of level 1: that is the title"
        elif kind == "Image":
            yield from _image(content)
        elif kind == "Link" and not content[2][0].startswith(LINKS):
            yield "a link that is neither https, mailto nor #id"


def _nodes(tree: Any) -> Iterator[Node]:
    """Every element of a pandoc document, outer ones first."""
    if isinstance(tree, dict):
        if "t" in tree:
            yield tree
        tree = tree.get("c", [])
    if isinstance(tree, list):
        for branch in tree:
            yield from _nodes(branch)


def _classes(attributes: list[Any]) -> Iterator[str]:
    yield from (f"class {name}" for name in attributes[1] if name not in CLASSES)


def _image(content: list[Any]) -> Iterator[str]:
    attributes, target = dict(content[0][2]), content[2][0]
    if not attributes.get("fig-alt", "").strip():
        yield f"the image {target} has no fig-alt"
    if not CHART.fullmatch(target):
        yield f"the image {target} is no SVG beside the document"
