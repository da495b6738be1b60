"""Reports as people meet them: pages of the PDF as pictures, the HTML in a browser, on a desk and on a phone."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageFilter

from seedtest_assets.reports.cohort_facts import COHORT_FACTS
from seedtest_assets.reports.facts import STUDENT
from seedtest_assets.resources.report_renderer import DESIGN, Request, render_batch
from tests.cohort_report_samples import EMPTY as EMPTY_COHORT
from tests.cohort_report_samples import FULL as FULL_COHORT
from tests.report_samples import HOSTILE, SAMPLES

pytestmark = pytest.mark.slow

THUMBNAILS = Path(__file__).parent / "thumbnails"
DOTS_PER_INCH = 40
TOLERANCE = 0.02
"""Mean difference of two pages' grey, of 1: other hinting of a font is below, another page above."""
LANGS = ("en", "ko")


COHORTS = {"cohort": FULL_COHORT, "empty_cohort": EMPTY_COHORT}
KEYS = [f"{name}-{lang}" for name in (*SAMPLES, *COHORTS) for lang in LANGS]


def request(key):
    name, lang = key.rsplit("-", 1)
    if name in COHORTS:
        facts = COHORT_FACTS.dump_python(replace(COHORTS[name], lang=lang), mode="json")
        return Request(key, DESIGN / "cohort_report.qmd", facts)
    return Request(
        key, DESIGN / "weekly_report.qmd", STUDENT.dump_python(replace(SAMPLES[name], lang=lang), mode="json")
    )


@pytest.fixture(scope="module")
def rendered():
    """Files of every sample in both languages, by name and language."""
    reports = {report.key: report for report in render_batch(map(request, KEYS), ("html", "pdf"))}
    assert not [report.problem for report in reports.values() if report.problem]
    return {key: report.files for key, report in reports.items()}


def pages(pdf, folder):
    (folder / "report.pdf").write_bytes(pdf)
    subprocess.run(["pdftoppm", "-r", str(DOTS_PER_INCH), "-png", "report.pdf", "page"], cwd=folder, check=True)
    return [Image.open(file).convert("L") for file in sorted(folder.glob("page-*.png"))]


def difference(one, other):
    """Mean difference of two pictures, their letters blurred."""
    if one.size != other.size:
        return 1.0
    one, other = (np.asarray(each.filter(ImageFilter.GaussianBlur(1)), float) / 255 for each in (one, other))
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("key", ["full-en", "full-ko", "cohort-en", "cohort-ko"])
def test_the_pages_look_as_they_were_looked_at(rendered, key, tmp_path):
    """A page that looks otherwise is looked at, and if it is meant, its picture is kept in place of the old one."""
    made = pages(rendered[key]["pdf"], tmp_path)
    kept = [Image.open(file).convert("L") for file in sorted(THUMBNAILS.glob(f"{key}-*.png"))]
    assert len(made) == len(kept)
    for number, (page, thumbnail) in enumerate(zip(made, kept, strict=True), 1):
        assert difference(page, thumbnail) < TOLERANCE, f"page {number}"
    apart = [difference(page, other) for page, other in zip(made, kept[1:], strict=False)]
    assert min(apart) > TOLERANCE  # another page would not have passed


@pytest.mark.parametrize("lang", LANGS)
def test_the_summary_is_one_page_whoever_it_is_for(rendered, lang, tmp_path):
    heading = {"en": "Your ability", "ko": "나의 실력"}[lang]
    for name in SAMPLES:
        (tmp_path / "report.pdf").write_bytes(rendered[f"{name}-{lang}"]["pdf"])
        text = subprocess.run(["pdftotext", "report.pdf", "-"], cwd=tmp_path, capture_output=True, check=True)
        first, second, *_ = text.stdout.decode().split("\f")
        assert heading not in first.splitlines(), name
        assert second.strip().startswith(heading), name


@pytest.mark.parametrize("key", KEYS)
def test_the_page_is_accessible_fits_a_phone_and_runs_nothing(rendered, page, tmp_path, key):
    file = tmp_path / "report.html"
    file.write_bytes(rendered[key]["html"])
    said = []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    for width in (380, 1000):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page).response["violations"]
        assert [rule["id"] for rule in found if rule["impact"] in {"serious", "critical"}] == []
    assert page.locator("script").count() == 0
    assert said == []
    assert page.locator("html").get_attribute("lang") == key[-2:]
    pictures = page.locator("img")
    assert all(len(picture.get_attribute("alt")) > 20 for picture in pictures.all())


@pytest.mark.parametrize("wanted", ["html", "pdf"])
def test_a_hostile_name_is_only_text(rendered, page, tmp_path, wanted):
    body = rendered["strange-en"][wanted]
    if wanted == "html":
        (tmp_path / "report.html").write_bytes(body)
        page.goto((tmp_path / "report.html").as_uri())
        text = page.locator("body").inner_text()
    else:
        text = subprocess.run(["pdftotext", "-", "-"], input=body, capture_output=True, check=True).stdout.decode()
    text = re.sub(r"[\s\u200b]+", "", text)  # a narrow cell breaks a name into lines
    for name in HOSTILE[:11]:
        assert re.sub(r"\s+", "", name) in text
    assert "root:" not in text
