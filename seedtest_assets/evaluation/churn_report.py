"""An evaluation of the risk of falling silent as one HTML file: words, tables and plots, nothing loaded from elsewhere.

The page is a tree of elements, so that every text in it is escaped; plots are SVG images inside it.
"""

import base64
import io
import math
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from seedtest_assets.assets.plots import INTERVAL_95
from seedtest_assets.evaluation.churn import MOST_GROUPS, Evaluation, Horizon
from seedtest_assets.evaluation.churn_quality import ICI_DRAWS, GroupQuality
from seedtest_assets.evaluation.churn_summary import MODELS, p_value, verdicts
from seedtest_assets.evaluation.report import plain_number, signed_number
from seedtest_assets.models.abroca import roc
from seedtest_assets.models.calibration_curve import calibration_bins, calibration_curve
from seedtest_assets.models.evaluation import Estimate
from seedtest_assets.models.irt import Bools, Floats
from seedtest_assets.models.survival import FULL, RECENCY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Element = ElementTree.Element

INK, FULL_COLOUR, RECENCY_COLOUR, GRID = "#1f2933", "#1d5d8f", "#8a94a0", "#dfe4ea"
GROUP_COLOURS = ("#1d5d8f", "#c8553d", "#3d8a5f", "#8d5fa8", "#b8860b", "#4a5560")  # as many as MOST_GROUPS
NOTHING_FROM_ELSEWHERE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
FALSE_ALARMS = (0.1, 0.2, 0.3)

COVARIATE_NAMES = {
    "a_t": "engagement, A_t",
    "e_t": "efficiency, E_t",
    "r_t": "recovery, R_t",
    "mean_gap": "mean gap between active days",
    "session_rate": "sessions per day",
    "GLOBAL": "all together",
}

EXPLAINED = {
    "Landmark": "a day on which a student is looked at: one random weekday of each later week, while the student has "
    "been active before and has not yet been silent for 14 days. Only what was known before that day is used.",
    "Event": "the end of 14 whole days without activity, within so many days of the landmark (the horizon).",
    "Happened, predicted": "the share of landmarks that the event followed, and the mean of the risks given to them. "
    "They should be equal.",
    "AUC": "of two landmarks, one followed by the event and one not: how often the first had the higher risk. "
    ".5 is chance, 1 is perfect. It says nothing about whether .30 means 30 %.",
    "Brier score": "the mean squared distance of the risk from what happened (0 or 1); smaller is better.",
    "Skill over idle days alone": "the part of the Brier score that the whole model takes off the same regression on "
    "idle days alone. Above 0: knowing more than the length of the silence helped. At 0 or below it did not.",
    "Calibration slope": "1: differences between risks are as large as they are in truth. Below 1: too bold, high "
    "risks are too high and low ones too low. Above 1: too timid.",
    "Calibration intercept": "how far a risk of one half lies off, in logits, once the slope is mended; ideally 0.",
    "ICI": "the mean distance of the smoothed calibration curve from the risk: by how much a risk is wrong on average. "
    "Chance alone keeps it above 0, the more so the fewer landmarks there are.",
    "ABROCA": "the area between the ROC curves of two groups: 0 if the risk orders the students of both equally well. "
    "Chance alone keeps it above 0; p is the probability of an area as large if groups did not matter, q is p "
    "corrected for the number of comparisons.",
    "95 % interval": "what the number could be for other students like these: students are drawn anew, many times, "
    "each with all their landmarks. Of slope and intercept it comes from standard errors robust to students.",
}


