"""An evaluation of the risk of falling silent in few words: sentences, a table for a terminal, metadata of an asset."""

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
from seedtest_assets.evaluation.churn import Evaluation, Horizon
from seedtest_assets.evaluation.churn_quality import ICI_DRAWS, GroupQuality
from seedtest_assets.evaluation.report import cell, plain_number, signed_number
from seedtest_assets.models.evaluation import Estimate
from seedtest_assets.models.survival import FULL, RECENCY

MODELS = {FULL: "whole model", RECENCY: "idle days alone"}
MOST_OFF = 0.05
"""Distance of the mean risk from what happened, within which a risk is taken for a probability."""

UNFAIR = 0.05
"""q below which a group's ROC curve is said to differ from the reference's."""


def print_churn_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the tables and what they say in sentences."""
    console.print(_table(evaluation))
    if evaluation.attributes:
        console.print(_group_table(evaluation))
    for horizon in evaluation.horizons:
        for sentence in verdicts(horizon):
            console.print(f"{horizon.days} days: {escape(sentence)}", highlight=False)


def verdicts(horizon: Horizon) -> list[str]:
    """Whether the risks are probabilities, whether they are worth more than idle days, whether groups differ."""
    if horizon.reason is not None:
        return [f"Not judged, {horizon.reason}."]
    return [_calibrated(horizon), _skilful(horizon), *_stand_in(horizon), *_fair(horizon.groups)]


def _calibrated(horizon: Horizon) -> str:
    found = horizon.quality[FULL]
    slope, off = found.slope, found.off
    means = (
        f"{plain_number(found.predicted.value)} predicted on average, {plain_number(horizon.happened.value)} happened"
    )
    if off.low > 0 or off.high < 0:
        means += f", too {'high' if off.value > 0 else 'low'} by {plain_number(abs(off.value))}"
    if math.isnan(slope.value):
        return f"Whether high risks are as high as predicted cannot be told: {means}."
    said = f"calibration slope {_interval(slope)}, ICI {plain_number(found.ici.value)}; {means}."
    if slope.high < 1 and slope.low < LEAST_SLOPE:
        return f"The risks are too bold, differences between them larger than in truth: {said}"
    if slope.low > 1 and slope.high > MOST_SLOPE:
        return f"The risks are too timid, differences between them smaller than in truth: {said}"
    near = off.low >= -MOST_OFF and off.high <= MOST_OFF
    if slope.low >= LEAST_SLOPE and slope.high <= MOST_SLOPE and near:
        return f"The risks can be read as probabilities: {said}"
    return f"That the risks are probabilities is not shown: {said}"


def _skilful(horizon: Horizon) -> str:
    found = horizon.skill
    by = f"{signed_number(100 * found.value, 1)} %"
    if math.isnan(found.low):
        return f"Against idle days alone: skill {by}, without an interval."
    by = f"{by} [{signed_number(100 * found.low, 1)}, {signed_number(100 * found.high, 1)}]"
    if found.low > 0:
        return f"Better than idle days alone: skill {by}."
    if found.high < 0:
        return f"Worse than idle days alone: skill {by}."
    return f"No better or worse than idle days alone, as far as can be told: skill {by}."


def _stand_in(horizon: Horizon) -> Iterator[str]:
    without = sum(fit.status == "not converged" for fit in horizon.fits)
    if without:
        yield f"The whole model did not converge in {without} of {len(horizon.fits)} folds; idle days alone stood in."


def _fair(groups: list[GroupQuality]) -> Iterator[str]:
    for attribute in dict.fromkeys(of.attribute for of in groups):
        compared = [of for of in groups if of.attribute == attribute and not math.isnan(of.q)]
        found = [of for of in compared if of.q < UNFAIR]
        reference = {of.group: of.auc.value for of in groups if of.attribute == attribute}
        if not compared:
            yield f"Groups cannot be compared: {attribute}, too few students or events, or one group only."
        elif not found:
            yield f"No sign that groups are served differently: {attribute}, {len(compared)} compared with the largest."
        for of in found:
            both = f"{plain_number(of.auc.value)} and {plain_number(reference[of.reference])}"
            by = f"AUC {both}, ABROCA {plain_number(of.abroca)}, q {p_value(of.q)}"
            yield f"Groups are served differently: {attribute}, “{of.group}” and “{of.reference}”, {by}."


def _interval(found: Estimate) -> str:
    return f"{plain_number(found.value)} [{plain_number(found.low)}, {plain_number(found.high)}]"


def p_value(p: float) -> str:
    """A probability of chance; small ones are only bounded."""
    return "< .001" if p < 0.001 else plain_number(p)


def _table(evaluation: Evaluation) -> Table:
    protocol = evaluation.protocol
    table = Table(
        box=SIMPLE,
        padding=0,
        show_edge=False,
        pad_edge=False,
        title=(
            f"Risk of 14 silent days: {evaluation.students:,} students in {protocol.folds} folds, trained on the "
            f"{protocol.lookback_days} days before {evaluation.cut}, judged until {evaluation.last} on the others"
        ),
        caption=(
            "Landmarks: a student on a random day of each later week. Only those where 14 silent days fit into the "
            "horizon; the risk of the others is 0. 95 % intervals: of slope and intercept by standard errors robust to "
            f"students, of the ICI by {min(protocol.bootstrap, ICI_DRAWS)} draws of students, else by "
            f"{protocol.bootstrap:,}. AUC within folds. Skill: 1 − Brier / Brier of idle days alone."
        ),
    )
    table.add_column(no_wrap=True)
    for name in ("happened", "predicted", "AUC ↑", "Brier ↓", "skill ↑", "slope → 1", "intercept → 0", "ICI ↓"):
        table.add_column(name, justify="right", no_wrap=True)
    for horizon in evaluation.horizons:
        counts = f"{horizon.n:,} landmarks of\n{horizon.students:,} students, {horizon.events:,} events"
        if horizon.reason is not None:
            table.add_row(f"[bold]{horizon.days} days[/bold]: not judged\n{counts}")
        for name, found in horizon.quality.items():
            table.add_row(
                f"[bold]{horizon.days} days[/bold], {MODELS[name]}\n{counts}" if name == FULL else MODELS[name],
                cell(horizon.happened) if name == FULL else "",
                cell(found.predicted),
                cell(found.auc),
                cell(found.brier),
                cell(horizon.skill, signed=True) if name == FULL else "",
                cell(found.slope),
                cell(found.intercept, signed=True),
                cell(found.ici),
            )
        table.add_section()
    return table


def _group_table(evaluation: Evaluation) -> Table:
    table = Table(
        box=SIMPLE,
        padding=0,
        show_edge=False,
        pad_edge=False,
        title="Whole model by group of students",
        caption=(
            "ABROCA: area between the group's ROC curve and that of the attribute's largest group. p by "
            f"{evaluation.protocol.permutations:,} exchanges of students; q corrects for all comparisons."
        ),
    )
    table.add_column("group", overflow="fold")
    for name in ("students", "landmarks", "happened", "predicted", "AUC ↑", "slope → 1", "ABROCA ↓", "p", "q"):
        table.add_column(name, justify="right", no_wrap=True)
    for horizon in evaluation.judged:
        for of in horizon.groups:
            name = escape(f"{horizon.days} days, {of.attribute}: {of.group}")
            if of.too_few is not None:
                table.add_row(f"{name}\n{of.too_few}", f"{of.students:,}", f"{of.n:,}")
                continue
            compared = (
                ("largest", "", "") if math.isnan(of.p) else (plain_number(of.abroca), p_value(of.p), p_value(of.q))
            )
            table.add_row(
                name,
                f"{of.students:,}",
                f"{of.n:,}",
                *(cell(number) for number in (of.happened, of.predicted, of.auc, of.slope)),
                *compared,
            )
        table.add_section()
    return table


def metadata(evaluation: Evaluation) -> dict[str, Any]:
    """Numbers for the log of the asset survival_risk; no student's key."""
    found: dict[str, Any] = {
        "evaluated_students": evaluation.students,
        "first_later_day": evaluation.cut.isoformat(),
        "last_later_day": evaluation.last.isoformat(),
        "evaluation": plots.table(pd.DataFrame(list(_rows(evaluation)))),
        "verdict": "\n".join(f"{each.days} days: {said}" for each in evaluation.horizons for said in verdicts(each)),
    }
    for horizon in evaluation.judged:
        of = horizon.quality[FULL]
        numbers = {"auc": of.auc, "brier": of.brier, "slope": of.slope, "ici": of.ici, "skill": horizon.skill}
        known = {name: estimate.value for name, estimate in numbers.items() if not math.isnan(estimate.value)}
        found |= {f"{name}_{horizon.days}": value for name, value in known.items()}
    return found


def _rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for horizon in evaluation.horizons:
        counts = {"days": horizon.days, "landmarks": horizon.n, "events": horizon.events}
        if horizon.reason is not None:
            yield {**counts, "model": f"not judged, {horizon.reason}"}
        for name, of in horizon.quality.items():
            yield {
                **counts,
                "model": MODELS[name],
                "happened": horizon.happened.value,
                "predicted": of.predicted.value,
                "AUC": of.auc.value,
                "Brier": of.brier.value,
                "skill": horizon.skill.value if name == FULL else None,
                "slope": of.slope.value,
                "intercept": of.intercept.value,
                "ICI": of.ici.value,
            }
