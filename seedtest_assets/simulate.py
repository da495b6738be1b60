"""A cohort of students whose truth is known: the demo's data and the tests' oracle.

What is simulated:

* ability   theta(t) = theta_0 + slope * weeks(t) + u[topic], in logits; it stands still within a session;
* answers   P(correct) = logistic(a (theta - b)): the two-parameter logistic model with D = 1 (Birnbaum 1968).
            Hints and earlier meetings with an item change nothing: answers are conditionally independent;
* choice    items are chosen by `ItemChooser`, which sees answers and provisional difficulties, not the truth;
* time      log seconds ~ N(intensity[item] - speed[student], sd^2) (van der Linden 2007), plus a constant
            when the answer is wrong;
* hints     each further hint, up to three, is taken with probability logistic(propensity - (theta - b));
* activity  sessions arrive as a Poisson process, of which at most one in an afternoon and one in an evening
            is held; students join late, pause for one to three weeks, and drop out at an exponential time,
            some to return.

Every student has random streams of their own (Philox, keyed by seed and student number), so a student's truth
and rows depend on the seed and the rest of the spec, but not on the number of students or the batch size: a
larger cohort begins with the smaller one.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from enum import IntEnum
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.special import expit, log_expit, ndtri

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

US_PER_HOUR = 3_600_000_000
US_PER_WEEK = 7 * 24 * US_PER_HOUR

# A session lasts at most 30 * (120 s + 8 s) = 64 minutes. The afternoon's therefore ends by 18:04 and the
# evening's by 23:34: sessions lie more than 30 minutes apart and within their local day.
MAX_SESSION_ANSWERS = 30
MAX_RESPONSE_MS = 120_000
BETWEEN_ANSWERS_MS = (2_000, 8_000)
SLOT_OPENS = np.array([2.5, 7.0])  # hours after local noon: 14:30 and 19:00
SLOT_HOURS = np.array([2.5, 3.5])  # a session starts within so many hours of the opening
SLOT_SHARE = np.array([0.3, 0.7])  # of a day's sessions

ATTEMPTS_SCHEMA = pa.schema(
    [
        ("student_id", pa.string()),
        ("item_id", pa.string()),
        ("topic_id", pa.string()),
        ("session_id", pa.string()),
        ("started_at", pa.timestamp("us", tz="UTC")),
        ("answered_at", pa.timestamp("us", tz="UTC")),
        ("is_correct", pa.bool_()),
        ("response_time_ms", pa.int64()),
        ("hints_used", pa.int32()),
        ("attempt_no", pa.int32()),
    ]
)

RANGES: dict[str, tuple[float, float]] = {
    "students": (1, 9_999_999),
    **dict.fromkeys(("items", "topics"), (1, 99_999)),
    "weeks": (1, 5_000),
    "seed": (0, 2**64 - 1),
    **dict.fromkeys(("theta_sd", "topic_sd", "a_log_sd", "b_sd", "b_provisional_sd", "hint_sd"), (0, 10)),
    **dict.fromkeys(("time_intensity_sd", "speed_sd", "time_noise_sd"), (0, 10)),
    **dict.fromkeys(("activity_sd", "session_answers_sd"), (0, 10)),
    **dict.fromkeys(("slope_mean", "wrong_slowdown", "hint_mean", "dropout_by_activity"), (-10, 10)),
    "slope_sd": (0, 10),
    "time_median_s": (0.001, MAX_RESPONSE_MS / 1_000),
    "session_answers": (1, MAX_SESSION_ANSWERS),
    **dict.fromkeys(("sessions_per_week", "dropout_per_week", "holiday_activity"), (0, 100)),
    **dict.fromkeys(("review_share", "unlogged_share", "late_share", "pause_per_week", "return_share"), (0, 1)),
}


@dataclass(frozen=True, kw_only=True)
class CohortSpec:
    """What a simulated cohort is drawn from; the same spec gives the same rows.

    Attributes:
        students: number of students.
        items: number of items; a multiple of `topics`.
        topics: number of topics, each with items / topics items.
        weeks: length of the cohort's time, in weeks.
        end: last local day, inclusive; the first is 7 * weeks - 1 days earlier.
        seed: 0 .. 2**64 - 1.
        timezone: IANA name of the students' time zone.
        theta_sd: sd of theta_0, in logits; its mean is 0.
        slope_mean: mean growth, in logits per week since the cohort's start.
        slope_sd: sd of growth between students, in logits per week.
        topic_sd: sd of a student's deviation on a topic, in logits.
        a_log_sd: sd of log discrimination; its mean is 0.
        b_sd: sd of difficulty, in logits; its mean is 0.
        b_provisional_sd: sd of the error of the difficulty that the item chooser works with, in logits.
        review_share: probability of repeating an item answered wrong 3 to 28 days ago, where there is one.
        time_median_s: median response time of a typical student on a typical item, correct, in seconds.
        time_intensity_sd: sd of time intensity between items, in log seconds.
        speed_sd: sd of speed between students, in log seconds.
        time_noise_sd: residual sd of a response time, in log seconds.
        wrong_slowdown: added to the log seconds of a wrong answer.
        unlogged_share: share of the answers of which neither start nor response time was logged.
        hint_mean: mean propensity to take a hint, in logits at theta = b.
        hint_sd: sd of that propensity between students.
        sessions_per_week: median rate of sessions of a student who is present.
        activity_sd: sd of the log rate between students.
        session_answers: median answers per session (which has 3 to 30).
        session_answers_sd: sd of log answers per session.
        weekday_activity: rate on Monday .. Sunday, relative to each other.
        holidays: local days on which the rate is multiplied by `holiday_activity`.
        holiday_activity: see `holidays`.
        late_share: share of the students who join on a random day of the first half.
        pause_per_week: probability that a pause of 7 to 21 days begins in a week.
        dropout_per_week: hazard of dropping out at the median rate of sessions, per week since joining.
        dropout_by_activity: the hazard is multiplied by (rate / median rate) ** -dropout_by_activity.
        return_share: probability that a drop-out returns, after 2 weeks plus exponential weeks of mean 4.

    Raises:
        ValueError: when a value is out of its range; the message names it.
    """

    students: int = 300
    items: int = 480
    topics: int = 12
    weeks: int = 26
    end: date
    seed: int = 1
    timezone: str = "UTC"
    theta_sd: float = 1.0
    slope_mean: float = 0.02
    slope_sd: float = 0.02
    topic_sd: float = 0.3
    a_log_sd: float = 0.3
    b_sd: float = 1.1
    b_provisional_sd: float = 0.3
    review_share: float = 0.15
    time_median_s: float = 20.0
    time_intensity_sd: float = 0.35
    speed_sd: float = 0.3
    time_noise_sd: float = 0.4
    wrong_slowdown: float = 0.15
    unlogged_share: float = 0.03
    hint_mean: float = -2.5
    hint_sd: float = 0.7
    sessions_per_week: float = 2.4
    activity_sd: float = 0.4
    session_answers: float = 8.5
    session_answers_sd: float = 0.5
    weekday_activity: tuple[float, ...] = (1.1, 1.1, 1.1, 1.0, 0.7, 0.8, 1.2)
    holidays: tuple[date, ...] = ()
    holiday_activity: float = 0.3
    late_share: float = 0.2
    pause_per_week: float = 0.02
    dropout_per_week: float = 0.025
    dropout_by_activity: float = 0.5
    return_share: float = 0.25

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, got {getattr(self, name)}")
        if self.items % self.topics:
            raise ValueError(f"items must be a multiple of topics, got {self.items} items and {self.topics} topics")
        week = self.weekday_activity
        if len(week) != 7 or min(week) < 0 or not 0 < sum(week) < float("inf"):
            raise ValueError(f"weekday_activity needs seven rates of 0 or more, not all 0, got {week}")
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"timezone must be an IANA name such as Asia/Seoul, got {self.timezone!r}") from error

    @property
    def days(self) -> int:
        """Number of local days."""
        return 7 * self.weeks

    @property
    def start(self) -> date:
        """First local day."""
        return self.end - timedelta(days=self.days - 1)

    def local_us(self, at: time) -> Integers:
        """UTC microseconds since 1970 of a local time on each day, shape (days,)."""
        zone = ZoneInfo(self.timezone)
        local = (datetime.combine(self.start + timedelta(days=day), at, zone) for day in range(self.days))
        return np.array([round(moment.timestamp() * 1e6) for moment in local], dtype=np.int64)


@dataclass(frozen=True)
class Batch:
    """Some students' answers and truth.

    Attributes:
        attempts: one row per answer, of `ATTEMPTS_SCHEMA`, by student and answered_at.
        students: one row per student: student_id; theta_0 (logits) and theta_0_at, when it holds; slope
            (logits per week); topic_deviation (logits, a struct with a field per topic_id); activity
            (sessions per week); speed (log seconds); hint_propensity (logits); joined_on; dropped_on, the
            first day away, and returned_on, the first day back (null: never); pauses, a list of first and
            last days; answers, a count.
    """

    attempts: pa.Table
    students: pa.Table


@dataclass(frozen=True)
class CohortSummary:
    """What `write_cohort` wrote."""

    students: int
    active_students: int
    items: int
    answers: int
    correct: int
    first_answered_at: datetime | None
    last_answered_at: datetime | None


class _Stream(IntEnum):
    """A student's independent sources of randomness."""

    ITEMS = 0
    TRUTH = 1
    PRESENCE = 2
    PAUSES = 3
    SESSIONS = 4
    CHOICES = 5
    ANSWERS = 6


