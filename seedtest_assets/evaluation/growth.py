"""`seedtest evaluate growth`: predicted scores and P(goal) against the own-week scores of later weeks.

At each of several Mondays, the cuts, everything is made anew from the answers before it, as the pipeline does: items
are calibrated on the look-back, every student's own-week scores (Warm's estimate, five answers or more) are found with
that bank, and the models are fitted to the scores of the last weeks. Then the same students' own-week scores 1, 2,
4 weeks later, found with the same bank, are predicted, by every method for the same students and weeks.

* A latent ability is never observed. What is predicted is a score, whose distribution is the student's line and the
  error of the score: sd kappa x the score's own standard error. That error is known only once the week is over: it
  says how many answers of which items there are, which no method is asked to foretell.
* A goal is likewise judged by scores: the event is a score at or above the target, the probability that of the score.
* Students are the same before and after the cut, as they are in the pipeline.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.irt import LEAST_ITEMS, PRIORS
from seedtest_assets.assets.progress import six_parameters
from seedtest_assets.calendar import WEEK, local_day
from seedtest_assets.evaluation.churn_quality import UNKNOWN, Judged, Quality, quality, share, skill
from seedtest_assets.evaluation.irt import NotEvaluable, Progress
from seedtest_assets.intake.files import read_file
from seedtest_assets.models import growth
from seedtest_assets.models.evaluation import Estimate, Outcomes, basic_interval, mean, student_weights
from seedtest_assets.models.growth import Mixture, Scores, Statistics
from seedtest_assets.models.irt import Floats, Ints
from seedtest_assets.models.survival import FEWEST
from seedtest_assets.models.topic_scores import topic_scores
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.glmm import GlmmService, ProgressFit
from seedtest_assets.resources.plumber import Calibration, IrtService, Unprocessable
from seedtest_assets.settings import settings

POSTERIOR, NORMAL, LAST, COHORT = "posterior", "normal", "last value", "cohort mean"
NAIVE = (LAST, COHORT)

LATER_SHARE = 0.4
"""Of the weeks: over how many the cuts are spread, and what follows them."""

LEAST_WEEKS = 2
"""Weeks before the first cut: with fewer there is no change to learn from."""

COVERED = (50, 80, 90)
"""Per cent of the scores that the intervals are to hold."""

GAIN = 0.3
"""Logits above a student's last score: the target that no student has passed already, or is far below."""

CHAINS, WARMUP = 4, 500

MIXED = 200
"""Draws of the posterior whose predictions are mixed, evenly over the chains; the CRPS takes all pairs of them.

With 1,000 the mean CRPS of a hundred scores moved by .00002, an end of a 90 % interval by .007 at most."""
DIAGNOSTICS = ("rhat", "ess_bulk", "ess_tail", "divergences", "ebfmi")
FIRST_MONDAY = pd.Timestamp(1970, 1, 5)
ANSWER_COLUMNS = ["student_id", "item_id", "topic_id", "correct", "completed_at"]


def _targets() -> tuple[float, ...]:
    return (settings().metrics_default_target,)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the evaluation is made; what it does not name is as the settings say.

    Attributes:
        horizons: weeks after the cut whose scores are predicted; 1 is the week that begins with it.
        cuts: Mondays up to which the models know the answers, evenly spread over the last LATER_SHARE of the weeks.
        targets: levels to reach, logits; beside them every student's last score + GAIN.
        samples: draws of the posterior, in each of CHAINS chains.
        seed: of the sampler and of the draws of students.
        bootstrap: draws of students behind each interval.
        lookback_days: days of answers that a calibration looks back on.
        lookback_weeks: weeks of scores that all methods are made from.
    """

    horizons: tuple[int, ...] = (1, 2, 4)
    cuts: int = 3
    targets: tuple[float, ...] = field(default_factory=_targets)
    samples: int = 1000
    seed: int = 1
    bootstrap: int = 500
    lookback_days: int = field(default_factory=lambda: settings().mirt_lookback_days)
    lookback_weeks: int = field(default_factory=lambda: settings().brms_lookback_weeks)

    @property
    def goals(self) -> list[str]:
        """Names of the targets."""
        return [f"{target:g}" for target in self.targets] + [f"last score + {GAIN:g}"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What was known at a cut.

    Attributes:
        cut: the Monday.
        answers, items: that were calibrated.
        scores, students: own-week scores in the look-back, and whose they are.
        parameters: by method: means of the posterior, lme4's estimates, sd of a change per root of a week, mean and
            sd of the scores.
        diagnostics: of the sampler, DIAGNOSTICS.
        unpublishable: why the pipeline would not publish this posterior.
        normal_missing: why there is no fit of lme4, or None.
    """

    cut: date
    answers: int
    items: int
    scores: int
    students: int
    parameters: dict[str, dict[str, float]]
    diagnostics: dict[str, float]
    unpublishable: list[str]
    normal_missing: str | None


