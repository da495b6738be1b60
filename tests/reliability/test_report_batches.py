"""Batches of reports into a real S3 server: rerun, resumed, at once, with a bad student, with the server away."""

import hashlib
import re
import subprocess
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets import reports
from seedtest_assets.assets.reports import make_reports
from seedtest_assets.automation import kept_reports
from seedtest_assets.automation.kept_reports import Reconciled, reconcile
from seedtest_assets.calendar import Week
from seedtest_assets.failures import TransientFailure
from seedtest_assets.reports.language import FOLDER
from seedtest_assets.resources.database import Database
from seedtest_assets.settings import settings

MONDAY = date(2026, 3, 2)
LATER = datetime(2026, 6, 1, tzinfo=UTC)
ARTIFACT, FAILURE = tables.report_artifact, tables.report_failure
STUDENTS = 6
OTHER = uuid.UUID(int=71)


@pytest.fixture
def week():
    return Week.of(MONDAY, now=LATER)


@pytest.fixture
def users(database):
    """Students with a row in two weeks, each called by a name that no other has."""
    keys = [uuid.UUID(int=n + 1) for n in range(STUDENTS)]
    with database.transaction() as connection:
        for number, user in enumerate(keys):
            connection.execute(sa.insert(tables.student_profile).values(user_id=user, display_name=called(number)))
            for monday in (MONDAY, MONDAY + timedelta(weeks=1)):
                connection.execute(
                    sa.insert(tables.weekly_kpi).values(
                        user_id=user, week_start=monday, as_of=LATER, provenance={}, run_id=OTHER
                    )
                )
    return [str(user) for user in keys]


def called(number):
    return f"Student{'ABCDEF'[number]}"


def rows(database, table=ARTIFACT):
    return database.rows(sa.select(table))


def agrees(database, store):
    """Every row's file is what the row says, and is its own student's, and nobody else's."""
    for row in rows(database):
        body = store.get(row.storage_key)
        assert hashlib.sha256(body).hexdigest() == row.sha256
        assert len(body) == row.bytes
        assert row.storage_key == f"reports/{row.user_id}/{row.week_start}/report.{row.format}"
        assert set(re.findall(r"Student[A-F]", text_of(body, row.format))) == {called(row.user_id.int - 1)}


def text_of(body, wanted):
    if wanted == "html":
        return body.decode()
    return subprocess.run(["pdftotext", "-", "-"], input=body, capture_output=True, check=True).stdout.decode()


def test_a_batch_is_kept_listed_and_linked(database, bucket, week, users):
    told = []
    batch = make_reports(database, bucket, week, users, progress=lambda batch: told.append(batch.done))
    assert (batch.asked, batch.made, batch.unchanged, batch.failed) == (STUDENTS, STUDENTS, 0, 0)
    assert told == list(range(1, STUDENTS + 1))
    listed = rows(database)
    assert Counter((str(row.user_id), row.format) for row in listed) == Counter(
        (user, wanted) for user in users for wanted in ("html", "pdf")
    )
    assert sum(row.bytes for row in listed) == batch.bytes
    agrees(database, bucket)
    (row,) = (row for row in listed if str(row.user_id) == users[2] and row.format == "html")
    assert row.url.startswith("s3://reports/")
    answer = httpx.get(bucket.link(row.storage_key))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert called(2) in answer.text


def test_a_rerun_makes_nothing_and_a_changed_student_is_made_alone(database, bucket, week, users):
    make_reports(database, bucket, week, users)
    before = {(row.user_id, row.format): row for row in rows(database)}
    assert make_reports(database, bucket, week, users[::-1]).unchanged == STUDENTS
    assert {(row.user_id, row.format): row for row in rows(database)} == before
    with database.transaction() as connection:
        connection.execute(sa.update(tables.weekly_kpi).where(tables.weekly_kpi.c.user_id == users[3]).values(i_t=0.5))
    batch = make_reports(database, bucket, week, users)
    assert (batch.made, batch.unchanged) == (1, STUDENTS - 1)
    changed = {row.user_id for row in rows(database) if row != before[row.user_id, row.format]}
    assert changed == {uuid.UUID(users[3])}
    assert make_reports(database, bucket, week, users[:2], again=True).made == 2


