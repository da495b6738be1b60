"""`seedtest evaluate churn`: the risk of 14 silent days, on later weeks of students the model has never met.

Students are divided into folds. A fold's model is fitted on the other folds' students and on facts before the cut:
their landmarks, outcomes and weekly metrics, the metrics computed from these students' answers alone. It then predicts
the fold's own students from the cut on, at one landmark per student and week on a random weekday, each from facts
before that day; what happened afterwards is known at the end of the answers.

* An event within h days needs the rest of the 14 silent days to fit into them. Where it does not the risk is exactly 0
  by logic; those landmarks are counted, and every number is about the others.
* The naive method is the same regression on idle days alone (recency): most of what can be known of silence is
  the silence so far.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.calendar import WEEK, local_day, local_midnight
from seedtest_assets.evaluation.churn_quality import (
    UNKNOWN,
    GroupQuality,
    Judged,
    Quality,
    by_group,
    judged_of,
    quality,
    share,
    skill,
    too_few,
    with_q,
)
from seedtest_assets.evaluation.irt import NotEvaluable, Progress, fold_of_student
from seedtest_assets.intake.files import UnreadableFile, read_file
from seedtest_assets.models.evaluation import Estimate
from seedtest_assets.models.irt import Bools, Ints
from seedtest_assets.models.landmarks import (
    COVARIATES,
    HORIZONS,
    OBSERVED_DAYS,
    SILENT_DAYS,
    Calendar,
    Keys,
    Records,
    return_gaps,
    session_rate,
    student_keys,
    training_landmarks,
)
from seedtest_assets.models.return_hazard import fit_cox
from seedtest_assets.models.survival import FULL, RECENCY, HorizonModel, fit_risk, predict_risk
from seedtest_assets.models.weekly import LOOKBACK_DAYS, weekly_numbers
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings

LATER_SHARE = 0.4
"""Of the days: how many are judged, unless said otherwise."""

MOST_GROUPS = 6
"""Groups of an attribute that are judged, the largest ones of the cohort."""

LEAST_LATER_DAYS = max(HORIZONS) + SILENT_DAYS
EPOCH = date(1970, 1, 1).toordinal()
ATTEMPT_COLUMNS = [
    *("student_id", "item_id", "topic_id", "session_id", "correct", "response_time_ms", "hint_used"),
    *("completed_at", "started_at"),
]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the evaluation is made.

    Attributes:
        train_until: first day of the later weeks; None: LATER_SHARE of the days are later, at least 42.
        horizons: days within which the event may fall.
        folds: folds of students.
        seed: of the folds, the draws and the permutations.
        bootstrap: draws of students behind each interval.
        permutations: of students between groups, behind each p.
        lookback_days: days before the cut that the model learns from.
    """

    train_until: date | None = None
    horizons: tuple[int, ...] = HORIZONS
    folds: int = 5
    seed: int = 1
    bootstrap: int = 500
    permutations: int = 999
    lookback_days: int = field(default_factory=lambda: settings().survival_lookback_days)


