"""Students whose activity follows a hidden Markov chain, and the exact probability that they fall silent.

Students join one after another. On each day a student is present, paused or gone. Present, a student is active with a
probability of their own, which rises and falls over months and depends on the weekday and on days off. Given the
student's parameters and the days observed, the state of today (forward recursion) and the probability of 14 silent
days within h days (over states and idle days) are finite sums.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from seedtest_assets.models.landmarks import COVARIATES, SILENT_DAYS, Calendar, Records, student_keys

FIRST = 738_157  # a Monday
WEEKDAY_EFFECT = np.array([0.2, 0.1, 0.1, 0.0, -0.5, -0.4, 0.3])
DAY_OFF_EFFECT = -1.5
SEASON_DAYS = 120


@dataclass(frozen=True)
class Silence:
    """A simulated cohort.

    Attributes:
        active: whether a student was active on day FIRST + j, shape (n, days).
        probability: of being active when present, shape (n, days).
        transition: of the states present, paused, gone from one day to the next, shape (n, 3, 3).
        days_off: days.
    """

    active: np.ndarray
    probability: np.ndarray
    transition: np.ndarray
    days_off: np.ndarray

    @classmethod
    def draw(cls, n: int, days: int, seed: int, days_off: np.ndarray | None = None) -> "Silence":
        """A cohort; days are from FIRST on."""
        random = np.random.default_rng(seed)
        off = np.empty(0, np.int64) if days_off is None else days_off
        day = FIRST + np.arange(days)
        level, swing, phase = random.normal(-0.7, 0.9, n), random.normal(0, 0.4, n), random.uniform(0, 2 * np.pi, n)
        effect = WEEKDAY_EFFECT[(day - 1) % 7] + DAY_OFF_EFFECT * np.isin(day, off)
        season = swing[:, None] * np.sin(2 * np.pi * np.arange(days) / SEASON_DAYS + phase[:, None])
        probability = expit(level[:, None] + season + effect)
        leaving = 0.006 * np.exp(-0.5 * (level + 0.7) + random.normal(0, 0.3, n))
        pausing, resuming = np.full(n, 0.005), np.full(n, 1 / 12)
        transition = np.zeros((n, 3, 3))
        transition[:, 0, 1], transition[:, 0, 2], transition[:, 1, 0] = pausing, leaving, resuming
        transition[:, [0, 1, 2], [0, 1, 2]] = 1 - transition.sum(axis=2)
        joined = random.integers(0, days, n)
        state = np.zeros(n, np.int64)
        active = np.zeros((n, days), bool)
        for j in range(days):
            to = np.cumsum(transition[np.arange(n), state], axis=1)
            moved = np.minimum((random.random(n)[:, None] >= to).sum(axis=1), 2)
            state = np.where(joined < j, moved, 0)
            active[:, j] = (joined <= j) & (state == 0) & (random.random(n) < probability[:, j])
        return cls(active, probability, transition, off)

    def records(self, seed: int) -> Records:
        """What the pipeline would know: active days, and weekly metrics of which two are noise, some of it missing."""
        random = np.random.default_rng(seed)
        n, days = self.active.shape
        student, day = np.nonzero(self.active)
        began = np.where(self.active.any(axis=1), self.active.argmax(axis=1), days)
        weeks = []
        for as_of in range(7, days + 1, 7):
            window = self.active[:, max(as_of - 28, 0) : as_of]
            count = window.sum(axis=1)
            observed = np.clip(as_of - began, 1, 28)
            first, last = window.argmax(axis=1), window.shape[1] - 1 - window[:, ::-1].argmax(axis=1)
            with np.errstate(invalid="ignore", divide="ignore"):
                gap = np.where(count > 1, (last - first) / (count - 1), np.nan)
            a_t = np.where(np.isnan(gap), count / 28, (0.35 * count / 28 + 0.25 / gap) / 0.6)
            noise = random.normal(0, 0.3, (n, 2))
            noise[random.random((n, 2)) < 0.3] = np.nan
            values = np.column_stack([a_t, noise, gap, count / observed])
            weeks.append(pd.DataFrame(values, columns=COVARIATES).assign(student=np.arange(n), as_of_day=FIRST + as_of))
        return Records(
            pd.DataFrame({"student": student, "day": FIRST + day}),
            pd.concat(weeks, ignore_index=True),
            student_keys([f"s{number}" for number in range(n)]),
            Calendar(self.days_off),
        )

    def true_risk(self, rows: pd.DataFrame, horizons: tuple[int, ...]) -> np.ndarray:
        """P(14 silent days are over within h | the student's parameters, the days before), shape (rows, horizons)."""
        return np.concatenate(
            [self._true_risk(rows.iloc[start : start + 20_000], horizons) for start in range(0, len(rows), 20_000)]
        )

    def _true_risk(self, rows: pd.DataFrame, horizons: tuple[int, ...]) -> np.ndarray:
        student, landmark, idle = (rows[name].to_numpy() for name in ("student", "day", "idle"))
        transition, row = self.transition[student], np.arange(len(rows))
        state = np.zeros((len(rows), 3))
        state[:, 0] = 1  # on the last active day
        for back in range(SILENT_DAYS - 1, 0, -1):  # the days that are known to be silent
            silent = np.flatnonzero(idle >= back)
            p = self.probability[student[silent], landmark[silent] - back - FIRST]
            state[silent] = np.einsum("ns,nst->nt", state[silent], transition[silent])
            state[silent, 0] *= 1 - p
        state /= state.sum(axis=1, keepdims=True)
        mass = np.zeros((len(rows), SILENT_DAYS, 3))
        mass[row, idle] = state
        happened, risk = np.zeros(len(rows)), []
        for ahead in range(max(horizons)):
            mass = np.einsum("nis,nst->nit", mass, transition, optimize=True)
            p = self.probability[student, np.minimum(landmark - FIRST + ahead, self.probability.shape[1] - 1)]
            active = mass[:, :, 0].sum(axis=1) * p
            mass[:, :, 0] *= (1 - p)[:, None]
            happened = happened + mass[:, -1].sum(axis=1)
            mass = np.roll(mass, 1, axis=1)
            mass[:, 0] = 0
            mass[:, 0, 0] = active
            if ahead + 1 in horizons:
                risk.append(happened)
        return np.column_stack(risk)
