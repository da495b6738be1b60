"""The item bank and the students' ability: mirt_fit_meta, mirt_item_params, mirt_ability."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from dagster import AssetExecutionContext
from sqlalchemy.dialects.postgresql import distinct_on

from seedtest_assets import tables
from seedtest_assets.assets import plots
from seedtest_assets.assets.attempts import attempt
from seedtest_assets.assets.common import (
    Bank,
    asset_key,
    bank_items,
    newest_bank,
    pool,
    scale_of,
    table_spec,
    weeks,
    window,
)
from seedtest_assets.assets.reference_scale import (
    FIXED,
    anchors_in_force,
    constants_of,
    constants_of_fixed,
    is_set,
    seeded,
)
from seedtest_assets.calendar import WEEKS, Week
from seedtest_assets.failures import STEP_RETRIES, PermanentFailure
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.plumber import Calibration, Fit, IrtService, Unprocessable
from seedtest_assets.settings import settings

WEAK_PRIORS = {"a": {"meanlog": 0.25, "sdlog": 0.5}, "d": {"mean": 0.0, "sd": 3.0}}
"""a ~ lognormal(0.25, 0.5), d = -ab ~ N(0, 3): weak, for small banks; stored in model_spec with every fit.

The density of a has its mode at 1: a mode below 1 pulls all slopes the same way and with them the unit of the
scale (benchmarks/irt_recovery).
"""

GUESSING_PRIORS = {
    "a": {"meanlog": 0.1, "sdlog": 0.4},
    "d": {"mean": 0.0, "sd": 3.0},
    "c": {"mean": math.log(0.2 / 0.8), "sd": 0.5},
}
"""For a 3PL: logit c ~ N(logit 0.2, 0.5), a guess among five, and a ~ lognormal(0.1, 0.4).