def _uniforms(seed: int, stream: _Stream, students: range, rows: Integers, width: int) -> Floats:
    """Uniform numbers, shape (sum of rows, width): rows[i] of them from the stream of student i.

    The stream's number is the highest word of Philox's 256-bit counter, so streams never meet.
    """
    numbers = np.empty((int(rows.sum()), width))
    stop = np.cumsum(rows)
    for student, first, last in zip(students, stop - rows, stop, strict=True):
        generator = np.random.Generator(
            np.random.Philox(key=np.array([seed, student], dtype=np.uint64), counter=[0, 0, 0, int(stream)])
        )
        generator.random(out=numbers[first:last])
    return numbers


def _per_student(seed: int, stream: _Stream, students: range, shape: tuple[int, int]) -> Floats:
    """Uniform numbers, shape (students, *shape)."""
    rows = np.full(len(students), shape[0], dtype=np.int64)
    return _uniforms(seed, stream, students, rows, shape[1]).reshape(len(students), *shape)


@dataclass(frozen=True)
class _Items:
    """The item bank; items are ordered by topic, arrays of shape (items,)."""

    item_id: pa.Array
    topic_id: pa.Array  # (topics,)
    topic: Integers
    a: Floats
    b: Floats
    b_provisional: Floats
    time_intensity: Floats

    @classmethod
    def draw(cls, spec: CohortSpec) -> "_Items":
        z = ndtri(_uniforms(spec.seed, _Stream.ITEMS, range(1), np.array([spec.items]), 4))
        b = spec.b_sd * z[:, 1]
        return cls(
            item_id=pa.array([f"i{item:05d}" for item in range(1, spec.items + 1)]),
            topic_id=pa.array([f"t{topic:03d}" for topic in range(1, spec.topics + 1)]),
            topic=np.arange(spec.items) // (spec.items // spec.topics),
            a=np.exp(spec.a_log_sd * z[:, 0]),
            b=b,
            b_provisional=b + spec.b_provisional_sd * z[:, 2],
            time_intensity=np.log(spec.time_median_s) + spec.time_intensity_sd * z[:, 3],
        )


