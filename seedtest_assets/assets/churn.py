"""The risk of falling silent for 14 days: survival_fit_meta, survival_risk."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import dagster as dg
import numpy as np
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets import plots
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.common import asset_key, local_date, pool, table_spec, weeks, window
from seedtest_assets.assets.records import Known, among, read_records
from seedtest_assets.calendar import WEEK, WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES, TransientFailure
from seedtest_assets.models.landmarks import HORIZONS, OBSERVED_DAYS, at_risk, outcomes, return_gaps, training_landmarks
from seedtest_assets.models.return_hazard import fit_cox
from seedtest_assets.models.survival import (
    FULL,
    RECENCY,
    HorizonModel,
    fit_risk,
    predict_risk,
    usable_parameters,
)
from seedtest_assets.models.track_record import track_record
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.forecast import ForecastService, SurvivalFit
from seedtest_assets.settings import settings

LEAST_SLOPE, MOST_SLOPE = 0.8, 1.25
"""Calibration slopes between which a risk is taken for a probability."""
LOOKBACK_WEEKS = math.ceil((settings().survival_lookback_days + OBSERVED_DAYS) / WEEK.days)


@dataclass(frozen=True)
class PublishedFit:
    """A fit that risks are predicted with.

    Attributes:
        run_id: of survival_fit_meta.
        week_start: the week that fitted it.
        engine: plumber or python.
        risk_model: of `models.survival.fit_risk`.
    """

    run_id: UUID
    week_start: date
    engine: str
    risk_model: list[HorizonModel]


@dataclass(frozen=True)
class Tried:
    """How this week's fit went.

    Attributes:
        fit: what the engine found; None = there was nothing to fit.
        model: full, recency where the whole model could not be fitted at some horizon, None where nothing could.
        publish: it becomes the newest fit.
        reason: why it is not full.
        failed: a model was tried and did not converge (False: too few events to try).
        instead: why the python engine stood in for the service.
    """

    fit: SurvivalFit | None
    model: str | None
    publish: bool
    reason: str | None
    failed: bool
    instead: str | None


def _spec(table: sa.Table, description: str, deps: Sequence[Any], *, skippable: bool) -> dg.AssetSpec:
    return table_spec(table, description, deps=deps, group="churn", code_version="1", skippable=skippable)


LOOK_BACK = dg.TimeWindowPartitionMapping(start_offset=-LOOKBACK_WEEKS)
EARLIER = dg.TimeWindowPartitionMapping(start_offset=-LOOKBACK_WEEKS, end_offset=-1)
KNOWN = [attempt, dg.AssetDep(asset_key("weekly_metrics"), partition_mapping=LOOK_BACK)]


@dg.multi_asset(
    name="churn",
    specs=[
        _spec(
            tables.survival_fit_meta,
            "One published fit per week: for each horizon a logistic regression on landmarks of the look-back (idle "
            "days, covariates, weekday, days off) with its covariance, the Cox model of coming back, and how the risks "
            "published earlier came true. Nothing is published when it did not converge; fit_attempt then says "
            "why and the older fit stays current.",
            KNOWN,
            skippable=True,
        ),
        _spec(
            tables.survival_risk,
            "For every student who is at risk (idle for fewer than 14 days) the probability of 14 days of silence "
            "within 7, 14 and 28 days, with its 90 % interval, predicted with the newest published fit. A student who "
            "has been silent for 14 days has lapsed, and has no row until the next answer.",
            # Of its own earlier weeks: what was published is judged when its horizon is over.
            [*KNOWN, dg.AssetDep(asset_key("survival_risk"), partition_mapping=EARLIER)],
            skippable=False,
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "fit_published",
            asset=asset_key(tables.survival_risk.name),
            description="This week's model was fitted as a whole, by the engine that was asked for. If not, "
            "risks come from the newest older fit, or from idle days alone, and nothing else stops.",
        ),
        dg.AssetCheckSpec(
            "risk_is_calibrated",
            asset=asset_key(tables.survival_risk.name),
            description="Of the risks published in the look-back whose horizon is over, the calibration slope lies "
            f"between {LEAST_SLOPE} and {MOST_SLOPE} at each horizon.",
        ),
        dg.AssetCheckSpec(
            "risk_beats_recency",
            asset=asset_key(tables.survival_risk.name),
            description="The same risks have a smaller Brier score than idle days alone would have had.",
        ),
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool=pool("r_forecast"),
    can_subset=False,
)
def churn(context: AssetExecutionContext, database: Database, forecast: ForecastService) -> Iterator[Any]:
    """Fit the churn model on the look-back, publish if that can be done, predict the risk of every student at risk."""
    (week,) = weeks(context)
    known = read_records(database, week, settings().survival_lookback_days)
    tried = _try(context, database, forecast, week, known)
    published = tried.fit if tried.publish else None
    record = track_record(_published_risks(database, week, known))
    fit = _as_published(week, published) if published else newest_fit(database, week)
    risks = _risk_rows(week, known, fit, trigger="schedule")
    meta = [_meta(context, week, published, tried.model, record)] if published else []
    written = database.replace(
        *meta,
        Rows(tables.survival_risk, risks, window(tables.survival_risk, week)),
        Rows(tables.fit_attempt, _attempt_row(week, tried), sa.false()),
        week_start=week.start,
    )
    if published:
        yield dg.MaterializeResult(
            asset_key=asset_key("survival_fit_meta"), metadata=_fit_metadata(published, tried.model, record)
        )
    yield dg.MaterializeResult(
        asset_key=asset_key("survival_risk"),
        metadata={"dagster/partition_row_count": written["survival_risk"], **_risk_metadata(risks, fit)},
    )
    yield _published_check(tried, fit)
    yield from _record_checks(record)


def rescore(database: Database, week: Week, users: Sequence[str]) -> int:
    """Predict just these students' risks as of the week's as_of, with the newest published fit.

    Their ranks among all students are not known before the next nightly run, and NULL.

    Returns:
        Rows written; none for students who are not at risk, or without a fit.
    """
    table = tables.survival_risk
    known = read_records(database, week, users=users)
    risks = _risk_rows(week, known, newest_fit(database, week), trigger="inactivity").assign(rank=None)
    subset = window(table, week) & among(table.c.user_id, users)
    return database.replace(Rows(table, risks, subset), week_start=week.start)[table.name]


def newest_fit(database: Database, week: Week) -> PublishedFit | None:
    """The newest published fit of this week or before it, or None."""
    meta = tables.survival_fit_meta.c
    found = database.rows(
        sa.select(meta.run_id, meta.week_start, meta.engine, meta.risk_model)
        .where(meta.week_start <= week.start)
        .order_by(meta.week_start.desc())
        .limit(1)
    )
    return PublishedFit(*tuple(found[0])) if found else None


def _try(
    context: AssetExecutionContext, database: Database, forecast: ForecastService, week: Week, known: Known
) -> Tried:
    cut, lookback = week.as_of_day.toordinal(), settings().survival_lookback_days
    landmarks = training_landmarks(known.records, cut, lookback)
    if landmarks.empty:
        reason = f"nobody was at risk {lookback} to 7 days ago: there is nothing to learn from yet"
        return Tried(None, None, publish=False, reason=reason, failed=False, instead=None)
    gaps = return_gaps(known.records, cut, lookback)
    context.log.info(f"fitting {len(landmarks)} landmarks and {len(gaps)} gaps")
    fit, instead = _fitted(context, forecast, landmarks, gaps)
    short = [one for one in fit.risk_model if one["status"] != "fitted"]
    said = [f"{one['horizon']} days: {one['status']} ({one['events']} among {one['n']} landmarks)" for one in short]
    by_idle_days = any(usable_parameters(one, recency_only=True)[0] == RECENCY for one in fit.risk_model)
    model = FULL if not short else RECENCY if by_idle_days else None
    return Tried(
        fit,
        model,
        publish=model == FULL or (model == RECENCY and not _ever_full(database, week)),
        reason="; ".join(said) or None,
        failed=any(one["status"] == "not converged" for one in short),
        instead=instead,
    )


def _fitted(
    context: AssetExecutionContext, forecast: ForecastService, landmarks: pd.DataFrame, gaps: pd.DataFrame
) -> tuple[SurvivalFit, str | None]:
    """The fit of SURVIVAL_ENGINE, and why it is python's where the service was to be asked."""
    engine = settings().survival_engine
    if engine == "python":
        return _by_python(landmarks, gaps), None
    if engine == "auto" and not forecast.is_configured:
        return _by_python(landmarks, gaps), "no forecast service is configured (R_FORECAST_BASE_URL)"
    try:
        fit = forecast.fit_survival(
            landmarks, gaps, lambda job: context.log.debug(f"fit {job['state']}: {job.get('progress')}")
        )
    except TransientFailure as failure:
        if engine == "plumber":
            raise
        context.log.warning(f"fitted by the python engine: {failure}")
        return _by_python(landmarks, gaps), str(failure)
    return fit, None


