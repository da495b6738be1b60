"""Speed of scoring students, and false alarms by length of history; prints the tables of README.md.

From the checkout: python -m benchmarks.anomaly_students.measure
"""

import resource
import time

import numpy as np

from seedtest_assets.models.anomaly import student_scores
from seedtest_assets.models.anomaly_series import level_forecasts, series_scores
from seedtest_assets.models.irt import Floats

LENGTHS = (6, 8, 12, 26)
CASES = (
    ("normal", False, 0.02, True),
    ("t5", True, 0.02, True),
    ("slopes of sd .05", False, 0.05, True),
    ("no standard errors", False, 0.02, False),
)
COHORTS = {1: 300, 12: 25, 200: 5}
SERIES = 20_000
NULL_WEEKS = 60


def students(number: int, weeks: int, seed: int, *, heavy: bool = False, slopes: float = 0.02) -> tuple[Floats, Floats]:
    """Levels, slopes, the cohort's movements and measurement error; a fifth of the earlier weeks is missing."""
    random = np.random.default_rng([seed, number, weeks])
    se = np.exp(random.normal(np.log(0.45), 0.3, (number, weeks)))
    noise = random.standard_t(5, se.shape) / np.sqrt(5 / 3) if heavy else random.normal(size=se.shape)
    lines = random.normal(0, 0.8, (number, 1)) + random.normal(0.02, slopes, (number, 1)) * np.arange(weeks)
    movement = random.normal(0, 0.15 if number >= 10 else 0, weeks)
    lost = random.random(se.shape) < 0.2
    lost[:, -1] = False
    return np.where(lost, np.nan, lines + movement + se * noise), se


def series(number: int, weeks: int, *, heavy: bool) -> Floats:
    """Level, trend and AR(1) noise of sd 1."""
    random = np.random.default_rng([number, weeks, heavy])
    shape = (number, weeks)
    noise = random.standard_t(5, shape) / np.sqrt(5 / 3) if heavy else random.normal(size=shape)
    for week in range(1, weeks):
        noise[:, week] = 0.3 * noise[:, week - 1] + np.sqrt(1 - 0.3**2) * noise[:, week]
    return random.normal(0, 3, (number, 1)) + random.normal(0.05, 0.05, (number, 1)) * np.arange(weeks) + noise


def show_speed() -> None:
    print("| students | weeks | s |\n|--:|--:|--:|")
    for number in (1000, 10_000, 100_000):
        values, se = students(number, 26, 1)
        began = time.perf_counter()
        student_scores(values, se)
        print(f"| {number:,} | 26 | {time.perf_counter() - began:.2f} |", flush=True)
    print(f"\nMost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB.\n")


def show_student_alarms() -> None:
    """Of |score| alone, and of flags, which need the false discovery rate as well."""
    print("| students of a cohort | weeks | noise | student-weeks | scores a year | standard error | flags a year |")
    print("|--:|--:|---|--:|--:|--:|--:|")
    for number, cohorts in COHORTS.items():
        for weeks in (6, 12, 26):
            for name, heavy, slopes, known in CASES:
                made = (students(number, weeks, seed, heavy=heavy, slopes=slopes) for seed in range(cohorts))
                found = [student_scores(values, se if known else None) for values, se in made]
                scores = np.concatenate([each["score"].dropna() for each in found])
                rate = np.mean(np.abs(scores) >= 2.5)
                flags = sum(each["flag"].sum() for each in found) / len(scores)
                error = np.sqrt(rate * (1 - rate) / len(scores))
                cells = " | ".join(f"{52 * value:.2f}" for value in (rate, error, flags))
                print(f"| {number:,} | {weeks} | {name} | {len(scores):,} | {cells} |", flush=True)
    print()


def show_null_weeks() -> None:
    flagged = sum(student_scores(*students(2000, 13, seed))["flag"].any() for seed in range(NULL_WEEKS))
    print(f"{flagged} of {NULL_WEEKS} weeks of 2,000 students without an event have a flag.\n")


def show_series() -> None:
    print("| points | normal | t5 | siblings, normal | siblings, t5 | 6 sd | 6 sd, siblings | 10 sd after 10 sd |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for weeks in LENGTHS:
        alarms, spikes = [], []
        for of, family in ((SERIES, None), (SERIES // 10, np.arange(SERIES // 10) // 100)):
            for heavy in (False, True):
                values = series(of, weeks, heavy=heavy)
                found = series_scores(values[:, -1], *level_forecasts(values), family)
                alarms.append(52 * found["flag"].mean())
                if not heavy:
                    again = series_scores(values[:, -1] + 6, *level_forecasts(values), family)
                    spikes.append(again["flag"].mean())
        values = series(SERIES, weeks, heavy=False)
        values[:, -3] += 10
        masked = series_scores(values[:, -1] + 10, *level_forecasts(values))["flag"].mean()
        print(f"| {weeks} | {' | '.join(f'{value:.2f}' for value in (*alarms, *spikes, masked))} |", flush=True)


def main() -> None:
    show_speed()
    show_student_alarms()
    show_null_weeks()
    show_series()


if __name__ == "__main__":
    main()
