"""What the teacher's report says: true numbers in both languages, who needs attention and why, and what is missing."""

import json
import re
import subprocess
from dataclasses import replace
from datetime import timedelta

import pypandoc
import pytest

from seedtest_assets.reports import cohort_charts, notebook
from seedtest_assets.reports.bank_facts import DifFacts, DriftFacts, MisfitFacts
from seedtest_assets.reports.cohort import CohortReport
from seedtest_assets.reports.cohort_facts import (
    COHORT_FACTS,
    AttentionFacts,
    GrowthFacts,
    UnpublishedFacts,
    read_cohort,
)
from seedtest_assets.reports.cohort_pieces import LONGEST_REASON, logged
from seedtest_assets.reports.language import FOLDER, Language, words
from seedtest_assets.reports.subset import READER, check
from tests.cohort_report_samples import EMPTY, FULL, GOAL, WEEK, series

LANGS = ("en", "ko")
DOCUMENT = FOLDER / "cohort_report.qmd"
HOSTILE = (
    "<script>alert(1)</script>",
    '#import "x": *',
    "{{< include x >}}",
    "a | b",
    "line\nbreak\r\n\n## next",
    "*a* [b](c) `{python} 1`",
)


@pytest.fixture(autouse=True)
def charts_are_not_drawn(monkeypatch):
    """They are the last tests' affair."""
    for chart in ("series", "risks", "wright_map"):
        monkeypatch.setattr(cohort_charts, chart, lambda *arguments: b"<svg/>")


def source(facts, folder):
    (folder / "report.json").write_bytes(COHORT_FACTS.dump_json(facts))
    return notebook.execute(DOCUMENT, folder).read_text()


