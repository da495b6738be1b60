"""An evaluation of predicted scores and goals in few words: sentences, tables for a terminal, metadata of an asset."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seedtest_assets.assets import plots
from seedtest_assets.assets.churn import LEAST_SLOPE, MOST_SLOPE
from seedtest_assets.evaluation.churn_quality import ICI_DRAWS
from seedtest_assets.evaluation.churn_summary import MOST_OFF
from seedtest_assets.evaluation.growth import COVERED, GAIN, NORMAL, POSTERIOR, Evaluation, Goal, Horizon
from seedtest_assets.evaluation.report import cell, plain_number, signed_number
from seedtest_assets.models.evaluation import Estimate

LEAST_COVERED, MOST_COVERED = 0.88, 0.92
"""Share of the scores that a 90 % interval may hold to be called one."""

SCORE_HEADINGS = (*(f"{of} % → .{of // 10}" for of in COVERED), "width ↓", "CRPS ↓", "RMSE ↓")
GOAL_HEADINGS = ("happened", "predicted", "AUC ↑", "Brier ↓", "skill ↑", "slope → 1", "intercept → 0", "ICI ↓")


def print_growth_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the tables and what they say in sentences."""
    console.print(_score_table(evaluation))
    console.print(_goal_table(evaluation))
    for sentence in notes(evaluation):
        console.print(escape(sentence), highlight=False)
    for horizon in evaluation.horizons:
        for sentence in verdicts(horizon):
            console.print(f"{in_weeks(horizon)}: {escape(sentence)}", highlight=False)


def in_weeks(horizon: Horizon) -> str:
    """The horizon in words."""
    return f"{horizon.weeks} week{'s' if horizon.weeks > 1 else ''}"


def notes(evaluation: Evaluation) -> list[str]:
    """What is missing, and where the sampler has not found enough."""
    found = [
        f"{fit.cut}: short of what the pipeline publishes, more --samples may help: {'; '.join(fit.unpublishable)}."
        for fit in evaluation.fits
        if fit.unpublishable
    ]
    missing = {fit.normal_missing for fit in evaluation.fits} - {None}
    return found + [f"“{NORMAL}” is left out: {reason}." for reason in sorted(map(str, missing))]


def verdicts(horizon: Horizon) -> list[str]:
    """Whether intervals hold what they say, whether they are worth more than naive ones, whether P(goal) comes true."""
    if horizon.reason is not None:
        return [f"Not judged, {horizon.reason}."]
    return [
        _covered(horizon.scores[POSTERIOR].coverage[90]),
        *(_compared(horizon, name) for name in (NORMAL, horizon.best_naive) if name in horizon.gain),
        *(said for goal in horizon.goals for said in _goal_verdicts(goal)),
    ]


def _covered(found: Estimate) -> str:
    said = f"90 % intervals of the posterior hold {_interval(found)} of the scores."
    if found.high < 0.9 and found.low < LEAST_COVERED:
        return f"Too narrow: {said}"
    if found.low > 0.9 and found.high > MOST_COVERED:
        return f"Too wide: {said}"
    if found.low >= LEAST_COVERED and found.high <= MOST_COVERED:
        return f"As wide as they should be: {said}"
    return f"Not shown to be as wide as they should be: {said}"


def _compared(horizon: Horizon, other: str) -> str:
    found = horizon.gain[other]
    against = f"“{other}”" if other == NORMAL else f"“{other}”, the best naive method"
    if math.isnan(found.low):
        return f"Scores against {against}: CRPS {signed_number(found.value)}, without an interval."
    by = f"CRPS {signed_number(found.value)} [{signed_number(found.low)}, {signed_number(found.high)}]"
    if found.high < 0:
        return f"Scores are predicted better than by {against}: {by}."
    if found.low > 0:
        return f"Scores are predicted worse than by {against}: {by}."
    return f"Scores are predicted no better or worse than by {against}, as far as can be told: {by}."


def _goal_verdicts(goal: Goal) -> Iterator[str]:
    name = f"target {goal.target}"
    if goal.reason is not None:
        yield f"Probabilities, {name}: not judged, {goal.reason}."
        return
    yield f"{_calibrated(goal)[0]}, {name}: {_calibrated(goal)[1]}."
    skill = goal.skill[POSTERIOR]
    by = f"{signed_number(100 * skill.value, 1)} %"
    if math.isnan(skill.low):
        yield f"Against the cohort's rate, {name}: skill {by}, without an interval."
        return
    by += f" [{signed_number(100 * skill.low, 1)}, {signed_number(100 * skill.high, 1)}]"
    worth = "Better than" if skill.low > 0 else "Worse than" if skill.high < 0 else "Not shown to be better than"
    yield f"{worth} the cohort's rate, {name}: skill {by}."


def _calibrated(goal: Goal) -> tuple[str, str]:
    found = goal.quality[POSTERIOR]
    slope, off = found.slope, found.off
    by = (
        f"calibration slope {_interval(slope)}, ICI {plain_number(found.ici.value)}; "
        f"{plain_number(found.predicted.value)} predicted on average, {plain_number(goal.happened.value)} happened"
    )
    if math.isnan(slope.value):
        return "Whether probabilities come true cannot be told", by
    if slope.high < 1 and slope.low < LEAST_SLOPE:
        return "Probabilities are too bold", by
    if slope.low > 1 and slope.high > MOST_SLOPE:
        return "Probabilities are too timid", by
    if slope.low >= LEAST_SLOPE and slope.high <= MOST_SLOPE and off.low >= -MOST_OFF and off.high <= MOST_OFF:
        return "Probabilities come true", by
    return "That probabilities come true is not shown", by


