"""The probability that each student reaches each goal: growth_brms_meta, growth_goal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict
from uuid import UUID

import dagster as dg
import numpy as np
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets import plots
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.common import FRESH_WEEKLY, asset_key, asset_keys, pool, table_spec, weeks, window
from seedtest_assets.assets.goals import learning_goal, read_goals
from seedtest_assets.assets.progress import Trend, newest_trend
from seedtest_assets.assets.scores import read_scores
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES, TransientFailure
from seedtest_assets.models.growth import (
    PARAMETERS,
    Mixture,
    NothingToLearn,
    Posterior,
    Priors,
    Scores,
    Statistics,
    TimeIsOver,
    goal_probability,
    predictive,
    sample,
    statistics,
    unpublishable,
)
from seedtest_assets.models.irt import Floats, Ints
from seedtest_assets.models.topic_goal import TopicScores, topic_goal_probability, topic_spread
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.growth import GrowthService
from seedtest_assets.resources.plumber import Unprocessable
from seedtest_assets.settings import settings

POSTERIOR, NORMAL = "posterior", "normal"
"""How P is found: averaged over the posterior of the parameters, or as if the trend's were known."""
PRIORS = Priors()
FORMULA = "score ~ week + (week | student), sigma ~ 1 + offset(log(se))"
SHOWN, POINTS = 6, 40
"""Students in the plot of trajectories, and points of each line."""
CHECKED_DRAWS, REPLICATIONS = 100, 30
"""Draws behind the coverage of what was fitted, and lines in the plot of the predictive check."""


class GrowthConfig(dg.Config):
    """What a run may ask for.

    Attributes:
        bayesian: whether P comes from the posterior; by default METRICS_USE_BAYESIAN says.
    """

    bayesian: bool | None = None


class Plan(TypedDict):
    """How an engine samples: chains, draws kept of each, draws before them, seed, and the longest time in seconds."""

    chains: int
    samples: int
    warmup: int
    seed: int
    max_seconds: float


@dataclass(frozen=True)
class Tried:
    """How this week's Bayesian fit went, if one was asked for.

    Attributes:
        posterior: what the engine found; None = nothing.
        reasons: why it is not published.
        instead: why PyMC stood in for the service: it was away, or its fit could not be published.
    """

    posterior: Posterior | None
    reasons: list[str] = field(default_factory=list)
    instead: str | None = None

    @property
    def published(self) -> Posterior | None:
        """The posterior, if its diagnostics allow it."""
        return None if self.reasons else self.posterior


@dataclass(frozen=True)
class Predictor:
    """What goals are predicted with.

    Attributes:
        method: posterior or normal.
        engine: plumber, pymc or lme4.
        fit_run_id: of growth_brms_meta or growth_glmm_meta.
        draws: of the six parameters of `models.growth`; a single row by the normal method.
        topics: what each topic's scores are higher by, logits; those not named by nothing.
    """

    method: str
    engine: str
    fit_run_id: UUID
    draws: pd.DataFrame
    topics: Mapping[str, float]


@dataclass(frozen=True)
class Students:
    """Students with their scores.

    Attributes:
        users: their keys, ascending; a student's number is the position here.
        scores: own-week scores.
        statistics: of the scores.
    """

    users: "pd.Index[str]"
    scores: Scores
    statistics: Statistics


def _spec(table: sa.Table, description: str, *, skippable: bool) -> dg.AssetSpec:
    deps = [attempt, *asset_keys("mirt_ability", "growth_glmm_effect"), learning_goal]
    return table_spec(
        table, description, deps=deps, group="growth", code_version="1", skippable=skippable, freshness=FRESH_WEEKLY
    )


