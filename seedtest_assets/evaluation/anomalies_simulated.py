"""Weeks of students and of topics whose unusual weeks are known: what `seedtest evaluate anomalies` judges on.

Own-week scores and counts are drawn directly, not by answers to items: what is judged is the detection, and thousands
of weeks are needed to see one false alarm a year.

* students, activity: answers of a week ~ Poisson(rate of the student x gamma of mean 1 and shape SHAPE), as log(1 +
  answers);
* students, ability: level + slope x week + the cohort's movement of the week + N(0, se^2), se = 2 / sqrt(answers)
  (2PL answers near the ability), missing below LEAST_ANSWERS answers;
* topics, ability and log attempts: level, for ability + slope x week, + AR(1) noise of the topic's own sd.

An event is a shift (from its onset on), a spike (one week) or a drop-out (DROP_OUT_WEEKS weeks in which a share of the
usual answers is left, which may be too few for an ability).
"""

from dataclasses import dataclass, replace

import numpy as np

from seedtest_assets.models.irt import Bools, Floats, Ints

SHIFT, SPIKE, DROP_OUT = "shift", "spike", "drop-out"
STUDENTS, TOPICS = "students", "topics"
ABILITY, ACTIVITY = "ability", "activity"

DROP_OUT_WEEKS = 3
LEAST_ANSWERS = 5
USUAL_ANSWERS, SHAPE = 20.0, 8.0
USUAL_SE = 2 / np.sqrt(USUAL_ANSWERS)
MEMORY = 0.3
"""First-order autocorrelation of a topic's noise."""


@dataclass(frozen=True)
class Events:
    """At most one event for each series.

    Attributes:
        kind: SHIFT, SPIKE, DROP_OUT, or "" for none, shape (series,).
        size: of a shift or spike in sds of a usual week's noise; of a drop-out the share of answers that is left.
        onset: first week, shape (series,).
        stop: week after the last, shape (series,).
        sign: of a shift or spike, 1 or -1.
    """

    kind: np.ndarray[tuple[int], np.dtype[np.str_]]
    size: Floats
    onset: Ints
    stop: Ints
    sign: Floats

    def of(self, *kinds: str) -> "Events":
        """Only events of these kinds."""
        return replace(self, kind=np.where(np.isin(self.kind, kinds), self.kind, ""))

    def during(self, weeks: int) -> Bools:
        """Whether a week belongs to the series' event, shape (series, weeks)."""
        week = np.arange(weeks)
        within = (week >= self.onset[:, None]) & (week < self.stop[:, None])
        return np.asarray(within & np.asarray(self.kind != "")[:, None])

    def moved(self, weeks: int) -> Floats:
        """What shifts and spikes add, in sds of noise, shape (series, weeks)."""
        moves = np.isin(self.kind, (SHIFT, SPIKE))[:, None]
        return np.where(self.during(weeks) & moves, (self.sign * self.size)[:, None], 0.0)

    def left(self, weeks: int) -> Floats:
        """Share of the usual answers, shape (series, weeks)."""
        drops = (self.kind == DROP_OUT)[:, None]
        return np.where(self.during(weeks) & drops, self.size[:, None], 1.0)


@dataclass(frozen=True)
class Panel:
    """Series of one quantity.

    Attributes:
        level: STUDENTS or TOPICS.
        measure: ABILITY or ACTIVITY.
        values: NaN where missing, shape (series, weeks).
        se: standard errors, or None.
        events: that this quantity is to tell.
    """

    level: str
    measure: str
    values: Floats
    se: Floats | None
    events: Events


@dataclass(frozen=True, kw_only=True)
class World:
    """What is simulated.

    Attributes:
        students: number of students.
        topics: number of topics.
        history: weeks that only look-backs see, without events.
        weeks: weeks after them.
        within: weeks within which an event is to be found: none begins so late that there are fewer.
        sizes: of shifts and spikes.
        left: of drop-outs.
        share: of the series that have an event; 0 for clean ones.
    """

    students: int
    topics: int
    history: int
    weeks: int
    within: int
    sizes: tuple[float, ...]
    left: tuple[float, ...]
    share: float

    @property
    def length(self) -> int:
        """Weeks in all."""
        return self.history + self.weeks


