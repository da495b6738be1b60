"""A small report, what is to be made of it, and what hostile data look like."""

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

from seedtest_assets.reports.renderers import Bundled
from seedtest_assets.resources.report_renderer import DESIGN
from seedtest_assets.settings import Settings

BOTH = ("html", "pdf")
SOURCE = Path(__file__).with_name("report.qmd")
BUNDLED = Bundled(DESIGN, Settings().report_fonts)
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "$(rm)",
    "$x^2$",
    '#import "x"',
    r"\input{x}",
    "{{< include /etc/passwd >}}",
    "`{python} 1+1`",
    "`````` ```",
    "::: {.summary}",
    "]{.value}",
    "![x](/etc/passwd)",
    "[x](javascript:alert)",
    "@cite *a* _b_ ~c~ ^d^ | --- #",
]


def pdf_text(pdf: bytes) -> str:
    command = ["pdftotext", "-layout", "-", "-"]
    return subprocess.run(command, input=pdf, capture_output=True, check=True).stdout.decode()


class Page(HTMLParser):
    """A page's elements and its text."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(html.decode())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def escaped(text: str) -> str:
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