def document(facts, folder):
    """The document of these facts, without Markdown's backslashes."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", source(facts, folder))


def test_the_document_is_in_the_subset():
    assert check(DOCUMENT) == []


def test_facts_survive_their_file(tmp_path):
    for facts in (FULL, EMPTY):
        (tmp_path / "report.json").write_bytes(COHORT_FACTS.dump_json(facts))
        assert read_cohort(tmp_path / "report.json") == facts


def phrases(tree, prefix="cohort"):
    for key, value in tree.items():
        if isinstance(value, dict) and not value.keys() <= {"one", "other"}:
            yield from phrases(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}"


FOUND = FULL.bank
OTHERS = (
    replace(
        FULL, as_of=WEEK + timedelta(days=3), ability=series([0.1], "autoets"), answers=series([9.0], "seasonal_naive")
    ),
    replace(FULL, unusual=[replace(FULL.unusual[0], metric="sessions")], n_unusual=0, n_attention=6),
    replace(
        FULL, bank=replace(FOUND, calibrated=WEEK - timedelta(weeks=2), anchors=None, health=None, n_dif_compared=0)
    ),
    replace(FULL, bank=replace(FOUND, misfits=[replace(FOUND.misfits[0], flag=f) for f in ("overfit", "misfit")])),
    replace(
        FULL, bank=replace(FOUND, misfits=[replace(FOUND.misfits[0], flag="low discrimination")], drifted=[], dif=[])
    ),
    replace(FULL, bank=replace(FOUND, misfits=[], drifted=[replace(FOUND.drifted[0], severity="moderate")])),
    replace(FULL, unusual=[], n_unusual=0),
    *(
        replace(FULL, segmentation=replace(FULL.segmentation, status=status, reason="why", sizes=[], moves=[]))
        for status in ("segments", "no stable segments", "unstable segments", "too few students", "no features")
    ),
    replace(FULL, segmentation=replace(FULL.segmentation, moves=[], stayed=0)),
    replace(FULL, risk_record=replace(FULL.risk_record, skill=0.1, slope=None)),
    replace(FULL, risk_record=replace(FULL.risk_record, n=0, brier=None, skill=None, slope=None)),
    replace(FULL, growth=GrowthFacts("posterior", "plumber", None, True, 1)),
    replace(FULL, growth=GrowthFacts("posterior", "pymc", None, True, 2)),
    replace(FULL, unpublished=[UnpublishedFacts(fit, "no") for fit in ("mirt", "progress")]),
)


@pytest.mark.parametrize("lang", LANGS)
def test_every_phrase_is_said_somewhere(lang, tmp_path, monkeypatch):
    said = set()
    say = Language.say

    def listening(self, key, n=None, **values):
        said.add(key)
        return say(self, key, n, **values)

    monkeypatch.setattr(Language, "say", listening)
    for facts in (FULL, EMPTY, *OTHERS):
        document(replace(facts, lang=lang), tmp_path)
    assert set(phrases(words(lang)["cohort"])) == said - {"between"}


def test_the_first_page_says_the_weeks_numbers(tmp_path):
    text = document(FULL, tmp_path)
    first = text[: text.index(".new-page")]
    assert "Mon 2 Mar – Sun 8 Mar 2026" in text
    for said in (
        "[58]{.value}",
        "[63 the week before]{.muted}",
        "[1,445]{.value}",
        "[1,518 the week before]{.muted}",
        "[51%]{.value}",
        "[53% the week before]{.muted}",
        "[0.06]{.value}",
        "[90%: −0.15 to 0.27]{.muted}",
        "**58 students** were active this week and answered 1,445 questions, 51% of them correctly.",
        "**0.06** logits (90% interval −0.15 to 0.27; known of 43 students), after 0.26 in the week before.",
        "should be about **0.16** logits (90% interval −0.24 to 0.56; by Prophet).",
        "About **1,445** questions should be answered next week (90% interval 1,445 to 1,446; by the last value",
        "**14 series** of 35 were unusual this week.",
        "of 108 calibrated questions 13 do not fit. Questions that have moved: 1. Differences between groups: 1.",
        "- **Kim Min-jun**: may fall silent, a goal that needs help",
        "23 more students are found",
    ):
        assert said in first


def test_each_student_is_named_once_with_all_reasons(tmp_path):
    text = document(FULL, tmp_path)
    for said in (
        "**28 students** are found",
        "may fall silent: 5, an unusually low week: 1, a goal that needs help: 17, answers that do not fit: 1",
        "1. **Kim Min-jun**: may fall silent: risk 83% (90% interval 61% to 94%), 9 days without an answer so far, "
        "an alert is open; a goal that needs help: Fractions by 5 Apr, probability 12% (90% interval 3% to 30%), "
        "and 2 more goals.",
        "2. **0000bbbb**: an unusually low week: ability −1.31 by the week's answers, where 0.20 (−0.70 to 1.10) was",
        "3. **Ana 0000cccc**: a goal that needs help: ability as a whole by 5 Apr, probability 20%.",
        "4. **Ana 0000dddd**: answers that do not fit: person fit −3.30 over 54 answers;",
        "5. **Eve**: silent since this week: 14 days without an answer.",
        "6. **Ben**: silent since this week.",
        "22 more students, less urgent, are not listed.",
        "is 70% or more",
        "of the last 60 days",
    ):
        assert said in text
    assert "0000aaaa" not in text


def test_the_details_have_their_units_and_intervals(tmp_path):
    text = document(FULL, tmp_path)
    for said in (
        "| all students | share right | 51% | 60% | 55% to 65% |",
        "| Fractions | questions answered | 40 | 90 | 70 to 115 |",
        "| Steady workers | mean ability (logits) | −0.80 | 0.10 | −0.30 to 0.50 |",
        "11 more are not listed.",
        "known on it.",
        "| 108 / 360 |",
        "| 0.19 / 0.25 / – |",
        "| q-17 | too irregular | 120 | 1.40 | 1.90 | 0.113 |",
        "12 more are not listed.",
        "| q-3 | large | +0.71 | 0.51 to 0.91 | – |",
        "| q-5 | school: north | south | C | −1.80 | −2.30 to −1.30 |",
        "| Fractions | 20 | 153 | 59% | 0.07 | −0.04 to 0.18 |",
        "| without a topic | 2 | 5 | 100% | – | – |",
        "2 more are not listed.",
        "| Steady workers | 60 | 67% |",
        "70 students have stayed",
        "| Steady workers | Weekend sprinters | 6 |",
        "| no group | Steady workers | 3 |",
        "(Brier) 0.101",
        "no better than counting idle days alone (skill −0.02)",
        "slope 0.79 (90% interval 0.63 to 0.95)",
        "of 116 goals come from the trend of lme4",
        "The fit behind them is of an older week",
        "“R-hat is 1.04”",
        "| Bayesian trend | R-hat is 1.04 |",
        "| risk of falling silent | – |",
        "< −1: 1 students, 3 questions",
        "> 1: 7 students, 5 questions",
        "0–10 %: 46",
    ):
        assert said in text


def test_what_is_missing_is_said(tmp_path):
    text = document(EMPTY, tmp_path)
    for said in (
        "No student answered a question this week.",
        "is not known.",
        "There is no forecast yet",
        "Whether the week was unusual cannot be told",
        "The rules find no student",
        "No student's risk of falling silent is known",
        "No questions are calibrated yet.",
        "No anchors were compared",
        "No groups were compared",
        "No question was answered this week.",
        "No grouping was made yet.",
        "No model of the risk",
        "No probabilities to reach goals",
        "No fit of this week was held back.",
    ):
        assert said in text
    assert "None" not in text
    assert "fig-" not in text


def test_what_was_not_compared_is_not_called_sound(tmp_path):
    bank = replace(FULL.bank, drifted=[], n_drifted=0, n_anchors_compared=0, dif=[], n_dif=0, n_dif_compared=0)
    text = document(replace(FULL, bank=bank), tmp_path)
    assert "Questions that have moved: not compared. Differences between groups: not compared." in text
    assert "has moved" not in text


@pytest.mark.parametrize("lang", LANGS)
def test_a_running_week_says_so(lang, tmp_path):
    facts = replace(FULL, lang=lang, as_of=WEEK + timedelta(days=3))
    day = {"en": "Wed 4 Mar", "ko": "3월 4일(수)"}[lang]
    assert day in document(facts, tmp_path)
    assert day not in document(replace(FULL, lang=lang), tmp_path)


def called(name, lang):
    """Facts in which everything that may have a name has this one."""
    return replace(
        FULL,
        lang=lang,
        unusual=[replace(each, name=name) for each in FULL.unusual],
        attention=[AttentionFacts(name, "0000aaaa", [replace(GOAL, topic=name)])],
        bank=replace(
            FULL.bank,
            model=name,
            misfits=[MisfitFacts(name, name, 1, None, None, None)],
            drifted=[DriftFacts(name, name, None, None)],
            dif=[DifFacts(name, name, name, name, None, None)],
        ),
        topics=[replace(FULL.topics[0], topic=name)],
        segment_names=dict.fromkeys(FULL.segment_names, name),
        growth=replace(FULL.growth, engine=name, instead=name),
        ability=series([0.1, 0.2], name),
        unpublished=[UnpublishedFacts(name, name)],
    )


@pytest.mark.parametrize("lang", LANGS)
def test_a_name_is_text_wherever_it_is_said(lang, tmp_path):
    tame = skeleton(read(source(called("x", lang), tmp_path)))
    for name in HOSTILE:
        blocks = read(source(called(name, lang), tmp_path))
        assert skeleton(blocks) == tame
        assert text_of(blocks).count(" ".join(name.split())) >= 14


def read(text):
    """A document's blocks, as pandoc reads them."""
    run = [pypandoc.get_pandoc_path(), f"--from={READER}-smart", "--to=json"]
    said = subprocess.run(run, input=text, capture_output=True, check=True, encoding="utf-8").stdout
    return json.loads(said)["blocks"]


