"""All assets over many weeks, one after the other, in this process.

A week's calibration is the bank of the weeks after it, so weeks run in order. Starting each run in this process
saves the seconds that a launched run costs; every run is recorded with the code location it belongs
to, so that the UI can re-execute it from its failure like any other.
"""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.execution.api import create_execution_plan, execute_run
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from seedtest_assets import tables
from seedtest_assets.automation.jobs import metrics_job, week_job
from seedtest_assets.calendar import Week
from seedtest_assets.settings import settings

MODULE = "seedtest_assets.definitions"
LOCATION = tables.TENANT or "seedtest"
"""As workspace.yaml names it; a tenant's has the tenant's name."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
PARTITION = "dagster/partition"
PROCESS = "seedtest/process"
"""Tag of a run made here: host and process id."""
OpConfig = Mapping[str, Mapping[str, Any]]
"""Config of a run's ops, by name."""
IN_PROGRESS = [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
FAILED = {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


@dataclass(frozen=True)
class WeekRun:
    """How one week's run ended.

    Attributes:
        week: its Monday.
        run_id: Dagster's id of the run.
        success: every step succeeded.
        resumed: the run went on from an earlier one's failure.
        reason: what failed, and the advice that came with it.
    """

    week: date
    run_id: str
    success: bool
    resumed: bool
    reason: str | None


def run_weeks(
    weeks: Sequence[date], *, resume: bool = False, asked: Mapping[date, OpConfig] | None = None
) -> Iterator[WeekRun]:
    """Run `week_job` for each closed week in order, and `metrics_job` for the running one; stop at the first failure.

    Args:
        weeks: Mondays.
        resume: leave out weeks whose newest run succeeded, and go on from the failed asset where it failed. A
            run made before the week's as_of, while the week was running, counts for nothing.
        asked: by week, what its run asks of assets, whatever the settings say: {"growth": {"bayesian": True}}.

    Raises:
        ValueError: a day is no Monday, the week has not begun, or lies before SEEDTEST_START_DATE.
    """
    _refuse_what_is_no_partition(weeks)
    repository = ReconstructableRepository.for_module(MODULE, "definitions", working_directory=str(Path.cwd()))
    with dg.DagsterInstance.get() as instance:
        _close_orphans(instance)
        for week in weeks:
            job = repository.get_reconstructable_job(_job_of(week))
            parent = _newest_run(instance, week) if resume else None
            if parent is not None and parent.status == dg.DagsterRunStatus.SUCCESS:
                continue
            outcome = _run_week(instance, job, week, parent, (asked or {}).get(week, {}))
            yield outcome
            if not outcome.success:
                return


def _refuse_what_is_no_partition(weeks: Sequence[date]) -> None:
    first = settings().seedtest_start_date
    for week in weeks:
        Week.of(week)
        if week < first:
            raise ValueError(
                f"the week of {week} lies before the first partition, {first}: set SEEDTEST_START_DATE to an earlier "
                "Monday, or name a later first day with --from"
            )


def _job_of(week: date) -> str:
    """A week that is over is computed as a whole; the models of whole weeks wait for the end of the running one."""
    one = Week.of(week)
    return week_job.name if one.as_of_day == one.end else metrics_job.name


def _close_orphans(instance: dg.DagsterInstance) -> None:
    """Say that runs whose process was killed failed: in progress, they would keep the service from all others."""
    jobs = {metrics_job.name, week_job.name}
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)):
        if run.job_name not in jobs:
            continue
        host, _, process = run.tags.get(PROCESS, "").rpartition(":")
        if host == platform.node() and not psutil.pid_exists(int(process)):
            instance.report_run_failed(run, "The process that executed this run is gone.")


def _newest_run(instance: dg.DagsterInstance, week: date) -> dg.DagsterRun | None:
    """The newest run that saw all the facts that the week has by now, or None."""
    ours = {PARTITION: week.isoformat(), REPOSITORY_LABEL_TAG: _code_location().get_label()}
    wanted = dg.RunsFilter(job_name=_job_of(week), tags=ours, created_after=Week.of(week).as_of)
    return next(iter(instance.get_runs(wanted, limit=1)), None)


def _found_wrong(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a blocking check stopped the run: what it found wrong has to be computed anew, not looked at again."""
    events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [event.asset_check_evaluation for event in events]
    return any(check is not None and check.blocking and not check.passed for check in found)


def _run_week(
    instance: dg.DagsterInstance, job: ReconstructableJob, week: date, parent: dg.DagsterRun | None, asked: OpConfig
) -> WeekRun:
    definition = job.get_definition()
    config: dict[str, Any] = QUIET | {"ops": {name: {"config": dict(of)} for name, of in asked.items()}}
    tags = {PARTITION: week.isoformat(), PROCESS: f"{platform.node()}:{os.getpid()}"}
    resumable = parent is not None and parent.status in FAILED and not _found_wrong(instance, parent)
    failed = parent if resumable else None
    steps, known = KnownExecutionState.build_resume_retry_reexecution(instance, failed) if failed else (None, None)
    plan = create_execution_plan(job, config, step_keys_to_execute=steps, known_state=known, tags=tags)
    run = instance.create_run_for_job(
        definition,
        execution_plan=plan,
        run_config=config,
        tags=tags,
        root_run_id=(failed.root_run_id or failed.run_id) if failed else None,
        parent_run_id=failed.run_id if failed else None,
        remote_job_origin=_code_location().get_job_origin(definition.name),
        job_code_origin=job.get_python_origin(),
    )
    result = execute_run(job, run, instance)
    return WeekRun(week, run.run_id, result.success, failed is not None, _reason(result))


def _code_location() -> RemoteRepositoryOrigin:
    target = LoadableTargetOrigin(module_name=MODULE, working_directory=str(Path.cwd()))
    return RemoteRepositoryOrigin(ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION), "__repository__")


def _reason(result: dg.JobExecutionResult) -> str | None:
    """What failed first and what it said: a blocking check's finding, the advice of a failure, or an exception."""
    failures = [event for event in result.all_events if event.is_step_failure]
    if not failures:
        return None
    for found in result.get_asset_check_evaluations():
        if found.blocking and not found.passed:
            return f"{found.asset_key.to_user_string()}, {found.check_name}: {found.description}"
    data = failures[0].step_failure_data
    if data.user_failure_data is not None:
        message = data.user_failure_data.description
    else:
        raised = data.error and (data.error.cause or data.error)  # what the step raised, in Dagster's wrapping
        message = raised.message.strip() if raised else None
    return f"{failures[0].step_key}: {message}"