def html_report(evaluation: Evaluation) -> str:
    """The whole page."""
    title = "Risk of falling silent: how good it is"
    head = _e(
        "head",
        _e("meta", charset="utf-8"),
        _e("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _e("meta", {"http-equiv": "Content-Security-Policy"}, content=NOTHING_FROM_ELSEWHERE),
        _e("title", title),
        _e("style", files(__package__).joinpath("churn_report.css").read_text()),
    )
    main = _e(
        "main",
        _e("h1", title),
        _e("p", _lead(evaluation), {"class": "lead"}),
        _verdict_cards(evaluation),
        *_numbers(evaluation),
        *_calibration(evaluation),
        *_groups(evaluation),
        *_cox(evaluation),
        *_how(evaluation),
        *_missing(evaluation),
        *_glossary(),
    )
    page = _e("html", head, _e("body", main), lang="en")
    ElementTree.indent(page)
    return "<!DOCTYPE html>\n" + ElementTree.tostring(page, encoding="unicode", method="html") + "\n"


def _e(tag: str, *content: "Element | str | dict[str, str]", **attributes: str) -> Element:
    """An element with texts and elements in it; a dict holds attributes whose names are no Python names."""
    element = Element(tag, attributes)
    for part in content:
        if isinstance(part, dict):
            element.attrib |= part
        elif isinstance(part, Element):
            element.append(part)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + part
        else:
            element.text = (element.text or "") + part
    return element


def _lead(evaluation: Evaluation) -> str:
    return (
        f"{evaluation.students:,} students and {evaluation.answers:,} answers from {evaluation.first} to "
        f"{evaluation.last}. The model learned from what was known before {evaluation.cut} and then predicted the "
        "weeks after it, for students it had never met: will this student be silent for 14 days within the next "
        f"{_listed([str(horizon.days) for horizon in evaluation.horizons])} days?"
    )


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _verdict_cards(evaluation: Evaluation) -> Element:
    cards = []
    for horizon in evaluation.horizons:
        sentences = [_e("li", _e("b", said), rest) for said, rest in map(_parted, verdicts(horizon))]
        cards.append(_e("section", _e("h2", f"Within {horizon.days} days"), _e("ul", *sentences), {"class": "card"}))
    return _e("div", *cards, {"class": "cards"})


def _parted(sentence: str) -> tuple[str, str]:
    """What is said, and the numbers that it is said by."""
    said, colon, by = sentence.partition(": ")
    return said + colon, by


def _numbers(evaluation: Evaluation) -> Iterator[Element]:
    yield _e("h2", "The numbers")
    rows: list[list[Element | str]] = []
    for horizon in evaluation.judged:
        counts = f"{horizon.n:,} landmarks, {horizon.students:,} students, {horizon.events:,} events"
        for name, of in horizon.quality.items():
            whole = name == FULL
            rows.append(
                [
                    _e("span", f"{horizon.days} days, {MODELS[name]}", _small(counts)) if whole else MODELS[name],
                    _cell(horizon.happened) if whole else "",
                    *(_cell(number) for number in (of.predicted, of.auc, of.brier)),
                    _cell(horizon.skill, signed=True) if whole else "",
                    _cell(of.slope),
                    _cell(of.intercept, signed=True),
                    _cell(of.ici),
                ]
            )
    yield _table(["", "happened", "predicted", "AUC", "Brier score", "skill", "slope", "intercept", "ICI"], rows)
    impossible = ", ".join(f"{horizon.impossible:,} at {horizon.days} days" for horizon in evaluation.horizons)
    yield _e(
        "p",
        "Below each number its 95 % interval. Not counted: landmarks at which 14 silent days cannot be over within "
        f"the horizon ({impossible}). Their risk is exactly 0 by logic, and none was followed by the event.",
        {"class": "note"},
    )


def _cell(found: Estimate, *, signed: bool = False) -> Element | str:
    number = signed_number if signed else plain_number
    if math.isnan(found.value):
        return "–"
    if math.isnan(found.low):
        return number(found.value)
    return _e("span", number(found.value), _small(f"{number(found.low)} to {number(found.high)}"))


def _small(text: str) -> Element:
    return _e("small", text)


def _table(heading: list[str], rows: list[list[Element | str]]) -> Element:
    head = _e("thead", _e("tr", *(_e("th", name, scope="col") for name in heading)))
    body = [_e("tr", _e("th", first, scope="row"), *(_e("td", each) for each in rest)) for first, *rest in rows]
    return _e("div", _e("table", head, _e("tbody", *body)), {"class": "scroll"})


def _calibration(evaluation: Evaluation) -> Iterator[Element]:
    yield _e("h2", "Do the risks come true?")
    yield _e(
        "p",
        "On the diagonal what was predicted is what happened. Points are tenths of the landmarks, by their risk, with "
        "95 % intervals as if landmarks were independent; lines are smoothed over all landmarks; the bars below show "
        "how often which risk was given.",
    )
    figures = [_calibration_figure(evaluation.landmarks(horizon.days), horizon) for horizon in evaluation.judged]
    yield _e("div", *figures, {"class": "figures"})


def _calibration_figure(rows: pd.DataFrame, horizon: Horizon) -> Element:
    of = horizon.quality[FULL]
    slope = "slope cannot be told" if math.isnan(of.slope.value) else f"slope {plain_number(of.slope.value)}"
    title = f"Within {horizon.days} days: {slope}, ICI {plain_number(of.ici.value)}"
    happened = rows[f"event_{horizon.days}"].to_numpy() == 1
    risk = rows[f"{FULL}_{horizon.days}"].to_numpy()
    bins = calibration_bins(risk, happened)
    tenths = [
        (f"{n:,}", plain_number(predicted), plain_number(share))
        for predicted, share, n in zip(*(bins[name] for name in ("prediction", "happened", "n")), strict=True)
    ]
    alternative = f"Calibration plot. {title}. " + "; ".join(
        f"predicted {predicted}, happened {share}" for _, predicted, share in tenths
    )
    figure = _figure(4.6, 5.4)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    recency = calibration_curve(rows[f"{RECENCY}_{horizon.days}"].to_numpy(), happened)
    axes.plot(recency.prediction, recency.happened, color=RECENCY_COLOUR, linewidth=1.4, label=MODELS[RECENCY])
    curve = calibration_curve(risk, happened)
    axes.plot(curve.prediction, curve.happened, color=FULL_COLOUR, linewidth=2, label=MODELS[FULL])
    low, high = _binomial_interval(bins["happened"].to_numpy(), bins["n"].to_numpy(dtype=float))
    axes.vlines(bins["prediction"], low, high, color=FULL_COLOUR, linewidth=1)
    axes.scatter(bins["prediction"], bins["happened"], color=FULL_COLOUR, s=24, zorder=3, label="its tenths")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that happened")
    axes.legend(loc="upper left", frameon=False)
    below.hist(risk, bins=np.linspace(0, 1, 41).tolist(), color=FULL_COLOUR, alpha=0.55)
    below.set(xlabel="predicted risk", ylabel="landmarks")
    for each in (axes, below):
        _plain_axes(each)
    table = _table(
        ["tenth", "landmarks", "predicted", "happened"],
        [[str(number), *numbers] for number, numbers in enumerate(tenths, start=1)],
    )
    return _figure_element(figure, title, alternative, table)


def _binomial_interval(share: Floats, n: Floats) -> tuple[Floats, Floats]:
    """Wilson's 95 % interval of shares."""
    z = INTERVAL_95**2 / n
    centre = (share + z / 2) / (1 + z)
    half = np.sqrt(z * (share * (1 - share) + z / 4)) / (1 + z)
    return centre - half, centre + half


def _groups(evaluation: Evaluation) -> Iterator[Element]:
    yield _e("h2", "Does the risk serve all groups alike?")
    if not evaluation.attributes:
        yield _e("p", "Not known: no groups of students were given. (They are never used to predict.)")
        return
    yield _e(
        "p",
        "Groups are never used to predict. Here the whole model is judged for each of them: whether what it predicts "
        "happens (predicted and happened, slope), and whether it orders a group's students as well as those of the "
        f"largest group (AUC, ABROCA). At most {MOST_GROUPS} groups of an attribute are shown, the largest.",
    )
    for attribute in evaluation.attributes:
        yield _e("h3", attribute)
        figures = []
        for horizon in evaluation.judged:
            groups = [of for of in horizon.groups if of.attribute == attribute and of.too_few is None]
            if groups:
                figures.append(_roc_figure(evaluation, horizon, attribute, groups))
        yield _e("div", *figures, {"class": "figures"})
        yield _group_table(evaluation, attribute)


def _group_table(evaluation: Evaluation, attribute: str) -> Element:
    heading = ["", "students", "landmarks", "events", "happened", "predicted", "AUC", "slope", "ABROCA", "p", "q"]
    rows: list[list[Element | str]] = []
    for horizon in evaluation.judged:
        for of in horizon.groups:
            if of.attribute != attribute:
                continue
            counts = [f"{of.students:,}", f"{of.n:,}", f"{of.events:,}"]
            if of.too_few is not None:
                rows.append([f"{horizon.days} days: {of.group}", *counts, "too few", *[""] * 6])
                continue
            compared = [plain_number(of.abroca), p_value(of.p), p_value(of.q)]
            rows.append(
                [
                    f"{horizon.days} days: {of.group}",
                    *counts,
                    *(_cell(number) for number in (of.happened, of.predicted, of.auc, of.slope)),
                    *(["largest", "", ""] if math.isnan(of.p) else compared),
                ]
            )
    return _table(heading, rows)


def _roc_figure(evaluation: Evaluation, horizon: Horizon, attribute: str, groups: list[GroupQuality]) -> Element:
    rows = evaluation.landmarks(horizon.days)
    group = evaluation.group.loc[rows["student"], attribute].to_numpy()
    risk = rows[f"{FULL}_{horizon.days}"].to_numpy()
    happened = rows[f"event_{horizon.days}"].to_numpy() == 1
    figure = _figure(4.6, 4.6)
    axes = figure.subplots()
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
    found: list[list[Element | str]] = []
    for of, colour in zip(groups, GROUP_COLOURS, strict=False):
        member: Bools = group == of.group
        false, true = roc(risk[member], happened[member])
        # Quoted: matplotlib leaves labels that begin with an underscore out.
        axes.plot(false, true, color=colour, linewidth=1.8, label=f"“{of.group}”, AUC {plain_number(of.auc.value)}")
        found.append([of.group, *(f"{np.interp(alarm, false, true):.0%}" for alarm in FALSE_ALARMS)])
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="false alarms: share of the others", ylabel="found: share of the events")
    axes.set_aspect("equal")
    for text in axes.legend(loc="lower right", frameon=False).get_texts():
        text.set_parse_math(False)
    _plain_axes(axes)
    title = f"{attribute}, within {horizon.days} days"
    alternative = f"ROC curves by group. {title}. " + "; ".join(
        f"{of.group}: AUC {plain_number(of.auc.value)}" for of in groups
    )
    table = _table(["events found at", *(f"{alarm:.0%} false alarms" for alarm in FALSE_ALARMS)], found)
    return _figure_element(figure, title, alternative, table)


