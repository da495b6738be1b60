"""Typed client of r_plumber/forecast: fits of the risk of falling silent."""

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

    def _post(self, path: str, rows: pd.DataFrame, progress: Progress) -> dict[str, Any]:
        body = csv(rows.rename(columns={"student": "student_id"}))
        return configured(NAME).run_job(path, body, "text/csv", {}, progress)
