"""The main job over many weeks, one after the other, in this process.

A week's calibration is the bank of the weeks after it, so weeks run in order. Starting each run in this process
saves the seconds that a launched run costs; every run is recorded with the code location it belongs
to, so that the UI can re-execute it from its failure like any other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.execution.api import create_execution_plan, execute_run
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from seedtest_assets.automation.jobs import metrics_job

MODULE = "seedtest_assets.definitions"
LOCATION = "seedtest"
"""As workspace.yaml names it."""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
PARTITION = "dagster/partition"


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


def run_weeks(weeks: Sequence[date], *, resume: bool = False) -> Iterator[WeekRun]:
    """Run the main job for each week in order and stop at the first failure.

    Args:
        weeks: Mondays.
        resume: leave out weeks whose newest run succeeded, and go on from the failed asset where it failed.
    """
    repository = ReconstructableRepository.for_module(MODULE, "definitions", working_directory=str(Path.cwd()))
    job = repository.get_reconstructable_job(metrics_job.name)
    with dg.DagsterInstance.get() as instance:
        for week in weeks:
            parent = _newest_run(instance, week) if resume else None
            if parent is not None and parent.status == dg.DagsterRunStatus.SUCCESS:
                continue
            outcome = _run_week(instance, job, week, parent)
            yield outcome
            if not outcome.success:
                return


def _newest_run(instance: dg.DagsterInstance, week: date) -> dg.DagsterRun | None:
    wanted = dg.RunsFilter(job_name=metrics_job.name, tags={PARTITION: week.isoformat()})
    return next(iter(instance.get_runs(wanted, limit=1)), None)


def _run_week(
    instance: dg.DagsterInstance, job: ReconstructableJob, week: date, parent: dg.DagsterRun | None
) -> WeekRun:
    definition = job.get_definition()
    tags = {PARTITION: week.isoformat()}
    failed = parent if parent is not None and parent.status == dg.DagsterRunStatus.FAILURE else None
    steps, known = KnownExecutionState.build_resume_retry_reexecution(instance, failed) if failed else (None, None)
    plan = create_execution_plan(job, QUIET, step_keys_to_execute=steps, known_state=known, tags=tags)
    run = instance.create_run_for_job(
        definition,
        execution_plan=plan,
        run_config=QUIET,
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
    failures = [event for event in result.all_events if event.is_step_failure]
    if not failures:
        return None
    data = failures[0].step_failure_data
    if data.user_failure_data is not None:
        message = data.user_failure_data.description
    else:
        error = data.error
        while error is not None and error.cause is not None:
            error = error.cause
        message = error.message.strip() if error is not None else None
    return f"{failures[0].step_key}: {message}"