def _cox(evaluation: Evaluation) -> Iterator[Element]:
    cox = evaluation.cox
    yield _e("h2", "Who comes back sooner?")
    if cox["status"] != "fitted":
        yield _e("p", f"Not known: the Cox model of the time to the next active day was not fitted ({cox['status']}).")
        return
    yield _e(
        "p",
        f"A Cox model of the days from one active day to the next: {cox['n']:,} gaps of {cox['n_students']:,} students "
        f"before {evaluation.cut}, {cox['events']:,} of which ended with a return; concordance "
        f"{plain_number(cox['concordance'])}. A hazard ratio of 1.2: one standard deviation more goes with a 20 % "
        "higher chance of coming back on any day. A small p of proportionality says that the ratio changes with the "
        "length of the silence; the published risk does not rest on this model.",
    )
    p_of_test = dict(zip(cox["ph_test"]["name"], cox["ph_test"]["p"], strict=True))
    rows: list[list[Element | str]] = []
    for name, coef, se, p in zip(*(cox[key] for key in ("names", "coef", "se", "p")), strict=True):
        ratio = Estimate(*np.exp([coef, coef - INTERVAL_95 * se, coef + INTERVAL_95 * se]).tolist())
        rows.append([COVARIATE_NAMES[name], _cell(ratio), p_value(p), p_value(p_of_test[name])])
    rows.append([COVARIATE_NAMES["GLOBAL"], "", "", p_value(p_of_test["GLOBAL"])])
    yield _table(["per standard deviation", "hazard ratio", "p", "p of proportionality"], rows)


