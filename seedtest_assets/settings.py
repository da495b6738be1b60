"""Every environment variable the pipeline reads: its type, its default and its meaning.

Names are those of the data contract, so that deployments of the earlier system keep working.
Reading settings opens no connection and needs no environment: every variable has a default, and what
cannot be guessed (a database, a service) is reported by whoever needs it, with the advice given here.
"""

import re
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, HttpUrl, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

QUALIFIED_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$")
TAKEN = {"public", "intake", "analytics", "seedtest", "reports"}
"""Names that are no tenant's: schemas of others, the code location without a tenant, and where its reports are kept."""


class Settings(BaseSettings):
    """The environment, typed. Field names in upper case are the variables' names."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL of facts and results (schemas intake and analytics)."
    )
    dagster_database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL of Dagster's own run and event storage; another database."
    )

    seedtest_timezone: str = Field(default="UTC", description="The time zone in which days and weeks begin and end.")
    seedtest_start_date: date = Field(
        default=date(2004, 1, 5), description="First weekly partition; a Monday, known without a database."
    )
    seedtest_data_end: date | None = Field(
        default=None, description="Last day of a historical data set: 'today' for freshness checks and alerts."
    )
    seedtest_tenant: str | None = Field(
        default=None,
        pattern="^[a-z][a-z0-9]{0,39}$",
        description="One of several schools in a database: the name of its schema, of its code location, and what its "
        "asset keys, pools and reports begin with. None: schemas intake and analytics.",
    )
    seedtest_attempt_relation: str | None = Field(
        default=None,
        description="Table or view of answered questions, schema.name, such as an application's own view, read in "
        "place; by default intake.attempt, of a tenant its own attempt.",
    )

    mirt_model: Literal["Rasch", "2PL", "3PL"] = Field(default="2PL", description="Item response model.")
    mirt_attempts: Literal["first", "last", "all"] = Field(
        default="first",
        description="Answers that are calibrated: a student's first ever to an item, the last in the window, or all.",
    )
    mirt_lookback_days: int = Field(
        default=60,
        ge=7,
        le=3660,
        description="Days of answers that a calibration and mirt_ability look back on.",
    )
    mirt_min_responses: int = Field(
        default=30, ge=2, description="Items with fewer first answers in the window are excluded, and listed."
    )
    mirt_link_method: Literal["robust", "Stocking-Lord", "Haebara", "mean/mean", "mean/sigma", "fixed"] = Field(
        default="robust",
        description="How a week's calibration is brought onto the reference scale; 'fixed' calibrates with the anchors "
        "held at their reference values.",
    )
    mirt_link_min_anchors: int = Field(
        default=5, ge=3, description="Anchors that a calibration must share with the reference scale to be published."
    )
    mirt_anchor_min_responses: int = Field(
        default=100, ge=2, description="Answers an item needs to become an anchor when the reference scale is set."
    )
    mirt_anchor_min: int = Field(
        default=20,
        ge=3,
        description="Anchors without which no reference scale is set: their errors stay with every later week.",
    )
    mirt_anchor_max: int = Field(default=50, ge=3, description="Most anchors of the reference scale.")
    metrics_use_irt_theta: bool = Field(
        default=True, description="I_t from ability (true) or from proportions correct (false)."
    )

    glmm_lookback_weeks: int = Field(
        default=12, ge=2, le=104, description="Weeks of scores that the trend of lme4 is fitted on."
    )
    growth_engine: Literal["plumber", "pymc", "auto"] = Field(
        default="auto",
        description="What fits the Bayesian trend: brms in the growth service, PyMC in this process, or the service "
        "while it answers, the students are not too many for it, and its fit is publishable.",
    )
    metrics_use_bayesian: bool = Field(
        default=False, description="P from the Bayesian posterior (true) or from the trend of lme4 (false)."
    )
    metrics_default_target: float = Field(
        default=0.0, description="Ability to reach for a student who has set no goal, logits."
    )
    metrics_default_goal_weeks: int = Field(
        default=4, ge=1, le=104, description="Weeks from as_of to the date of a goal that has none."
    )
    brms_lookback_weeks: int = Field(
        default=12, ge=1, le=104, description="Weeks of scores that the Bayesian trend is fitted on."
    )
    brms_n_samples: int = Field(default=2000, ge=100, description="Draws kept of each chain.")
    brms_n_warmup: int = Field(default=1000, ge=100, description="Draws before them, in which the sampler adapts.")
    brms_n_chains: int = Field(default=4, ge=2, le=16, description="Chains; without two there is no R-hat.")
    brms_max_students: int = Field(
        default=500, ge=1, description="With more students GROWTH_ENGINE=auto takes PyMC's marginal form at once."
    )
    growth_max_seconds: float = Field(
        default=600.0, gt=0, description="A Bayesian fit that takes longer is stopped, and not published."
    )

    survival_engine: Literal["plumber", "python", "auto"] = Field(
        default="auto",
        description="What fits the churn model: the forecast service, this process, or the service while it answers.",
    )
    survival_event_threshold_days: int = Field(
        default=14, ge=14, le=14, description="Silent days that count as churn; the models are made for 14, no other."
    )
    survival_lookback_days: int = Field(
        default=90, ge=28, le=366, description="Days of activity that the churn model learns from."
    )
    survival_idle_skips_holidays: bool = Field(
        default=False, description="Days in intake.holiday do not count as idle, nor among the 14 of an event."
    )
    metrics_churn_horizon_days: int = Field(default=14, description="Horizon of S, the KPI's risk: 7, 14 or 28 days.")
    inactivity_threshold_days: int = Field(
        default=7, ge=1, le=13, description="Whole idle days after which the sensor refreshes a student's risk at once."
    )
    inactivity_interval_seconds: int = Field(
        default=30, ge=30, le=86_400, description="Seconds between two looks of that sensor; of many tenants 600, say."
    )
    churn_alert_threshold: float = Field(
        default=0.7, gt=0, le=1, description="A student whose risk reaches it gets a row in churn_alert."
    )
    churn_webhook_url: HttpUrl | None = Field(
        default=None, description="Where new churn alerts are POSTed as JSON; none by default."
    )
    churn_webhook_token: SecretStr | None = Field(default=None, description="Bearer token sent to that address.")

    prophet_lookback_weeks: int = Field(
        default=12, ge=4, le=520, description="Whole weeks that forecasts and anomalies are made from."
    )
    prophet_forecast_weeks: int = Field(default=4, ge=1, le=52, description="Weeks ahead that series are forecast.")
    prophet_anomaly_threshold: float = Field(
        default=2.5, gt=0, le=10, description="Standard normal score from which a week is unusual."
    )
    prophet_holiday_country: str | None = Field(
        default=None,
        pattern="^[A-Z]{2}$",
        description="Country whose public holidays the forecasts know of, beside intake.holiday: KR, US, …",
    )
    forecast_engine: Literal["auto", "prophet", "statsforecast"] = Field(
        default="auto",
        description="What forecasts series: prophet in the forecast service, exponential smoothing in this process, or "
        "whatever is best in the rolling backtest, naive forecasts included.",
    )

    cluster_lookback_weeks: int = Field(
        default=12, ge=4, le=104, description="Weeks of metrics that students are grouped by."
    )
    cluster_method: Literal["kmeans", "gmm"] = Field(
        default="kmeans", description="How: k-means, or a Gaussian mixture with probabilities."
    )
    cluster_n_clusters: Literal["auto"] | Annotated[int, Field(ge=1, le=8)] = Field(
        default="auto", description="Number of segments; auto: by the gap statistic, and only if they are stable."
    )

    report_lang: Literal["en", "ko"] = Field(
        default="en", description="Language of a report whose student's profile names none, and of the cohort's."
    )
    report_format: Annotated[tuple[Literal["html", "pdf"], ...], NoDecode] = Field(
        default=("html", "pdf"), description="Formats of a report, separated by commas: html,pdf."
    )
    report_renderer: Literal["auto", "quarto", "bundled"] = Field(
        default="auto",
        description="What renders reports: the Quarto CLI, pandoc and Typst of this installation (bundled), or Quarto "
        "where it is on PATH.",
    )
    report_fonts: Path = Field(
        default=Path("/usr/share/fonts/opentype/noto"),
        description="Folder with Noto Sans CJK, which PDFs and charts carry (Debian: fonts-noto-cjk).",
    )
    report_workers: int = Field(
        default=0, ge=0, le=64, description="Processes that render reports; 0 = as many as there are processors."
    )
    report_folder: Path | None = Field(
        default=None, description="Folder that reports are kept in where there is no S3_BUCKET."
    )
    report_link_seconds: int = Field(
        default=604_800, ge=1, le=604_800, description="How long a link to a report in S3 works: at most a week."
    )
    s3_bucket: str | None = Field(default=None, description="Bucket that reports are kept in; none: REPORT_FOLDER.")
    s3_prefix: str = Field(default="", description="Put before every key in the bucket.")
    s3_sse: Literal["none", "AES256", "aws:kms"] = Field(
        default="none", description="Encryption at rest that is asked for: none, by S3's key, or by a KMS key."
    )
    s3_kms_key_id: str | None = Field(default=None, description="The KMS key; none: the account's own for S3.")
    aws_region: str | None = Field(default=None, description="Region of the bucket.")
    aws_endpoint_url_s3: HttpUrl | None = Field(
        default=None, description="Address of an S3 server other than Amazon's: SeaweedFS, MinIO, …"
    )

    r_irt_base_url: str | None = Field(default=None, description="Base URL of the IRT service.")
    r_irt_internal_token: SecretStr | None = Field(default=None, description="Bearer token of the IRT service.")
    r_irt_timeout_secs: float = Field(
        default=600.0, gt=0, description="Longest wait for one IRT job, queueing included."
    )

    r_forecast_base_url: str | None = Field(default=None, description="Base URL of the forecast service.")
    r_forecast_internal_token: SecretStr | None = Field(
        default=None, description="Bearer token of the forecast service."
    )
    r_forecast_timeout_secs: float = Field(
        default=600.0, gt=0, description="Longest wait for one forecast job, queueing included."
    )

    r_glmm_base_url: str | None = Field(default=None, description="Base URL of the glmm service (lme4).")
    r_glmm_internal_token: SecretStr | None = Field(default=None, description="Bearer token of the glmm service.")
    r_glmm_timeout_secs: float = Field(
        default=600.0, gt=0, description="Longest wait for one glmm job, queueing included."
    )

    r_brms_base_url: str | None = Field(default=None, description="Base URL of the growth service (brms).")
    r_brms_internal_token: SecretStr | None = Field(default=None, description="Bearer token of the growth service.")
    r_brms_timeout_secs: float = Field(
        default=900.0, gt=0, description="Longest wait for one growth job, queueing included."
    )

    r_service_spool_dir: Path | None = Field(
        default=None, description="Folder shared with the R services, for answers too many for a request."
    )

    @field_validator("seedtest_timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{name!r} is no IANA time zone; write for example UTC or Asia/Seoul") from error
        return name

    @field_validator("seedtest_start_date")
    @classmethod
    def _a_monday(cls, day: date) -> date:
        if day.weekday() != 0:
            raise ValueError(f"{day} is a {day:%A}; weeks are ISO weeks, give a Monday")
        return day

    @field_validator("metrics_churn_horizon_days")
    @classmethod
    def _a_horizon(cls, days: int) -> int:
        if days not in {7, 14, 28}:
            raise ValueError(f"{days} is no horizon of the churn model; choose 7, 14 or 28")
        return days

    @field_validator("report_format", mode="before")
    @classmethod
    def _separated_by_commas(cls, formats: object) -> object:
        if not isinstance(formats, str):
            return formats
        return tuple(dict.fromkeys(part.strip() for part in formats.split(",")))

    @field_validator("seedtest_tenant")
    @classmethod
    def _no_other_schema(cls, name: str | None) -> str | None:
        if name in TAKEN:
            raise ValueError(f"{name!r} cannot name a tenant: the schema is another's")
        return name

    @field_validator("seedtest_attempt_relation")
    @classmethod
    def _qualified(cls, name: str | None) -> str | None:
        if name is not None and not QUALIFIED_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a plain lower-case schema.name")
        return name


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings, read once. Tests that change the environment call `settings.cache_clear()`."""
    return Settings()