@dataclass(frozen=True)
class _Students:
    """Truth of a batch of n students; days count from 0 and are infinite where the event never comes."""

    student_id: pa.Array
    theta_0: Floats
    slope: Floats
    topic_deviation: Floats  # (n, topics)
    activity: Floats
    speed: Floats
    hint_propensity: Floats
    joined: Floats
    dropped: Floats
    returned: Floats
    pause_first: Floats  # (n, weeks)
    pause_last: Floats

    @classmethod
    def draw(cls, spec: CohortSpec, students: range) -> "_Students":
        z = ndtri(_per_student(spec.seed, _Stream.TRUTH, students, (1, 5 + spec.topics)))[:, 0]
        relative_activity = np.exp(spec.activity_sd * z[:, 2])

        late, moment, lasting, returning, absence = _per_student(spec.seed, _Stream.PRESENCE, students, (1, 5))[:, 0].T
        joined = np.where(late < spec.late_share, np.floor(moment * spec.days / 2), 0.0)
        hazard = spec.dropout_per_week * relative_activity**-spec.dropout_by_activity
        weeks = np.divide(-np.log1p(-lasting), hazard, out=np.full(len(students), np.inf), where=hazard > 0)
        dropped = joined + np.floor(7 * weeks)
        dropped[dropped >= spec.days] = np.inf
        returned = dropped + 14 + np.floor(-28 * np.log1p(-absence))
        returned[(returning >= spec.return_share) | (returned >= spec.days)] = np.inf

        pauses, first, length = _per_student(spec.seed, _Stream.PAUSES, students, (spec.weeks, 3)).transpose(2, 0, 1)
        pause_first = 7 * np.arange(spec.weeks) + np.floor(7 * first)
        pause_last = np.minimum(pause_first + 6 + np.floor(15 * length), spec.days - 1)
        never = (pauses >= spec.pause_per_week) | (pause_first < joined[:, None])
        return cls(
            student_id=pa.array(
                [f"s{student:07d}" for student in range(students.start + 1, students.stop + 1)], pa.string()
            ),
            theta_0=spec.theta_sd * z[:, 0],
            slope=spec.slope_mean + spec.slope_sd * z[:, 1],
            topic_deviation=spec.topic_sd * z[:, 5:],
            activity=spec.sessions_per_week * relative_activity,
            speed=spec.speed_sd * z[:, 3],
            hint_propensity=spec.hint_mean + spec.hint_sd * z[:, 4],
            joined=joined,
            dropped=dropped,
            returned=returned,
            pause_first=np.where(never, np.inf, pause_first),
            pause_last=np.where(never, np.inf, pause_last),
        )

    def present(self, days: int) -> Booleans:
        """Whether a student may study on a day, shape (n, days)."""
        day = np.arange(days)
        present = (day >= self.joined[:, None]) & ((day < self.dropped[:, None]) | (day >= self.returned[:, None]))
        for first, last in zip(self.pause_first.T, self.pause_last.T, strict=True):
            present &= (day < first[:, None]) | (day > last[:, None])
        return present

    def table(self, spec: CohortSpec, topics: pa.Array, answers: Integers) -> pa.Table:
        """The truth as `Batch.students` describes it."""

        def dates(days: Floats) -> pa.Array:
            never = np.isinf(days)
            return pa.array(np.datetime64(spec.start) + np.where(never, 0, days).astype(np.int64), mask=never)

        paused = np.isfinite(self.pause_first)
        pauses = pa.StructArray.from_arrays(
            [dates(self.pause_first[paused]), dates(self.pause_last[paused])], names=["first", "last"]
        )
        origin = pa.array(np.full(len(answers), spec.local_us(time())[0]), pa.timestamp("us", tz="UTC"))
        return pa.table(
            {
                "student_id": self.student_id,
                "theta_0": self.theta_0,
                "theta_0_at": origin,
                "slope": self.slope,
                "topic_deviation": pa.StructArray.from_arrays(
                    [pa.array(column) for column in self.topic_deviation.T], names=topics.to_pylist()
                ),
                "activity": self.activity,
                "speed": self.speed,
                "hint_propensity": self.hint_propensity,
                "joined_on": dates(self.joined),
                "dropped_on": dates(self.dropped),
                "returned_on": dates(self.returned),
                "pauses": pa.ListArray.from_arrays(
                    pa.array(np.concatenate([[0], paused.sum(axis=1).cumsum()]), pa.int32()), pauses
                ),
                "answers": answers,
            }
        )