@dataclass(frozen=True)
class ScoreQuality:
    """How good predictions of scores are.

    Attributes:
        coverage: for each of COVERED the share of scores that the central interval holds.
        width: mean width of the 90 % interval, logits.
        crps: mean continuous ranked probability score, logits.
        rmse: root of the mean squared distance of the score from the predicted mean, logits.
    """

    coverage: dict[int, Estimate]
    width: Estimate
    crps: Estimate
    rmse: Estimate


@dataclass(frozen=True, kw_only=True)
class Goal:
    """How good the probabilities of a score at or above a target are.

    Attributes:
        target: its name.
        events: scores at or above it.
        reason: why it is not judged, or None.
        happened: share of events.
        quality: by method; AUC within cuts.
        skill: by method: 1 - Brier score / that of the cohort's rate before the cut.
    """

    target: str
    events: int
    reason: str | None = None
    happened: Estimate = UNKNOWN
    quality: dict[str, Quality] = field(default_factory=dict)
    skill: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What came out at a horizon, all cuts together.

    Attributes:
        weeks: the horizon.
        n, students: scores that were predicted, and whose they are.
        reason: why it is not judged, or None.
        scores: by method.
        gain: for each other method, the mean CRPS of the posterior minus its own: below 0 the posterior is better.
        goals: by target.
    """

    weeks: int
    n: int
    students: int
    reason: str | None = None
    scores: dict[str, ScoreQuality] = field(default_factory=dict)
    gain: dict[str, Estimate] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)

    @property
    def best_naive(self) -> str:
        """The naive method of least CRPS."""
        return min(NAIVE, key=lambda name: self.scores[name].crps.value)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came out.

    Attributes:
        protocol: how it was made.
        answers, students: of whole weeks.
        first, last: Mondays of the first and the last week with an answer.
        methods: in the order in which they are shown.
        fits: by cut.
        horizons: ascending.
        predictions: a row for each cut, horizon (weeks), student (number) and method: score, se, mean, low_<p> and
            high_<p> of the intervals, crps, and by target number event_<k>, p_<k>, rate_<k> (the cohort's).
    """

    protocol: Protocol
    answers: int
    students: int
    first: date
    last: date
    methods: list[str]
    fits: list[Fit]
    horizons: list[Horizon]
    predictions: pd.DataFrame

    @property
    def judged(self) -> list[Horizon]:
        """Horizons with numbers."""
        return [horizon for horizon in self.horizons if horizon.reason is None]

    def document(self) -> dict[str, Any]:
        """All numbers, for JSON; an unknown one is null."""
        numbers = ("answers", "students", "first", "last", "methods")
        found = {
            "protocol": asdict(self.protocol),
            **{name: getattr(self, name) for name in numbers},
            "fits": [asdict(fit) for fit in self.fits],
            "horizons": [asdict(horizon) for horizon in self.horizons],
        }
        return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and np.isnan(value) else value


def answers_of_file(
    path: Path, item_column: str | None, progress: Callable[[float], None] = lambda done: None
) -> tuple[pd.DataFrame, Counter[str]]:
    """Answered questions of a file, as `evaluate_growth` takes them, and how many rows were refused, by reason.

    Raises:
        UnreadableFile: no such file, another format, or a required column is missing.
    """
    rows, refused = read_file(path, item_column=item_column, progress=progress)
    return rows.rename(columns={"student": "student_id", "item": "item_id"})[ANSWER_COLUMNS], refused


def answers_of_database(database: Database, item_column: str) -> pd.DataFrame:
    """Answered questions of the database (SEEDTEST_ATTEMPT_RELATION), as `evaluate_growth` takes them.

    Raises:
        NotEvaluable: the relation has no such column.
    """
    a = database.attempt.c
    if item_column not in a:
        raise NotEvaluable(f"The database's answers have no column {item_column}; give item_id or topic_id.")
    columns = [a[item_column].label(name) if name == "item_id" else a[name] for name in ANSWER_COLUMNS]
    return database.frame(sa.select(*columns).where(a[item_column].is_not(None)))


