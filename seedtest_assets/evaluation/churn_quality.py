"""How good risks of falling silent are, from risks and outcomes alone: at a horizon, and by group of students."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from seedtest_assets.assets.plots import INTERVAL_95
from seedtest_assets.models.abroca import abroca
from seedtest_assets.models.calibration_curve import brier_skill, calibration_curve, recalibration
from seedtest_assets.models.evaluation import Estimate, Outcomes, auc, basic_interval, brier, mean, student_weights
from seedtest_assets.models.irt import Bools, Floats, Ints
from seedtest_assets.models.survival import FEWEST

ICI_DRAWS = 100
"""Draws behind the interval of the ICI: each of them smooths a curve of its own."""

UNKNOWN = Estimate(np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Judged:
    """Risks of one model at one horizon and what they are judged by, at the landmarks where the event is possible.

    Attributes:
        risk: shape (n,).
        outcomes: whether it happened; student and fold of each landmark.
        weights: of the students, by replicate, as of `student_weights`.
    """

    risk: Floats
    outcomes: Outcomes
    weights: Floats

    def only(self, member: Bools) -> "Judged":
        """The landmarks of some students; shape of `member` (students,)."""
        some = member[self.outcomes.student]
        student = (np.cumsum(member) - 1)[self.outcomes.student[some]]
        outcomes = Outcomes(self.outcomes.correct[some], student, self.outcomes.fold[some])
        return Judged(self.risk[some], outcomes, self.weights[member])


@dataclass(frozen=True)
class Quality:
    """How good a model's risks are, with 95 % intervals; NaN where something cannot be told.

    Attributes:
        predicted: mean risk.
        off: mean risk minus share of events.
        auc: share of pairs, one with and one without the event, that the risk puts in order.
        brier: mean squared distance of the risk from what happened.
        intercept, slope: of the logistic recalibration, ideally 0 and 1.
        ici: mean distance of the smoothed calibration curve from the risk.
    """

    predicted: Estimate
    off: Estimate
    auc: Estimate
    brier: Estimate
    intercept: Estimate
    slope: Estimate
    ici: Estimate


def quality(judged: Judged) -> Quality:
    """Intervals come from draws of whole students; those of intercept and slope from robust standard errors."""
    found = recalibration(judged.risk, judged.outcomes.correct, judged.outcomes.student)
    return Quality(
        predicted=share(judged, judged.risk),
        off=basic_interval(mean(judged.risk - judged.outcomes.correct, judged.outcomes, judged.weights)),
        auc=_within(basic_interval(auc(judged.risk, judged.outcomes, judged.weights)), 0, 1),
        brier=_within(basic_interval(brier(judged.risk, judged.outcomes, judged.weights)), 0, 1),
        intercept=_normal_interval(found.intercept, found.intercept_se),
        slope=_normal_interval(found.slope, found.slope_se),
        ici=_within(basic_interval(_ici(judged)), 0, 1),
    )


def share(judged: Judged, values: Floats | Bools) -> Estimate:
    """The mean of a number in [0, 1] that each landmark has."""
    return _within(basic_interval(mean(values, judged.outcomes, judged.weights)), 0, 1)


def skill(judged: Judged, baseline: Floats) -> Estimate:
    """1 - Brier score / the baseline's."""
    return basic_interval(brier_skill(judged.risk, baseline, judged.outcomes, judged.weights))


def _ici(judged: Judged) -> Floats:
    """Of the sample and of the first ICI_DRAWS replicates."""
    times = judged.weights[:, : 1 + ICI_DRAWS].astype(np.int64)[judged.outcomes.student]
    drawn = (np.repeat(np.arange(len(judged.risk)), column) for column in times.T)
    return np.array([calibration_curve(judged.risk[rows], judged.outcomes.correct[rows]).ici for rows in drawn])


def _within(found: Estimate, low: float, high: float) -> Estimate:
    return replace(found, low=float(np.clip(found.low, low, high)), high=float(np.clip(found.high, low, high)))


def _normal_interval(value: float, se: float) -> Estimate:
    return Estimate(value, value - INTERVAL_95 * se, value + INTERVAL_95 * se)


