"""Forecasts of weekly series, and what is unusual in them: prophet_fit_meta, anomalies, theta_forecast."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext
from pydantic import Field

from seedtest_assets import tables
from seedtest_assets.assets import plots
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.common import FRESH_WEEKLY, asset_key, asset_keys, pool, table_spec, weeks, window
from seedtest_assets.assets.prophet import Prophet, weeks_off
from seedtest_assets.assets.scores import read_scores
from seedtest_assets.assets.series import KEY, OVERLAPPING, Panel, Students, read_panel, student_weeks, students_of
from seedtest_assets.calendar import WEEK, WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES, TransientFailure
from seedtest_assets.models.anomaly import student_scores
from seedtest_assets.models.anomaly_series import series_scores
from seedtest_assets.models.forecast import FAST, ORIGINS, Engine, Forecasts, forecast_series, windowed
from seedtest_assets.models.irt import Floats
from seedtest_assets.models.theta_forecast import next_week
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.forecast import ForecastService
from seedtest_assets.resources.plumber import Unprocessable
from seedtest_assets.settings import settings

ENGINES: dict[str, str | None] = {"auto": None, "prophet": "prophet", "statsforecast": "autoets"}
"""What is asked for; None: whatever is best."""
NAMED = 10
"""Unusual series that the check names."""
SHOWN = 4
"""Unusual series that the plot shows beside the cohort's."""
NOT_OVER = "the week is not over: forecasts are made of whole weeks"


class ForecastConfig(dg.Config):
    """What a run may ask for.

    Attributes:
        engine: auto, prophet or statsforecast; by default FORECAST_ENGINE says.
    """

    engine: str | None = Field(default=None, pattern="^(auto|prophet|statsforecast)$")


@dataclass(frozen=True)
class Found:
    """What a week that is over, and the weeks before it, let say.

    Attributes:
        asked: for which engine.
        panel: the series.
        said: their forecasts.
        changes: of the series that prophet was fitted to, by position in the panel, its changepoints.
        off: Mondays of weeks with days off that prophet was told of.
        instead: why prophet took no part; None = it did, or was not asked.
        series, students: rows of anomalies.
        ahead: rows of theta_forecast.
    """

    asked: str
    panel: Panel
    said: Forecasts
    changes: dict[int, dict[str, Any]]
    off: list[str]
    instead: str | None
    series: pd.DataFrame
    students: pd.DataFrame
    ahead: pd.DataFrame


def _spec(table: sa.Table, description: str) -> dg.AssetSpec:
    deps = [attempt, *asset_keys("mirt_ability", "weekly_metrics", "user_segment")]
    return table_spec(
        table, description, deps=deps, group="forecast", code_version="1", skippable=False, freshness=FRESH_WEEKLY
    )


