"""`seedtest evaluate anomalies`: planted shifts, spikes and drop-outs, and how many of them are found, how late.

Cohorts are simulated twice for each seed, clean and with events (`anomalies_simulated`). Every week after the first
look-back is scored as the pipeline does, from the weeks of its look-back only, by every method:

* robust: `models.anomaly` for students, `models.anomaly_series` with the robust local level and siblings for topics;
* leave-one-out z: (value - mean) / sd of the look-back without the week;
* in-sample z: the same with the week in its own mean and sd, which cannot exceed (n - 1) / sqrt(n).

Judged event by event, without point adjustment (which counts a whole event as found for one flag in it, and makes
random flags look good: Kim et al. 2022): an event is found if a week of its first `within` is flagged; every flag in a
week without an event is a false alarm; later weeks of an event count for nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from seedtest_assets.evaluation.anomalies_simulated import STUDENTS, Panel, World, panels
from seedtest_assets.evaluation.irt import NotEvaluable, Progress
from seedtest_assets.models.anomaly import LEAST_WEEKS, THRESHOLD, student_scores
from seedtest_assets.models.anomaly_series import level_forecasts, series_scores
from seedtest_assets.models.evaluation import Estimate, basic_interval, student_weights
from seedtest_assets.models.irt import Bools, Floats

ROBUST, LEFT_OUT, IN_SAMPLE = "robust", "leave-one-out z", "in-sample z"
METHODS = (ROBUST, LEFT_OUT, IN_SAMPLE)

WEEKS_OF_A_YEAR = 52
MOST_ALARMS = 1.0
"""False alarms per year and series on clean data that are tolerated."""

ALARMS_CLEAN, ALARMS_PLANTED, PRECISION = "false alarms a year, clean", "false alarms a year, planted", "precision"
RECALL, DELAY = "recall", "delay"


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the evaluation is made.

    Attributes:
        seeds: number of simulated cohorts, clean and planted each.
        students: of a cohort.
        topics: of a cohort.
        history: weeks of look-back.
        weeks: that are scored.
        within: weeks within which an event is to be found.
        threshold: of |score|.
        sizes: of shifts and spikes, in sds of a usual week's noise.
        left: shares of the usual answers that drop-outs leave.
        share: of the series that have an event in the planted cohorts.
        seed: first seed; also of the draws of cohorts.
        bootstrap: draws of cohorts behind each interval.
    """

    seeds: int = 10
    students: int = 240
    topics: int = 80
    history: int = 12
    weeks: int = 8
    within: int = 2
    threshold: float = THRESHOLD
    sizes: tuple[float, ...] = (2.0, 4.0, 6.0)
    left: tuple[float, ...] = (0.0, 0.3)
    share: float = 0.3
    seed: int = 1
    bootstrap: int = 500

    def world(self, share: float) -> World:
        """What is simulated, with a share of the series that have an event."""
        names = ("students", "topics", "history", "weeks", "within", "sizes", "left")
        return World(share=share, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number.

    Attributes:
        level, measure: of the series.
        method: of METHODS.
        quantity: ALARMS_CLEAN, ALARMS_PLANTED, PRECISION (events found / those and false alarms, planted; it depends
            on how many events there are), RECALL, or DELAY (weeks from onset to the flag, of events found).
        event, size: of RECALL and DELAY, else None.
        n: series-weeks without an event, flags, or events, that it is of.
        estimate: with its interval over cohorts.
    """

    level: str
    measure: str
    method: str
    quantity: str
    event: str | None = None
    size: float | None = None
    n: int
    estimate: Estimate


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        protocol: how it was made.
        findings: all numbers.
    """

    protocol: Protocol
    findings: list[Finding] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """A row for each number, for CSV."""
        rows = ({**asdict(found), **asdict(found.estimate)} for found in self.findings)
        return pd.DataFrame(list(rows)).drop(columns="estimate")

    def document(self) -> dict[str, Any]:
        """All numbers, for JSON; an unknown one is null."""
        rows = self.frame().astype(object)
        return {"protocol": asdict(self.protocol), "findings": rows.where(rows.notna(), None).to_dict("records")}

    def find(self, level: str, measure: str, quantity: str, method: str = ROBUST) -> list[Finding]:
        """The numbers of a quantity: one, or one for each kind and size of event."""
        wanted = (level, measure, quantity, method)
        return [of for of in self.findings if (of.level, of.measure, of.quantity, of.method) == wanted]


def evaluate_anomalies(protocol: Protocol, progress: Progress = lambda what, done: None) -> Evaluation:
    """Plant unusual weeks in simulated cohorts and judge which are found.

    Args:
        protocol: how; the same gives the same numbers.
        progress: called with what is done and the share of it.

    Raises:
        NotEvaluable: the protocol leaves nothing to judge.
    """
    if protocol.history < LEAST_WEEKS or protocol.weeks < protocol.within or protocol.within < 1 or protocol.seeds < 1:
        raise NotEvaluable(
            f"At least {LEAST_WEEKS} weeks of history, one cohort, and as many scored weeks as an event may take to be "
            f"found are needed, got {protocol.history}, {protocol.seeds}, and {protocol.weeks} for {protocol.within}."
        )
    counts = []
    for number in range(protocol.seeds):
        for clean in (True, False):
            progress("scoring simulated weeks", (2 * number + (not clean)) / (2 * protocol.seeds))
            random = np.random.default_rng([protocol.seed, number, clean])
            for panel in panels(protocol.world(0.0 if clean else protocol.share), random):
                for method in METHODS:
                    flags = _flags(panel, method, protocol)
                    counts += [{"cohort": number, **row} for row in _counts(panel, method, flags, protocol, clean)]
    return Evaluation(protocol, list(_findings(pd.DataFrame(counts), protocol)))


def _flags(panel: Panel, method: str, protocol: Protocol) -> Bools:
    """Flags of the scored weeks, shape (series, weeks)."""
    judge = _Z.get(method, _robust)
    flags = np.zeros((len(panel.values), protocol.weeks), dtype=bool)
    for week in range(protocol.weeks):
        back = slice(week, week + protocol.history + 1)
        se = None if panel.se is None else panel.se[:, back]
        flags[:, week] = judge(panel.values[:, back], se, panel.level, protocol.threshold)
    return flags


def _robust(values: Floats, se: Floats | None, level: str, threshold: float) -> Bools:
    if level == STUDENTS:
        return student_scores(values, se, threshold)["flag"].to_numpy(bool)
    expected, errors = level_forecasts(values)
    family = np.zeros(len(values), dtype=np.int64)
    return series_scores(values[:, -1], expected, errors, family, threshold)["flag"].to_numpy(bool)


def left_out_z(values: Floats, se: Floats | None, level: str, threshold: float) -> Bools:
    """Flags by |z| of the newest week against mean and sd of the earlier ones."""
    return _z(values[:, :-1], values, threshold)


def in_sample_z(values: Floats, se: Floats | None, level: str, threshold: float) -> Bools:
    """Flags by |z| of the newest week against mean and sd of all, itself among them."""
    return _z(values, values, threshold)


_Z: dict[str, Callable[[Floats, Floats | None, str, float], Bools]] = {LEFT_OUT: left_out_z, IN_SAMPLE: in_sample_z}


def _z(against: Floats, values: Floats, threshold: float) -> Bools:
    known = ~np.isnan(against)
    enough = np.count_nonzero(~np.isnan(values[:, :-1]), axis=1) >= LEAST_WEEKS
    usable = np.where(enough[:, None], known, True)
    filled = np.where(usable & known, against, 0.0)
    mean = filled.mean(axis=1, where=usable)
    sd = filled.std(axis=1, where=usable, ddof=1)
    off = np.abs(values[:, -1] - mean)
    return np.asarray(enough & (sd > 0) & (off >= threshold * sd))


def _counts(panel: Panel, method: str, flags: Bools, protocol: Protocol, clean: bool) -> Iterator[dict[str, Any]]:
    """Alarms and weeks without an event, then events and how they were found, of each kind and size."""
    events = panel.events
    during = events.during(protocol.history + protocol.weeks)[:, protocol.history :]
    week = np.arange(protocol.weeks) + protocol.history - events.onset[:, None]
    first = flags & during & (week < protocol.within)
    found = np.asarray(first.any(axis=1))
    common = {"level": panel.level, "measure": panel.measure, "method": method, "clean": clean}
    alarms, planted = int(np.count_nonzero(flags & ~during)), np.flatnonzero(events.kind != "")
    yield common | {"event": "", "size": 0.0, "of": int(np.count_nonzero(~during)), "found": alarms, "delay": 0}
    delay = np.where(found, np.argmax(first, axis=1) + protocol.history - events.onset, 0)
    for kind, size in sorted(set(zip(events.kind[planted].tolist(), events.size[planted].tolist(), strict=True))):
        some = np.flatnonzero((events.kind == kind) & (events.size == size))
        numbers = {"of": len(some), "found": int(found[some].sum()), "delay": int(delay[some].sum())}
        yield common | {"event": kind, "size": size} | numbers


def _findings(counts: pd.DataFrame, protocol: Protocol) -> Iterator[Finding]:
    random = np.random.default_rng(protocol.seed)
    weights = student_weights(protocol.seeds, protocol.bootstrap, random)

    def by_cohort(rows: pd.DataFrame, column: str) -> Floats:
        return np.bincount(rows["cohort"], weights=rows[column], minlength=protocol.seeds).astype(np.float64)

    for names, rows in counts.groupby(["level", "measure", "method"], sort=False):
        name: dict[str, Any] = dict(zip(("level", "measure", "method"), names, strict=True))
        alarms, events = rows[rows["event"] == ""], rows[rows["event"] != ""]
        for quantity, clean in ((ALARMS_CLEAN, True), (ALARMS_PLANTED, False)):
            some = alarms[alarms["clean"] == clean]
            a_year = WEEKS_OF_A_YEAR * by_cohort(some, "found")
            estimate = ratio(a_year, by_cohort(some, "of"), weights)
            yield Finding(**name, quantity=quantity, n=int(some["of"].sum()), estimate=estimate)
        found, false = by_cohort(events, "found"), by_cohort(alarms[~alarms["clean"]], "found")
        flags = int((found + false).sum())
        yield Finding(**name, quantity=PRECISION, n=flags, estimate=ratio(found, found + false, weights, highest=1))
        for (event, size), of in events.groupby(["event", "size"], sort=False):
            found, total = by_cohort(of, "found"), by_cohort(of, "of")
            kind = name | {"event": event, "size": size}
            recall = ratio(found, total, weights, highest=1)
            yield Finding(**kind, quantity=RECALL, n=int(total.sum()), estimate=recall)
            delay = ratio(by_cohort(of, "delay"), found, weights)
            yield Finding(**kind, quantity=DELAY, n=int(found.sum()), estimate=delay)


def ratio(numerator: Floats, denominator: Floats, weights: Floats, highest: float = np.inf) -> Estimate:
    """Ratio of sums over cohorts with its 95 % interval, kept to 0..highest; NaN where the denominator is 0.

    Args:
        numerator: of each cohort, shape (cohorts,).
        denominator: of each cohort, shape (cohorts,).
        weights: of cohorts, first the sample's, then of each replicate, shape (cohorts, 1 + replicates).
        highest: that the ratio can be.
    """
    below = denominator @ weights
    found = basic_interval(np.divide(numerator @ weights, below, where=below > 0, out=np.full(len(below), np.nan)))
    return Estimate(found.value, max(found.low, 0.0), min(found.high, highest))
