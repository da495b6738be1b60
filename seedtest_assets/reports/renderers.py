"""Documents without code become HTML and PDF: by pandoc and Typst of this installation, or by the Quarto CLI."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

import pypandoc
import typst

from seedtest_assets.reports.subset import READER

Format = Literal["html", "pdf"]
Outcome = Mapping[Path, str | None]
"""Of each folder: None, or why there is no report in it, without anything of a student's."""

FONT = "Noto Sans CJK KR"
DESIGN = ("_quarto.yml", "report.lua", "styles.css", "template.typ")
SCRIPT = Path(__file__).with_name("pandoc.lua")
UNKNOWN_CHARACTER = "could not be displayed with font"


class Renderer(Protocol):
    """Makes report.html and report.pdf of the report.qmd in each of many folders."""

    @property
    def name(self) -> str:
        """What it is called in report_artifact."""

    @property
    def version(self) -> str:
        """Of the programs it consists of."""

    @property
    def chunk(self) -> int:
        """How many documents are worth rendering in one call."""

    def render(self, folders: Sequence[Path], formats: Collection[Format]) -> Outcome:
        """Render each folder's report.qmd; a bad one does not stop the rest."""


def named(renderer: Renderer) -> str:
    """A renderer with its version, as report_artifact lists it."""
    return f"{renderer.name}: {renderer.version}"


@dataclass(frozen=True)
class Bundled:
    """pandoc, then Typst in this process: needs no more than what is installed with the pipeline.

    Attributes:
        design: the folder of template.typ, report.lua and styles.css.
        fonts: the folder of the only fonts that a PDF may carry.
    """

    design: Path
    fonts: Path
    name: str = "bundled"
    chunk: int = 8

    @property
    def version(self) -> str:
        """Of pandoc and Typst."""
        return f"pandoc {pypandoc.get_pandoc_version()}, typst {version('typst')}"

    @property
    def has_font(self) -> bool:
        """Whether the font of the reports is in the folder of fonts."""
        return FONT in _fonts(self.fonts).families()

    def render(self, folders: Sequence[Path], formats: Collection[Format]) -> Outcome:
        """Render all documents by one pandoc. One that it refuses ends it: then each gets a pandoc of its own."""
        outcome: dict[Path, str | None] = dict.fromkeys(folders)
        if not self._pandoc(folders, formats):
            outcome = {
                each: None if self._pandoc([each], formats) else "pandoc refused the document" for each in folders
            }
        if "pdf" in formats:
            outcome |= {folder: self._typst(folder) for folder, problem in outcome.items() if problem is None}
        return outcome

    def _pandoc(self, folders: Sequence[Path], formats: Collection[Format]) -> bool:
        """Whether all was made."""
        writers = ",".join({"html": "html5", "pdf": "typst"}[wanted] for wanted in formats)
        command = [pypandoc.get_pandoc_path(), "lua", SCRIPT, READER, self.design, writers, *folders]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 - ours

    def _typst(self, folder: Path) -> str | None:
        """Why there is no PDF, if there is none. Typst's own message quotes the document."""
        compiler = typst.Compiler(folder / "report.typ", root=folder, font_paths=_fonts(self.fonts))
        standards: tuple[Literal["ua-1", "1.7"], ...] = ("ua-1", "1.7")
        for standard in standards:
            try:
                compiler.compile(output=folder / "report.pdf", format="pdf", pdf_standards=standard)
                return None
            except typst.TypstError as error:
                # A name in a script that the font lacks: tagged all the same, but not to be called PDF/UA.
                if UNKNOWN_CHARACTER not in str(error):
                    break
        return "Typst refused the document"


@cache
def _fonts(folder: Path) -> typst.Fonts:
    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[folder])


@dataclass(frozen=True)
class Quarto:
    """The Quarto CLI on PATH: one `quarto render` of a project with a folder for each report.

    Attributes:
        design: the folder of _quarto.yml and what it names.
        fonts: the folder of fonts that Typst looks in.
    """

    design: Path
    fonts: Path
    name: str = "quarto"
    chunk: int = 50

    @property
    def version(self) -> str:
        """As `quarto --version` says."""
        run = subprocess.run(["quarto", "--version"], check=True, capture_output=True, text=True)  # noqa: S607 - on PATH
        return f"quarto {run.stdout.strip()}"

    def render(self, folders: Sequence[Path], formats: Collection[Format]) -> Outcome:
        """Render all documents as one project. One bad document fails that: then each is a project of its own."""
        if self._project(folders, formats):
            return dict.fromkeys(folders)
        if len(folders) == 1:
            return {folders[0]: "Quarto refused the document"}
        return {folder: problem for each in folders for folder, problem in self.render([each], formats).items()}

    def _project(self, folders: Sequence[Path], formats: Collection[Format]) -> bool:
        """Whether all was made."""
        with tempfile.TemporaryDirectory(prefix="quarto-", dir=folders[0].parent) as name:
            project = Path(name)
            for file in DESIGN:
                shutil.copyfile(self.design / file, project / file)
            places = {folder: project / f"{number:05d}" for number, folder in enumerate(folders)}
            for folder, place in places.items():
                shutil.copytree(folder, place)
            environment = {**os.environ, "TYPST_FONT_PATHS": str(self.fonts), "SOURCE_DATE_EPOCH": "0"}
            for wanted in sorted(formats):
                command = ["quarto", "render", str(project), "--to", "typst" if wanted == "pdf" else wanted]
                run = subprocess.run(command, env=environment, check=False, capture_output=True)  # noqa: S603 - ours
                made = {place / f"report.{wanted}": folder for folder, place in places.items()}
                if run.returncode != 0 or not all(report.is_file() for report in made):
                    return False
                for report, folder in made.items():
                    shutil.move(report, folder / report.name)
        return True
