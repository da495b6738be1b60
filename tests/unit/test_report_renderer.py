"""Reports through both renderers: what is in the files, and what is said when something is missing."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from seedtest_assets.failures import PermanentFailure
from seedtest_assets.reports.renderers import DESIGN, Quarto
from seedtest_assets.reports.rendering import Request, render
from seedtest_assets.resources.report_renderer import renderer
from seedtest_assets.settings import settings

from .report_files import BOTH, BUNDLED, HOSTILE, SOURCE, Page, escaped, pdf_text


@pytest.fixture
def made(tmp_path):
    def made(**data):
        (rendered,) = render(BUNDLED, [Request("key", SOURCE, {"name": "Kim", **data})], BOTH, tmp_path)
        assert rendered.problem is None
        return rendered.files

    return made


def test_a_page_is_accessible_and_whole(made):
    page = Page(made()["html"])
    assert page.named("html") == [{"xmlns": "http://www.w3.org/1999/xhtml", "lang": "ko", "xml:lang": "ko"}]
    assert [attributes["alt"] for attributes in page.named("img")] == ["A line that rises"]
    assert page.named("img")[0]["src"].startswith("data:image/svg+xml;base64,")
    assert [name for name, _ in page.elements if name in ("script", "svg", "link")] == []
    assert any(attributes.get("name") == "viewport" for attributes in page.named("meta"))
    assert Counter(name for name, _ in page.elements)["main"] == 1
    assert Counter(name for name, _ in page.elements)["h1"] == 1


def test_a_pdf_is_accessible_and_carries_its_fonts(made):
    pdf = made()["pdf"]
    fonts = subprocess.run(["pdffonts", "-"], input=pdf, capture_output=True, check=True).stdout.decode()
    rows = [line.split() for line in fonts.splitlines()[2:]]
    assert rows
    assert all("NotoSansCJK" in row[0] and row[-5:-2] == ["yes", "yes", "yes"] for row in rows)
    assert "요약" in pdf_text(pdf)
    assert b"<pdfuaid:part>1</pdfuaid:part>" in pdf
    assert b"A line that rises" in pdf


def test_hostile_data_is_text(made):
    files = made(name=escaped(HOSTILE[0]), lines=[escaped(line) for line in HOSTILE])
    page, printed = Page(files["html"]), pdf_text(files["pdf"])
    assert page.named("script") == []
    assert len(page.named("img")) == 1
    for line in HOSTILE:
        assert line in page.text
        assert re.sub(r"\s+", " ", line) in re.sub(r"\s+", " ", printed)


def test_hostile_data_that_nobody_escaped_runs_and_reads_nothing(made):
    lines = [line for line in HOSTILE if line != "::: {.summary}"]
    files = made(name=HOSTILE[0], lines=["---\ncss: /etc/passwd\n---", *lines])
    page, printed = Page(files["html"]), pdf_text(files["pdf"])
    assert page.named("script") == []
    assert len(page.named("img")) == 1
    assert page.named("a") == page.named("link") == []
    assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
    assert b"root:" not in files["html"]
    for text in (page.text, printed):
        assert "<script>" in text
        assert "root:" not in text
        assert "{python} 1+1" in text


def test_a_name_that_the_font_lacks_is_no_obstacle(made):
    files = made(name="Kim 🦉")
    assert "🦉" in Page(files["html"]).text
    assert b"pdfuaid" not in files["pdf"]
    assert "Kim" in pdf_text(files["pdf"])


def test_the_same_report_is_the_same_file(made):
    files = made(name="Lee")
    assert files == made(name="Lee") != made(name="Kim")
    assert b"CreateDate" not in files["pdf"]
    assert b"CreationDate" not in files["pdf"]


FAKE_QUARTO = """#!{python} -S
import json, pathlib, sys
if sys.argv[1:] == ["--version"]:
    sys.exit(print("1.7.31"))
project = pathlib.Path(sys.argv[2])
with open("{log}", "a") as log:
    names = sorted(path.name for path in project.iterdir() if path.is_file())
    log.write(json.dumps([sys.argv[1], names, sys.argv[3:]]) + "\\n")
for document in sorted(project.glob("*/report.qmd")):
    if "BAD" in document.read_text():
        sys.exit(1)
    suffix = {{"typst": "pdf"}}.get(sys.argv[4], sys.argv[4])
    document.with_suffix("." + suffix).write_text(suffix + document.read_text())
"""


@pytest.fixture
def quarto(tmp_path, monkeypatch):
    """Quarto as the renderer sees it; the log of a program that stands in for the CLI."""
    log = tmp_path / "log"
    program = tmp_path / "bin" / "quarto"
    program.parent.mkdir()
    program.write_text(FAKE_QUARTO.format(python=sys.executable, log=log))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return Quarto(BUNDLED.design, BUNDLED.fonts), log


def test_quarto_renders_many_documents_in_one_project(quarto, tmp_path):
    renderer, log = quarto
    requests = [Request(str(n), SOURCE, {"name": f"Kim{n}"}) for n in range(3)]
    rendered = render(renderer, requests, BOTH, tmp_path)
    assert [json.loads(line) for line in log.read_text().splitlines()] == [
        ["render", sorted(DESIGN), ["--to", "html"]],
        ["render", sorted(DESIGN), ["--to", "typst"]],
    ]
    for n, found in enumerate(rendered):
        titles = {kind: re.search(rb"title: (\w+)", content)[1] for kind, content in found.files.items()}
        assert titles == dict.fromkeys(BOTH, b"Kim%d" % n)
        assert all(content.startswith(kind.encode()) for kind, content in found.files.items())


def test_a_document_that_quarto_refuses_is_named_and_the_rest_is_made(quarto, tmp_path):
    renderer, _ = quarto
    requests = [Request(name, SOURCE, {"name": name}) for name in ("one", "BAD", "two")]
    found = {rendered.key: rendered.problem for rendered in render(renderer, requests, BOTH, tmp_path)}
    assert found == {"one": None, "BAD": "Quarto refused the document", "two": None}


def test_auto_is_quarto_where_there_is_one(quarto):
    assert (found := renderer(BUNDLED.design)).name == "quarto"
    assert found.version == "quarto 1.7.31"


def test_auto_is_bundled_where_there_is_none(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = renderer(BUNDLED.design)
    assert found == BUNDLED
    assert re.fullmatch(r"pandoc 3[\d.]+, typst 0[\d.]+", found.version)


def test_what_is_missing_is_said_with_advice(monkeypatch, tmp_path):
    monkeypatch.setenv("REPORT_FONTS", str(tmp_path))
    with pytest.raises(PermanentFailure, match="apt-get install fonts-noto-cjk"):
        renderer()
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("REPORT_RENDERER", "quarto")
    settings.cache_clear()
    with pytest.raises(PermanentFailure, match="no quarto is on PATH"):
        renderer()
