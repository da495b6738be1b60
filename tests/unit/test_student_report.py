"""What a student's report says: true numbers in both languages, what is missing, and nothing of what is not meant."""

import re
from dataclasses import fields, replace
from datetime import timedelta
from string import Formatter

import pytest

from seedtest_assets.reports.facts import STUDENT, Estimate, read_student
from seedtest_assets.reports.language import LONGEST, Language, number, percent, plain, shown, signed, words
from seedtest_assets.reports.notebook import execute
from seedtest_assets.resources.report_renderer import DESIGN
from tests.report_samples import AS_OF, AWAY, EMPTY, FULL, HOSTILE, MANY_TOPICS, ONE_ANSWER, SAMPLES, STRANGE, WEEK

LANGS = ("en", "ko")
DOCUMENT = DESIGN / "weekly_report.qmd"


@pytest.fixture(autouse=True)
def charts_are_not_drawn(monkeypatch):
    """What is drawn is another test's affair."""
    monkeypatch.setattr("vl_convert.vegalite_to_svg", lambda specification: "<svg/>")


def document(facts, folder):
    """The document of these facts, without Markdown's backslashes."""
    (folder / "report.json").write_bytes(STUDENT.dump_json(facts))
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", execute(DOCUMENT, folder).read_text())


def phrases(tree, prefix=()):
    for key, value in tree.items():
        if isinstance(value, dict) and not value.keys() <= {"one", "other"}:
            yield from phrases(value, (*prefix, key))
        else:
            yield (*prefix, key), value if isinstance(value, dict) else {"other": value}


def names(text):
    return {field for _, field, _, _ in Formatter().parse(text) if field}


def test_both_languages_have_the_same_phrases_with_the_same_values():
    english, korean = (dict(phrases(words(lang))) for lang in LANGS)
    assert english.keys() == korean.keys()
    for key, forms in english.items():
        assert names(korean[key]["other"]) == names(forms["other"]), key
        assert names(forms.get("one", "")) <= names(forms["other"]), key
        assert ("one" in forms) == ("n" in names(forms["other"])), key


@pytest.mark.parametrize("lang", LANGS)
def test_every_phrase_is_said_somewhere(lang, tmp_path, monkeypatch):
    said = set()
    say = Language.say

    def listening(self, key, n=None, **values):
        said.add(tuple(key.split(".")))
        return say(self, key, n, **values)

    monkeypatch.setattr(Language, "say", listening)
    level, down = Estimate(0.01, -0.1, 0.1), Estimate(-0.2, -0.3, -0.1)
    others = (
        replace(FULL, slope=level, unusual=replace(FULL.unusual, value=0.5, flag=False)),
        replace(FULL, segment=None, next_topics=["Geometry"]),
        replace(FULL, slope=down, unusual=replace(FULL.unusual, value=-1.0), idle_days=6, practice=[], name=None),
        replace(FULL, goals=[replace(FULL.goals[0], own=False, probability=Estimate(0.5))], risk=0.8, slope=None),
        replace(FULL, as_of=WEEK + timedelta(days=3), scale=replace(FULL.scale, anchors=None), next_topics=["x"]),
        replace(FULL, weeks=[replace(FULL.weeks[0], linked=False), *FULL.weeks[1:]], improvement_method="accuracy"),
        replace(FULL, unusual=replace(FULL.unusual, value=1.3, flag=False), answered=0, correct=0),
        replace(FULL, unusual=replace(FULL.unusual, value=-0.5, flag=False), answered=0, next_topics=[], review=[]),
        replace(FULL, topics=[replace(topic, strength=0) for topic in FULL.topics]),
        replace(EMPTY, weeks=FULL.weeks, scale=FULL.scale),
        replace(EMPTY, scale=FULL.scale),
    )
    for facts in (*SAMPLES.values(), *others):
        document(replace(facts, lang=lang), tmp_path)
    assert {key for key, _ in phrases(words(lang)) if key[0] == "student"} == said - {("between",)}


def test_facts_survive_their_file(tmp_path):
    for facts in SAMPLES.values():
        (tmp_path / "report.json").write_bytes(STUDENT.dump_json(facts))
        assert read_student(tmp_path / "report.json") == facts


def test_the_first_page_says_the_weeks_numbers(tmp_path):
    text = document(FULL, tmp_path)
    assert "title: Weekly learning report for Kim Min-jun" in text
    assert "Mon 2 Mar – Sun 8 Mar 2026" in text
    for said in (
        "You answered **15 questions** on 4 days this week, 60% of them correctly.",
        "Your ability is **rising**: by +0.090 a week, most probably between +0.030 and +0.150.",
        "[63]{.value}",
        "between 52 and 74",
        "[74%]{.value}",
        "by 20 Apr (55% to 90%)",
        "Practise **Fractions** next. It is your goal that needs most.",
        "Questions that you missed are due again: begin with the **2** under “Once more”.",
    ):
        assert said in text