def _by_python(landmarks: pd.DataFrame, gaps: pd.DataFrame) -> SurvivalFit:
    return SurvivalFit("python", fit_risk(landmarks), fit_cox(gaps))


def _ever_full(database: Database, week: Week) -> bool:
    """Whether a whole model was published by now: an older one is better than idle days alone."""
    meta = tables.survival_fit_meta.c
    return bool(database.rows(sa.select(meta.run_id).where(meta.week_start <= week.start, meta.model == FULL).limit(1)))


def _published_risks(database: Database, week: Week, known: Known) -> pd.DataFrame:
    """Risks of closed weeks of the look-back whose horizon is over, with what happened; see `track_record`."""
    r = tables.survival_risk.c
    day = local_date(r.as_of, week)
    today = sa.literal(week.as_of_day, sa.Date)
    first = week.days_before(settings().survival_lookback_days)
    risks = database.frame(
        sa.select(r.user_id, day.label("day"), r.horizon_days.label("horizon"), r.risk, r.risk_recency)
        .where(day == r.week_start + WEEK.days, r.as_of >= first, day + r.horizon_days <= today)
        .order_by(r.week_start, r.horizon_days, r.user_id)  # sums are the same to the last digit
    )
    student = known.users.get_indexer(pd.Index(risks["user_id"].astype(str)))
    # Whoever is not known any more has been erased since.
    rows = risks.assign(student=student, day=[each.toordinal() for each in risks["day"]])[student >= 0]
    after = outcomes(known.records, rows, week.as_of_day.toordinal()).to_numpy()
    horizons = {horizon: at for at, horizon in enumerate(HORIZONS)}
    column = rows["horizon"].map(horizons).to_numpy(np.int64)
    return rows.assign(event=after[np.arange(len(rows)), column])


