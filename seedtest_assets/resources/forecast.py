"""Typed client of r_plumber/forecast: fits of the risk of falling silent, and forecasts of series."""

import json
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd

from seedtest_assets.resources.plumber import Progress, configured, csv
from seedtest_assets.settings import settings

NAME = "forecast"


@dataclass(frozen=True)
class SurvivalFit:
    """A fit of the churn model, the same from either engine.

    Attributes:
        engine: plumber or python.
        risk_model: for each horizon what `models.survival.fit_risk` returns.
        cox: what `models.return_hazard.fit_cox` returns.
    """

    engine: str
    risk_model: list[dict[str, Any]]
    cox: dict[str, Any]


@dataclass(frozen=True)
class ProphetFit:
    """Series as prophet fits and forecasts them; frames are in the order of series (text) and ds (datetime64).

    An interval holds `interval_width` of what the model simulates: noise and, after the last point, changes of the
    trend like those that were fitted. That the parameters are estimates is not in it.

    Attributes:
        engine: prophet and its version.
        series: series, status (ok or refused), reason (of what is refused why; of what is ok "constant" or "exact fit",
            where the fit leaves no noise, else missing), n (points with a value), n_missing, k, m, sigma_obs (scaled by
            prophet), seed.
        changepoints: series, ds, delta (scaled), slope_change (of the trend, per day).
        fitted: series, ds, yhat, lower, upper; at the points with a value.
        forecast: series, ds, yhat, lower, upper.
    """

    engine: str
    series: pd.DataFrame
    changepoints: pd.DataFrame
    fitted: pd.DataFrame
    forecast: pd.DataFrame


class ForecastService(dg.ConfigurableResource[None]):
    """r_plumber/forecast. Students are numbers there: their keys stay here."""

    @property
    def is_configured(self) -> bool:
        """Whether there is an address to ask."""
        return settings().r_forecast_base_url is not None

    def fit_survival(
        self, landmarks: pd.DataFrame, gaps: pd.DataFrame, progress: Progress = lambda job: None
    ) -> SurvivalFit:
        """Fit the risk at each horizon on `training_landmarks`, and the hazard of coming back on `return_gaps`.

        Raises:
            Unprocessable: a landmark or a gap is impossible; the message names field and row.
        """
        risk = self._post("/survival/fit", landmarks.drop(columns=["day", "active"]), progress)
        cox = self._post("/survival/cox", gaps, progress)
        return SurvivalFit(risk["engine"], risk["risk_model"], cox["cox"])

    def fit_prophet(
        self,
        series: pd.DataFrame,
        *,
        horizon: int,
        holidays: pd.DataFrame | None,
        interval_width: float,
        seed: int,
        frequency: int = 7,
        growth: str = "linear",
        changepoint_prior_scale: float = 0.05,
        uncertainty_samples: int = 1000,
        progress: Progress = lambda job: None,
    ) -> ProphetFit:
        """Fit many series by prophet and forecast them; a series' answer does not depend on the others.

        Args:
            series: series (text), ds (dates, none twice in a series), y (NaN = missing).
            horizon: points to forecast after the last of each series.
            holidays: holiday, ds, and perhaps lower_window and upper_window; see `models.public_holidays`. A holiday
                counts at points whose ds is in its windows, each day of which has an effect of its own: for weekly
                points move it to the date of its week's point.
            interval_width: what the intervals hold, between 0 and 1.
            seed: whole number from 0; the same seed gives the same intervals.
            frequency: days between points.
            growth: linear or flat.
            changepoint_prior_scale: the larger, the more the trend may bend.
            uncertainty_samples: simulations of each interval.
            progress: is told of the job while it runs; `progress.done` series are done of `progress.all`.

        Raises:
            Unprocessable: there is no point, or an argument is impossible; the message names it.
            PermanentFailure: a value cannot be read, or a date is given twice; the message names field and row.
        """
        fields: dict[str, Any] = {
            "points": _dated(series[["series", "ds", "y"]]),
            "horizon": horizon,
            "interval_width": interval_width,
            "seed": seed,
            "frequency": frequency,
            "growth": growth,
            "changepoint_prior_scale": changepoint_prior_scale,
            "uncertainty_samples": uncertainty_samples,
        }
        if holidays is not None:
            fields["holidays"] = _dated(holidays)
        body = json.dumps(fields).encode()
        result = configured(NAME).run_job("/prophet/fit", body, "application/json", {}, progress)
        dated = (
            pd.DataFrame(result[table]).astype({"series": str, "ds": "datetime64[s]"})
            for table in ("changepoints", "fitted", "forecast")
        )
        numbers = dict.fromkeys(("k", "m", "sigma_obs"), float)
        told = pd.DataFrame(result["series"]).astype(numbers)
        return ProphetFit(f"{result['engine']} {result['version']}", told, *dated)

    def _post(self, path: str, rows: pd.DataFrame, progress: Progress) -> dict[str, Any]:
        body = csv(rows.rename(columns={"student": "student_id"}))
        return configured(NAME).run_job(path, body, "text/csv", {}, progress)


def _dated(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The frame's columns as the service reads them: dates as text, nothing for what is not known."""
    text = frame.assign(ds=pd.to_datetime(frame["ds"]).dt.strftime("%Y-%m-%d"))
    known = text.astype(object).where(text.notna(), None)
    return {str(name): known[name].tolist() for name in known}