def evaluate_growth(
    answers: pd.DataFrame,
    irt: IrtService,
    glmm: GlmmService,
    protocol: Protocol,
    progress: Progress = lambda what, done: None,
    now: datetime | None = None,
) -> Evaluation:
    """Predict the own-week scores of later weeks and judge the predictions.

    Args:
        answers: ANSWER_COLUMNS; topic_id may be missing. The order of the rows does not matter.
        irt: the IRT service.
        glmm: the glmm service; without an address the method "normal" is left out.
        protocol: how.
        progress: called with what is being done and the share of it that is done.
        now: answers of this local week and later are left out, since the week is not over; default: the clock.

    Raises:
        NotEvaluable: too few weeks, items, students or later scores; a calibration that does not converge.
        Unprocessable: the service cannot calibrate the answers before a cut.
    """
    facts = _Facts.of(answers, now or datetime.now(UTC))
    cuts = _cuts(facts, protocol)
    known = []
    for number, cut in enumerate(cuts):
        progress(f"fitting what was known on {_monday(cut)}, {number + 1} of {len(cuts)}", number / len(cuts))
        known.append(_Known.of(facts, cut, irt, glmm, protocol))
    methods = [name for name in (POSTERIOR, NORMAL, LAST, COHORT) if all(name in each.fit.parameters for each in known)]
    progress("predicting", 0.0)
    parts = [part for each in known for part in each.predictions(facts, methods, protocol)]
    predictions = pd.concat(parts, ignore_index=True)
    horizons = []
    for number, weeks in enumerate(protocol.horizons):
        progress(f"{weeks} weeks: drawing students", number / len(protocol.horizons))
        horizons.append(_judge(predictions[predictions["weeks"] == weeks], weeks, methods, protocol))
    if all(horizon.reason is not None for horizon in horizons):
        reasons = " ".join(f"{horizon.weeks} weeks: {horizon.reason}." for horizon in horizons)
        raise NotEvaluable(f"There is too little to judge the predictions by. {reasons}")
    return Evaluation(
        protocol=protocol,
        answers=len(facts.answers),
        students=facts.students,
        first=_monday(facts.first),
        last=_monday(facts.end - 1),
        methods=methods,
        fits=[each.fit for each in known],
        horizons=horizons,
        predictions=predictions,
    )


