"""The item bank and the students' ability: mirt_fit_meta, mirt_item_params, mirt_ability."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext

from seedtest_assets import tables
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.common import (
    FRESH_DAILY,
    OWNERS,
    Bank,
    bank_items,
    column_schema,
    newest_bank,
    weeks,
    window,
)
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES, PermanentFailure
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.plumber import Calibration, IrtService, Unprocessable
from seedtest_assets.settings import settings

WEAK_PRIORS = {"a": {"meanlog": 0.25, "sdlog": 0.5}, "d": {"mean": 0.0, "sd": 3.0}}
"""a ~ lognormal(0.25, 0.5), d = -ab ~ N(0, 3): weak, for small banks; stored in model_spec with every fit.

The density of a has its mode at 1: a mode below 1 pulls all slopes the same way and with them the unit of the
scale (benchmarks/irt_recovery).
"""


@dataclass(frozen=True)
class Tried:
    """How this week's calibration went.

    Attributes:
        calibration: the fit, when it may be published.
        reason: why it may not, otherwise.
        diagnostics: what the service reported.
        refused: a fit was tried and failed (False: there was too little to try).
    """

    calibration: Calibration | None
    reason: str | None
    diagnostics: dict[str, Any]
    refused: bool


def _spec(table: sa.Table, description: str, *, skippable: bool) -> dg.AssetSpec:
    return dg.AssetSpec(
        key=table.name,
        deps=[attempt],
        description=description,
        skippable=skippable,
        group_name="irt",
        owners=OWNERS,
        kinds={"r", "postgres"},
        code_version="1",
        freshness_policy=FRESH_DAILY,
        metadata=column_schema(table),
    )


@dg.multi_asset(
    name="mirt",
    specs=[
        _spec(
            tables.mirt_fit_meta,
            "One published calibration per week: model, priors, exclusions, convergence. Nothing is published "
            "when the fit did not converge; fit_attempt then says why and the older bank stays current.",
            skippable=True,
        ),
        _spec(
            tables.mirt_item_params,
            "Discrimination and difficulty of each item, with standard errors, marginal maximum likelihood over the "
            "look-back window's first attempts.",
            skippable=True,
        ),
        _spec(
            tables.mirt_ability,
            "Each student's ability (EAP) over the look-back window, scored with the newest published calibration. "
            "An average over the window: good for level, not a response for growth models.",
            skippable=False,
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "calibration_converged",
            asset=tables.mirt_ability.name,
            description="This week's calibration converged and was published. If not, ability is scored with the "
            "newest older calibration, and nothing else stops.",
        )
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool="r_irt",
    can_subset=False,
)
def mirt(context: AssetExecutionContext, database: Database, irt: IrtService) -> Iterator[Any]:
    """Calibrate the items on the window's first attempts, publish if it converged, score every student.

    Fit, items, abilities and the log of the attempt are written in one transaction: readers never see a
    bank without its abilities.
    """
    (week,) = weeks(context)
    answers = database.frame(_first_attempts(database, week))
    tried = _calibrate(context, irt, answers)
    log = Rows(tables.fit_attempt, _attempt_row(week, tried), sa.false())
    if tried.calibration is not None:
        bank: Bank | None = _bank(week, tried.calibration)
        published = _published(context, week, tried.calibration)
        abilities = tried.calibration.abilities
    else:
        published = []
        bank = newest_bank(database, week)
        if bank is None and tried.refused:
            database.replace(log, week_start=week.start)
            raise PermanentFailure(
                f"No calibration has ever been published and this week's cannot be: {tried.reason}. Look at the "
                "newest row of analytics.fit_attempt; widen MIRT_LOOKBACK_DAYS or start with MIRT_MODEL=Rasch."
            )
        abilities = _score(irt, database, answers, bank)
    ability = Rows(tables.mirt_ability, _ability_rows(week, abilities, bank), window(tables.mirt_ability, week))
    written = database.replace(*published, ability, log, week_start=week.start)
    scored_with = str(bank.week_start) if bank else "none yet"

    if tried.calibration is not None:
        yield dg.MaterializeResult(asset_key="mirt_fit_meta", metadata=_fit_metadata(tried.calibration))
        yield dg.MaterializeResult(
            asset_key="mirt_item_params",
            metadata={"dagster/partition_row_count": written["mirt_item_params"]},
        )
    yield dg.MaterializeResult(
        asset_key="mirt_ability",
        metadata={
            "dagster/partition_row_count": written["mirt_ability"],
            "first_attempts": len(answers),
            "scored_with_bank_of": scored_with,
        },
    )
    yield dg.AssetCheckResult(
        check_name="calibration_converged",
        asset_key="mirt_ability",
        passed=tried.calibration is not None,
        severity=dg.AssetCheckSeverity.ERROR if tried.refused else dg.AssetCheckSeverity.WARN,
        description=tried.reason,
        metadata={"scored_with_bank_of": scored_with},
    )


def _first_attempts(database: Database, week: Week) -> sa.Select[*tuple[Any, ...]]:
    """First-ever attempts completed in the look-back window: a later try is also a test of memory."""
    a = database.attempt
    return (
        sa.select(a.c.student_id, a.c.item_id, a.c.correct)
        .where(a.c.completed_at >= week.days_before(settings().mirt_lookback_days), a.c.completed_at < week.as_of)
        .where(a.c.attempt_no == 1)
        .order_by(a.c.student_id, a.c.item_id)
    )


def _calibrate(context: AssetExecutionContext, irt: IrtService, answers: pd.DataFrame) -> Tried:
    least = settings().mirt_min_responses
    enough = (answers["item_id"].value_counts() >= least).sum()
    if not enough:
        reason = f"no item has {least} first attempts in the last {settings().mirt_lookback_days} days yet"
        return Tried(None, reason, {"answers": len(answers)}, refused=False)
    context.log.info(f"calibrating {enough} items on {len(answers)} answers")
    try:
        calibration = irt.calibrate(
            answers,
            model=settings().mirt_model,
            priors=WEAK_PRIORS,
            min_responses=least,
            progress=lambda job: context.log.debug(f"calibration {job['state']}: {job.get('progress')}"),
        )
    except Unprocessable as error:
        return Tried(None, f"the service cannot calibrate these answers: {error}", error.problem, refused=True)
    metrics = calibration.fit_meta["metrics"]
    if not metrics["converged"]:
        reason = f"not converged after {metrics['iterations']} iterations (stopped by {metrics['stopped_by']})"
        return Tried(None, reason, calibration.fit_meta, refused=True)
    return Tried(calibration, None, metrics, refused=False)


def _bank(week: Week, calibration: Calibration) -> Bank:
    metrics = calibration.fit_meta["metrics"]
    return Bank(
        run_id(tables.mirt_fit_meta.name, week.start),
        week.start,
        calibration.fit_meta["model"],
        metrics["latent_mean"],
        metrics["latent_sd"],
    )


def _published(context: AssetExecutionContext, week: Week, calibration: Calibration) -> list[Rows]:
    identity = _bank(week, calibration).run_id
    fit = calibration.fit_meta
    look_back = {"lookback_days": settings().mirt_lookback_days, "attempts": "first"}
    meta = pd.DataFrame(
        {
            "run_id": [str(identity)],
            "week_start": [week.start],
            "as_of": [week.as_of],
            "model": [fit["model"]],
            "model_spec": [fit["model_spec"] | {"window": look_back}],
            "linking_constants": [fit["linking_constants"]],
            "metrics": [fit["metrics"]],
            "dagster_run_id": [context.run.run_id],
        }
    )
    names = ["item_id", "a", "b", "c", "se_a", "se_b", "n_responses"]
    items = calibration.items[names].assign(run_id=str(identity), is_anchor=False)
    return [
        Rows(tables.mirt_fit_meta, meta, window(tables.mirt_fit_meta, week)),
        Rows(tables.mirt_item_params, items, window(tables.mirt_item_params, week)),
    ]


def _score(irt: IrtService, database: Database, answers: pd.DataFrame, bank: Bank | None) -> pd.DataFrame:
    """Abilities under an older bank; no rows without a bank or without an answer on its items."""
    nothing = pd.DataFrame({"student_id": [], "theta": [], "se": [], "n_responses": []})
    if bank is None:
        return nothing
    items = database.frame(bank_items(bank))
    if not answers["item_id"].isin(items["item_id"]).any():
        return nothing
    return irt.score(answers, items, {"mean": bank.latent_mean, "sd": bank.latent_sd})


def _ability_rows(week: Week, abilities: pd.DataFrame, bank: Bank | None) -> pd.DataFrame:
    return abilities.rename(columns={"student_id": "user_id"}).assign(
        week_start=week.start,
        as_of=week.as_of,
        method="EAP",
        model=bank.model if bank else None,
        bank_run_id=str(bank.run_id) if bank else None,
        run_id=str(run_id("mirt_ability", week.start)),
    )


def _attempt_row(week: Week, tried: Tried) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "asset": ["mirt"],
            "week_start": [week.start],
            "published": [tried.calibration is not None],
            "diagnostics": [tried.diagnostics],
            "reason": [tried.reason],
        }
    )


def _fit_metadata(calibration: Calibration) -> dict[str, Any]:
    exclusions = calibration.fit_meta["model_spec"]["exclusions"]
    numbers = {
        name: value for name, value in calibration.fit_meta["metrics"].items() if isinstance(value, int | float | str)
    }
    return {
        "dagster/partition_row_count": 1,
        **numbers,
        "items_excluded": len(exclusions["item_id"]),
    }