@dataclass(frozen=True)
class Fit:
    """One fold's model at one horizon, on the students of the other folds.

    Attributes:
        n, students, events: landmarks, students and events in training.
        status: of `fit_risk`.
    """

    n: int
    students: int
    events: int
    status: str


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What came out at one horizon.

    Attributes:
        days: the horizon.
        impossible: later landmarks with a risk of 0 by logic; none was followed by the event.
        n, students, events: later landmarks where the event is possible, their students, those it followed.
        fits: by fold.
        reason: why it is not judged, or None.
        happened: share of events.
        quality: of the whole model (FULL) and of idle days alone (RECENCY); empty if not judged.
        skill: 1 - Brier score / the one of idle days alone.
        groups: the whole model by group of students.
    """

    days: int
    impossible: int
    n: int
    students: int
    events: int
    fits: list[Fit]
    reason: str | None = None
    happened: Estimate = UNKNOWN
    quality: dict[str, Quality] = field(default_factory=dict)
    skill: Estimate = UNKNOWN
    groups: list[GroupQuality] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What came out.

    Attributes:
        protocol: how it was made.
        answers, students: of whole days.
        first, cut, last: first day with an answer, first of the later weeks, last day with an answer.
        days_off: days off between first and last.
        skip_days_off: whether they do not count as idle.
        attributes: names of the groups' attributes.
        horizons: ascending.
        cox: of `fit_cox`, on all students' gaps before the cut.
        predictions: later landmarks: student, day, idle, due, fold, and for each horizon event_<h>, full_<h>
            and recency_<h>.
        group: of each student number, a column for each attribute; missing where it is not known.
    """

    protocol: Protocol
    answers: int
    students: int
    first: date
    cut: date
    last: date
    days_off: int
    skip_days_off: bool
    attributes: list[str]
    horizons: list[Horizon]
    cox: dict[str, Any]
    predictions: pd.DataFrame
    group: pd.DataFrame

    @property
    def judged(self) -> list[Horizon]:
        """Horizons with numbers."""
        return [horizon for horizon in self.horizons if horizon.reason is None]

    def landmarks(self, days: int) -> pd.DataFrame:
        """The later landmarks at which the event is possible and its outcome known."""
        rows = self.predictions
        return rows[(rows["due"] <= days) & rows[f"event_{days}"].notna()]

    def document(self) -> dict[str, Any]:
        """All numbers, for JSON; an unknown one is null."""
        numbers = ("answers", "students", "first", "cut", "last", "days_off", "skip_days_off", "attributes", "cox")
        found = {
            "protocol": asdict(self.protocol),
            **{name: getattr(self, name) for name in numbers},
            "horizons": [asdict(horizon) for horizon in self.horizons],
        }
        return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and np.isnan(value) else value


def attempts_of_file(
    path: Path, progress: Callable[[float], None] = lambda done: None
) -> tuple[pd.DataFrame, Counter[str]]:
    """Answered questions of a file, as `evaluate_churn` takes them, and how many rows were refused, by reason.

    Raises:
        UnreadableFile: no such file, another format, or a required column is missing.
    """
    rows, refused = read_file(path, progress=progress)
    attempts = rows.rename(columns={"student": "student_id", "item": "item_id"})[ATTEMPT_COLUMNS]
    items = np.unique(attempts["item_id"], return_inverse=True)[1]
    return attempts.assign(item_id=items, id=np.arange(len(attempts))), refused


def attempts_of_database(database: Database) -> pd.DataFrame:
    """Answered questions of the database (SEEDTEST_ATTEMPT_RELATION), as `evaluate_churn` takes them."""
    a = database.attempt.c
    return database.frame(sa.select(a.id, *(a[name] for name in ATTEMPT_COLUMNS)))


def days_off_of_file(path: Path) -> Ints:
    """Days off: the column `date` of a CSV or Parquet file, as `Calendar` takes them.

    Raises:
        UnreadableFile: no such file, no such column, or something that is no date.
    """
    text = _table(path, "date")["date"]
    days = pd.to_datetime(text, format="ISO8601", errors="coerce")
    if days.isna().any():
        raise UnreadableFile(f"{path.name}: “{text[days.isna()].iloc[0]}” is no date; write for example 2026-05-05")
    return _day_numbers(days.drop_duplicates().sort_values())


def groups_of_file(path: Path) -> pd.DataFrame:
    """Groups of students: a CSV or Parquet file of student_id and a column for each attribute.

    Returns:
        Columns student_id, name, value, as in intake.student_attribute.

    Raises:
        UnreadableFile: no such file, no column student_id, or two rows for one student.
    """
    rows = _table(path, "student_id")
    repeated = rows["student_id"].duplicated()
    if repeated.any():
        raise UnreadableFile(f"{path.name} has {repeated.sum():,} rows of students that it has already; give each one")
    return rows.melt("student_id", var_name="name", value_name="value").dropna()


def groups_of_database(database: Database) -> pd.DataFrame:
    """intake.student_attribute, as `groups_of_file` gives it."""
    s = tables.student_attribute.c
    return database.frame(sa.select(s.user_id.label("student_id"), s.name, s.value))