def test_every_number_has_its_interval_and_its_unit(tmp_path):
    text = document(FULL, tmp_path)
    for row in (
        "| Ability θ (logits) | 0.47 | 0.08 to 0.86 | 27 answers | over the last 60 days |",
        "| Improvement I (logits) | 0.21 | −0.09 to 0.51 | – |",
        "| Growth (logits per week) | 0.090 | 0.030 to 0.150 | – |",
        "| Efficiency E | 0.08 | – | 61 answers |",
        "| Goal P | 0.74 | 0.55 to 0.90 | 8 weeks |",
        "| overall | 0.80 | 20 April 2026 | 74% | 55% to 90% | 0.95 (0.45 to 1.45) |",
        "| Geometry | 21 | 81% | 1.20 | 0.90 to 1.50 |",
        "| frac-017 | Fractions | 68% |",
        "| frac-003 | Fractions | 26 Feb | 28 Feb |",
    ):
        assert row in text
    assert "31 questions that are known on it" in text
    assert "5 more are due." in text


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", SAMPLES.keys() - {"strange"})
def test_nothing_is_escaped_twice(name, lang, tmp_path):
    assert "\\" not in document(replace(SAMPLES[name], lang=lang), tmp_path)


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", SAMPLES)
def test_the_risk_is_never_printed_and_nobody_is_told_to_leave(name, lang, tmp_path):
    facts = replace(SAMPLES[name], lang=lang, risk=0.9377)
    text = document(facts, tmp_path)
    assert not re.search(r"0\.94|94%", text)
    assert not re.search(r"leave|churn|quit|drop|이탈|그만|떠나", text, re.IGNORECASE) or name == "strange"


def test_what_is_missing_is_said(tmp_path):
    text = document(EMPTY, tmp_path)
    for said in (
        "title: Weekly learning report\n",
        "You answered no question this week.",
        "As soon as you answer more questions",
        "Your ability is not known yet: that takes answers",
        "No questions are calibrated yet, so there is no scale.",
        "no answers to look at by topic",
        "Without a known ability",
        "Nothing that you missed is due",
        "No chance is known for this week",
        "There is no forecast for next week",
        "Whether this week was unusual is not known",
        "| Ability θ (logits) | not known yet | – | – |",
    ):
        assert said in text
    assert "None" not in text
    assert "nan" not in text


def test_a_newcomers_only_answer_is_counted_and_no_more(tmp_path):
    text = document(ONE_ANSWER, tmp_path)
    assert "You answered **1 question** this week." in text
    assert "| Geometry | 1 | 100% | not known yet | – |" in text
    assert "**1 session**" in text


def test_who_is_away_is_welcome(tmp_path):
    text = document(AWAY, tmp_path)
    assert "Good to have you with us." in text
    assert "You have been away for 30 days. What you learnt is not lost" in text
    assert "Keep your rhythm" not in text
    assert "rising" not in text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"idle_days": 9, "risk": 0.6, "answered": 0}, "A short session is enough"),
        ({"idle_days": 2, "risk": 0.6}, "A short session is enough"),
        ({"idle_days": 2, "risk": 0.1}, "Keep your rhythm"),
        ({"idle_days": 2, "risk": None, "answered": 0, "next_topics": [], "review": []}, "Nothing is pressing"),
    ],
)
def test_there_is_advice_for_everybody(changed, said, tmp_path):
    assert said in document(replace(FULL, **changed), tmp_path)


@pytest.mark.parametrize(("gap", "praised"), [(2.0, True), (3.5, True), (3.6, False), (None, False)])
def test_a_rhythm_is_praised_where_there_is_one(gap, praised, tmp_path):
    text = document(replace(FULL, mean_gap_days=gap), tmp_path)
    assert ("A steady rhythm like this" in text) == praised


@pytest.mark.parametrize(
    ("value", "flag", "said"),
    [
        (1.5, True, "clearly better"),
        (-1.5, True, "harder than usual"),
        (1.3, False, "somewhat above what was to be expected"),
        (-0.5, False, "somewhat below what was to be expected"),
        (0.5, False, "within what is usual"),
    ],
)
def test_a_week_outside_of_its_interval_is_not_called_usual(value, flag, said, tmp_path):
    text = document(replace(FULL, unusual=replace(FULL.unusual, value=value, flag=flag)), tmp_path)
    assert said in text
    assert text.count("usual: −0.40 to 1.20") == (not flag)


