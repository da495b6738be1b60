"""How well the calibration recovers a simulated cohort's truth; prints the table of README.md."""

import os
import tempfile
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from seedtest_assets.local.services import RServices
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec, simulate, true_items, true_theta

SEEDS = range(1, 11)
MIN_RESPONSES = 30
STATIC = {"topic_sd": 0.0, "slope_mean": 0.0, "slope_sd": 0.0}
"""Without topics of their own and growth: the cohort of the unidimensional model."""


def cohort(seed: int, **changed: Any) -> CohortSpec:
    return CohortSpec(end=date(2025, 6, 29), seed=seed, **changed)


def first_attempts(spec: CohortSpec, days: int | None = None) -> pd.DataFrame:
    """student_id, item_id (int), correct and true theta without topic; of the last `days` days where given."""
    batches = list(simulate(spec))
    truth = pa.concat_tables([batch.students for batch in batches])
    rows = pa.concat_tables([batch.attempts for batch in batches]).to_pandas()
    if days is not None:
        rows = rows[rows["answered_at"] >= pd.Timestamp(spec.end + timedelta(days=1 - days), tz="UTC")]
    rows = rows[rows["attempt_no"] == 1]
    return pd.DataFrame(
        {
            "student_id": rows["student_id"],
            "item_id": rows["item_id"].str[1:].astype("int64"),
            "correct": rows["is_correct"],
            "theta": true_theta(truth, rows["student_id"], rows["answered_at"].dt.tz_localize(None)),
        }
    )


def recovery(
    irt: IrtService,
    spec: CohortSpec,
    model: str = "2PL",
    priors: dict[str, Any] | None = None,
    days: int | None = None,
) -> dict[str, float]:
    """Errors of a, b and theta against their reported uncertainty, and the coverage of 95 % intervals.

    Origin and unit of the latent scale are those of the students who answered: the truth is put on it by the mean
    and sd of their true theta (for Rasch, whose unit is the logit, by the mean alone) before it is compared.
    """
    answers = first_attempts(spec, days)
    fit = irt.calibrate(
        answers[["student_id", "item_id", "correct"]], model=model, priors=priors, min_responses=MIN_RESPONSES
    )
    if not fit.fit_meta["metrics"]["converged"]:
        raise RuntimeError(f"the calibration of seed {spec.seed} did not converge")
    theta = answers.groupby("student_id")["theta"].mean().reindex(fit.abilities["student_id"]).to_numpy()
    origin, unit = theta.mean(), theta.std() if model == "2PL" else 1.0

    bank = true_items(spec).to_pandas()
    bank["item_id"] = bank["item_id"].str[1:].astype("int64")
    items = fit.items.merge(bank, on="item_id", suffixes=("", "_true"))
    figures: dict[str, float] = {"answers": len(answers), "items": len(items)}

    def judge(name: str, estimate: Any, truth: Any, error: Any) -> None:
        off = np.asarray(estimate) - np.asarray(truth)
        error = np.asarray(error)
        figures[f"{name} rmse"] = np.sqrt(np.mean(off**2))
        figures[f"{name} se"] = np.sqrt(np.mean(error**2))
        figures[f"{name} z"] = np.sqrt(np.mean((off / error) ** 2))
        figures[f"{name} cover"] = np.mean(np.abs(off) < 1.96 * error)

    judge("b", items["b"], (items["b_true"] - origin) / unit, items["se_b"])
    if model == "2PL":
        judge("a", items["a"], items["a_true"] * unit, items["se_a"])
        figures["a ratio"] = items["a"].mean() / (items["a_true"] * unit).mean()
    judge("theta", fit.abilities["theta"], (theta - origin) / unit, fit.abilities["se"])
    figures["theta r"] = np.corrcoef(fit.abilities["theta"], theta)[0, 1]
    return figures


LOGNORMAL_0 = {"a": {"meanlog": 0.0, "sdlog": 0.5}, "d": {"mean": 0.0, "sd": 3.0}}
"""The density of a has its mode at exp(0 - 0.5^2) = 0.78."""
CENTRED_A = {"a": {"meanlog": 0.25, "sdlog": 0.5}, "d": {"mean": 0.0, "sd": 3.0}}
"""The density of a has its mode at 1."""

CASES: dict[str, Callable[[IrtService, int], dict[str, float]]] = {
    "static, Rasch": lambda irt, seed: recovery(
        irt, cohort(seed, students=600, weeks=9, a_log_sd=0.0, **STATIC), model="Rasch"
    ),
    "static, 2PL": lambda irt, seed: recovery(irt, cohort(seed, students=600, weeks=9, **STATIC)),
    "static, 2PL, a's mode at .78": lambda irt, seed: recovery(
        irt, cohort(seed, students=600, weeks=9, **STATIC), priors=LOGNORMAL_0
    ),
    "static, 2PL, a's mode at 1": lambda irt, seed: recovery(
        irt, cohort(seed, students=600, weeks=9, **STATIC), priors=CENTRED_A
    ),
    "growth and topics, 2PL, a's mode at 1": lambda irt, seed: recovery(
        irt, cohort(seed, students=600, weeks=9), priors=CENTRED_A
    ),
    "the demo's last 60 days, 2PL, a's mode at .78": lambda irt, seed: recovery(
        irt, cohort(seed), priors=LOGNORMAL_0, days=60
    ),
    "the demo's last 60 days, 2PL, a's mode at 1": lambda irt, seed: recovery(
        irt, cohort(seed), priors=CENTRED_A, days=60
    ),
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="irt-recovery-") as name:
        Path(name).chmod(0o755)
        services = RServices(Path(name) / "services")
        os.environ.update(services.start())
        settings.cache_clear()
        try:
            show(IrtService())
        finally:
            services.stop()


def show(irt: IrtService) -> None:
    print("| cohort and model | answers | items | | RMSE | se | RMS z | 95 % intervals hold | |")
    print("|---|--:|--:|---|--:|--:|--:|--:|---|")
    for case, run in CASES.items():
        seeds = pd.DataFrame([run(irt, seed) for seed in SEEDS])
        mean, error = seeds.mean(), seeds.std() / np.sqrt(len(seeds))
        beside = {"theta": f"r = {mean['theta r']:.3f}"}
        if "a ratio" in mean:
            beside["a"] = f"mean a / true {mean['a ratio']:.3f}"
        for name in ("b", "a", "theta"):
            if f"{name} z" in mean:
                numbers = " | ".join(f"{mean[f'{name} {what}']:.3f}" for what in ("rmse", "se", "z", "cover"))
                print(
                    f"| {case} | {mean['answers']:,.0f} | {mean['items']:.0f} | {name} | {numbers} "
                    f"± {error[f'{name} cover']:.3f} | {beside.get(name, '')} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