def test_another_template_language_or_format_makes_them_anew(database, bucket, week, users, monkeypatch):
    two = users[:2]
    make_reports(database, bucket, week, two)
    monkeypatch.setattr(reports, "template_version", lambda: "another")
    assert make_reports(database, bucket, week, two).made == 2
    monkeypatch.setenv("REPORT_LANG", "ko")
    settings.cache_clear()
    assert make_reports(database, bucket, week, two).made == 2
    assert {row.lang for row in rows(database)} == {"ko"}
    monkeypatch.setenv("REPORT_FORMAT", "html")
    settings.cache_clear()
    assert make_reports(database, bucket, week, two).made == 2
    assert {row.format for row in rows(database)} == {"html"}


class GoesAway:
    """A store whose server is killed after so many files."""

    def __init__(self, store, server, after):
        self.store, self.server, self.left = store, server, after

    def put(self, *arguments):
        if self.left == 0:
            self.server.stop()
        self.left -= 1
        return self.store.put(*arguments)


def test_the_server_is_away_in_mid_batch_and_nothing_is_lost_or_double(
    database, bucket, seaweed, week, users, monkeypatch
):
    try:
        with pytest.raises(TransientFailure):
            make_reports(database, GoesAway(bucket, seaweed, after=5), week, users)
    finally:
        seaweed.stop()
        seaweed.start()
    listed = {row.user_id for row in rows(database)}
    assert len(listed) == 2  # the fifth file was half of the third student's report
    agrees(database, bucket)
    batch = make_reports(database, bucket, week, users)
    assert (batch.made, batch.unchanged) == (STUDENTS - 2, 2)
    assert len(rows(database)) == 2 * STUDENTS
    agrees(database, bucket)
    monkeypatch.setattr(kept_reports, "GRACE", timedelta(0))
    assert reconcile(database, bucket) == Reconciled(orphans=0, lost=0)


def test_two_batches_of_one_week_at_once_make_each_report_once(database, bucket, week, users):
    both = threading.Barrier(2)

    def run(_):
        both.wait()
        return make_reports(Database(), bucket, week, users)

    with ThreadPoolExecutor(2) as pool:
        batches = list(pool.map(run, range(2)))
    assert sorted((batch.made, batch.unchanged) for batch in batches) == [(0, STUDENTS), (STUDENTS, 0)]
    agrees(database, bucket)


def test_two_weeks_at_once_do_not_mix(database, bucket, week, users):
    next_week = Week.of(MONDAY + timedelta(weeks=1), now=LATER)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: make_reports(Database(), bucket, one, users), (week, next_week)))
    assert len(rows(database)) == 2 * 2 * STUDENTS
    agrees(database, bucket)
    for row in rows(database):
        days = {MONDAY: "2 Mar – ", MONDAY + timedelta(weeks=1): "9 Mar – "}
        text = " ".join(text_of(bucket.get(row.storage_key), row.format).split())
        assert [monday for monday, day in days.items() if day in text] == [row.week_start]


@pytest.fixture
def picky(tmp_path, monkeypatch):
    """A document that cannot be made of some students."""

    def refuse(*students):
        cell = f"\n```{{python}}\n#| include: false\nassert report.facts.name not in {students}\n```\n"
        changed = tmp_path / "weekly_report.qmd"
        changed.write_text((FOLDER / changed.name).read_text() + cell)
        monkeypatch.setattr(reports, "DOCUMENT", changed)

    return refuse