A few hundred answers hardly say what c is: without a prior on it, and a stronger one on a, the fit diverges.
"""
PRIORS = {"Rasch": WEAK_PRIORS, "2PL": WEAK_PRIORS, "3PL": GUESSING_PRIORS}

LEAST_ITEMS = 3
"""Items that a calibration needs to tell discriminations apart."""


@dataclass(frozen=True)
class Outcome:
    """A calibration as it is published: on the reference scale, where there is one.

    Attributes:
        calibration: parameters, abilities and metrics, already on the scale they are published on.
        fit: how well the answers fit it.
        linking: linking_constants; None = the calibration is on its own scale.
        unlinked: why it is.
        seeds: rows of item_anchor, when this calibration sets the reference scale.
    """

    calibration: Calibration
    fit: Fit
    linking: dict[str, Any] | None
    unlinked: str | None
    seeds: pd.DataFrame


@dataclass(frozen=True)
class Tried:
    """How this week's calibration went.

    Attributes:
        outcome: what may be published.
        reason: why nothing may, otherwise.
        diagnostics: what the service reported.
        refused: a fit was tried and failed (False: there was too little to try).
    """

    outcome: Outcome | None
    reason: str | None
    diagnostics: dict[str, Any]
    refused: bool


class NotPublishable(Exception):
    """The calibration was made, and must not become a bank.

    Attributes:
        reason: why.
        diagnostics: what the service reported.
    """

    def __init__(self, reason: str, diagnostics: dict[str, Any]) -> None:
        super().__init__(reason)
        self.reason, self.diagnostics = reason, diagnostics


def _spec(table: sa.Table, description: str, *, skippable: bool) -> dg.AssetSpec:
    return table_spec(table, description, deps=[attempt], group="irt", code_version="2", skippable=skippable)


@dg.multi_asset(
    name="mirt",
    specs=[
        _spec(
            tables.mirt_fit_meta,
            "One published calibration per week: model, priors, exclusions, convergence, and how it was brought onto "
            "the reference scale (item_anchor). Nothing is published when the fit did not converge or shares too few "
            "items with that scale; fit_attempt then says why and the older bank stays current.",
            skippable=True,
        ),
        _spec(
            tables.mirt_item_params,
            "Discrimination, difficulty and guessing of each item on the reference scale, with standard errors and "
            "fit: marginal maximum likelihood over the look-back window's first attempts (or as MIRT_ATTEMPTS says).",
            skippable=True,
        ),
        _spec(
            tables.mirt_ability,
            "Each student's ability (EAP) over the look-back window, scored with the newest published calibration. "
            "An average over the window, which lags behind a student who learns: good for level, not a response for "
            "growth models; weekly_metrics.theta_week is one. On the reference scale, weeks can be compared.",
            skippable=False,
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            "calibration_converged",
            asset=asset_key(tables.mirt_ability.name),
            description="This week's calibration converged and was published. If not, ability is scored with the "
            "newest older calibration, and nothing else stops.",
        ),
        dg.AssetCheckSpec(
            "on_reference_scale",
            asset=asset_key(tables.mirt_ability.name),
            description="The calibration that ability was scored with is linked to the anchors of item_anchor. If not, "
            "this week's abilities can be compared with each other, and not with those of other weeks.",
        ),
    ],
    partitions_def=WEEKS,
    backfill_policy=dg.BackfillPolicy.multi_run(1),
    retry_policy=STEP_RETRIES,
    pool=pool("r_irt"),
    can_subset=False,
)
def mirt(context: AssetExecutionContext, database: Database, irt: IrtService) -> Iterator[Any]:
    """Calibrate the items on the window's answers, link and publish if that can be done, score every student.

    Fit, items, abilities, new anchors and the log of the attempt are written in one transaction: readers never see a
    bank without its abilities.
    """
    (week,) = weeks(context)
    answers = database.frame(calibration_answers(database, week))
    tried = _try(context, database, irt, week, answers)
    log = Rows(tables.fit_attempt, _attempt_row(week, tried), sa.false())
    if tried.outcome is not None:
        bank: Bank | None = _bank(week, tried.outcome)
        published = _published(context, week, tried.outcome)
        person_fit = tried.outcome.fit.students[["student_id", "lz_star"]]
        abilities = tried.outcome.calibration.abilities.merge(person_fit, on="student_id", how="left")
    else:
        published = []
        bank = newest_bank(database, week)
        if bank is None and tried.refused:
            database.replace(log, week_start=week.start)
            raise PermanentFailure(
                f"No calibration has ever been published and this week's cannot be: {tried.reason}. Look at the "
                f"newest row of {tables.fit_attempt.fullname}; widen MIRT_LOOKBACK_DAYS or start with MIRT_MODEL=Rasch."
            )
        abilities = _score(irt, database, answers, bank)
    ability = Rows(tables.mirt_ability, _ability_rows(week, abilities, bank), window(tables.mirt_ability, week))
    written = database.replace(*published, ability, log, week_start=week.start)
    scored_with = str(bank.week_start) if bank else "none yet"

    if tried.outcome is not None:
        yield dg.MaterializeResult(asset_key=asset_key("mirt_fit_meta"), metadata=_fit_metadata(tried.outcome))
        yield dg.MaterializeResult(
            asset_key=asset_key("mirt_item_params"),
            metadata={
                "dagster/partition_row_count": written["mirt_item_params"],
                "anchors_set": written["item_anchor"],
                **_item_metadata(tried.outcome),
            },
        )
    yield dg.MaterializeResult(
        asset_key=asset_key("mirt_ability"),
        metadata={
            "dagster/partition_row_count": written["mirt_ability"],
            "answers": len(answers),
            "scored_with_bank_of": scored_with,
        },
    )
    yield dg.AssetCheckResult(
        check_name="calibration_converged",
        asset_key=asset_key("mirt_ability"),
        passed=tried.outcome is not None,
        severity=dg.AssetCheckSeverity.ERROR if tried.refused else dg.AssetCheckSeverity.WARN,
        description=tried.reason,
        metadata={"scored_with_bank_of": scored_with},
    )
    yield _scale_check(bank, tried)


def calibration_answers(database: Database, week: Week) -> sa.Select[*tuple[Any, ...]]:
    """Answers completed in the look-back window, as MIRT_ATTEMPTS says; of a student to an item, the latest first.

    'first' is the first ever, not the first in the window: a later try is also a test of memory.
    """
    a = database.attempt
    query = (
        sa.select(a.c.student_id, a.c.item_id, a.c.correct)
        .where(a.c.completed_at >= week.days_before(settings().mirt_lookback_days), a.c.completed_at < week.as_of)
        .order_by(a.c.student_id, a.c.item_id, a.c.attempt_no.desc(), a.c.completed_at.desc(), a.c.correct)
    )
    match settings().mirt_attempts:
        case "first":
            return query.where(a.c.attempt_no == 1)
        case "last":
            return query.ext(distinct_on(a.c.student_id, a.c.item_id))
        case _:
            return query


def answered_once(answers: pd.DataFrame) -> pd.DataFrame:
    """The earliest answer of each student to each item: what judges a model by its residuals needs independent ones."""
    return answers.drop_duplicates(["student_id", "item_id"], keep="last")


def _repeated() -> str:
    """What the service makes of a student's second answer to an item: with first or last attempts it is an error."""
    return "keep" if settings().mirt_attempts == "all" else "refuse"