@dataclass(frozen=True)
class _Sessions:
    """Planned sessions by student and time, arrays of shape (sessions,)."""

    student: Integers  # row of the batch
    day: Integers  # local day, from 0
    start_us: Integers  # UTC microseconds since 1970
    answers: Integers
    topic: Integers

    @classmethod
    def plan(cls, spec: CohortSpec, students: range, truth: _Students) -> "_Sessions":
        """One session in an afternoon or evening with at least one arrival of the thinned Poisson process."""
        weekday = np.resize(np.roll(spec.weekday_activity, -spec.start.weekday()), spec.days)
        holiday = np.isin(np.arange(spec.days) + np.datetime64(spec.start), np.array(spec.holidays, "datetime64[D]"))
        per_day = weekday / sum(spec.weekday_activity) * np.where(holiday, spec.holiday_activity, 1.0)
        rate = truth.activity[:, None, None] * (per_day * truth.present(spec.days))[:, :, None] * SLOT_SHARE

        draws = _per_student(spec.seed, _Stream.SESSIONS, students, (spec.days * len(SLOT_SHARE), 4))
        draws = draws.reshape(len(students), spec.days, len(SLOT_SHARE), 4)
        student, day, slot = np.nonzero(draws[..., 0] < -np.expm1(-rate))
        _, start, length, topic = draws[student, day, slot].T
        hours = SLOT_OPENS[slot] + SLOT_HOURS[slot] * start
        answers = np.rint(spec.session_answers * np.exp(spec.session_answers_sd * ndtri(length)))
        return cls(
            student=student,
            day=day,
            start_us=spec.local_us(time(12))[day] + (hours * US_PER_HOUR).astype(np.int64),
            answers=np.clip(answers, 3, MAX_SESSION_ANSWERS).astype(np.int64),
            topic=(topic * spec.topics).astype(np.int64),
        )


