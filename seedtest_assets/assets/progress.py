"""How fast each student improves, by lme4: growth_glmm_meta, growth_glmm_effect."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets import plots
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.common import FRESH_WEEKLY, asset_key, pool, table_spec, weeks, window
from seedtest_assets.assets.scores import OwnWeeks, read_scores
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.glmm import GlmmService, ProgressFit
from seedtest_assets.resources.plumber import Unprocessable
from seedtest_assets.settings import settings


@dataclass(frozen=True)
class Tried:
    """How this week's fits went.

    Attributes:
        by_topic: of the topic scores; None = it could not be done on them.
        overall: of the scores of whole weeks; None likewise.
        n, n_students: topic scores and students.
        reason: why they are not published, or what lme4 warned of; None = nothing to say.
    """

    by_topic: ProgressFit | None
    overall: ProgressFit | None
    n: int
    n_students: int
    reason: str | None

    @property
    def published(self) -> tuple[ProgressFit, ProgressFit] | None:
        """Both fits, if they converged."""
        if self.by_topic and self.overall and self.by_topic.converged and self.overall.converged:
            return self.by_topic, self.overall
        return None


@dataclass(frozen=True)
class Trend:
    """A published fit, as goals are predicted with it.

    Attributes:
        run_id: of growth_glmm_meta.
        engine: lme4.
        parameters: the six of `models.growth`, of the fit on scores of whole weeks.
        topics: effect of each topic, logits.
    """

    run_id: UUID
    engine: str
    parameters: Mapping[str, float]
    topics: Mapping[str, float]


def _spec(table: sa.Table, description: str, *, skippable: bool) -> dg.AssetSpec:
    deps = [attempt, asset_key("mirt_ability")]
    return table_spec(
        table, description, deps=deps, group="progress", code_version="1", skippable=skippable, freshness=FRESH_WEEKLY
    )


@dg.multi_asset(
    name="progress",
    specs=[
        _spec(
            tables.growth_glmm_meta,
            "One published fit per week: score ~ week + (week|student) + (1|topic), where a score is Warm's estimate "
            "from a student's answers in a topic in one week, weighted by 1 / SE^2, and week 0 is as_of; and the same "
            "of the scores of whole weeks, with which goals are predicted. Nothing is published when lme4 did not "
            "converge; fit_attempt then says why.",
            skippable=True,
        ),
        _spec(
            tables.growth_glmm_effect,
            "Each student's deviation from the cohort's line, level and growth per week, with standard errors; "
            "and each topic's. No rows when nothing was published.",
            skippable=False,
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "progress_published",
            asset=asset_key(tables.growth_glmm_effect.name),
            description="This week's trend was fitted, converged, and is not singular.",
        )
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool=pool("r_glmm"),
    can_subset=False,
)
def progress(context: AssetExecutionContext, database: Database, glmm: GlmmService) -> Iterator[Any]:
    """Fit the trends of all students on the own-week scores of the look-back, and publish them if they converged."""
    (week,) = weeks(context)
    scores = read_scores(database, week, settings().glmm_lookback_weeks)
    users = pd.Index(scores.overall["user_id"].unique())
    tried = _try(context, glmm, scores, users)
    fits = tried.published
    rows = _fit_rows(context, week, fits, tried, users) if fits else []
    attempt_row = Rows(tables.fit_attempt, _attempt_row(week, tried), sa.false())
    written = database.replace(*rows, attempt_row, week_start=week.start)
    if fits:
        yield dg.MaterializeResult(asset_key=asset_key("growth_glmm_meta"), metadata=_fit_metadata(*fits))
    yield dg.MaterializeResult(
        asset_key=asset_key("growth_glmm_effect"),
        metadata={
            "dagster/partition_row_count": written.get("growth_glmm_effect", 0),
            **(_effect_metadata(fits[0]) if fits else {}),
        },
    )
    yield _published_check(tried)


def newest_trend(database: Database, week: Week) -> Trend | None:
    """The newest published fit of this week or before it, or None."""
    meta, effect = tables.growth_glmm_meta.c, tables.growth_glmm_effect.c
    found = database.rows(
        sa.select(meta.run_id, meta.engine, meta.overall)
        .where(meta.week_start <= week.start)
        .order_by(meta.week_start.desc())
        .limit(1)
    )
    if not found:
        return None
    identity, engine, parameters = found[0]
    topics = database.rows(
        sa.select(effect.id, effect.estimate).where(effect.run_id == identity, effect.level == "topic")
    )
    return Trend(identity, engine, parameters, {row.id: row.estimate for row in topics})


def _try(context: AssetExecutionContext, glmm: GlmmService, scores: OwnWeeks, users: "pd.Index[str]") -> Tried:
    n, n_students = len(scores.by_topic), len(users)
    if n == 0:
        reason = "there are no own-week scores yet: nobody has five answers on calibrated items"
        return Tried(None, None, n, n_students, reason)

    def fit(what: pd.DataFrame) -> ProgressFit:
        context.log.info(f"fitting {len(what)} scores of {what['user_id'].nunique()} students")
        return glmm.fit_progress(
            what.assign(student=pd.Categorical(what["user_id"], categories=users).codes),
            lambda job: context.log.debug(f"fit {job['state']}: {job.get('progress')}"),
        )

    try:
        fits = fit(scores.by_topic.rename(columns={"topic_id": "topic"})), fit(scores.overall)
    except Unprocessable as refused:
        return Tried(None, None, n, n_students, str(refused.problem.get("detail")))
    said = dict.fromkeys(message for each in fits for message in each.fit_meta["messages"])
    return Tried(*fits, n, n_students, "; ".join(said) or None)


def _fit_rows(
    context: AssetExecutionContext,
    week: Week,
    fits: tuple[ProgressFit, ProgressFit],
    tried: Tried,
    users: "pd.Index[str]",
) -> list[Rows]:
    contents = (
        (tables.growth_glmm_meta, _meta_row(context, week, *fits, tried)),
        (tables.growth_glmm_effect, _effect_rows(week, fits[0], users)),
    )
    return [Rows(table, rows, window(table, week)) for table, rows in contents]


def _meta_row(
    context: AssetExecutionContext, week: Week, fit: ProgressFit, overall: ProgressFit, tried: Tried
) -> pd.DataFrame:
    row = {
        "run_id": str(run_id(tables.growth_glmm_meta.name, week.start)),
        "week_start": week.start,
        "as_of": week.as_of,
        "engine": fit.engine,
        "formula": fit.formula,
        "fixed_effects": fit.fixed_effects.set_index("term").to_dict("index"),
        "random_effects": fit.random,
        "metrics": {name: fit.fit_meta[name] for name in ("log_lik", "aic", "bic", "reml", "iterations")} | fit.metrics,
        "overall": six_parameters(overall),
        "singular": fit.singular or overall.singular,
        "warnings": fit.fit_meta["messages"] + overall.fit_meta["messages"],
        "n": tried.n,
        "n_students": tried.n_students,
        "dagster_run_id": context.run.run_id,
    }
    return pd.DataFrame([row])


def six_parameters(fit: ProgressFit) -> dict[str, float]:
    """lme4's estimates as `models.growth` names them."""
    fixed = fit.fixed_effects.set_index("term")["estimate"]
    return {
        "intercept": fixed["intercept"],
        "week": fixed["week"],
        "sd_intercept": fit.random["sd_intercept"],
        "sd_week": fit.random["sd_week"],
        "correlation": fit.random["correlation"] or 0.0,  # of a variance of 0 there is none
        "kappa": fit.random["residual"],
    }