def _interval(found: Estimate) -> str:
    if math.isnan(found.low):
        return plain_number(found.value)
    return f"{plain_number(found.value)} [{plain_number(found.low)}, {plain_number(found.high)}]"


def _score_table(evaluation: Evaluation) -> Table:
    protocol = evaluation.protocol
    cuts = ", ".join(str(fit.cut) for fit in evaluation.fits)
    table = _table(
        title=f"Own-week scores of later weeks, {evaluation.students:,} students, as predicted on {cuts}",
        caption=(
            "Items calibrated and models fitted on the answers before each date only, later scores found with the same "
            "bank. Per cent: scores that central predictive intervals hold; width of the 90 % interval; CRPS and RMSE "
            "in logits. The scores' own standard errors count as known. Naive: last value, a random walk from the "
            "student's last score (sd of a week's change by moments of earlier changes beyond the errors of both "
            "scores); cohort mean, mean and sd of all earlier scores. "
            f"95 % intervals by {protocol.bootstrap:,} draws of students."
        ),
        headings=SCORE_HEADINGS,
    )
    for horizon in evaluation.horizons:
        counts = f"{horizon.n:,} scores of {horizon.students:,} students"
        if horizon.reason is not None:
            table.add_row(f"[bold]{in_weeks(horizon)}[/bold]: not judged\n{counts}")
        for number, (method, cells) in enumerate(score_rows(horizon)):
            table.add_row(f"[bold]{in_weeks(horizon)}[/bold], {method}\n{counts}" if number == 0 else method, *cells)
        table.add_section()
    return table


def score_rows(horizon: Horizon) -> Iterator[tuple[str, list[str]]]:
    """By method the cells under SCORE_HEADINGS."""
    for method, of in horizon.scores.items():
        yield method, [cell(each) for each in (*of.coverage.values(), of.width, of.crps, of.rmse)]


def _goal_table(evaluation: Evaluation) -> Table:
    protocol = evaluation.protocol
    table = _table(
        title="Goals: a score at or above the target",
        caption=(
            "Not the latent ability, which is never observed, but the week's score with its error. Targets: levels in "
            f"logits, and the student's last score + {GAIN:g}. Skill: 1 − Brier / Brier of the share of earlier scores "
            "(or changes) that reached the target. AUC within dates. 95 % intervals of slope and intercept by "
            f"standard errors robust to students, of the ICI by {min(protocol.bootstrap, ICI_DRAWS)} draws of "
            f"students, else by {protocol.bootstrap:,}."
        ),
        headings=GOAL_HEADINGS,
    )
    for horizon in evaluation.judged:
        for goal in horizon.goals:
            name = f"[bold]{in_weeks(horizon)}, target {goal.target}[/bold]"
            if goal.reason is not None:
                table.add_row(f"{name}: not judged\n{goal.events:,} events")
            for number, (method, cells) in enumerate(goal_rows(goal)):
                table.add_row(f"{name}\n{method}, {goal.events:,} events" if number == 0 else method, *cells)
            table.add_section()
    return table


def goal_rows(goal: Goal) -> Iterator[tuple[str, list[str]]]:
    """By method the cells under GOAL_HEADINGS."""
    for number, (method, of) in enumerate(goal.quality.items()):
        yield (
            method,
            [
                cell(goal.happened) if number == 0 else "",
                *(cell(each) for each in (of.predicted, of.auc, of.brier)),
                cell(goal.skill[method], signed=True),
                cell(of.slope),
                cell(of.intercept, signed=True),
                cell(of.ici),
            ],
        )


def _table(title: str, caption: str, headings: tuple[str, ...]) -> Table:
    table = Table(box=SIMPLE, padding=0, show_edge=False, pad_edge=False, title=title, caption=caption)
    table.add_column(no_wrap=True)
    for name in headings:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def metadata(evaluation: Evaluation) -> dict[str, Any]:
    """Numbers for the log of the asset growth_goal; no student's key."""
    found: dict[str, Any] = {
        "evaluated_students": evaluation.students,
        "predicted_on": ", ".join(str(fit.cut) for fit in evaluation.fits),
        "evaluation": plots.table(pd.DataFrame(list(_rows(evaluation)))),
        "verdict": "\n".join(f"{in_weeks(each)}: {said}" for each in evaluation.horizons for said in verdicts(each)),
    }
    for horizon in evaluation.judged:
        of = horizon.scores[POSTERIOR]
        found |= {f"coverage_90_{horizon.weeks}": of.coverage[90].value, f"crps_{horizon.weeks}": of.crps.value}
    return found


def _rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for horizon in evaluation.judged:
        for method, of in horizon.scores.items():
            yield {
                "weeks": horizon.weeks,
                "method": method,
                "scores": horizon.n,
                **{f"{share} %": covered.value for share, covered in of.coverage.items()},
                "width": of.width.value,
                "CRPS": of.crps.value,
                "RMSE": of.rmse.value,
                **{
                    f"Brier, {goal.target}": goal.quality[method].brier.value
                    for goal in horizon.goals
                    if goal.reason is None
                },
            }