def _table(path: Path, column: str) -> pd.DataFrame:
    """A small file, all text."""
    if not path.is_file():
        raise UnreadableFile(f"{path} does not exist")
    try:
        rows = pd.read_parquet(path) if path.suffix.lower() in {".parquet", ".pq"} else pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path.name} cannot be read as CSV or Parquet: {error}") from error
    if column not in rows:
        raise UnreadableFile(f"{path.name} has no column {column}. It has: {', '.join(map(str, rows.columns))}.")
    return rows.astype("str")


def _day_numbers(days: "pd.Series[pd.Timestamp]") -> Ints:
    """Of timestamps without a zone, as `date.toordinal` gives them."""
    return np.asarray((days.dt.normalize() - pd.Timestamp(0)).dt.days.to_numpy(np.int64) + EPOCH)


def evaluate_churn(
    attempts: pd.DataFrame,
    protocol: Protocol,
    calendar: Calendar,
    groups: pd.DataFrame | None = None,
    progress: Progress = lambda what, done: None,
    now: datetime | None = None,
) -> Evaluation:
    """Predict later weeks of held-out students and judge the risks.

    Args:
        attempts: id (breaks ties of time) and ATTEMPT_COLUMNS; item_id whole numbers. The order of the rows does
            not matter.
        protocol: how.
        calendar: days off.
        groups: columns student_id, name, value.
        progress: called with what is being done and the share of it that is done.
        now: answers of this local day and later are left out, since the day is not over; default: the clock.

    Raises:
        NotEvaluable: fewer students than folds, no later weeks, or too few events at every horizon.
    """
    facts = _Facts.of(attempts, now or datetime.now(UTC))
    horizons = tuple(sorted(protocol.horizons))
    cut = _cut(facts, protocol)
    fold = fold_of_student(len(facts.users), protocol.folds, protocol.seed)
    everyone = facts.records(calendar, cut - protocol.lookback_days, facts.end, lambda done: progress("weeks", done))
    parts, fits = [], []
    for held_out in range(protocol.folds):
        progress(f"training without fold {held_out + 1} of {protocol.folds}", held_out / protocol.folds)
        training = facts.of_students(fold != held_out).records(calendar, cut - protocol.lookback_days, cut)
        model = fit_risk(training_landmarks(training, cut, protocol.lookback_days, horizons), horizons)
        activity = everyone.activity
        own = replace(everyone, activity=activity[fold[activity["student"]] == held_out])
        later = training_landmarks(own, facts.end, facts.end - cut, horizons)
        parts.append(_predicted(later, model).assign(fold=held_out))
        fits.append([_fit(of_horizon) for of_horizon in model])
    predictions = pd.concat(parts).sort_values(["student", "day"], ignore_index=True)
    group = _group_table(facts.users, groups)
    judged = [
        _judge(predictions, days, list(of_folds), group, protocol, progress)
        for days, of_folds in zip(horizons, zip(*fits, strict=True), strict=True)
    ]
    if all(horizon.reason is not None for horizon in judged):
        reasons = " ".join(f"{horizon.days} days: {horizon.reason}." for horizon in judged)
        raise NotEvaluable(f"There is too little to judge the risk by. {reasons}")
    off = calendar.days_off
    return Evaluation(
        protocol=protocol,
        answers=len(facts.attempts),
        students=len(facts.users),
        first=date.fromordinal(facts.first),
        cut=date.fromordinal(cut),
        last=date.fromordinal(facts.end - 1),
        days_off=int(np.sum((off >= facts.first) & (off < facts.end))),
        skip_days_off=calendar.idle_skips_days_off,
        attributes=list(group.columns),
        horizons=_with_q(judged),
        cox=fit_cox(return_gaps(everyone, cut, protocol.lookback_days)),
        predictions=predictions,
        group=group,
    )