def _try(
    context: AssetExecutionContext, database: Database, irt: IrtService, week: Week, answers: pd.DataFrame
) -> Tried:
    least = settings().mirt_min_responses
    enough = (answers["item_id"].value_counts() >= least).sum()
    if enough < LEAST_ITEMS:
        what = {"first": "first attempts", "last": "last attempts", "all": "answers"}[settings().mirt_attempts]
        days = settings().mirt_lookback_days
        reason = f"fewer than {LEAST_ITEMS} items have {least} {what} in the last {days} days yet"
        return Tried(None, reason, {"answers": len(answers)}, refused=False)
    context.log.info(f"calibrating {enough} items on {len(answers)} answers")
    try:
        outcome = _outcome(context, database, irt, week, answers)
    except Unprocessable as error:
        return Tried(None, f"the service cannot calibrate these answers: {error}", error.problem, refused=True)
    except NotPublishable as refusal:
        return Tried(None, refusal.reason, refusal.diagnostics, refused=True)
    return Tried(outcome, None, outcome.calibration.fit_meta["metrics"], refused=False)


def _outcome(
    context: AssetExecutionContext, database: Database, irt: IrtService, week: Week, answers: pd.DataFrame
) -> Outcome:
    """Calibrate and link; set the reference scale where there is none and this calibration can.

    The week that sets the scale is linked to its own anchors as any later week is, so that a rerun gives the same rows.

    Raises:
        NotPublishable: not converged, or too few anchors in common.
        Unprocessable: the service cannot calibrate these answers.
    """
    anchors = anchors_in_force(database, week)
    calibration = _calibrated(context, irt, answers, anchors)
    seeds = pd.DataFrame()
    if anchors.empty:
        fit = _fit(irt, answers, calibration)
        if is_set(database):
            reason = "no anchors of this model are in force at this week's as_of (item_anchor)"
            return Outcome(calibration, fit, None, reason, seeds)
        seeds = anchors = seeded(database, week, calibration, fit)
        if seeds.empty:
            return Outcome(calibration, fit, None, _TOO_FEW_QUALIFY.format(settings()), seeds)
        if settings().mirt_link_method == FIXED:
            calibration = _calibrated(context, irt, answers, anchors)
    linking = _linking(irt, calibration, anchors)
    calibration = _on_reference_scale(calibration, linking)
    return Outcome(calibration, _fit(irt, answers, calibration), linking, None, seeds)


_TOO_FEW_QUALIFY = (
    "there is no reference scale yet: fewer than {0.mirt_anchor_min} items have "
    "{0.mirt_anchor_min_responses} answers, a difficulty within 2 logits and a good fit"
)