def test_a_bad_student_is_listed_and_stops_nobody(database, bucket, week, users, picky):
    picky(called(1))
    with database.transaction() as connection:
        kpi = tables.weekly_kpi
        broken = {"anomaly_score": 1.0, "anomaly_flag": False, "provenance": {"anomaly_score": {}}}
        connection.execute(sa.update(kpi).where(kpi.c.user_id == users[4], kpi.c.week_start == MONDAY).values(broken))
    batch = make_reports(database, bucket, week, users)
    assert (batch.made, batch.failed) == (STUDENTS - 2, 2)
    failures = {str(row.user_id): row.reason for row in rows(database, FAILURE)}
    assert failures.keys() == {users[1], users[4]}
    assert failures[users[1]].startswith("weekly_report.qmd, line ")
    assert failures[users[1]].endswith(": AssertionError")
    assert failures[users[4]] == "the rows of the week do not fit together (KeyError)"
    assert {str(row.user_id) for row in rows(database)} == set(users) - failures.keys()
    picky()
    batch = make_reports(database, bucket, week, users)
    assert (batch.made, batch.unchanged, batch.failed) == (1, STUDENTS - 2, 1)
    assert [str(row.user_id) for row in rows(database, FAILURE)] == [users[4]]


def test_a_report_that_fails_later_leaves_the_older_one(database, bucket, week, users, picky):
    make_reports(database, bucket, week, users[:1])
    before = rows(database)
    picky(called(0))
    assert make_reports(database, bucket, week, users[:1], again=True).failed == 1
    assert rows(database) == before
    agrees(database, bucket)


def test_another_place_gets_the_reports_and_its_rows_survive_a_wrong_setting(
    database, in_s3, seaweed, week, users, monkeypatch
):
    monkeypatch.setattr(kept_reports, "GRACE", timedelta(0))
    one = users[:1]
    make_reports(database, in_s3(seaweed.url, S3_PREFIX="here"), week, one)
    before = rows(database)
    empty = in_s3(seaweed.url, S3_PREFIX="there")
    assert reconcile(database, empty) == Reconciled(orphans=0, lost=0)
    assert rows(database) == before
    assert make_reports(database, empty, week, one).made == 1
    assert all("/there/" in row.url for row in rows(database))
    agrees(database, empty)


def test_who_is_in_the_week_no_more_has_no_report(database, bucket, week, users):
    make_reports(database, bucket, week, users[:3])
    with database.transaction() as connection:
        connection.execute(sa.delete(tables.weekly_kpi).where(tables.weekly_kpi.c.user_id == users[1]))
    assert make_reports(database, bucket, week, [users[0]]).unchanged == 1
    assert {str(row.user_id) for row in rows(database)} == {users[0], users[2]}


def test_a_failure_goes_with_the_next_report_that_is_there(database, bucket, week, users, picky):
    make_reports(database, bucket, week, users[:1])
    picky(called(0))
    assert make_reports(database, bucket, week, users[:1], again=True).failed == 1
    assert len(rows(database, FAILURE)) == 1
    picky()
    assert make_reports(database, bucket, week, users[:1]).unchanged == 1
    assert rows(database, FAILURE) == []


def test_what_nothing_lists_is_collected_and_what_is_gone_is_made_again(database, bucket, week, users, monkeypatch):
    make_reports(database, bucket, week, users[:2])
    bucket.put("reports/cohort/2026-03-02/report.html", b"listed by nobody", "text/html")
    bucket.put("elsewhere/kept.txt", b"not a report", "text/plain")
    (gone,) = (row for row in rows(database) if str(row.user_id) == users[0] and row.format == "pdf")
    bucket.delete([gone.storage_key])
    assert reconcile(database, bucket) == Reconciled(orphans=0, lost=1)  # the orphan is too young
    monkeypatch.setattr(kept_reports, "GRACE", timedelta(0))
    assert reconcile(database, bucket) == Reconciled(orphans=1, lost=0)
    assert bucket.get("elsewhere/kept.txt") == b"not a report"
    batch = make_reports(database, bucket, week, users[:2])
    assert (batch.made, batch.unchanged) == (1, 1)
    assert len(rows(database)) == 4
    agrees(database, bucket)
    assert reconcile(database, bucket) == Reconciled(orphans=0, lost=0)