def _as_published(week: Week, fit: SurvivalFit) -> PublishedFit:
    identity = run_id(tables.survival_fit_meta.name, week.start)
    return PublishedFit(identity, week.start, fit.engine, fit.risk_model)


def _risk_rows(week: Week, known: Known, fit: PublishedFit | None, *, trigger: str) -> pd.DataFrame:
    """Rows of survival_risk; none at a horizon that the fit has no model for."""
    if fit is None:
        return pd.DataFrame({"risk": []})
    rows = at_risk(known.records, week.as_of_day.toordinal())
    found = predict_risk(rows, fit.risk_model)
    by_idle_days = predict_risk(rows, fit.risk_model, recency_only=True)["risk"]
    found = found.assign(risk_recency=by_idle_days).merge(rows[["student", "active", "idle"]], on="student")
    found = found[found["model"] != "none"]
    return pd.DataFrame(
        {
            "user_id": known.users[found["student"]],
            "week_start": week.start,
            "horizon_days": found["horizon"],
            "as_of": week.as_of,
            **{name: found[name] for name in ("risk", "risk_lower", "risk_upper", "risk_recency")},
            "idle_days": found["idle"],
            "last_active": [date.fromordinal(day) for day in found["active"]],
            "rank": found["rank"].astype("int64"),
            "engine": fit.engine,
            "model": found["model"],
            "trigger": trigger,
            "fit_run_id": str(fit.run_id),
            "run_id": str(run_id(tables.survival_risk.name, week.start)),
        }
    )


def _meta(
    context: AssetExecutionContext,
    week: Week,
    fit: SurvivalFit,
    model: str | None,
    record: dict[str, dict[str, Any]],
) -> Rows:
    horizon = settings().metrics_churn_horizon_days
    of_kpi = next(one for one in fit.risk_model if one["horizon"] == horizon)
    came_true = record.get(str(horizon), {})
    row = {
        "run_id": str(run_id(tables.survival_fit_meta.name, week.start)),
        "week_start": week.start,
        "as_of": week.as_of,
        "engine": fit.engine,
        "model": model,
        "risk_model": fit.risk_model,
        "cox": fit.cox,
        "brier": came_true.get("brier"),
        "skill_over_recency": came_true.get("skill"),
        "calibration": record,
        "n": of_kpi["n"],
        "events": of_kpi["events"],
        "dagster_run_id": context.run.run_id,
    }
    return Rows(tables.survival_fit_meta, pd.DataFrame([row]), window(tables.survival_fit_meta, week))


