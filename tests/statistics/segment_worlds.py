"""Students whose segments are known: none in blobs of three shapes, three or four planted ones."""

import numpy as np
import pandas as pd

WEIGHTS = {3: [0.5, 0.3, 0.2], 4: [0.4, 0.3, 0.2, 0.1]}


def blob(shape: str, n: int, p: int, seed: int) -> pd.DataFrame:
    """One cluster: round, long (pairwise correlation .9), or skewed (lognormal, correlated .3 on the log scale)."""
    random = np.random.default_rng(seed)
    shared = {"round": 0.0, "long": 0.9, "skewed": 0.3}[shape]
    normal = np.sqrt(1 - shared) * random.normal(size=(n, p)) + np.sqrt(shared) * random.normal(size=(n, 1))
    return _frame(np.exp(normal) if shape == "skewed" else normal)


def planted(
    n: int, p: int, k: int, seed: int, *, apart: float = 8.0, missing: float = 0.0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Round segments of unequal sizes and spreads (.7-1.3), no two centres nearer than `apart`; their true index.

    Values are missing completely at random, but never all of a student.
    """
    random = np.random.default_rng(seed)
    while True:
        centers = random.normal(size=(k, p)) * apart / np.sqrt(2 * p) * 1.2
        distance = np.linalg.norm(centers[:, None] - centers, axis=2)[np.triu_indices(k, 1)]
        if distance.min() >= apart:
            break
    truth = np.repeat(np.arange(k), np.diff(np.round(np.cumsum([0, *WEIGHTS[k]]) * n).astype(int)))
    spread = random.uniform(0.7, 1.3, k)
    x = centers[truth] + spread[truth, None] * random.normal(size=(n, p))
    gone = random.random((n, p)) < missing
    gone[gone.all(axis=1), 0] = False
    return _frame(np.where(gone, np.nan, x)), truth


def _frame(x: np.ndarray) -> pd.DataFrame:
    names = [f"feature_{number}" for number in range(x.shape[1])]
    return pd.DataFrame(x, columns=names, index=[f"student-{number:06d}" for number in range(len(x))])


def unlogged(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Two segments; the feature that sets them furthest apart was not logged for a third of the students."""
    random = np.random.default_rng(seed)
    truth = np.repeat([0, 1], [n * 5 // 8, n - n * 5 // 8])
    x = random.normal(size=(n, 3)) + np.outer(truth, [4.0, 4.0, 14.0])
    x[random.random(n) < 0.33, 2] = np.nan
    return _frame(x), truth


HABITS = {
    # active days, answers a day, days between, hints, seconds at work, seconds to an answer
    "diligent": (5.0, 30.0, 1.4, 0.10, 1800.0, 15.0),
    "hurried": (3.0, 60.0, 2.3, 0.05, 600.0, 5.0),
    "helped": (1.5, 12.0, 5.0, 0.50, 900.0, 40.0),
}


def weekly(n: int, weeks: int, seed: int, *, hurry: float = 0.0) -> tuple[pd.DataFrame, pd.Series]:
    """Rows of weekly_metrics of students with one of three habits; i_t, e_t, r_t are noise, and missing at times.

    Args:
        n: students.
        weeks: rows of each.
        seed: of everything.
        hurry: added to the log of all times to an answer.
    """
    random = np.random.default_rng(seed)
    habit = random.choice(list(HABITS), n, p=[0.4, 0.35, 0.25])
    mean = np.array([HABITS[name] for name in habit])
    personal = mean * np.exp(0.12 * random.normal(size=mean.shape))
    days, answers, gap, hints, dwell, response = np.repeat(personal, weeks, axis=0).T
    rows = n * weeks
    active = random.binomial(7, np.minimum(days / 7, 1))

    def noise(middle: float, spread: float, unknown: float) -> np.ndarray:
        values = np.clip(middle + spread * random.normal(size=rows), -1, 1)
        return np.where(random.random(rows) < unknown, np.nan, values)

    user = np.repeat([f"student-{number:06d}" for number in range(n)], weeks)
    metrics = pd.DataFrame(
        {
            "user_id": user,
            "week_start": np.tile(np.arange(weeks), n),
            "active_days": active,
            "attempts": random.poisson(active * answers),
            "mean_gap_days": 1 + (gap - 1) * np.exp(0.2 * random.normal(size=rows)),
            "hint_rate": np.clip(hints + 0.05 * random.normal(size=rows), 0, 1),
            "dwell_s": dwell * np.exp(0.2 * random.normal(size=rows)),
            "i_t": noise(0.05, 0.2, 0.2),
            "e_t": noise(0.0, 0.2, 0.1),
            "r_t": np.abs(noise(0.6, 0.15, 0.3)),
            "rt_median_s": response * np.exp(hurry + 0.2 * random.normal(size=rows)),
        }
    )
    return metrics, pd.Series(habit, index=pd.unique(user))
