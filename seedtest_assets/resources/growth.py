"""Typed client of r_plumber/growth: posteriors of students' growth by brms, and the probability of reaching a goal."""

import json
from typing import Any

import dagster as dg
import pandas as pd

from seedtest_assets.resources.plumber import Progress, configured
from seedtest_assets.settings import settings

NAME = "brms"


class GrowthService(dg.ConfigurableResource[None]):
    """r_plumber/growth. Students are numbers there: their keys stay here."""

    @property
    def is_configured(self) -> bool:
        """Whether there is an address to ask."""
        return settings().r_brms_base_url is not None

    def fit(
        self,
        scores: pd.DataFrame,
        priors: dict[str, Any],
        *,
        chains: int,
        samples: int,
        warmup: int,
        seed: int,
        max_seconds: float,
        progress: Progress = lambda job: None,
    ) -> dict[str, Any]:
        """Sample the posterior of a line for each student.

        Args:
            scores: student, week, score, se; a row per score.
            priors: as `models.growth.Priors.as_request` gives them.
            chains: number of chains.
            samples: draws kept of each.
            warmup: draws before them.
            seed: whole number from 0; the same seed gives the same draws.
            max_seconds: longest time of the fit.
            progress: is told of the job while it runs; `progress.share` is the share of the iterations done.

        Returns:
            diagnostics, posterior_summary and draws (columns), and what they were made with; see the service's
            OpenAPI document.

        Raises:
            Unprocessable: there is no score, a value is impossible, or the time was over.
        """
        plan = {"chains": chains, "samples": samples, "warmup": warmup, "seed": seed, "max_seconds": max_seconds}
        return self._post("/growth/fit", {"scores": _columns(scores), "priors": priors} | plan, progress)

    def predict(self, scores: pd.DataFrame, draws: pd.DataFrame, goals: pd.DataFrame) -> pd.DataFrame:
        """The probability that students reach their goals.

        Args:
            scores: student, week, score, se, as they were fitted.
            draws: of the six parameters of `models.growth`.
            goals: student, goal_week, target.

        Returns:
            The goals with n_scores, p_goal, p_lower, p_upper, mu, sigma.

        Raises:
            Unprocessable: there is no draw, or a value is impossible.
        """
        fields = {"scores": _columns(scores), "draws": draws.to_dict("list"), "goals": _columns(goals)}
        found = pd.DataFrame(self._post("/growth/predict", fields)["goals"])
        return found.rename(columns={"student_id": "student"}).astype({"student": goals["student"].dtype})

    def _post(self, path: str, fields: dict[str, Any], progress: Progress = lambda job: None) -> dict[str, Any]:
        return configured(NAME).run_job(path, json.dumps(fields).encode(), "application/json", {}, progress)


def _columns(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The frame as the service reads it; students as text."""
    sent = frame.assign(student=frame["student"].astype(str)).rename(columns={"student": "student_id"})
    return {str(name): sent[name].tolist() for name in sent}
