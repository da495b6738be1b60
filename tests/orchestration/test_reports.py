"""The reports of a computed week: by the job, for whom a run asks, with nothing of a student in Dagster's storage."""

import uuid

import dagster as dg
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.common import window
from seedtest_assets.assets.reports import ReportConfig, students_of
from seedtest_assets.calendar import Week
from seedtest_assets.definitions import definitions
from seedtest_assets.failures import PermanentFailure
from seedtest_assets.resources.database import Database
from tests.orchestration.cohort import EVERY_WEEK, MainJob, checked, checksum, forget, succeeded, why

LAST = EVERY_WEEK[-1]
REPORTS = (tables.report_artifact, tables.cohort_report_artifact, tables.report_failure)


@pytest.fixture
def reports_job(computed, instance, tmp_path, monkeypatch):
    """The job of the reports, on the computed cohort, with an empty folder of reports."""
    monkeypatch.setenv("REPORT_FOLDER", str(tmp_path / "kept"))
    forget(Database(), *REPORTS)
    return MainJob(instance, "reports_job")


@pytest.fixture
def students(cohort):
    return students_of(cohort, Week.of(LAST), ReportConfig())


def metadata(result, asset):
    (event,) = (
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key.to_user_string() == asset and event.partition == LAST.isoformat()
    )
    return event.materialization.metadata


def test_a_week_has_a_report_of_every_student_and_the_teachers(reports_job, cohort, students, tmp_path):
    result = reports_job(LAST)
    assert result.success
    assert succeeded(result) == {"report_artifact", "cohort_report_artifact"}
    assert checked(result)["report_artifact", "every_report_made"].passed
    listed = cohort.rows(sa.select(tables.report_artifact))
    assert {(str(row.user_id), row.format) for row in listed} == {(u, f) for u in students for f in ("html", "pdf")}
    files = {file.relative_to(tmp_path / "kept").as_posix() for file in (tmp_path / "kept").rglob("report.*")}
    cohorts = {f"reports/cohort/{LAST}/report.{wanted}" for wanted in ("html", "pdf")}
    assert files == {row.storage_key for row in listed} | cohorts
    told = metadata(result, "report_artifact")
    assert (told["students"].value, told["made"].value, told["failed"].value) == (len(students), len(students), 0)
    assert told["dagster/partition_row_count"].value == 2 * len(students)
    link = metadata(result, "cohort_report_artifact")["html"].value
    assert link == (tmp_path / "kept" / f"reports/cohort/{LAST}/report.html").as_uri()


def test_a_rerun_renders_nothing_and_changes_nothing(reports_job, cohort, students):
    assert reports_job(LAST).success
    before = [checksum(cohort, table) for table in REPORTS]
    again = reports_job(LAST)
    told = metadata(again, "report_artifact")
    assert (told["made"].value, told["unchanged"].value) == (0, len(students))
    assert not metadata(again, "cohort_report_artifact")["rendered"].value
    assert [checksum(cohort, table) for table in REPORTS] == before


def test_nothing_of_a_student_is_in_the_runs_events(reports_job, students, capfd):
    result = reports_job(LAST, report_artifact={"min_risk": 0.0})
    said = "".join(str(event) for event in result.all_events) + "".join(capfd.readouterr())
    assert not [user for user in students if user in said or user[:13] in said]


def test_a_run_may_ask_for_some(reports_job, cohort, students):
    week, kpi, member = Week.of(LAST), tables.weekly_kpi, tables.user_segment
    with cohort.transaction() as connection:
        connection.execute(sa.update(kpi).where(window(kpi, week)).values(s_churn=0.25))
        risky = window(kpi, week) & kpi.c.user_id.in_(students[1:3])
        connection.execute(sa.update(kpi).where(risky).values(s_churn=0.75))
    assert students_of(cohort, week, ReportConfig(min_risk=0.75)) == students[1:3]
    assert students_of(cohort, week, ReportConfig(min_risk=0.25)) == students
    of_segment = ReportConfig(segment="early birds")
    assert students_of(cohort, week, of_segment) == []
    origin = {"features_snapshot": {}, "fit_run_id": uuid.UUID(int=7), "run_id": uuid.UUID(int=8)}
    labels = {"segment": "early birds", "segment_label": "Early birds", "segment_label_ko": "이른 새"}
    with cohort.transaction() as connection:
        for user in students[2:6]:
            identity = {"user_id": user, "week_start": LAST, "as_of": week.as_of, "fitted": True}
            connection.execute(sa.insert(member).values(**identity, **labels, **origin))
    assert students_of(cohort, week, of_segment) == students[2:6]
    assert students_of(cohort, week, ReportConfig(segment="early birds", min_risk=0.5)) == students[2:3]
    two = students[3:5]
    assert reports_job(LAST, report_artifact={"user_ids": two}).success
    assert {str(row.user_id) for row in cohort.rows(sa.select(tables.report_artifact))} == set(two)


def test_asking_for_nobody_who_is_there_is_refused_with_the_week(cohort, computed, reports_job):
    with pytest.raises(PermanentFailure, match=f"1 of the students asked for have no row .* {LAST}"):
        students_of(cohort, Week.of(LAST), ReportConfig(user_ids=["00000000-0000-0000-0000-000000000001"]))
    result = reports_job(LAST, report_artifact={"user_ids": ["00000000-0000-0000-0000-000000000001"]})
    assert not result.success
    assert "1 of the students asked for have no row" in why(result)


def test_a_place_that_is_missing_is_said(reports_job, monkeypatch):
    monkeypatch.delenv("REPORT_FOLDER")
    result = reports_job(LAST)
    assert not result.success
    assert "Set S3_BUCKET or REPORT_FOLDER" in why(result)


def test_a_missing_font_is_said(reports_job, monkeypatch, tmp_path):
    monkeypatch.setenv("REPORT_FONTS", str(tmp_path))
    result = reports_job(LAST)
    assert not result.success
    assert "apt-get install fonts-noto-cjk" in why(result)


def test_the_reports_are_no_part_of_a_weeks_computation():
    of_week = definitions().resolve_job_def("week_job").asset_layer.executable_asset_keys
    assert dg.AssetKey("report_artifact") not in of_week