def panels(world: World, random: np.random.Generator) -> list[Panel]:
    """Ability and activity of students and of topics: shifts and spikes are of ability, drop-outs of activity."""
    return [*_students(world, random), *_topics(world, random)]


def _events(world: World, series: int, random: np.random.Generator) -> Events:
    """Every kind and size equally often, of the first series: which they are makes no difference."""
    kinds = [(kind, size) for kind in (SHIFT, SPIKE) for size in world.sizes]
    kinds += [(DROP_OUT, left) for left in world.left]
    chosen = [kinds[event % len(kinds)] for event in range(round(world.share * series))]
    chosen += [("", 0.0)] * (series - len(chosen))
    kind, size = np.array([kind for kind, _ in chosen], dtype="U8"), np.array([size for _, size in chosen])
    onset = world.history + random.integers(0, world.weeks - world.within + 1, series)
    lasting = np.select([kind == SPIKE, kind == DROP_OUT], [1, DROP_OUT_WEEKS], default=world.length)
    return Events(kind, size, onset, np.minimum(onset + lasting, world.length), random.choice([-1.0, 1.0], series))


def _students(world: World, random: np.random.Generator) -> list[Panel]:
    shape, events = (world.students, world.length), _events(world, world.students, random)
    rate = USUAL_ANSWERS * np.exp(random.normal(0, 0.4, (world.students, 1)))
    answers = random.poisson(rate * random.gamma(SHAPE, 1 / SHAPE, shape) * events.left(world.length))
    se = 2 / np.sqrt(np.maximum(answers, 1))
    lines = random.normal(0, 0.8, (world.students, 1)) + _growth(0.02, shape, random)
    ability = lines + random.normal(0, 0.15, world.length) + se * random.normal(size=shape)
    ability += USUAL_SE * events.moved(world.length)
    return _both(STUDENTS, answers, ability, se, events)


def _topics(world: World, random: np.random.Generator) -> list[Panel]:
    shape, events = (world.topics, world.length), _events(world, world.topics, random)
    sd_ability, sd_activity = (sd * np.exp(random.normal(0, 0.3, (world.topics, 1))) for sd in (0.1, 0.2))
    usual = random.normal(6, 1, (world.topics, 1)) + sd_activity * _noise(shape, random)
    attempts = random.poisson(np.exp(usual) * events.left(world.length))
    lines = random.normal(0, 0.5, (world.topics, 1)) + _growth(0.01, shape, random)
    ability = lines + sd_ability * (_noise(shape, random) + events.moved(world.length))
    return _both(TOPICS, attempts, ability, None, events)


def _both(level: str, answers: Ints, ability: Floats, se: Floats | None, events: Events) -> list[Panel]:
    seen = np.where(answers >= LEAST_ANSWERS, ability, np.nan)
    return [
        Panel(level, ABILITY, seen, se, events.of(SHIFT, SPIKE)),
        Panel(level, ACTIVITY, np.log1p(answers), None, events.of(DROP_OUT)),
    ]


def _growth(sd: float, shape: tuple[int, int], random: np.random.Generator) -> Floats:
    """Lines of mean slope .02 a week, shape (series, weeks)."""
    return np.asarray(random.normal(0.02, sd, (shape[0], 1)) * np.arange(shape[1]))


def _noise(shape: tuple[int, int], random: np.random.Generator) -> Floats:
    """Stationary AR(1) of variance 1."""
    noise = random.normal(size=shape)
    for week in range(1, shape[1]):
        noise[:, week] = MEMORY * noise[:, week - 1] + np.sqrt(1 - MEMORY**2) * noise[:, week]
    return noise