@dg.multi_asset(
    name="growth",
    specs=[
        _spec(
            tables.growth_brms_meta,
            "One published Bayesian fit per week: score ~ week + (week|student), where a score is Warm's estimate from "
            "one week's answers, with its known standard error. "
            "Published with R-hat < 1.01, bulk and tail ESS > 400, E-BFMI of .3 and no divergence; otherwise "
            "fit_attempt says why. Not tried unless METRICS_USE_BAYESIAN, or the run's config, asks for it.",
            skippable=True,
        ),
        _spec(
            tables.growth_goal,
            "For each student and goal the probability that ability has reached the target at the goal's date, on the "
            "student's own latent line: averaged over the posterior, with its interval; or, by the normal method, "
            "with the parameters of lme4's trend as if they were known, which says so.",
            skippable=False,
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "goal_method",
            asset=asset_key(tables.growth_goal.name),
            description="P was found by the method and the engine that were asked for. If not, it comes from "
            "lme4's trend, or another engine, and nothing else stops.",
        )
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool=pool("r_growth"),
    can_subset=False,
)
def growth(
    context: AssetExecutionContext, config: GrowthConfig, database: Database, growth_service: GrowthService
) -> Iterator[Any]:
    """Fit the Bayesian trend if it is asked for, and predict every student's probability of reaching every goal."""
    (week,) = weeks(context)
    asked = settings().metrics_use_bayesian if config.bayesian is None else config.bayesian
    scores = read_scores(database, week, settings().brms_lookback_weeks)
    students = _students(scores.overall)
    tried = _try(context, growth_service, week, students) if asked else None
    posterior = tried.published if tried else None
    predictor = _predictor(week, posterior, newest_trend(database, week))
    goals = read_goals(database, week, students.users)
    rows = pd.DataFrame({"p_goal": []})
    if predictor and len(students.users):
        rows = _goal_rows(week, predictor, students, goals, scores.by_topic)
    if tried and not posterior:
        rows = rows.assign(instead="; ".join(tried.reasons))
    fitted = (posterior, _newcomers(posterior, students)) if posterior else None
    meta = [_meta_row(context, week, students, *fitted)] if fitted else []
    attempts = [Rows(tables.fit_attempt, _attempt_row(week, tried), sa.false())] if tried else []
    written = database.replace(
        *meta,
        Rows(tables.growth_goal, rows, window(tables.growth_goal, week)),
        *attempts,
        week_start=week.start,
    )
    if fitted:
        yield dg.MaterializeResult(
            asset_key=asset_key("growth_brms_meta"), metadata=_fit_metadata(week, students, *fitted)
        )
    yield dg.MaterializeResult(
        asset_key=asset_key("growth_goal"),
        metadata={
            "dagster/partition_row_count": written["growth_goal"],
            **(_goal_metadata(rows, predictor, students, goals) if predictor and len(rows) else {}),
        },
    )
    yield _method_check(tried, predictor)


def _try(context: AssetExecutionContext, service: GrowthService, week: Week, students: Students) -> Tried:
    if not len(students.users):
        return Tried(None, ["there are no own-week scores yet: nobody has five answers on calibrated items"])
    context.log.info(f"fitting {len(students.scores.score)} scores of {len(students.users)} students")
    try:
        posterior, instead = _fitted(context, service, week, students)
    except (TimeIsOver, NothingToLearn, Unprocessable) as refused:
        return Tried(None, [str(refused)])
    return Tried(posterior, unpublishable(posterior.diagnostics), instead)


def _fitted(
    context: AssetExecutionContext, service: GrowthService, week: Week, students: Students
) -> tuple[Posterior, str | None]:
    """The fit of GROWTH_ENGINE, and why it is PyMC's where the service was to be asked."""
    engine, most = settings().growth_engine, settings().brms_max_students
    plan: Plan = {
        "chains": settings().brms_n_chains,
        "samples": settings().brms_n_samples,
        "warmup": settings().brms_n_warmup,
        "seed": week.start.toordinal(),
        "max_seconds": settings().growth_max_seconds,
    }
    instead = None
    if engine == "plumber":
        return _by_service(context, service, students, plan), None
    if engine == "auto" and not service.is_configured:
        instead = "no growth service is configured (R_BRMS_BASE_URL)"
    elif engine == "auto" and len(students.users) <= most:
        try:
            posterior = _by_service(context, service, students, plan)
        except (TransientFailure, Unprocessable) as failure:
            instead = str(failure)
        else:
            instead = "; ".join(unpublishable(posterior.diagnostics))
            if not instead:
                return posterior, None
        context.log.warning(f"fitted by PyMC: {instead}")
    return sample(students.statistics, PRIORS, **plan), instead


def _by_service(context: AssetExecutionContext, service: GrowthService, students: Students, plan: Plan) -> Posterior:
    columns = {name: getattr(students.scores, name) for name in ("student", "week", "score", "se")}
    found = service.fit(
        pd.DataFrame(columns),
        PRIORS.as_request(),
        **plan,
        progress=lambda job: context.log.debug(f"fit {job['state']}: {job.get('progress')}"),
    )
    # A chain that never moved has no R-hat.
    diagnostics = {name: np.nan if value is None else value for name, value in found["diagnostics"].items()}
    draws, summary = pd.DataFrame(found["draws"]), pd.DataFrame(found["posterior_summary"])
    return Posterior("plumber", draws, summary, diagnostics)


def _predictor(week: Week, posterior: Posterior | None, trend: Trend | None) -> Predictor | None:
    topics = trend.topics if trend else {}
    if posterior:
        fit = run_id(tables.growth_brms_meta.name, week.start)
        return Predictor(POSTERIOR, posterior.engine, fit, posterior.draws, topics)
    if trend:
        return Predictor(NORMAL, trend.engine, trend.run_id, pd.DataFrame([trend.parameters]), topics)
    return None


def _students(scores: pd.DataFrame) -> Students:
    users = pd.Index(np.unique(scores["user_id"].astype(str)))
    student = users.get_indexer(pd.Index(scores["user_id"])).astype(np.int64)
    week, score, se = (scores[name].to_numpy(dtype=float) for name in ("week", "score", "se"))
    indexed = Scores(student, week, score, se, len(users))
    return Students(users, indexed, statistics(indexed))


def _goal_rows(
    week: Week, predictor: Predictor, students: Students, goals: pd.DataFrame, by_topic: pd.DataFrame
) -> pd.DataFrame:
    """Rows of growth_goal: of every student with a score."""
    is_overall = goals["topic_id"] == tables.OVERALL
    overall, of_topics = (goals[chosen].reset_index(drop=True) for chosen in (is_overall, ~is_overall))
    parts = [overall.join(goal_probability(students.statistics, predictor.draws, *_aims(overall, students.users)))]
    if len(of_topics):
        parts.append(of_topics.join(_topic_probability(predictor, by_topic, of_topics)))
    rows = pd.concat(parts, ignore_index=True)
    return rows.drop(columns=["weeks"]).assign(
        week_start=week.start,
        as_of=week.as_of,
        n_scores=students.statistics.n[students.users.get_indexer(pd.Index(rows["user_id"]))].astype(np.int64),
        method=predictor.method,
        engine=predictor.engine,
        fit_run_id=str(predictor.fit_run_id),
        run_id=str(run_id(tables.growth_goal.name, week.start)),
    )


def _aims(goals: pd.DataFrame, users: "pd.Index[str]") -> tuple[Ints, Floats, Floats]:
    """Student, week and target of each goal, as `models.growth` takes them."""
    student = users.get_indexer(pd.Index(goals["user_id"])).astype(np.int64)
    return student, goals["weeks"].to_numpy(dtype=float), goals["target_theta"].to_numpy(dtype=float)


def _topic_probability(predictor: Predictor, by_topic: pd.DataFrame, goals: pd.DataFrame) -> pd.DataFrame:
    """As `goal_probability`, of goals in topics, from the scores of all topics."""
    users = pd.Index(np.union1d(by_topic["user_id"], goals["user_id"]))
    topics = pd.Index(np.union1d(by_topic["topic_id"], goals["topic_id"]))
    week, score, se = (by_topic[name].to_numpy(dtype=float) for name in ("week", "score", "se"))
    scores = TopicScores(
        users.get_indexer(pd.Index(by_topic["user_id"])).astype(np.int64),
        topics.get_indexer(pd.Index(by_topic["topic_id"])).astype(np.int64),
        week,
        score,
        se,
        len(users),
        effect=np.array([predictor.topics.get(topic, 0.0) for topic in topics]),
    )
    spread = topic_spread(scores, {name: predictor.draws[name].mean() for name in PARAMETERS})
    student, weeks, target = _aims(goals, users)
    topic = topics.get_indexer(pd.Index(goals["topic_id"])).astype(np.int64)
    return topic_goal_probability(scores, predictor.draws, spread, student, topic, weeks, target)


def _newcomers(posterior: Posterior, students: Students) -> Mixture:
    """What the posterior says of the scores that were fitted as if each were a new student's: the population's fit."""
    nothing = np.empty(0)
    nobody = statistics(Scores(np.empty(0, np.int64), nothing, nothing, nothing, n_students=1))
    scores = students.scores
    some = posterior.draws.iloc[:: max(1, len(posterior.draws) // CHECKED_DRAWS)]
    return predictive(nobody, some, np.zeros_like(scores.student), scores.week, scores.se)


def _meta_row(
    context: AssetExecutionContext, week: Week, students: Students, posterior: Posterior, fitted: Mixture
) -> Rows:
    # A rerun gives the same rows: how long it took is told in fit_attempt.
    diagnostics = {name: value for name, value in posterior.diagnostics.items() if name != "seconds"}
    row = {
        "run_id": str(run_id(tables.growth_brms_meta.name, week.start)),
        "week_start": week.start,
        "as_of": week.as_of,
        "engine": posterior.engine,
        "formula": FORMULA,
        "priors": PRIORS.as_request(),
        "posterior_summary": posterior.summary.set_index("parameter").to_dict("index"),
        "diagnostics": diagnostics | {"coverage": _coverage(fitted, students)},
        "n": len(students.scores.score),
        "n_students": len(students.users),
        "dagster_run_id": context.run.run_id,
    }
    return Rows(tables.growth_brms_meta, pd.DataFrame([row]), window(tables.growth_brms_meta, week))


def _coverage(fitted: Mixture, students: Students) -> dict[str, float]:
    """Share of the scores within the central intervals of these shares."""
    tail = np.abs(fitted.below(students.scores.score) - 0.5)
    return {str(share): float((tail <= share / 2).mean()) for share in (0.5, 0.8, 0.9)}


def _attempt_row(week: Week, tried: Tried) -> pd.DataFrame:
    posterior = tried.posterior
    diagnostics = {
        "engine": posterior.engine if posterior else None,
        "instead_of_service": tried.instead,
        **{name: value for name, value in (posterior.diagnostics if posterior else {}).items() if np.isfinite(value)},
    }
    return pd.DataFrame(
        {
            "asset": ["growth"],
            "week_start": [week.start],
            "published": [tried.published is not None],
            "diagnostics": [diagnostics],
            "reason": ["; ".join(tried.reasons) or None],
        }
    )


def _fit_metadata(week: Week, students: Students, posterior: Posterior, fitted: Mixture) -> dict[str, Any]:
    draws = np.random.default_rng(week.start.toordinal()).normal(fitted.means, fitted.sds).T
    return {
        "dagster/partition_row_count": 1,
        "engine": posterior.engine,
        "scores": len(students.scores.score),
        "students": len(students.users),
        "posterior": plots.table(posterior.summary),
        "diagnostics": plots.table(pd.DataFrame([posterior.diagnostics])),
        "coverage": _coverage(fitted, students),
        "predictive_check": plots.predictive_check(students.scores.score, draws[:REPLICATIONS]),
    }


def _goal_metadata(rows: pd.DataFrame, predictor: Predictor, students: Students, goals: pd.DataFrame) -> dict[str, Any]:
    by_goal = rows.groupby(["goal", "method"])["p_goal"].agg(["size", "mean", "median"]).reset_index()
    overall = goals[goals["topic_id"] == tables.OVERALL].merge(
        rows[rows["topic_id"] == tables.OVERALL][["user_id", "p_goal"]]
    )
    return {
        "method": predictor.method,
        "engine": predictor.engine,
        "goals": plots.table(by_goal.rename(columns={"size": "goals"})),
        "trajectories": plots.trajectories(_trajectories(predictor, students, overall)),
    }


def _trajectories(predictor: Predictor, students: Students, goals: pd.DataFrame) -> list[plots.Trajectory]:
    """Of the students with most scores, in the order of their keys."""
    most = np.sort(np.argsort(-students.statistics.n, kind="stable")[:SHOWN])
    shown = []
    for student in most:
        goal = goals[goals["user_id"] == students.users[student]].iloc[0]
        grid = np.linspace(students.scores.week.min(), max(goal["weeks"], 0.0), POINTS)
        everywhere = np.full(POINTS, student)
        line = goal_probability(students.statistics, predictor.draws, everywhere, grid, np.zeros(POINTS))
        own, scores = students.scores.student == student, students.scores
        shown.append(
            plots.Trajectory(
                scores.week[own],
                scores.score[own],
                scores.se[own],
                line[["mu", "sigma"]].assign(week=grid),
                goal["weeks"],
                goal["target_theta"],
                goal["p_goal"],
            )
        )
    return shown


def _method_check(tried: Tried | None, predictor: Predictor | None) -> dg.AssetCheckResult:
    reasons = [] if predictor else ["there is no published trend yet to predict with"]
    if tried:
        reasons += [f"normal instead of the posterior: {reason}" for reason in tried.reasons]
        reasons += [f"PyMC stood in for the service: {tried.instead}"] if tried.instead else []
    failed = tried is not None and tried.posterior is not None and tried.published is None
    return dg.AssetCheckResult(
        check_name="goal_method",
        asset_key=asset_key("growth_goal"),
        passed=not reasons,
        severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
        description="; ".join(reasons) or None,
        metadata={
            "asked_for": NORMAL if tried is None else POSTERIOR,
            "method": predictor.method if predictor else "none",
            "engine": predictor.engine if predictor else "none",
        },
    )
