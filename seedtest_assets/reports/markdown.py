"""Blocks of Markdown that both renderers know. What they are given is Markdown already: names are escaped before."""

from collections.abc import Sequence
from pathlib import Path

RULES = {"l": ":-----", "L": ":---------", "r": "---:"}
"""Alignment and, by their length, relative width of columns."""


def fenced(name: str, content: str) -> str:
    """A block of a class that both renderers know."""
    return f"::::: {{.{name}}}\n{content}\n:::::"


def tile(value: str, label: str, below: str) -> str:
    """A big number, what it is, and what qualifies it."""
    return f":::: {{.tile}}\n[{value}]{{.value}}\n\n[{label}]{{.label}}\n\n[{below}]{{.muted}}\n::::"


def table(columns: str, rows: Sequence[tuple[str, ...]], alignment: str) -> str:
    """A pipe table; cells are Markdown already.

    Args:
        columns: headings, separated by a bar.
        rows: cells.
        alignment: of each column: l for words, L for sentences, r for numbers. Wide columns get the wider lines.
    """
    lines = [columns.split("|"), [RULES[kind] for kind in alignment], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def figure(folder: Path, name: str, drawing: bytes, caption: str, alt: str) -> str:
    """A chart, which is written beside the document.

    Args:
        folder: of the document.
        name: of the chart, in its document.
        drawing: SVG.
        caption: what it shows.
        alt: what there is to see, for who cannot see it; without unescaped quotation marks.
    """
    (folder / f"fig-{name}.svg").write_bytes(drawing)
    return f'![{caption}](fig-{name}.svg){{fig-alt="{alt}"}}'