def _calibrated(
    context: AssetExecutionContext, irt: IrtService, answers: pd.DataFrame, anchors: pd.DataFrame
) -> Calibration:
    fixed = settings().mirt_link_method == FIXED and not anchors.empty
    calibration = irt.calibrate(
        answers,
        model=settings().mirt_model,
        priors=PRIORS[settings().mirt_model],
        min_responses=settings().mirt_min_responses,
        anchors=anchors if fixed else None,
        # The whole information matrix would add what all items share, the uncertainty of their scale: no drift of any.
        standard_errors="block",
        repeated=_repeated(),
        progress=lambda job: context.log.debug(f"calibration {job['state']}: {job.get('progress')}"),
    )
    metrics = calibration.fit_meta["metrics"]
    if not metrics["converged"]:
        reason = f"not converged after {metrics['iterations']} iterations (stopped by {metrics['stopped_by']})"
        raise NotPublishable(reason, calibration.fit_meta)
    return calibration


def _linking(irt: IrtService, calibration: Calibration, anchors: pd.DataFrame) -> dict[str, Any]:
    """linking_constants of a calibration; see `constants_of`."""
    least, method = settings().mirt_link_min_anchors, settings().mirt_link_method
    advice = "widen MIRT_LOOKBACK_DAYS, or set new anchors (docs/operations.md)"
    if method == FIXED:
        constants = constants_of_fixed(calibration, settings().mirt_min_responses)
        if constants["n_anchors"] < least:
            reason = f"only {constants['n_anchors']} anchors were answered enough, {least} are needed: {advice}"
            raise NotPublishable(reason, calibration.fit_meta)
        return constants
    try:
        linking = irt.link(
            calibration.items, anchors, model=calibration.fit_meta["model"], method=method, min_anchors=least
        )
    except Unprocessable as error:
        reason = f"the calibration cannot be linked to the reference scale: {error} Or {advice}"
        raise NotPublishable(reason, error.problem) from error
    constants = constants_of(linking, method)
    if constants["A"] is None:
        reason = f"{method} cannot link to anchors that are all equally hard: use another MIRT_LINK_METHOD"
        raise NotPublishable(reason, constants)
    return constants


def _on_reference_scale(calibration: Calibration, linking: dict[str, Any]) -> Calibration:
    scale, fit = scale_of(linking), calibration.fit_meta
    return Calibration(
        fit | {"metrics": scale.metrics(fit["metrics"]), "linking_constants": linking},
        scale.items(calibration.items),
        scale.abilities(calibration.abilities),
    )


def _fit(irt: IrtService, answers: pd.DataFrame, calibration: Calibration) -> Fit:
    metrics = calibration.fit_meta["metrics"]
    latent = {"mean": metrics["latent_mean"], "sd": metrics["latent_sd"]}
    return irt.fit(answered_once(answers), calibration.items, latent, _quadrature(calibration))


def _quadrature(calibration: Calibration) -> dict[str, float]:
    fit = calibration.fit_meta
    return scale_of(fit["linking_constants"]).quadrature(fit["model_spec"]["quadrature"])


def _bank(week: Week, outcome: Outcome) -> Bank:
    fit = outcome.calibration.fit_meta
    return Bank(
        run_id(tables.mirt_fit_meta.name, week.start),
        week.start,
        fit["model"],
        fit["metrics"]["latent_mean"],
        fit["metrics"]["latent_sd"],
        _quadrature(outcome.calibration),
        outcome.linking,
    )


def _published(context: AssetExecutionContext, week: Week, outcome: Outcome) -> list[Rows]:
    identity = str(run_id(tables.mirt_fit_meta.name, week.start))
    fit = outcome.calibration.fit_meta
    look_back = {"lookback_days": settings().mirt_lookback_days, "attempts": settings().mirt_attempts}
    meta = pd.DataFrame(
        {
            "run_id": [identity],
            "week_start": [week.start],
            "as_of": [week.as_of],
            "model": [fit["model"]],
            "model_spec": [fit["model_spec"] | {"window": look_back}],
            "linking_constants": [outcome.linking],
            "metrics": [fit["metrics"]],
            "dagster_run_id": [context.run.run_id],
        }
    )
    return [
        Rows(tables.mirt_fit_meta, meta, window(tables.mirt_fit_meta, week)),
        Rows(tables.mirt_item_params, _item_rows(outcome, identity), window(tables.mirt_item_params, week)),
        Rows(tables.item_anchor, outcome.seeds, sa.false()),
    ]