@dg.multi_asset(
    name="forecast",
    specs=[
        _spec(
            tables.prophet_fit_meta,
            "Forecasts of the weekly series of the cohort, of topics and of segments, by whatever predicts series of "
            "that kind best in a rolling backtest: prophet, exponential smoothing, or a naive forecast. "
            "FORECAST_ENGINE asks for one.",
        ),
        _spec(
            tables.anomalies,
            "Each series' and each student's closed week beside what the weeks before it let expect: for series the "
            "forecast made without the week, for students a level of their own, shrunk to the cohort's. Flagged from "
            "PROPHET_ANOMALY_THRESHOLD on; of the students' flags at most a tenth are false on average.",
        ),
        _spec(
            tables.theta_forecast,
            "Each student's expected own-week theta in the next week, with a 90 % interval.",
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "engines_tested",
            asset=asset_key(tables.prophet_fit_meta.name),
            description="The week is over, and prophet has taken part unless it was not asked to.",
        ),
        dg.AssetCheckSpec(
            "nothing_unusual",
            asset=asset_key(tables.anomalies.name),
            description="No series of the cohort, a topic or a segment is flagged: what is should be explained.",
        ),
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool=pool("r_forecast"),
    can_subset=False,
)
def forecasts(
    context: AssetExecutionContext, config: ForecastConfig, database: Database, forecast: ForecastService
) -> Iterator[Any]:
    """Forecast the series that end with a week that is over, and judge the week itself by the weeks before it."""
    (week,) = weeks(context)
    asked = config.engine or settings().forecast_engine
    found = _find(context, database, forecast, week, asked) if week.as_of_day >= week.end else None
    contents = {
        tables.prophet_fit_meta: _fit_rows(week, found) if found else pd.DataFrame(),
        tables.anomalies: pd.concat([found.series, found.students]) if found else pd.DataFrame(),
        tables.theta_forecast: found.ahead if found else pd.DataFrame(),
    }
    written = database.replace(
        *(
            Rows(
                table,
                rows.assign(week_start=week.start, as_of=week.as_of, run_id=str(run_id(table.name, week.start))),
                window(table, week),
            )
            for table, rows in contents.items()
        ),
        week_start=week.start,
    )
    told = _metadata(found) if found else {}
    for table in contents:
        yield dg.MaterializeResult(
            asset_key=asset_key(table.name),
            metadata={"dagster/partition_row_count": written[table.name], **told.get(table.name, {})},
        )
    yield _engines_check(asked, found)
    yield _unusual_check(found)


def _find(
    context: AssetExecutionContext, database: Database, service: ForecastService, week: Week, asked: str
) -> Found:
    window, horizon = settings().prophet_lookback_weeks, settings().prophet_forecast_weeks
    lookback = window + ORIGINS  # the forecasts that a week is judged by look back on as many weeks
    scores = read_scores(database, week, lookback)
    activity = student_weeks(database, week, lookback)
    panel = read_panel(database, week, activity, scores, lookback)
    students = students_of(activity, scores, week, lookback)
    context.log.info(f"{len(panel.key)} series and {len(students.users)} students over {lookback} weeks")
    off = weeks_off(database, panel.weeks[0], week.end + horizon * WEEK)
    prophet = Prophet(service, panel.weeks, off, lambda job: context.log.debug(f"prophet: {job.get('progress')}"))
    said, instead = _forecasts(context, panel, prophet, horizon, window, asked)
    without = instead or asked == "statsforecast"
    changes = {} if without else prophet.changepoints(windowed(panel.modelled, window), _shown(panel, said))
    return Found(
        asked,
        panel,
        said,
        changes,
        [monday.isoformat() for monday in off],
        instead,
        series_anomalies(panel, said),
        _student_anomalies(students),
        _student_forecasts(students),
    )


def _forecasts(
    context: AssetExecutionContext, panel: Panel, prophet: Prophet, horizon: int, window: int, asked: str
) -> tuple[Forecasts, str | None]:
    """The forecasts, and why prophet took no part in them though it might have."""
    group, instead = _group(panel), None
    if asked == "auto" and not prophet.service.is_configured:
        instead = "no forecast service is configured (R_FORECAST_BASE_URL)"
    elif asked != "statsforecast":
        try:
            engines: dict[str, Engine] = {**FAST, "prophet": prophet}
            return forecast_series(panel.modelled, group, engines, horizon, window, ENGINES[asked]), None
        except (TransientFailure, Unprocessable) as failure:
            if asked == "prophet":
                raise
            instead = str(failure)
            context.log.warning(f"without prophet: {instead}")
    return forecast_series(panel.modelled, group, FAST, horizon, window, ENGINES[asked]), instead


def _group(panel: Panel) -> Any:
    return (panel.key["scope"] + " " + panel.key["metric"]).to_numpy(dtype=object)


def _shown(panel: Panel, said: Forecasts) -> Any:
    """Positions of the series whose trend prophet is asked for: the cohort's, the segments', and what it forecasts."""
    return np.flatnonzero(panel.key["scope"].isin(["cohort", "segment"]) | (said.engine == "prophet"))


def _fit_rows(week: Week, found: Found) -> pd.DataFrame:
    """Rows of prophet_fit_meta."""
    panel, said = found.panel, found.said
    past = [monday.isoformat() for monday in panel.weeks]
    ahead = said.ahead
    coming = [(week.end + step * WEEK).isoformat() for step in range(ahead.expected.shape[1])]
    limits = {name: panel.natural(getattr(ahead, name)) for name in ("expected", "lower", "upper")}
    group, judged = _group(panel), {kind: _document(of) for kind, of in said.judged.items()}
    rows = [
        {
            "reason": _reason(found.asked, str(said.engine[i]), said.judged[kind]),
            "changepoints": found.changes.get(i),
            "holidays": found.off,
            "history": {"week_start": past, "value": _json(panel.values[i])},
            "forecast": {"week_start": coming, "widened": said.widened[str(said.engine[i])]}
            | {name: _json(limit[i]) for name, limit in limits.items()},
            "backtest": judged[kind],
        }
        for i, kind in enumerate(group)
    ]
    columns = ["reason", "changepoints", "holidays", "history", "forecast", "backtest"]
    n = np.isfinite(panel.values).sum(axis=1)
    return panel.key.assign(engine=said.engine, n=n).join(pd.DataFrame(rows, columns=columns))


def _reason(asked: str, engine: str, judged: pd.DataFrame) -> str:
    if engine not in judged.index:
        return "too few weeks to test any"
    mase = f"MASE {judged['mase'][engine]:.2f}"
    wanted = ENGINES[asked]
    if wanted is None:
        return f"best in the backtest, {mase}"
    return f"asked for, {mase}" if engine == wanted else f"{mase}; {wanted}, which was asked for, said nothing"


def _document(judged: pd.DataFrame) -> dict[str, Any]:
    return {
        str(engine): {"mase": _number(row["mase"]), "coverage": _number(row["coverage"]), "n": int(row["n"])}
        for engine, row in judged.iterrows()
    }


def _json(values: Floats) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def series_anomalies(panel: Panel, said: Forecasts) -> pd.DataFrame:
    """Rows of anomalies: of the series whose weeks do not overlap and that have a value in the last one."""
    series, origin = (said.one_step[name].to_numpy(dtype=np.int64) for name in ("series", "origin"))
    expected = np.full((len(panel.key), ORIGINS), np.nan)
    expected[series, origin - 1] = said.one_step["expected"]
    observed = np.flip(panel.modelled[:, -ORIGINS:], axis=1)
    errors = observed[:, 1:] - expected[:, 1 : observed.shape[1]]
    _, family = np.unique(_group(panel).astype(str), return_inverse=True)
    threshold = settings().prophet_anomaly_threshold
    scored = series_scores(observed[:, 0], expected[:, 0], errors, family.astype(np.int64), threshold)
    limits = scored[["expected", "lower", "upper"]].to_numpy(dtype=float)
    natural = pd.DataFrame(panel.natural(limits), columns=["expected", "lower", "upper"])
    rows = pd.concat([panel.key, scored[["score", "reason"]], natural], axis=1).assign(
        value=panel.values[:, -1],
        flag=scored["flag"].astype(object).where(scored["score"].notna(), None),
        method=[f"one_step_{engine}" for engine in said.engine],
    )
    judged = rows["value"].notna() & ~rows["metric"].isin(OVERLAPPING)
    return rows[judged]


def _student_anomalies(students: Students) -> pd.DataFrame:
    """Rows of anomalies: of the students with a value in the week."""
    measures = {"theta_week": (students.theta, students.se), "attempts": (np.log1p(students.attempts), None)}
    parts = []
    for metric, (values, se) in measures.items():
        scored = student_scores(values, se, settings().prophet_anomaly_threshold)
        natural = np.expm1 if metric == "attempts" else np.asarray
        parts.append(
            scored[["score", "q", "reason"]].assign(
                scope="user",
                scope_id=students.users,
                metric=metric,
                value=natural(values[:, -1]),
                flag=scored["flag"].astype(object).where(scored["score"].notna(), None),
                method="eb_student",
                **{name: natural(scored[name]) for name in ("expected", "lower", "upper")},
            )
        )
    rows = pd.concat(parts)
    return rows[rows["value"].notna()]


def _student_forecasts(students: Students) -> pd.DataFrame:
    """Rows of theta_forecast."""
    ahead = next_week(students.theta, students.se).rename(columns={"weeks": "n_weeks"}).assign(user_id=students.users)
    return ahead[ahead["expected"].notna()]


def _metadata(found: Found) -> dict[str, dict[str, Any]]:
    by_kind = ["scope", "metric"]
    judged = pd.concat([found.series, found.students])
    counts = judged.assign(flag=judged["flag"].eq(True), scored=judged["score"].notna())
    flagged = counts.groupby(by_kind)[["scored", "flag"]].sum().rename(columns={"flag": "flagged"}).reset_index()
    told: dict[str, dict[str, Any]] = {
        "prophet_fit_meta": {
            "backtest": plots.table(_tested(found)),
        },
        "anomalies": {"flagged": plots.table(flagged)},
        "theta_forecast": {"students": len(found.ahead)},
    }
    courses = _courses(found)
    if courses:
        told["prophet_fit_meta"]["series"] = plots.courses(courses)
    return told


def _tested(found: Found) -> pd.DataFrame:
    """For each kind of series the engine that was taken, how often its own 90 % limits held, and each engine's MASE."""
    rows = []
    for kind, engine in dict(zip(_group(found.panel), found.said.engine, strict=True)).items():
        judged = found.said.judged[kind]
        held = judged["coverage"].get(engine)
        rows.append({"series": kind, "taken": engine, "held": held, **judged["mase"].add_prefix("mase ")})
    return pd.DataFrame(rows)


def _courses(found: Found) -> list[plots.Course]:
    """The cohort's series for the plot; then the unusual ones."""
    panel, last = found.panel, found.series.reindex(range(len(found.panel.key)))
    flagged = last["flag"].eq(True)
    cohort = panel.key["scope"] == "cohort"
    courses = []
    for i in [*np.flatnonzero(cohort), *np.flatnonzero(flagged & ~cohort)[:SHOWN]]:
        ahead = {name: panel.natural(getattr(found.said.ahead, name))[i] for name in ("expected", "lower", "upper")}
        limits, changes = last.loc[i, ["lower", "upper"]], found.changes.get(i, {}).get("week_start", [])
        courses.append(
            plots.Course(
                " ".join(panel.key.loc[i, KEY]),
                panel.values[i],
                pd.DataFrame(ahead),
                limits.to_dict() if limits.notna().all() else None,
                bool(flagged[i]),
                [monday.isoformat() in changes for monday in panel.weeks],
            )
        )
    return courses


def _engines_check(asked: str, found: Found | None) -> dg.AssetCheckResult:
    reason = found.instead if found else NOT_OVER
    return dg.AssetCheckResult(
        check_name="engines_tested",
        asset_key=asset_key("prophet_fit_meta"),
        passed=reason is None,
        severity=dg.AssetCheckSeverity.WARN,
        description=reason if found is None or reason is None else f"prophet took no part: {reason}",
        metadata={"series": len(found.panel.key) if found else 0, "asked_for": asked},
    )


def _unusual_check(found: Found | None) -> dg.AssetCheckResult:
    flagged = found.series[found.series["flag"].eq(True)] if found else pd.DataFrame()
    named = [
        f"{row.scope} {row.scope_id}: {row.metric} is {row.value:.3g}, expected {row.lower:.3g} to {row.upper:.3g}"
        for row in flagged.head(NAMED).itertuples()
    ]
    more = [f"and {len(flagged) - NAMED} more"] if len(flagged) > NAMED else []
    return dg.AssetCheckResult(
        check_name="nothing_unusual",
        asset_key=asset_key("anomalies"),
        passed=found is not None and not len(flagged),
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(named + more) or (None if found else NOT_OVER),
        metadata={
            "series_judged": int(found.series["score"].notna().sum()) if found else 0,
            "series_flagged": len(flagged),
            "students_flagged": int(found.students["flag"].eq(True).sum()) if found else 0,
        },
    )