class ItemChooser:
    """Chooses the next item of many students at once, from their answers alone.

    The ability estimate is a normal approximation to the Rasch posterior, updated answer by answer: with
    p = logistic(m - b), v <- 1 / (1 / v + p (1 - p)) and m <- m + v (correct - p), from N(0, 1); between
    sessions v grows as for a random walk (an extended Kalman filter, Fahrmeir 1992). In the asked topic an
    item is drawn with probability proportional to a normal kernel of its distance from m, times
    1 - exp(-days since it was last met / 365), so that items near the ability and not met yet come first,
    and none is certain or excluded.

    Attributes:
        difficulty: what is believed of b, in logits, shape (items,), ordered by topic.
        ability: m, the students' estimated abilities, in logits, shape (students,).
        variance: v, their posterior variances, shape (students,).
    """

    WIDTH = 1.0  # logits: sd of the kernel
    FORGETTING = 365.0  # days: what is new comes first
    SAME_DAY = 0.05  # days: an item met today counts as met so long ago
    DRIFT = 0.01  # logits^2 per week: growth of v
    REVIEW_DAYS = (3.0, 28.0)

    def __init__(self, students: int, topics: int, difficulty: Floats, review_share: float) -> None:
        self.difficulty = difficulty
        self._review_share = review_share
        self._per_topic = len(difficulty) // topics
        self._by_topic = difficulty.reshape(topics, self._per_topic)
        self.ability = np.zeros(students)
        self.variance = np.ones(students)
        self._day = np.full(students, np.inf)
        self._met = np.full((students, len(difficulty)), -np.inf)
        self._wrong = np.zeros((students, len(difficulty)), dtype=np.bool_)
        self._meetings = np.zeros((students, len(difficulty)), dtype=np.int32)

    def choose(self, student: Integers, topic: Integers, day: Integers, u: Floats) -> Integers:
        """Items for n different students.

        Args:
            student: rows of the students, shape (n,).
            topic: the topic that each studies, unless an item is due for review.
            day: local day of the session, counted from any origin.
            u: uniform numbers, shape (n, 2): whether to review, and which item.

        Returns:
            Item numbers, shape (n,).
        """
        distance2 = ((self._by_topic[topic] - self.ability[student, None]) / self.WIDTH) ** 2
        nearness = np.exp((distance2.min(axis=1, keepdims=True) - distance2) / 2)
        met = self._met.reshape(-1, *self._by_topic.shape)[student, topic]
        freshness = -np.expm1(-(day[:, None] - met + self.SAME_DAY) / self.FORGETTING)
        item = topic * self._per_topic + _draw_index(nearness * freshness, u[:, 1])

        asked = np.flatnonzero(u[:, 0] < self._review_share)
        since = day[asked, None] - self._met[student[asked]]
        due = self._wrong[student[asked]] & (since >= self.REVIEW_DAYS[0]) & (since <= self.REVIEW_DAYS[1])
        any_due = due.any(axis=1)
        item[asked[any_due]] = _draw_index(due[any_due], u[asked[any_due], 1])
        return item

    def observe(self, student: Integers, item: Integers, day: Integers, correct: Booleans) -> npt.NDArray[np.int32]:
        """Take in n answers; returns how often each student has now answered the item, shape (n,)."""
        weeks = np.maximum(day - self._day[student], 0) / 7
        p = expit(self.ability[student] - self.difficulty[item])
        variance = 1 / (1 / (self.variance[student] + self.DRIFT * weeks) + p * (1 - p))
        self.ability[student] += variance * (correct - p)
        self.variance[student] = variance
        self._day[student] = day
        self._met[student, item] = day
        self._wrong[student, item] = ~correct
        self._meetings[student, item] += 1
        return self._meetings[student, item]