def _how(evaluation: Evaluation) -> Iterator[Element]:
    protocol = evaluation.protocol
    draws = min(protocol.bootstrap, ICI_DRAWS)
    idle = "do not count as idle" if evaluation.skip_days_off else "count as idle; the model knows how many lie ahead"
    off = f"{evaluation.days_off:,} days off in this time {idle}." if evaluation.days_off else "No days off."
    yield _e("h2", "How it was measured")
    yield _e(
        "ul",
        _e(
            "li",
            f"Other students: {protocol.folds} folds. The students of a fold are predicted by a model fitted on the "
            "other folds' students only, their weekly metrics included.",
        ),
        _e(
            "li",
            f"Later weeks: that model knows nothing from {evaluation.cut} on; it learned from the "
            f"{protocol.lookback_days} days before. Its predictions are for days from then on, each from facts before "
            "that day, and are judged only where the whole horizon is over.",
        ),
        _e("li", off),
        _e(
            "li",
            f"{protocol.bootstrap:,} draws of students behind the intervals ({draws:,} for the ICI), "
            f"{protocol.permutations:,} exchanges of students between groups behind each p; seed {protocol.seed}.",
        ),
    )
    rows: list[list[Element | str]] = [
        [f"{horizon.days} days", *(f"{fit.events:,} of {fit.n:,}" for fit in horizon.fits)]
        for horizon in evaluation.horizons
    ]
    yield _e("p", "Events among the landmarks that each fold's model learned from:")
    yield _table(["", *(f"without fold {fold + 1}" for fold in range(protocol.folds))], rows)