def _effect_rows(week: Week, fit: ProgressFit, users: "pd.Index[str]") -> pd.DataFrame:
    student = users[fit.students["student"]]
    terms = [
        pd.DataFrame(
            {
                "level": "student",
                "id": student,
                "term": term,
                "estimate": fit.students[term],
                "se": fit.students[f"se_{term}"],
                "total": fit.students[f"{term}_total"],
                "total_se": fit.students[f"se_{term}_total"],
            }
        )
        for term in ("intercept", "week")
    ]
    topics = pd.DataFrame(
        {
            "level": "topic",
            "id": fit.topics["topic_id"],
            "term": "intercept",
            "estimate": fit.topics["effect"],
            "se": fit.topics["se"],
        }
    )
    return pd.concat([*terms, topics]).assign(run_id=str(run_id(tables.growth_glmm_meta.name, week.start)))


def _attempt_row(week: Week, tried: Tried) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "asset": ["progress"],
            "week_start": [week.start],
            "published": [tried.published is not None],
            "diagnostics": [
                {
                    "n": tried.n,
                    "n_students": tried.n_students,
                    "by_topic": tried.by_topic.fit_meta if tried.by_topic else None,
                    "overall": tried.overall.fit_meta if tried.overall else None,
                }
            ],
            "reason": [tried.reason],
        }
    )


def _fit_metadata(fit: ProgressFit, overall: ProgressFit) -> dict[str, Any]:
    return {
        "dagster/partition_row_count": 1,
        "formula": fit.formula,
        "fixed_effects": plots.table(fit.fixed_effects),
        "random_effects": plots.table(pd.DataFrame([fit.random])),
        "overall": plots.table(pd.DataFrame([six_parameters(overall)])),
        "singular": fit.singular or overall.singular,
    }


def _effect_metadata(fit: ProgressFit) -> dict[str, Any]:
    slope, se = (fit.students[name].to_numpy(dtype=float) for name in ("week_total", "se_week_total"))
    return {"students": len(slope), "topics": len(fit.topics), "slopes": plots.caterpillar(slope, se)}


def _published_check(tried: Tried) -> dg.AssetCheckResult:
    failed = tried.by_topic is not None and tried.published is None
    return dg.AssetCheckResult(
        check_name="progress_published",
        asset_key=asset_key("growth_glmm_effect"),
        passed=tried.reason is None and tried.published is not None,
        severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
        description=tried.reason,
        metadata={"scores": tried.n, "students": tried.n_students, "published": tried.published is not None},
    )