@dataclass(frozen=True)
class _Facts:
    """Answers of whole weeks, in an order of their own.

    Attributes:
        answers: student and item (numbers in the order of their ids), correct, week and day (numbers, of FIRST_MONDAY
            on), again (an earlier answer of the student to the item exists).
    """

    answers: pd.DataFrame

    @classmethod
    def of(cls, answers: pd.DataFrame, now: datetime) -> "_Facts":
        if answers.empty:
            raise NotEvaluable("There are no answers to evaluate.")
        timezone = settings().seedtest_timezone
        day = _days(answers["completed_at"].dt.tz_convert(timezone).dt.tz_localize(None))
        today = _days(pd.Series([pd.Timestamp(local_day(now, timezone))])).iloc[0]
        week = day // WEEK.days
        known = answers.assign(day=day, week=week)[week < today // WEEK.days]
        if known.empty:
            raise NotEvaluable("There are no answers of a week that is over.")
        ordered = known.assign(
            student=np.unique(known["student_id"].astype(str), return_inverse=True)[1],
            item_id=np.unique(known["item_id"].astype(str), return_inverse=True)[1],
        ).sort_values(["student", "completed_at", "item_id", "correct"], ignore_index=True)
        again = ordered.duplicated(["student", "item_id"])
        return cls(ordered.assign(again=again)[["student", "item_id", "correct", "day", "week", "again"]])

    @property
    def students(self) -> int:
        """Students with an answer."""
        return int(self.answers["student"].nunique())

    @property
    def first(self) -> int:
        """The first week with an answer."""
        return int(self.answers["week"].min())

    @property
    def end(self) -> int:
        """The week after the last one with an answer."""
        return int(self.answers["week"].max()) + 1

    def between(self, first: int, end: int) -> pd.DataFrame:
        """Answers of the weeks from `first` to before `end`."""
        return self.answers[self.answers["week"].between(first, end, inclusive="left")]


def _days(local: "pd.Series[pd.Timestamp]") -> "pd.Series[int]":
    return (local - FIRST_MONDAY).dt.days


def _monday(week: int) -> date:
    return (FIRST_MONDAY + week * WEEK).date()


def _cuts(facts: _Facts, protocol: Protocol) -> list[int]:
    """The weeks that begin with a cut, ascending: the last one leaves the longest horizon, if there is room for it."""
    weeks, longest = facts.end - facts.first, max(protocol.horizons)
    latest = facts.end - longest
    earliest = min(max(facts.end - int(LATER_SHARE * weeks), facts.first + LEAST_WEEKS), latest)
    if earliest < facts.first + LEAST_WEEKS:
        raise NotEvaluable(
            f"The answers are from {weeks} weeks, {_monday(facts.first)} to {_monday(facts.end - 1)} (Mondays): "
            f"{LEAST_WEEKS} to learn from and {longest} to judge are needed. Give nearer --horizons, or more weeks."
        )
    return [int(cut) for cut in np.unique(np.linspace(latest, earliest, protocol.cuts).round())]


@dataclass(frozen=True)
class _Known:
    """A cut's bank, scores and fits.

    Attributes:
        week: the cut.
        bank: calibrated items: item_id, a, b, c.
        scores: own-week scores before the cut: student, week (from the cut, negative), score, se.
        fit: how the fits went.
        draws: of the six parameters of `models.growth`, by method.
        statistics: of the scores; students are positions in `students`.
        students: numbers of the students with a score, ascending.
    """

    week: int
    bank: pd.DataFrame
    scores: pd.DataFrame
    fit: Fit
    draws: dict[str, pd.DataFrame]
    statistics: Statistics
    students: Ints

    @classmethod
    def of(cls, facts: _Facts, cut: int, irt: IrtService, glmm: GlmmService, protocol: Protocol) -> "_Known":
        """Calibrate, score and fit, all on answers before the cut."""
        before = facts.between(facts.first, cut)
        answers = _calibrated(before[before["day"] >= cut * WEEK.days - protocol.lookback_days])
        calibration = _calibration(irt, answers, _monday(cut), protocol)
        bank = calibration.items[["item_id", "a", "b", "c"]]
        scores = own_week_scores(before[before["week"] >= cut - protocol.lookback_weeks], bank, cut)
        students = np.unique(scores["student"].to_numpy(np.int64))
        if len(students) < FEWEST:
            raise NotEvaluable(
                f"Only {len(students)} students have an own-week score in the {protocol.lookback_weeks} weeks before "
                f"{_monday(cut)}, {FEWEST} are needed: fewer --cuts begin later, coarser items (--item-column "
                "topic_id) make more scores."
            )
        of_scores = growth.statistics(_indexed(scores, students))
        posterior = growth.sample(
            of_scores,
            growth.Priors(),
            chains=CHAINS,
            samples=protocol.samples,
            warmup=WARMUP,
            seed=protocol.seed,
            max_seconds=settings().growth_max_seconds,
        )
        summary = posterior.summary.set_index("parameter")["mean"]
        parameters = {POSTERIOR: {str(name): float(value) for name, value in summary.items()}}
        some = np.linspace(0, len(posterior.draws) - 1, MIXED).astype(int)
        draws = {POSTERIOR: posterior.draws.iloc[some]}
        trend, missing = _trend(glmm, scores)
        if trend is not None:
            parameters[NORMAL] = six_parameters(trend)
            draws[NORMAL] = pd.DataFrame([parameters[NORMAL]])
        fit = Fit(
            cut=_monday(cut),
            answers=len(answers),
            items=len(bank),
            scores=len(scores),
            students=len(students),
            parameters={
                **parameters,
                LAST: {"sd_change": weekly_change(scores)},
                COHORT: {"mean": float(scores["score"].mean()), "sd": float(scores["score"].std())},
            },
            diagnostics={name: float(posterior.diagnostics[name]) for name in DIAGNOSTICS},
            unpublishable=growth.unpublishable(posterior.diagnostics),
            normal_missing=missing,
        )
        return cls(cut, bank, scores, fit, draws, of_scores, students)

    def predictions(self, facts: _Facts, methods: list[str], protocol: Protocol) -> Iterator[pd.DataFrame]:
        """Rows of `Evaluation.predictions`."""
        later = own_week_scores(facts.between(self.week, self.week + max(protocol.horizons)), self.bank, self.week)
        later["weeks"] = np.ceil(later["week"]).astype(int)
        rows = later[later["weeks"].isin(protocol.horizons) & later["student"].isin(self.students)]
        rows = rows.merge(self.scores.groupby("student", as_index=False).last(), on="student", suffixes=("", "_last"))
        target = np.stack([np.full(len(rows), level) for level in protocol.targets] + [rows["score_last"] + GAIN])
        score = rows["score"].to_numpy()
        known = rows[["weeks", "student", "score", "se"]].assign(
            cut=self.fit.cut,
            **{f"event_{k}": score >= level for k, level in enumerate(target)},
            **{f"rate_{k}": rate for k, rate in enumerate(self._rates(protocol))},
        )
        for method in methods:
            found = self._predictive(method, rows)
            tails = {share: (1 - share / 100) / 2 for share in COVERED}
            yield known.assign(
                method=method,
                mean=found.mean,
                **{f"low_{share}": found.quantile(tail) for share, tail in tails.items()},
                **{f"high_{share}": found.quantile(1 - tail) for share, tail in tails.items()},
                crps=found.crps(score),
                **{f"p_{k}": found.at_least(level) for k, level in enumerate(target)},
            )

    def _predictive(self, method: str, rows: pd.DataFrame) -> Mixture:
        """The distribution of each score by a method."""
        week, se = rows["week"].to_numpy(), rows["se"].to_numpy()
        parameters = self.fit.parameters[method]
        if method == LAST:
            gone = week - rows["week_last"].to_numpy()
            variance = rows["se_last"].to_numpy() ** 2 + se**2 + gone * parameters["sd_change"] ** 2
            return Mixture(rows["score_last"].to_numpy()[:, None], np.sqrt(variance)[:, None])
        if method == COHORT:
            return Mixture(*(np.full((len(rows), 1), parameters[name]) for name in ("mean", "sd")))
        student = np.searchsorted(self.students, rows["student"])
        return growth.predictive(self.statistics, self.draws[method], student, week, se)

    def _rates(self, protocol: Protocol) -> list[float]:
        """Share of the scores before the cut that reached each target."""
        score = self.scores["score"]
        rise = self.scores.groupby("student")["score"].diff().dropna()
        return [float((score >= level).mean()) for level in protocol.targets] + [float((rise >= GAIN).mean())]


def _calibrated(answers: pd.DataFrame) -> pd.DataFrame:
    """Those that MIRT_ATTEMPTS takes."""
    match settings().mirt_attempts:
        case "first":
            return answers[~answers["again"]]
        case "last":
            return answers.drop_duplicates(["student", "item_id"], keep="last")
        case _:
            return answers


def _calibration(irt: IrtService, answers: pd.DataFrame, cut: date, protocol: Protocol) -> Calibration:
    least, model = settings().mirt_min_responses, settings().mirt_model
    if (answers["item_id"].value_counts() >= least).sum() < LEAST_ITEMS:
        raise NotEvaluable(
            f"Fewer than {LEAST_ITEMS} items have {least} answers in the {protocol.lookback_days} days before {cut}: "
            "take coarser items (--item-column topic_id), a longer MIRT_LOOKBACK_DAYS, or fewer --cuts."
        )
    calibration = irt.calibrate(
        answers.rename(columns={"student": "student_id"}),
        model=model,
        priors=PRIORS[model],
        min_responses=least,
        repeated="keep" if settings().mirt_attempts == "all" else "refuse",
        standard_errors="none",
    )
    metrics = calibration.fit_meta["metrics"]
    if not metrics["converged"]:
        raise NotEvaluable(
            f"The calibration of {cut} did not converge in {metrics['iterations']} iterations (stopped by "
            f"{metrics['stopped_by']}): try MIRT_MODEL=Rasch or a longer MIRT_LOOKBACK_DAYS."
        )
    return calibration


def own_week_scores(answers: pd.DataFrame, bank: pd.DataFrame, cut: int) -> pd.DataFrame:
    """Each student's score from a week's answers alone, as the pipeline makes it.

    Returns:
        Columns student, week (from the cut to the middle of the week), score, se, sorted by the first two.
    """
    known = answers.merge(bank, on="item_id")
    week = known["week"] - cut + 0.5
    found = topic_scores(known.assign(user_id=known["student"], topic_id=tables.OVERALL, week=week))
    found["student"] = found["user_id"].astype(int)
    return found.sort_values(["student", "week"], ignore_index=True)[["student", "week", "score", "se"]]


def _indexed(scores: pd.DataFrame, students: Ints) -> Scores:
    student = np.searchsorted(students, scores["student"])
    week, score, se = (scores[name].to_numpy(dtype=float) for name in ("week", "score", "se"))
    return Scores(student, week, score, se, len(students))


def weekly_change(scores: pd.DataFrame) -> float:
    """Sd by which students' abilities part in a week, if each does a random walk.

    Of two consecutive scores of a student, g weeks apart, the squared difference has the mean se_1^2 + se_2^2 +
    g sd^2: moments, each pair weighted by 1 / (se_1^2 + se_2^2). 0 where the errors explain all, or nobody has two.

    Args:
        scores: columns student, week, score, se, by student and week.
    """
    of_student = scores.groupby("student")
    pairs = pd.DataFrame(
        {
            "change": of_student["score"].diff() ** 2,
            "weeks": of_student["week"].diff(),
            "error": scores["se"] ** 2 + of_student["se"].shift() ** 2,
        }
    ).dropna()
    if pairs.empty:
        return 0.0
    variance = (pairs["change"] / pairs["error"] - 1).sum() / (pairs["weeks"] / pairs["error"]).sum()
    return float(np.sqrt(max(variance, 0.0)))


def _trend(glmm: GlmmService, scores: pd.DataFrame) -> tuple[ProgressFit | None, str | None]:
    """lme4's fit as the pipeline would publish it, or why there is none."""
    if not glmm.is_configured:
        return None, "no glmm service is configured (R_GLMM_BASE_URL)"
    try:
        fit = glmm.fit_progress(scores)
    except Unprocessable as refused:
        return None, str(refused)
    return (fit, None) if fit.converged else (None, f"lme4 did not converge: {'; '.join(fit.fit_meta['messages'])}")


def _judge(rows: pd.DataFrame, weeks: int, methods: list[str], protocol: Protocol) -> Horizon:
    """All cuts' predictions at a horizon."""
    by_method = dict(iter(rows.groupby("method", sort=False)))
    one = by_method.get(POSTERIOR, rows)
    n, students = len(one), one["student"].nunique()
    if students < FEWEST:
        return Horizon(weeks=weeks, n=n, students=students, reason=f"scores of {students} students ({FEWEST} needed)")
    student = np.unique(one["student"], return_inverse=True)[1].astype(np.int64)
    cut = np.unique(one["cut"], return_inverse=True)[1].astype(np.int64)
    weights = student_weights(students, protocol.bootstrap, np.random.default_rng([protocol.seed, weeks]))

    def by_cut(event: "pd.Series[bool]") -> Outcomes:
        return Outcomes(event.to_numpy(bool), student, cut)

    some = by_cut(one["event_0"])  # of which only the students matter for scores
    crps = {method: mean(of["crps"].to_numpy(), some, weights) for method, of in by_method.items()}
    return Horizon(
        weeks=weeks,
        n=n,
        students=students,
        scores={method: _score_quality(by_method[method], some, weights) for method in methods},
        gain={method: basic_interval(crps[POSTERIOR] - crps[method]) for method in methods if method != POSTERIOR},
        goals=[
            _goal(name, k, {method: by_method[method] for method in methods}, by_cut(one[f"event_{k}"]), weights)
            for k, name in enumerate(protocol.goals)
        ],
    )


def _score_quality(rows: pd.DataFrame, outcomes: Outcomes, weights: Floats) -> ScoreQuality:
    score = rows["score"]
    judged = Judged(rows["p_0"].to_numpy(), outcomes, weights)

    def average(values: "pd.Series[float]") -> Floats:
        return mean(np.asarray(values, dtype=np.float64), outcomes, weights)

    return ScoreQuality(
        coverage={
            of: share(judged, score.between(rows[f"low_{of}"], rows[f"high_{of}"]).to_numpy(bool)) for of in COVERED
        },
        width=basic_interval(average(rows["high_90"] - rows["low_90"])),
        crps=basic_interval(average(rows["crps"])),
        rmse=basic_interval(np.sqrt(average((score - rows["mean"]) ** 2))),
    )


def _goal(target: str, k: int, rows: dict[str, pd.DataFrame], outcomes: Outcomes, weights: Floats) -> Goal:
    events, others = int(outcomes.correct.sum()), int((~outcomes.correct).sum())
    if min(events, others) < FEWEST:
        reason = f"{events} scores at or above the target, {others} below it ({FEWEST} needed)"
        return Goal(target=target, events=events, reason=reason)
    judged = {method: Judged(of[f"p_{k}"].to_numpy(), outcomes, weights) for method, of in rows.items()}
    return Goal(
        target=target,
        events=events,
        happened=share(judged[POSTERIOR], outcomes.correct),
        quality={method: quality(of) for method, of in judged.items()},
        skill={method: skill(of, rows[method][f"rate_{k}"].to_numpy()) for method, of in judged.items()},
    )