def too_few(happened: Bools, student: Ints) -> str | None:
    """Why these landmarks cannot be judged, or None."""
    events, students = int(happened.sum()), len(np.unique(student))
    if min(events, len(happened) - events, students) >= FEWEST:
        return None
    return f"{events} events, {len(happened) - events} landmarks without one, {students} students ({FEWEST} needed)"


@dataclass(frozen=True, kw_only=True)
class GroupQuality:
    """How good the risks are for a group of students, and whether they order its members as well as the reference's.

    Attributes:
        attribute, group: which.
        reference: the attribute's largest group, which the others are compared with.
        students, n, events: students, landmarks, landmarks followed by the event.
        too_few: why it is not judged, or None.
        predicted, happened: mean risk and share of events.
        auc, slope: as of `Quality`.
        abroca: area between its ROC curve and the reference's; NaN for the reference itself.
        p: of a permutation test, students changing groups.
        q: p, corrected for the number of comparisons (Benjamini & Hochberg 1995).
    """

    attribute: str
    group: str
    reference: str
    students: int
    n: int
    events: int
    too_few: str | None = None
    predicted: Estimate = UNKNOWN
    happened: Estimate = UNKNOWN
    auc: Estimate = UNKNOWN
    slope: Estimate = UNKNOWN
    abroca: float = np.nan
    p: float = np.nan
    q: float = np.nan


def by_group(
    judged: Judged,
    attribute: str,
    group: "pd.Series[str]",
    largest: list[str],
    permutations: int,
    random: np.random.Generator,
    progress: Callable[[float], None] = lambda done: None,
) -> list[GroupQuality]:
    """Groups of an attribute.

    Args:
        judged: of all students.
        attribute: its name.
        group: of each student, missing where it is not known, shape (students,).
        largest: the groups that are judged, the largest first, with which the others are compared.
        permutations: behind each p.
        random: where they come from.
        progress: called with the share of the groups that is done.
    """
    members = {name: (group == name).fillna(False).to_numpy(bool) for name in largest}
    found: list[GroupQuality] = []
    for name in largest:
        one = _of_group(judged.only(members[name]), attribute, name, largest[0])
        if found and one.too_few is found[0].too_few is None:
            pair = members[name] | members[largest[0]]
            both, focal = judged.only(pair), members[name][pair]
            outcomes = both.outcomes
            area = abroca(both.risk, outcomes.correct, outcomes.student, focal, permutations, random)
            one = replace(one, abroca=area.value, p=area.p)
        found.append(one)
        progress(len(found) / len(largest))
    return found


def _of_group(judged: Judged, attribute: str, group: str, reference: str) -> GroupQuality:
    happened, student = judged.outcomes.correct, judged.outcomes.student
    found = GroupQuality(
        attribute=attribute,
        group=group,
        reference=reference,
        students=judged.weights.shape[0],
        n=len(happened),
        events=int(happened.sum()),
        too_few=too_few(happened, student),
    )
    if found.too_few is not None:
        return found
    line = recalibration(judged.risk, happened, student)
    return replace(
        found,
        predicted=share(judged, judged.risk),
        happened=share(judged, happened),
        auc=_within(basic_interval(auc(judged.risk, judged.outcomes, judged.weights)), 0, 1),
        slope=_normal_interval(line.slope, line.slope_se),
    )


def with_q(groups: list[GroupQuality]) -> list[GroupQuality]:
    """The same with q over all comparisons."""
    compared = [not np.isnan(of.p) for of in groups]
    q = iter(false_discovery_control([of.p for of, one in zip(groups, compared, strict=True) if one]).tolist())
    return [replace(of, q=next(q)) if one else of for of, one in zip(groups, compared, strict=True)]


def judged_of(rows: pd.DataFrame, risk: Floats, happened: Bools, draws: int, random: np.random.Generator) -> Judged:
    """Risks of landmarks (columns student, fold) with replicates over their students."""
    student = np.unique(rows["student"].to_numpy(), return_inverse=True)[1].astype(np.int64)
    outcomes = Outcomes(happened, student, rows["fold"].to_numpy(np.int64))
    return Judged(risk, outcomes, student_weights(outcomes.n_students, draws, random))
