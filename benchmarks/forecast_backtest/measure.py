"""Rolling backtests of weekly series by every engine; prints the tables of README.md.

From the checkout: python -m benchmarks.forecast_backtest.measure [FOLDER of real data]
"""

import argparse
import os
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from seedtest_assets.assets.prophet import Prophet
from seedtest_assets.evaluation.growth import answers_of_file
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.services import SERVICES, RServices
from seedtest_assets.models.forecast import FAST, ORIGINS, Engine, backtest, forecast_series, judge
from seedtest_assets.resources.forecast import ForecastService
from seedtest_assets.settings import settings
from seedtest_assets.simulate import CohortSpec, write_cohort

WINDOW, HORIZON, MIN_ANSWERS = 12, 4, 10
EVERY = 4
"""Weeks between the ends of two panels."""


def weekly(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Series by kind: rows = cohort or topics, columns = Mondays; counts as log(1 + n)."""
    monday = answers["completed_at"].dt.tz_localize(None).dt.to_period("W").dt.start_time
    found = {}
    for scope, by in (("cohort", pd.Series("all", index=answers.index)), ("topic", answers["topic_id"].astype(str))):
        groups = answers.groupby([by.rename("scope_id"), monday.rename("week")])["correct"]
        n, accuracy = (of.unstack() for of in (groups.size(), groups.mean()))
        weeks = pd.date_range(monday.min(), monday.max(), freq="W-MON")
        n, accuracy = n.reindex(columns=weeks), accuracy.reindex(columns=weeks)
        begun = n.notna().cummax(axis=1)
        found[f"{scope} attempts"] = np.log1p(n.where(n.notna() | ~begun, 0.0))
        found[f"{scope} accuracy"] = accuracy
    return found


def show(name: str, answers: pd.DataFrame) -> None:
    print(f"\n**{name}**\n\n| series | engine | MASE | 90 % limits hold | forecasts | taken at ends |")
    print("|---|---|--:|--:|--:|--:|", flush=True)
    for kind, series in weekly(answers).items():
        tested, taken, published = [], [], []
        for end in range(WINDOW + ORIGINS, series.shape[1] - HORIZON + 1, EVERY):
            panel = series.iloc[:, end - WINDOW - ORIGINS : end]
            enough = panel.notna().sum(axis=1) >= WINDOW
            if "attempts" in kind:
                enough &= np.expm1(panel.iloc[:, :-1]).median(axis=1) >= MIN_ANSWERS
            rows = panel[enough].head(12)
            if not len(rows):
                continue
            weeks = [week.date() for week in rows.columns]
            engines: dict[str, Engine] = {**FAST, "prophet": Prophet(ForecastService(), weeks, [], lambda job: None)}
            values = rows.to_numpy(dtype=float)
            found = backtest(values, engines, HORIZON, WINDOW)
            tested.append(found.assign(series=found["series"] + 1000 * end))
            said = forecast_series(values, np.full(len(values), kind, dtype=object), engines, HORIZON, WINDOW)
            taken.append(said.engine[0])
            after = series.loc[rows.index].iloc[:, end : end + HORIZON].to_numpy(dtype=float)
            scale = np.nanmean(np.abs(np.diff(values[:, -WINDOW:], axis=1)), axis=1, keepdims=True)
            known = np.isfinite(after) & np.isfinite(said.ahead.expected) & (scale > 0)
            error = np.abs(after - said.ahead.expected)[known] / np.broadcast_to(scale, after.shape)[known]
            held = ((said.ahead.lower <= after) & (after <= said.ahead.upper))[known]
            published.append(pd.DataFrame({"error": error, "held": held}))
        for engine, row in judge(pd.concat(tested)).iterrows():
            share = f"{taken.count(engine)} of {len(taken)}"
            print(f"| {kind} | {engine} | {row.mase:.2f} | {row.coverage:.2f} | {row.n:,.0f} | {share} |", flush=True)
        all_of = pd.concat(published)
        print(
            f"| {kind} | published | {all_of.error.mean():.2f} | {all_of.held.mean():.2f} | {len(all_of):,} | |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?", default=CHECKOUT.parent / "shared" / "data")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory(prefix="forecast-backtest-") as name:
        Path(name).chmod(0o755)
        services = RServices(Path(name) / "services")
        os.environ.update(services.start([service for service in SERVICES if service.name == "forecast"]))
        settings.cache_clear()
        try:
            write_cohort(CohortSpec(students=500, items=360, weeks=40, end=date(2025, 6, 29), seed=7), Path(name))
            show("simulated: 500 students, 40 weeks", answers_of_file(Path(name) / "attempts.parquet", None)[0])
            if folder.is_dir():
                answers, _ = answers_of_file(folder / "algebra_2005" / "attempts.parquet", "topic_id")
                show("algebra_2005: 114 students, a school year", answers)
        finally:
            services.stop()


if __name__ == "__main__":
    main()
