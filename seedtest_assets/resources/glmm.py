"""Typed client of r_plumber/glmm: trends of students over weeks, by lme4."""

from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd

from seedtest_assets.resources.plumber import Progress, configured, csv
from seedtest_assets.settings import settings

NAME = "glmm"
COLUMNS = {"student": "student_id", "topic": "topic_id", "week": "week", "score": "score", "se": "se"}
"""Columns of scores, and how the service calls them."""


@dataclass(frozen=True)
class ProgressFit:
    """score ~ week + (week|student) + (1|topic) with weights 1 / se², as /glmm/fit_progress returns it.

    Attributes:
        engine: lme4.
        formula: what was fitted; without the topic's term where there are not two topics.
        fit_meta: n, n_students, n_topics, n_weeks, log_lik, aic, bic, reml, optimizer, iterations, converged,
            singular, messages, versions and more.
        fixed_effects: term (intercept, week), estimate, se, df, statistic, lower, upper (95 %).
        fixed_covariance: the fixed effects' covariance matrix, by term.
        random: sd_intercept, sd_week, correlation (None when an sd is 0), sd_topic (None without topics), residual
            (the factor that standard errors are multiplied by).
        metrics: reliability_intercept, reliability_week, icc, r2_marginal, r2_conditional.
        students: student (int); intercept and week, deviations from the fixed effects, se_intercept, se_week and
            covariance of their errors given the fixed effects; intercept_total and week_total, fixed effect and
            deviation, se_intercept_total, se_week_total and covariance_total of their errors, with those of the
            fixed effects.
        topics: topic_id, effect, se; no rows where the topic's term is left out.
    """

    engine: str
    formula: str
    fit_meta: dict[str, Any]
    fixed_effects: pd.DataFrame
    fixed_covariance: pd.DataFrame
    random: dict[str, Any]
    metrics: dict[str, Any]
    students: pd.DataFrame
    topics: pd.DataFrame

    @property
    def converged(self) -> bool:
        """Whether the optimiser and lme4's own checks were content."""
        return bool(self.fit_meta["converged"])

    @property
    def singular(self) -> bool:
        """Whether a variance is 0, or a correlation 1 or -1."""
        return bool(self.fit_meta["singular"])


class GlmmService(dg.ConfigurableResource[None]):
    """r_plumber/glmm. Students are numbers there: their keys stay here."""

    @property
    def is_configured(self) -> bool:
        """Whether there is an address to ask."""
        return settings().r_glmm_base_url is not None

    def fit_progress(self, scores: pd.DataFrame, progress: Progress = lambda job: None) -> ProgressFit:
        """Fit a line over weeks for each student.

        Args:
            scores: student (int), week (0 is as_of, earlier weeks are negative), score, se, and, if there are
                topics, topic; other columns stay here.
            progress: is told of the job while it runs; `progress.evaluations` counts those of the deviance.

        Raises:
            Unprocessable: the trend cannot be fitted, e.g. there is one student or one week; the message says why.
        """
        body = csv(scores[[name for name in COLUMNS if name in scores]].rename(columns=COLUMNS))
        found = configured(NAME).run_job("/glmm/fit_progress", body, "text/csv", {}, progress)
        terms = found["fixed_effects"]["term"]
        students = pd.DataFrame(found["students"]).rename(columns={"student_id": "student"})
        return ProgressFit(
            engine=found["engine"],
            formula=found["fit_meta"]["formula"],
            fit_meta=found["fit_meta"],
            fixed_effects=pd.DataFrame(found["fixed_effects"]),
            fixed_covariance=pd.DataFrame(found["fixed_covariance"], index=terms, columns=terms),
            random=found["random"],
            metrics=found["metrics"],
            students=students.astype({"student": int}),
            topics=pd.DataFrame(found["topics"]),
        )