@dataclass(frozen=True)
class _Facts:
    """Answers of whole days.

    Attributes:
        attempts: as `evaluate_churn` takes them, by student, time and id, without today's.
        users: students' ids, ascending; a student's number is the position here.
        student, day: student number and local day of each answer, shape (n,).
        first_day: each student's first active day, shape (students,).
        keys: of `student_keys`, shape (students,).
    """

    attempts: pd.DataFrame
    users: "np.ndarray[tuple[int], np.dtype[np.object_]]"
    student: Ints
    day: Ints
    first_day: Ints
    keys: Keys

    @classmethod
    def of(cls, attempts: pd.DataFrame, now: datetime) -> "_Facts":
        timezone = settings().seedtest_timezone
        today = local_midnight(local_day(now, timezone), timezone)
        over = attempts[attempts["completed_at"] < today].sort_values(["student_id", "completed_at", "id"])
        if over.empty:
            raise NotEvaluable("There are no answers of a day that is over.")
        users, student = np.unique(over["student_id"].astype(str).to_numpy(dtype=object), return_inverse=True)
        day = _day_numbers(over["completed_at"].dt.tz_convert(timezone).dt.tz_localize(None))
        first_day = np.full(len(users), day.max())
        np.minimum.at(first_day, student, day)
        return cls(over, users, student.astype(np.int64), day, first_day, student_keys(users.tolist()))

    @property
    def first(self) -> int:
        """The first day with an answer."""
        return int(self.day.min())

    @property
    def end(self) -> int:
        """The day after the last one with an answer: all before is known."""
        return int(self.day.max()) + 1

    def of_students(self, member: Bools) -> "_Facts":
        """As if the other students did not exist; numbers stay."""
        mine = member[self.student]
        return replace(self, attempts=self.attempts[mine], student=self.student[mine], day=self.day[mine])

    def records(
        self, calendar: Calendar, first: int, end: int, progress: Callable[[float], None] = lambda done: None
    ) -> Records:
        """What landmarks from `first` to `end` are made from; weekly metrics as they were at the end of each week."""
        begin = (first - OBSERVED_DAYS - 1) // WEEK.days * WEEK.days + 1 + WEEK.days
        ends = np.arange(begin, end + 1, WEEK.days)
        weeks = []
        for position, as_of_day in enumerate(ends):
            weeks.append(self._week(int(as_of_day)))
            progress((position + 1) / len(ends))
        activity = pd.DataFrame({"student": self.student, "day": self.day}).drop_duplicates(ignore_index=True)
        return Records(activity, pd.concat(weeks, ignore_index=True), self.keys, calendar)

    def _week(self, as_of_day: int) -> pd.DataFrame:
        """The covariates of the week that ends at a Monday's midnight, from the answers before it."""
        days_ago = as_of_day - self.day
        window = (days_ago >= 1) & (days_ago <= LOOKBACK_DAYS)
        if not window.any():
            return pd.DataFrame(columns=["student", "as_of_day", *COVARIATES], dtype=float)
        ago = days_ago[window]
        unknown = dict.fromkeys(("a", "b", "c"), np.nan)  # no ability is needed
        answers = self.attempts[window].assign(days_ago=ago, in_week=ago <= WEEK.days, **unknown)
        numbers = weekly_numbers(answers, use_theta=False)
        student = np.searchsorted(self.users, numbers["user_id"].to_numpy(dtype=object))
        as_of = np.full(len(student), as_of_day)
        rate = session_rate(numbers["sessions"].to_numpy(dtype=float), as_of, self.first_day[student])
        names = {"mean_gap_days": "mean_gap"}
        found = numbers.rename(columns=names).assign(student=student, as_of_day=as_of, session_rate=rate)
        return found[["student", "as_of_day", *COVARIATES]]


def _cut(facts: _Facts, protocol: Protocol) -> int:
    """The first of the later days."""
    days = facts.end - facts.first
    later = max(int(np.ceil(LATER_SHARE * days)), LEAST_LATER_DAYS)
    cut = protocol.train_until.toordinal() if protocol.train_until else facts.end - later
    span = f"The answers are from {date.fromordinal(facts.first)} to {date.fromordinal(facts.end - 1)}"
    if cut <= facts.first:
        raise NotEvaluable(
            f"{span}: before {date.fromordinal(cut)} there is nothing to train on. Give a later --train-until, or "
            f"more weeks ({LEAST_LATER_DAYS} days are kept for judging)."
        )
    if cut + min(protocol.horizons) > facts.end:
        raise NotEvaluable(
            f"{span}: there are no later weeks to judge, since after {date.fromordinal(cut)} not even "
            f"{min(protocol.horizons)} days are known. Give an earlier --train-until."
        )
    return cut