def test_a_goal_that_is_nearly_sure_is_no_reason_and_the_platforms_is_not_the_students(tmp_path):
    sure = [replace(goal, own=False, probability=Estimate(0.97)) for goal in FULL.goals]
    text = document(replace(FULL, goals=sure), tmp_path)
    assert "It is your goal that needs most." not in text
    assert "It is below your other topics." in text
    assert "chance to reach the platform's goal" in text
    assert "chance to reach your goal" not in text


def test_weeks_before_the_common_scale_are_not_called_comparable(tmp_path):
    early = [replace(week, linked=number > 2) for number, week in enumerate(FULL.weeks)]
    text = document(replace(FULL, weeks=early), tmp_path)
    assert "but weeks before 2 February 2026 were not" in text
    assert "Weeks are comparable" not in text


def test_of_500_topics_those_with_most_answers_are_shown_and_the_rest_counted(tmp_path):
    text = document(MANY_TOPICS, tmp_path)
    assert "488 more topics are not shown" in text
    assert len(set(re.findall(r"Topic \d{3}", text))) == 12
    assert "Topic 000" in text


def test_a_week_that_runs_says_so(tmp_path):
    text = document(replace(FULL, as_of=WEEK + timedelta(days=3)), tmp_path)
    assert "These are the numbers until the end of Wed 4 Mar; the rest of the week is not in them." in text
    assert "These are the numbers until" not in document(replace(FULL, as_of=AS_OF), tmp_path)


@pytest.mark.parametrize("text", HOSTILE)
def test_strangers_text_is_one_visible_line_and_every_mark_is_escaped(text):
    line = plain(shown(text))
    assert "\n" not in line
    assert not re.search(r"(?<!\\)[!-/:-@\[\]^_`{-~]", re.sub(r"\\.", "", line))
    assert "\u202e" not in line
    assert not re.search(r"[\x00-\x1f]", line)


def test_a_long_name_is_cut_and_a_short_one_is_not():
    assert shown("가" * LONGEST) == "가" * LONGEST
    assert shown("가" * 500) == "가" * (LONGEST - 1) + "…"
    assert shown("  a \t b ") == "a b"


def test_every_stranger_is_escaped_wherever_the_report_names_one(tmp_path):
    (tmp_path / "report.json").write_bytes(STUDENT.dump_json(STRANGE))
    text = execute(DOCUMENT, tmp_path).read_text()
    for raw in ("<script>", "{{<", "`{python}", "$(rm", "![a]", "]{.value} "):
        assert raw not in text
    assert r"\<script\>alert\(1\)\<\/script\>" in text


def test_numbers_are_written_as_people_write_them():
    assert [number(x) for x in (0.5, -0.5, -0.001)] == ["0.50", "−0.50", "0.00"]
    assert [signed(x) for x in (0.5, -0.5, 0.001)] == ["+0.50", "−0.50", "0.00"]
    assert [percent(x) for x in (0, 0.001, 0.4, 0.996, 1)] == ["0%", "<1%", "40%", ">99%", "100%"]


def test_no_field_is_without_a_use(tmp_path):
    """Each fact changes the document, but for what only chooses its advice or its reader."""
    base = document(FULL, tmp_path)
    changed = {
        "weeks": FULL.weeks[:-1],
        "lookback_days": 90,
        "answered": 20,
        "improvement_method": "accuracy",
        "correct": 3,
        "active_days": 2,
        "sessions": 5,
        "idle_days": 6,
        "mean_gap_days": 5.0,
        "session_minutes": 60.0,
        "lapsed": True,
        "risk": 0.9,
        "name": "Lee",
        "lang": "ko",
        "week_start": WEEK - timedelta(weeks=1),
        "as_of": WEEK + timedelta(days=2),
        "unusual": None,
        "goals": [],
        "topics": [],
        "next_topics": [],
        "practice": [],
        "review": [],
        "reviews_due": 2,
        "segment": None,
        "scale": None,
    }
    estimates = dict.fromkeys(
        ("improvement", "efficiency", "recovery", "engagement", "slope", "forecast"), Estimate(0.3333, 0.2, 0.5, 5)
    )
    assert {field.name for field in fields(FULL)} == {"user_id"} | changed.keys() | estimates.keys()
    for name, value in (changed | estimates).items():
        assert document(replace(FULL, **{name: value}), tmp_path) != base, name
