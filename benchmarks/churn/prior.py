"""How tight should the prior of the covariates' coefficients be? Prints the tables of README.md, The prior.

From the checkout: python -m benchmarks.churn.prior [--seeds N]
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from benchmarks.churn.measure import CUT, DAYS_OFF, END, LOOKBACK_DAYS, number, slope_to_truth, stacked, table
from seedtest_assets.models.calibration_curve import calibration_curve
from seedtest_assets.models.landmarks import HORIZONS, training_landmarks
from seedtest_assets.models.survival import IDLE_PRIOR_SD, fit_risk
from tests.statistics.silence_oracle import Silence

SIZES = (100, 300, 1_000, 4_000)
JUDGED = 4_000
SDS = (IDLE_PRIOR_SD, 1.0, 0.5, 0.25, 0.1, 0.05)
STRONG = {"a_t": -0.5, "session_rate": -0.5, "mean_gap": 0.25}
"""A second world, in which covariates decide much: change of the logit of the event by standard deviation."""

ALONE = "idle days"


def cohort(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Landmarks to learn from, later ones of other students, and these' true risks, shape (rows, horizons)."""
    students = Silence.draw(max(SIZES) + JUDGED, 7 * 40, seed=100 + seed, days_off=DAYS_OFF)
    records = students.records(200 + seed)
    training = training_landmarks(records, CUT, LOOKBACK_DAYS)
    later = training_landmarks(records, END, 7 * 15)
    later = later[(later["student"] >= max(SIZES)) & later["event_28"].notna()].reset_index(drop=True)
    return training, later, students.true_risk(later, HORIZONS)


def strong(training: pd.DataFrame, later: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """The same landmarks, their outcomes within 14 days drawn by idle days and covariates instead."""
    level = training[list(STRONG)].mean(), training[list(STRONG)].std()

    def risk(rows: pd.DataFrame) -> np.ndarray:
        standardised = ((rows[list(STRONG)] - level[0]) / level[1]).fillna(0)
        logit = -2 + rows["idle"] / 4 + standardised @ pd.Series(STRONG)
        return np.where(rows["due"] <= 14, expit(logit), 0)

    drawn = (np.random.default_rng(seed).random(len(training)) < risk(training)).astype(float)
    return training.assign(event_14=drawn), later, risk(later)[:, None]


def judge(
    training: pd.DataFrame, later: pd.DataFrame, truth: np.ndarray, horizons: tuple[int, ...]
) -> Iterator[dict[str, Any]]:
    """Numbers by size, horizon and prior: what is left between a risk and what happens is counted exactly."""
    for size in SIZES:
        some = training[training["student"] < size]
        models = {sd: fit_risk(some, horizons, prior_sd=sd) for sd in SDS}
        risks = {sd: stacked(later, model, False) for sd, model in models.items()}
        risks[ALONE] = stacked(later, models[SDS[0]], True)
        for position, horizon in enumerate(horizons):
            true = truth[:, position]
            used = (later["due"] <= horizon).to_numpy()

            def brier(risk: np.ndarray, true: np.ndarray = true[used]) -> float:
                return float(np.mean((risk - true) ** 2 + true * (1 - true)))

            for prior, risk in risks.items():
                yield {
                    "size": size,
                    "horizon": horizon,
                    "landmarks": models[SDS[0]][position]["n"],
                    "prior": prior,
                    "skill": 1 - brier(risk[position][used]) / brier(risks[ALONE][position][used]),
                    "slope": slope_to_truth(risk[position][used], true[used]),
                    "ICI": calibration_curve(risk[position][used], true[used]).ici,
                }


def show(found: pd.DataFrame, what: str, columns: list[float | str], digits: int) -> None:
    """Means over the seeds; of skill also the lowest."""
    rows = []
    for (horizon, size), group in found.groupby(["horizon", "size"]):
        row = {
            f"{what}, days": str(horizon),
            "students": f"{size:,}",
            "landmarks": f"{group['landmarks'].mean():,.0f}",
        }
        for prior in columns:
            values = group.loc[group["prior"] == prior, what]
            lowest = f" ({number(values.min(), digits)})" if what == "skill" else ""
            row[str(prior)] = number(values.mean(), digits) + lowest
        rows.append(row)
    table(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    found: dict[str, list[dict[str, Any]]] = {"silence": [], "strong": []}
    for seed in range(parser.parse_args().seeds):
        training, later, truth = cohort(seed)
        found["silence"] += judge(training, later, truth, HORIZONS)
        found["strong"] += judge(*strong(training, later, seed), (14,))
    silence = pd.DataFrame(found["silence"])
    show(silence, "skill", [*SDS], 3)
    show(silence, "slope", [ALONE, *SDS], 2)
    show(silence, "ICI", [ALONE, *SDS], 3)
    print("covariates decide much\n")
    show(pd.DataFrame(found["strong"]), "skill", [*SDS], 3)


if __name__ == "__main__":
    main()