def _missing(evaluation: Evaluation) -> Iterator[Element]:
    """What a reader may look for and not find."""
    missing = [f"{each.days} days: not judged, {each.reason}." for each in evaluation.horizons if each.reason]
    if not evaluation.attributes:
        missing.append("Groups of students: none given, so fairness between them is not known.")
    for horizon in evaluation.judged:
        missing += [
            f"{horizon.days} days, {of.attribute}, “{of.group}”: not judged, {of.too_few}."
            for of in horizon.groups
            if of.too_few
        ]
    if evaluation.days_off == 0:
        missing.append("Days off: none given, so a holiday looks like silence.")
    if evaluation.protocol.bootstrap == 0:
        missing.append("Intervals by draws of students: none were asked for.")
    missing += [
        f"The whole model knows nothing of {COVARIATE_NAMES[name]}: it is the same for all, or not logged."
        for name in evaluation.cox["dropped"]
    ]
    yield _e("h2", "What is missing")
    yield _e("ul", *(_e("li", sentence) for sentence in missing)) if missing else _e("p", "Nothing.")


def _glossary() -> Iterator[Element]:
    yield _e("h2", "What the words mean")
    parts = [part for word, meaning in EXPLAINED.items() for part in (_e("dt", word), _e("dd", meaning))]
    yield _e("dl", *parts)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # only here: the command line loads fast

    return Figure(figsize=(width, height), layout="constrained")


def _plain_axes(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _figure_element(figure: "Figure", title: str, alternative: str, table: Element) -> Element:
    image = _e("img", alt=alternative, src=f"data:image/svg+xml;base64,{_svg(figure)}")
    details = _e("details", _e("summary", "The same in numbers"), table)
    return _e("figure", _e("figcaption", title), image, details)


def _svg(figure: "Figure") -> str:
    """Base64; the same numbers give the same picture."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "seedtest", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return base64.b64encode(buffer.getvalue()).decode()