def _item_rows(outcome: Outcome, identity: str) -> pd.DataFrame:
    estimated = ["item_id", "a", "b", "c", "se_a", "se_b", "se_c", "cov_ab", "n_responses", "is_anchor"]
    judged = ["item_id", "infit", "outfit", "fit_stat", "fit_p", "rmsd", "flag"]
    items = outcome.calibration.items[estimated].merge(outcome.fit.items[judged], on="item_id", how="left")
    return items.assign(run_id=identity)


def _score(irt: IrtService, database: Database, answers: pd.DataFrame, bank: Bank | None) -> pd.DataFrame:
    """Abilities under an older bank; no rows without a bank or without an answer on its items.

    What contradicts itself, two first answers of a student to an item, says nothing about ability and is left out.
    """
    nothing = pd.DataFrame({"student_id": [], "theta": [], "se": [], "n_responses": []})
    if bank is None:
        return nothing
    items = database.frame(bank_items(bank))
    if _repeated() == "refuse":
        answers = answers.drop_duplicates(["student_id", "item_id"], keep=False)
    if not answers["item_id"].isin(items["item_id"]).any():
        return nothing
    return irt.score(answers, items, bank.latent, bank.quadrature, _repeated())


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
            "published": [tried.outcome is not None],
            "diagnostics": [tried.diagnostics],
            "reason": [tried.reason],
        }
    )


def _fit_metadata(outcome: Outcome) -> dict[str, Any]:
    fit = outcome.calibration.fit_meta
    numbers = {name: value for name, value in fit["metrics"].items() if isinstance(value, int | float | str)}
    return {
        "dagster/partition_row_count": 1,
        **numbers,
        "items_excluded": len(fit["model_spec"]["exclusions"]["item_id"]),
        **_link_metadata(outcome.linking),
    }


def _item_metadata(outcome: Outcome) -> dict[str, Any]:
    """The items that fit worst, and the items beside the students."""
    items, theta = _item_rows(outcome, ""), outcome.calibration.abilities["theta"].to_numpy()
    worst = items.sort_values(["rmsd", "item_id"], ascending=[False, True])
    names = ["item_id", "a", "b", "c", "n_responses", "infit", "outfit", "fit_p", "rmsd", "flag"]
    return {
        "worst_fit": plots.table(worst[names]),
        "item_map": plots.item_map(items["b"].to_numpy(dtype=float), theta),
    }


def _link_metadata(linking: dict[str, Any] | None) -> dict[str, Any]:
    if linking is None:
        return {}
    numbers = {name: linking.get(name) for name in ("A", "B", "se_A", "se_B", "linking_error", "n_anchors")}
    known = {name: value for name, value in numbers.items() if value is not None}
    return {"link_method": linking["method"], **known, "anchors_dropped": len(linking["dropped"])}


def _scale_check(bank: Bank | None, tried: Tried) -> dg.AssetCheckResult:
    if bank is None:
        reason: str | None = "there is no calibration yet"
    elif bank.linking is None:
        reason = tried.outcome.unlinked if tried.outcome else "the older calibration in use is on its own scale"
    else:
        reason = None
    linking = bank.linking if bank else None
    dropped = {"dropped": plots.table(pd.DataFrame(linking["dropped"]))} if linking and linking["dropped"] else {}
    return dg.AssetCheckResult(
        check_name="on_reference_scale",
        asset_key=asset_key("mirt_ability"),
        passed=linking is not None,
        severity=dg.AssetCheckSeverity.WARN,
        description=reason,
        metadata=_link_metadata(linking) | dropped,
    )