def nodes(tree):
    if isinstance(tree, dict):
        yield tree
        tree = tree.get("c", [])
    if isinstance(tree, list):
        for branch in tree:
            yield from nodes(branch)


WORDS = {"Str", "Space", "SoftBreak"}
WIDTHS = {"ColWidth", "ColWidthDefault"}
"""Pandoc gives columns a width once a line is long."""


def skeleton(blocks):
    """What a document consists of, but for its words."""
    return [node["t"] for node in nodes(blocks) if node["t"] not in WORDS | WIDTHS]


def text_of(blocks):
    return "".join(node.get("c", " ") for node in nodes(blocks) if node["t"] in WORDS)


def test_what_the_pipeline_logged_is_one_line_and_not_too_long():
    assert logged("a\nb\t c") == "a b c"
    long = logged("word " * 200)
    assert len(long) <= LONGEST_REASON + 8
    assert long.endswith("…")
    assert logged("x" * 100).count("x") == 100


def test_the_charts_show_what_is_known(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.undo()
    monkeypatch.setattr(cohort_charts, "svg", lambda chart: drawn.append(chart) or b"<svg/>")
    report = CohortReport(FULL, tmp_path)
    pieces = (report.ability_chart, report.answers_chart, report.risk_chart, report.bank.map)
    assert all(re.search(r'\{fig-alt="[^"]{20,}"\}$', piece) for piece in pieces)
    ability, _, risk, wright = (rows(chart.to_dict()) for chart in drawn)
    assert [row["value"] for row in ability if "upper" not in row] == [-0.1, 0.26, 0.06] * 2
    limits = [(row["lower"], row["upper"]) for row in ability if "upper" in row]
    assert limits[:3] == [(0.06, 0.06), pytest.approx((-0.24, 0.56)), pytest.approx((-0.34, 0.86))]
    assert [row["students"] for row in risk if "students" in row] == FULL.risk.bands
    assert [row["n"] for row in wright] == FULL.bank.health.students + FULL.bank.health.items


def rows(specification):
    """The data of a chart's parts, in their order."""
    return [row for name in data_of(specification) for row in specification["datasets"][name]]


def data_of(part):
    if "name" in part.get("data", {}):
        yield part["data"]["name"]
    for inner in (*part.get("layer", []), *part.get("hconcat", [])):
        yield from data_of(inner)


@pytest.mark.parametrize("lang", LANGS)
def test_a_drawn_chart_says_its_words(lang, tmp_path, monkeypatch):
    monkeypatch.undo()
    report = CohortReport(replace(FULL, lang=lang), tmp_path)
    assert report.risk_chart
    drawing = (tmp_path / "fig-risk.svg").read_text()
    assert report.say("risk.students") in drawing