def _attempt_row(week: Week, tried: Tried) -> pd.DataFrame:
    models = tried.fit.risk_model if tried.fit else []
    told = ("horizon", "n", "n_students", "events", "status", "iterations", "dropped")
    diagnostics = {
        "engine": tried.fit.engine if tried.fit else None,
        "instead_of_service": tried.instead,
        "horizons": [{name: one[name] for name in told} for one in models],
        "cox": tried.fit.cox["status"] if tried.fit else None,
    }
    return pd.DataFrame(
        {
            "asset": ["churn"],
            "week_start": [week.start],
            "published": [tried.publish],
            "diagnostics": [diagnostics],
            "reason": [tried.reason],
        }
    )


def _fit_metadata(fit: SurvivalFit, model: str | None, record: dict[str, dict[str, Any]]) -> dict[str, Any]:
    cox = fit.cox
    metadata: dict[str, Any] = {
        "dagster/partition_row_count": 1,
        "engine": fit.engine,
        "model": model,
        "horizons": plots.table(
            pd.DataFrame(fit.risk_model)[["horizon", "n", "n_students", "events", "status", "iterations"]]
        ),
        "coming_back": cox["status"],
    }
    if cox["status"] == "fitted":
        hazards = pd.DataFrame({name: cox[name] for name in ("names", "hr", "se", "p")})
        hazards["p_of_proportionality"] = cox["ph_test"]["p"][:-1]  # the last is of all together
        metadata |= {"concordance": cox["concordance"], "hazard_ratios": plots.table(hazards)}
    if record:
        metadata |= {"came_true": _record_table(record), "calibration_plot": plots.calibration(record)}
    return metadata


def _record_table(record: dict[str, dict[str, Any]]) -> dg.TableMetadataValue:
    shown = ["n", "events", "predicted", "happened", "brier", "skill", "slope", "slope_se", "ici"]
    rows = [{"horizon": int(horizon)} | {name: of[name] for name in shown} for horizon, of in record.items()]
    return plots.table(pd.DataFrame(rows))


def _risk_metadata(risks: pd.DataFrame, fit: PublishedFit | None) -> dict[str, Any]:
    if fit is None or risks.empty:
        return {"scored_with_fit_of": str(fit.week_start) if fit else "none yet"}
    by_horizon = risks.groupby("horizon_days")
    rows = by_horizon["risk"].agg(["size", "mean", "median", "max"]).rename(columns={"size": "students"}).reset_index()
    return {
        "scored_with_fit_of": str(fit.week_start),
        "engine": fit.engine,
        "students_at_risk": int(risks["user_id"].nunique()),
        "risks": plots.table(rows.assign(model=by_horizon["model"].first().to_numpy())),
        "risk_plot": plots.risks(risks),
    }


def _published_check(tried: Tried, fit: PublishedFit | None) -> dg.AssetCheckResult:
    reasons = [
        *([tried.reason] if tried.reason else []),
        *([f"the python engine stood in: {tried.instead}"] if tried.instead else []),
    ]
    return dg.AssetCheckResult(
        check_name="fit_published",
        asset_key=asset_key("survival_risk"),
        passed=not reasons,
        severity=dg.AssetCheckSeverity.ERROR if tried.failed else dg.AssetCheckSeverity.WARN,
        description="; ".join(reasons) or None,
        metadata={
            "published": tried.model if tried.publish and tried.model else "nothing",
            "scored_with_fit_of": str(fit.week_start) if fit else "none yet",
            "engine": fit.engine if fit else "none",
        },
    )


def _record_checks(record: dict[str, dict[str, Any]]) -> Iterator[dg.AssetCheckResult]:
    """What is not known yet, because too few horizons are over, is not complained of."""
    slopes = {horizon: of["slope"] for horizon, of in record.items() if of["slope"] is not None}
    skills = {horizon: of["skill"] for horizon, of in record.items() if of["skill"] is not None and of["events"]}
    off = {horizon: slope for horizon, slope in slopes.items() if not LEAST_SLOPE <= slope <= MOST_SLOPE}
    useless = {horizon: skill for horizon, skill in skills.items() if skill <= 0}
    for name, known, found, advice in (
        ("risk_is_calibrated", slopes, off, "below 1 the risks are too extreme, above 1 not extreme enough"),
        ("risk_beats_recency", skills, useless, "the covariates add noise: idle days alone would do as well"),
    ):
        named = ", ".join(f"{value:.2f} at {horizon} days" for horizon, value in found.items())
        yield dg.AssetCheckResult(
            check_name=name,
            asset_key=asset_key("survival_risk"),
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{named}: {advice}" if found else (None if known else "no horizon is over yet"),
            metadata={f"{horizon}_days": value for horizon, value in known.items()},
        )