def _draw_index(weight: npt.NDArray[np.float64 | np.bool_], u: Floats) -> Integers:
    """An index per row, drawn with probability proportional to `weight`: its distribution inverted at u."""
    cumulated = np.cumsum(weight, axis=1, dtype=np.float64)
    index: Integers = np.argmax(cumulated > u[:, None] * cumulated[:, -1:], axis=1)
    return index


def simulate(spec: CohortSpec, batch_size: int = 1_000) -> Iterator[Batch]:
    """The cohort, some students at a time.

    Memory is bounded by the answers of one batch, whatever the number of students; the rows do not depend on
    `batch_size`.

    Args:
        spec: the cohort.
        batch_size: students per batch, at least 1.

    Yields:
        Batches in the order of the students' numbers.

    Raises:
        ValueError: when batch_size is less than 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    items = _Items.draw(spec)
    for first in range(0, spec.students, batch_size):
        yield _simulate_batch(spec, items, range(first, min(first + batch_size, spec.students)))


def _simulate_batch(spec: CohortSpec, items: _Items, students: range) -> Batch:
    truth = _Students.draw(spec, students)
    sessions = _Sessions.plan(spec, students, truth)
    answers = np.bincount(sessions.student, sessions.answers, len(students)).astype(np.int64)
    session = np.repeat(np.arange(len(sessions.student)), sessions.answers)
    student = sessions.student[session]
    weeks = (sessions.start_us - spec.local_us(time())[0]) / US_PER_WEEK
    level = truth.theta_0[sessions.student] + truth.slope[sessions.student] * weeks

    choice = _uniforms(spec.seed, _Stream.CHOICES, students, answers, 2)
    chance = _uniforms(spec.seed, _Stream.ANSWERS, students, answers, 5)
    item = np.empty(len(session), dtype=np.int64)
    advantage = np.empty(len(session))
    correct = np.empty(len(session), dtype=np.bool_)
    attempt_no = np.empty(len(session), dtype=np.int32)
    chooser = ItemChooser(len(students), spec.topics, items.b_provisional, spec.review_share)
    first = np.cumsum(answers) - answers
    for k in range(int(answers.max())):  # the k-th answer of all students who give one
        who = np.flatnonzero(answers > k)
        row = first[who] + k
        now = session[row]
        chosen = chooser.choose(who, sessions.topic[now], sessions.day[now], choice[row])
        item[row] = chosen
        advantage[row] = level[now] + truth.topic_deviation[who, items.topic[chosen]] - items.b[chosen]
        correct[row] = chance[row, 0] < expit(items.a[chosen] * advantage[row])
        attempt_no[row] = chooser.observe(who, chosen, sessions.day[now], correct[row])

    log_seconds = items.time_intensity[item] - truth.speed[student] + np.where(correct, 0.0, spec.wrong_slowdown)
    response_ms, answered_us = _timing(spec, sessions, session, log_seconds, chance[:, 1:3])
    unlogged = chance[:, 3] < spec.unlogged_share
    hints = np.floor(np.log1p(-chance[:, 4]) / log_expit(truth.hint_propensity[student] - advantage))
    number = np.arange(len(sessions.student)) - np.searchsorted(sessions.student, sessions.student) + 1
    session_id = pc.binary_join_element_wise(
        truth.student_id.take(pa.array(sessions.student)), pa.array(number).cast(pa.string()), "-"
    )
    attempts = pa.table(
        [
            truth.student_id.take(pa.array(student)),
            items.item_id.take(pa.array(item)),
            items.topic_id.take(pa.array(items.topic[item])),
            session_id.take(pa.array(session)),
            pa.array(answered_us - 1_000 * response_ms, ATTEMPTS_SCHEMA.field("started_at").type, mask=unlogged),
            pa.array(answered_us, ATTEMPTS_SCHEMA.field("answered_at").type),
            correct,
            pa.array(response_ms, mask=unlogged),
            np.minimum(hints, 3).astype(np.int32),
            attempt_no,
        ],
        schema=ATTEMPTS_SCHEMA,
    )
    return Batch(attempts, truth.table(spec, items.topic_id, answers))


def _timing(
    spec: CohortSpec, sessions: _Sessions, session: Integers, log_seconds: Floats, u: Floats
) -> tuple[Integers, Integers]:
    """Response times in ms and UTC microseconds of the answers, one after the other within each session."""
    log_ms = np.log(1_000) + log_seconds + spec.time_noise_sd * ndtri(u[:, 0])
    response_ms = np.clip(np.rint(np.exp(log_ms)), 1, MAX_RESPONSE_MS).astype(np.int64)
    shortest, longest = BETWEEN_ANSWERS_MS
    passed_ms = np.cumsum(response_ms + shortest + np.floor((longest - shortest) * u[:, 1]).astype(np.int64))
    last = np.cumsum(sessions.answers) - 1
    before_ms = np.concatenate([[0], passed_ms[last[:-1]]]) if len(last) else np.empty(0, dtype=np.int64)
    return response_ms, sessions.start_us[session] + 1_000 * (passed_ms - before_ms[session])


def true_items(spec: CohortSpec) -> pa.Table:
    """The item bank's truth: item_id, topic_id, a, b, b_provisional (logits), time_intensity (log seconds).

    b_provisional is the difficulty that the item chooser works with. The truth of an item depends on the seed
    and the item's number, not on the students.
    """
    items = _Items.draw(spec)
    return pa.table(
        {
            "item_id": items.item_id,
            "topic_id": items.topic_id.take(pa.array(items.topic)),
            "a": items.a,
            "b": items.b,
            "b_provisional": items.b_provisional,
            "time_intensity": items.time_intensity,
        }
    )


def true_theta(
    truth: pa.Table, student: npt.ArrayLike, at: npt.ArrayLike, topic: npt.ArrayLike | None = None
) -> Floats:
    """Ability theta_0 + slope * weeks since theta_0_at, plus the deviation on a topic where topics are given.

    Answers were drawn from the ability at the start of their session, which differs from the one at
    answered_at by less than 0.0064 slopes.

    Args:
        truth: `Batch.students`, or truth_students.parquet.
        student: student_id, shape (n,).
        at: UTC times, shape (n,).
        topic: topic_id, shape (n,).

    Returns:
        Logits, shape (n,).

    Raises:
        KeyError: when a student or topic is not in the truth.
    """
    row = _positions(truth["student_id"], student)
    weeks = (np.asarray(at, dtype="datetime64[us]") - np.asarray(truth["theta_0_at"], dtype="datetime64[us]")[row]) / (
        np.timedelta64(1, "W")
    )
    theta: Floats = np.asarray(truth["theta_0"])[row] + np.asarray(truth["slope"])[row] * weeks
    if topic is None:
        return theta
    deviations = truth["topic_deviation"].combine_chunks()
    column = _positions(pa.array([field.name for field in deviations.type]), topic)
    theta += np.column_stack(deviations.flatten())[row, column]
    return theta


def _positions(known: pa.Array, wanted: npt.ArrayLike) -> Integers:
    found = pc.index_in(pa.array(np.asarray(wanted, dtype=object), pa.string()), value_set=known.cast(pa.string()))
    if found.null_count:
        missing = np.asarray(wanted, dtype=object)[np.asarray(found.is_null())]
        raise KeyError(f"{missing[0]} is not in the truth")
    return np.asarray(found, dtype=np.int64)


def write_cohort(
    spec: CohortSpec,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    batch_size: int = 1_000,
) -> CohortSummary:
    """Simulate into attempts.parquet, truth_students.parquet, truth_items.parquet and spec.json.

    The files are written under a temporary name and moved into place at the end: an older spec.json is
    removed first and the new one comes last, so that a folder with a spec.json holds the whole cohort of that
    spec.

    Args:
        spec: the cohort.
        folder: made when missing; other files in it are left alone.
        progress: called after each batch with the students done and the students in all.
        batch_size: students in memory at a time.

    Raises:
        OSError: when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    items = true_items(spec)
    done = active = answers = correct = 0
    bounds: list[datetime] = []
    with tempfile.TemporaryDirectory(prefix=".cohort-", dir=folder) as name:
        new = Path(name)
        with (
            pq.ParquetWriter(new / "attempts.parquet", ATTEMPTS_SCHEMA) as attempts_file,
            pq.ParquetWriter(new / "truth_students.parquet", _students_schema(spec)) as students_file,
        ):
            for batch in simulate(spec, batch_size):
                attempts_file.write_table(batch.attempts)
                students_file.write_table(batch.students)
                done += batch.students.num_rows
                active += pc.sum(pc.greater(batch.students["answers"], 0)).as_py()
                answers += batch.attempts.num_rows
                correct += pc.sum(batch.attempts["is_correct"], min_count=0).as_py()
                answered = pc.min_max(batch.attempts["answered_at"]).as_py()
                bounds += [at for at in answered.values() if at]
                if progress:
                    progress(done, spec.students)
        pq.write_table(items, new / "truth_items.parquet")
        (new / "spec.json").write_text(json.dumps(asdict(spec), default=str, indent=2) + "\n")
        (folder / "spec.json").unlink(missing_ok=True)
        for file in ("attempts.parquet", "truth_students.parquet", "truth_items.parquet", "spec.json"):
            (new / file).replace(folder / file)
    return CohortSummary(
        students=done,
        active_students=active,
        items=items.num_rows,
        answers=answers,
        correct=correct,
        first_answered_at=min(bounds, default=None),
        last_answered_at=max(bounds, default=None),
    )


def _students_schema(spec: CohortSpec) -> pa.Schema:
    nobody = _Students.draw(spec, range(0))
    return nobody.table(spec, _Items.draw(spec).topic_id, np.empty(0, dtype=np.int64)).schema