def _predicted(later: pd.DataFrame, model: list[HorizonModel]) -> pd.DataFrame:
    """The landmarks' outcomes and risks."""
    events = [f"event_{of['horizon']}" for of in model]
    found = later[["student", "day", "idle", "due", *events]]
    for name, recency_only in ((FULL, False), (RECENCY, True)):
        risks = predict_risk(later, model, recency_only=recency_only)
        risk = risks["risk"].to_numpy().reshape(len(model), len(later))
        found = found.assign(**{f"{name}_{of['horizon']}": row for of, row in zip(model, risk, strict=True)})
    return found


def _fit(model: HorizonModel) -> Fit:
    return Fit(model["n"], model["n_students"], model["events"], model["status"])


def _group_table(users: Iterable[str], groups: pd.DataFrame | None) -> pd.DataFrame:
    """A row for each student, a column for each attribute."""
    index = pd.Index(users, name="student_id")
    if groups is None or groups.empty:
        return pd.DataFrame(index=range(len(index)))
    known = groups.astype({"student_id": str}).pivot(index="student_id", columns="name", values="value")
    return known.reindex(index).reset_index(drop=True).dropna(axis="columns", how="all")


def _judge(
    predictions: pd.DataFrame, days: int, fits: list[Fit], group: pd.DataFrame, protocol: Protocol, progress: Progress
) -> Horizon:
    known = predictions[predictions[f"event_{days}"].notna()]
    possible = (known["due"] <= days).to_numpy()
    if known.loc[~possible, f"event_{days}"].any():
        raise RuntimeError(f"an event within {days} days of a landmark where it is impossible")
    rows = known[possible].reset_index(drop=True)
    happened = rows[f"event_{days}"].to_numpy() == 1
    found = Horizon(
        days=days,
        impossible=int((~possible).sum()),
        n=len(rows),
        students=rows["student"].nunique(),
        events=int(happened.sum()),
        fits=fits,
        reason=_why_not(fits, happened, rows["student"].to_numpy()),
    )
    if found.reason is not None:
        return found
    random = np.random.default_rng([protocol.seed, 1, days])
    full = judged_of(rows, rows[f"{FULL}_{days}"].to_numpy(), happened, protocol.bootstrap, random)
    recency = replace(full, risk=rows[f"{RECENCY}_{days}"].to_numpy())
    progress(f"{days} days: drawing students", 0.0)
    of_full = quality(full)
    progress(f"{days} days: drawing students", 0.5)
    return replace(
        found,
        happened=share(full, happened),
        quality={FULL: of_full, RECENCY: quality(recency)},
        skill=skill(full, recency.risk),
        groups=_groups(full, rows, group, days, protocol, progress),
    )


def _why_not(fits: list[Fit], happened: Bools, student: Ints) -> str | None:
    failed = [fit for fit in fits if fit.status == "too few events"]
    if failed:
        least = min(failed, key=lambda fit: fit.events)
        return (
            f"too few in training: {least.events} events, {least.n - least.events} landmarks without one, "
            f"{least.students} students"
        )
    few = too_few(happened, student)
    return None if few is None else f"too few in the later weeks: {few}"


def _groups(
    judged: Judged, rows: pd.DataFrame, group: pd.DataFrame, days: int, protocol: Protocol, progress: Progress
) -> list[GroupQuality]:
    students = np.unique(rows["student"])
    found: list[GroupQuality] = []
    for number, attribute in enumerate(group.columns):
        sizes = group[attribute].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        largest = [str(name) for name in sizes.index[:MOST_GROUPS]]
        of_student = group.loc[students, attribute].reset_index(drop=True)
        random = np.random.default_rng([protocol.seed, 2, days, number])

        def advance(done: float, attribute: str = attribute) -> None:
            progress(f"{days} days: {attribute}", done)

        found += by_group(judged, str(attribute), of_student, largest, protocol.permutations, random, advance)
    return found


def _with_q(horizons: list[Horizon]) -> list[Horizon]:
    """Corrects for the comparisons at all horizons."""
    q = iter(with_q([of for horizon in horizons for of in horizon.groups]))
    return [replace(horizon, groups=[next(q) for _ in horizon.groups]) for horizon in horizons]
