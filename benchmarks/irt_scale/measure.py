"""Is the ability of different weeks on one scale? A growing cohort, calibrated and linked week by week.

Prints the table of README.md.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from seedtest_assets.assets.irt import PRIORS
from seedtest_assets.local.services import RServices
from seedtest_assets.models.anchors import choose_anchors
from seedtest_assets.resources.plumber import Calibration, IrtService
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec, simulate, true_theta

WINDOW = 60
MIN_RESPONSES, LINK_MIN_ANCHORS = 30, 5
ANCHOR_RESPONSES, ANCHOR_MIN, ANCHOR_MAX = 100, 20, 50
"""The pipeline's defaults."""
METHODS = ("robust", "Stocking-Lord", "Haebara", "mean/sigma", "mean/mean")
FIXED, UNLINKED = "fixed anchors", "not linked"
QUADRATURE = {"n": 61, "min": -6.0, "max": 6.0}


def cohort(seed: int, students: int) -> CohortSpec:
    return CohortSpec(end=date(2025, 6, 29), seed=seed, students=students)


def windows(spec: CohortSpec) -> Iterator[tuple[int, pd.DataFrame]]:
    """Each week's first attempts of the last 60 days, with the ability they were answered with."""
    batches = list(simulate(spec))
    truth = pa.concat_tables([batch.students for batch in batches])
    rows = pa.concat_tables([batch.attempts for batch in batches]).to_pandas()
    rows = rows[rows["attempt_no"] == 1].sort_values(["student_id", "item_id"])
    answers = pd.DataFrame(
        {
            "student_id": rows["student_id"],
            "item_id": rows["item_id"].str[1:].astype("int64"),
            "topic_id": rows["topic_id"],
            "correct": rows["is_correct"],
            "at": rows["answered_at"],
            "theta": true_theta(truth, rows["student_id"], rows["answered_at"].dt.tz_localize(None), rows["topic_id"]),
        }
    )
    for week in range(1, spec.weeks + 1):
        end = pd.Timestamp(spec.start + timedelta(weeks=week), tz="UTC")
        yield week, answers[(answers["at"] < end) & (answers["at"] >= end - pd.Timedelta(days=WINDOW))]


def calibrate(irt: IrtService, answers: pd.DataFrame, anchors: pd.DataFrame | None = None) -> Calibration:
    return irt.calibrate(
        answers[["student_id", "item_id", "correct"]],
        model="2PL",
        priors=PRIORS["2PL"],
        min_responses=MIN_RESPONSES,
        anchors=anchors,
        standard_errors="none" if anchors is not None else "block",
    )


def seeded(irt: IrtService, answers: pd.DataFrame, fit: Calibration) -> pd.DataFrame:
    """The anchors that the pipeline's rule takes from this calibration; no rows while it takes none."""
    metrics = fit.fit_meta["metrics"]
    latent = {"mean": metrics["latent_mean"], "sd": metrics["latent_sd"]}
    judged = irt.fit(answers, fit.items, latent, QUADRATURE).items
    items = fit.items.merge(judged.drop(columns="n_responses"), on="item_id")
    topics = answers.groupby("item_id")["topic_id"].first()
    items["topic_id"] = items["item_id"].map(topics)
    chosen = choose_anchors(items, min_responses=ANCHOR_RESPONSES, most=ANCHOR_MAX, least=ANCHOR_MIN)
    return fit.items[fit.items["item_id"].isin(chosen)]


def biases(irt: IrtService, spec: CohortSpec) -> pd.DataFrame:
    """Mean ability found less mean true ability, in true logits: one row a week from the anchors' on, by method.

    The reference scale is N(0, 1) over the students of the week that gave the anchors: the mean and sd of their true
    ability put it beside the truth.
    """
    anchors: pd.DataFrame | None = None
    origin = unit = np.nan
    found = []
    for week, answers in windows(spec):
        theta = answers.groupby("student_id")["theta"].mean()
        if (answers["item_id"].value_counts() >= MIN_RESPONSES).sum() < ANCHOR_MIN:
            continue
        fit = calibrate(irt, answers)
        if anchors is None:
            chosen = seeded(irt, answers, fit)
            if chosen.empty:
                continue
            anchors, origin, unit = chosen, theta.mean(), theta.std()
        linking = irt.link(fit.items, anchors, model="2PL", method="robust", min_anchors=LINK_MIN_ANCHORS)
        constants = linking.constants.set_index("method")
        own = fit.abilities["theta"].mean()
        means = {method: constants.loc[method, "A"] * own + constants.loc[method, "B"] for method in METHODS}
        means[FIXED] = calibrate(irt, answers, anchors).abilities["theta"].mean()
        means[UNLINKED] = own
        row = {method: origin + unit * mean - theta.mean() for method, mean in means.items()}
        found.append({"seed": spec.seed, "week": week, "anchors": linking.n_anchors, "true": theta.mean()} | row)
    return pd.DataFrame(found)


def table(found: pd.DataFrame) -> str:
    lines = [
        "| method | largest absolute mean bias of a week | its week | mean over all weeks | slope per week "
        "| sd of one week's bias | se of a week's mean |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    seeds = found["seed"].nunique()
    for method in (*METHODS, FIXED, UNLINKED):
        by_week = found.groupby("week")[method]
        mean, sd = by_week.mean(), by_week.std()
        worst = mean.abs().idxmax()
        slope = np.polyfit(mean.index.to_numpy(dtype=float), mean.to_numpy(), 1)[0]
        lines.append(
            f"| {method} | {mean[worst]:+.4f} | {worst} | {mean.mean():+.4f} | {slope:+.5f} | {sd.mean():.3f} "
            f"| {sd.mean() / np.sqrt(seeds):.4f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--students", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="irt-scale-") as name:
        Path(name).chmod(0o755)
        services = RServices(Path(name) / "services")
        os.environ.update(services.start())
        settings.cache_clear()
        try:
            irt = IrtService()
            parts = []
            for seed in range(1, arguments.seeds + 1):
                parts.append(biases(irt, cohort(seed, arguments.students)))
                anchors, last = parts[-1]["anchors"], parts[-1].iloc[-1]
                print(f"seed {seed}: {len(anchors)} weeks, {anchors.min()}-{anchors.max()} anchors, last week's bias "
                      f"{last['robust']:+.3f} robust, {last[FIXED]:+.3f} fixed", flush=True)  # fmt: skip
            found = pd.concat(parts)
        finally:
            services.stop()
    true = found.groupby("week")["true"].mean()
    print(f"\n{found['seed'].nunique()} seeds, {arguments.students:,} students, weeks {true.index[0]} to "
          f"{true.index[-1]}; mean true ability {true.iloc[0]:.3f} to {true.iloc[-1]:.3f}\n")  # fmt: skip
    print(table(found))


if __name__ == "__main__":
    main()
