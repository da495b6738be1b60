"""An alert is one crossing of the threshold: raised once, cleared once, and taken by the webhook at least once."""

import json
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets import alerts
from seedtest_assets.assets.alerts import churn_alert, raise_alerts
from seedtest_assets.assets.records import among
from seedtest_assets.calendar import Week, local_midnight, monday, week_of_yesterday
from seedtest_assets.resources import webhook
from seedtest_assets.resources.database import Database, Rows, run_id
from seedtest_assets.resources.webhook import ChurnWebhook
from seedtest_assets.settings import settings
from tests.reliability.between import Answer, Between

DAY = timedelta(days=1)
FIRST = date(2026, 3, 3)
"""The Tuesday whose night is the first that works on the week of 2 March."""
ANA, BEN, EVE = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
TOKEN, PATH = "s3cret-token", "/hooks/s3cret-path"


@pytest.fixture
def night(clock):
    """It is half past two, local time, in the night to a day; the week that the nightly run works on."""

    def begin(day):
        zone = settings().seedtest_timezone
        now = datetime(day.year, day.month, day.day, 2, 30, tzinfo=ZoneInfo(zone))
        clock(now)
        return Week.of(week_of_yesterday(now, zone))

    return begin


@pytest.fixture
def score(database):
    """Replace a week's risks, as the nightly run does: {student: risk at 14 days}."""

    def write(week, risks, *, horizon=14, as_of=None, only=None):
        table, some_id = tables.survival_risk, str(run_id("survival_risk", week.start))
        frame = pd.DataFrame(
            {
                "user_id": list(risks),
                "week_start": week.start,
                "horizon_days": horizon,
                "as_of": pd.Timestamp(as_of or week.as_of),
                **{"risk": risks.values(), "risk_lower": 0.0, "risk_upper": 1.0},
                **{"idle_days": 0, "last_active": week.start, "engine": "python", "model": "full"},
                **{"trigger": "schedule", "fit_run_id": some_id, "run_id": some_id},
            }
        )
        window = (table.c.week_start == week.start) & among(table.c.user_id, only)
        database.replace(Rows(table, frame, window), week_start=week.start)

    return write


@pytest.fixture
def answer(database):
    """A student answers something in the last hour of a local day."""

    def write(student, day, *, before_midnight=timedelta(hours=1)):
        completed_at = local_midnight(day + DAY, settings().seedtest_timezone) - before_midnight
        row = {
            **{"source": "test", "source_id": f"{student} {day}", "student_id": student, "item_id": 1},
            **{"correct": True, "attempt_no": 1, "completed_at": completed_at},
        }
        with database.transaction() as connection:
            connection.execute(tables.attempt.insert(), [row])

    return write


def stored(database):
    """(student, crossed, cleared) with the local days of the two midnights."""
    a, zone = tables.churn_alert.c, ZoneInfo(settings().seedtest_timezone)

    def day(instant):
        return instant and instant.astimezone(zone).date()

    rows = database.rows(sa.select(a.user_id, a.crossed_at, a.cleared_at).order_by(a.crossed_at, a.user_id))
    return [(str(user), day(crossed), day(cleared)) for user, crossed, cleared in rows]


def whole(database):
    """Every row, with the place where it is stored: another after every update."""
    query = sa.select(tables.churn_alert, sa.literal_column("ctid::text")).order_by("user_id", "crossed_at")
    return [tuple(row) for row in database.rows(query)]


def acknowledge(write, student):
    write("UPDATE analytics.churn_alert SET acknowledged_at = now() WHERE user_id = :student", {"student": student})


def test_a_student_below_above_below_above_and_gone(database, night, score, answer, write):
    answer(ANA, FIRST - DAY)
    history = [0.5, 0.7, 0.9, 0.69, 0.69, 0.8, 0.85]
    for number, risk in enumerate(history):
        week = night(FIRST + number * DAY)
        score(week, {ANA: risk, BEN: 0.1})
        assert raise_alerts(database, week) == (number in {1, 5})
        if number == 2:
            acknowledge(write, ANA)
    assert stored(database) == [(ANA, FIRST + DAY, FIRST + 3 * DAY), (ANA, FIRST + 5 * DAY, None)]
    (first, second) = database.rows(sa.select(tables.churn_alert).order_by("crossed_at"))
    assert first.acknowledged_at is not None
    assert second.acknowledged_at is None
    assert (first.week_start, second.week_start) == (date(2026, 3, 2), date(2026, 3, 2))
    assert (first.horizon_days, first.risk, first.risk_lower, first.risk_upper) == (14, 0.7, 0.0, 1.0)
    assert first.threshold == 0.7
    for idle in (13, 14):  # the last answer was on the day before FIRST
        week = night(FIRST + idle * DAY)
        score(week, {BEN: 0.1})
        raise_alerts(database, week)
        assert stored(database)[1] == (ANA, FIRST + 5 * DAY, FIRST + 14 * DAY if idle == 14 else None)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York"])
def test_random_histories_against_a_loop_over_students_and_nights(database, night, score, answer, monkeypatch, zone):
    monkeypatch.setenv("SEEDTEST_TIMEZONE", zone)
    settings.cache_clear()
    dice = random.Random(11)
    students = [str(uuid.UUID(int=dice.getrandbits(128))) for _ in range(30)]
    diligence = {student: dice.choice([0.05, 0.3]) for student in students}
    last = dict.fromkeys(students, FIRST - DAY)
    for student in students:
        answer(student, FIRST - DAY)
    expected, standing, lapses = [], {}, 0
    for day in (FIRST + number * DAY for number in range(40)):
        week = night(day)
        at_risk = [student for student in students if (day - DAY - last[student]).days < 14]
        risks = {student: dice.choice([0.0, 0.4, 0.6999, 0.7, 0.9]) for student in at_risk}
        before = len(expected)
        for student in students:
            row = standing.get(student)
            if row and risks.get(student, 0.0) < 0.7:
                row[2] = day
                lapses += student not in risks
                del standing[student]
            elif not row and risks.get(student, 0.0) >= 0.7:
                standing[student] = [student, day, None]
                expected.append(standing[student])
        score(week, risks)
        assert raise_alerts(database, week) == len(expected) - before
        was = whole(database)
        score(week, dict(dice.sample(list(risks.items()), len(risks))))
        assert raise_alerts(database, week) == 0
        assert whole(database) == was
        for student in students:
            if dice.random() < diligence[student]:
                answer(student, day)
                last[student] = day
    assert stored(database) == sorted((tuple(row) for row in expected), key=lambda row: (row[1], row[0]))
    assert lapses > 3
    assert len(expected) > 2 * len(students)


def test_days_off_that_are_no_idle_days_put_off_the_lapse(database, night, score, answer, write, monkeypatch):
    monkeypatch.setenv("SURVIVAL_IDLE_SKIPS_HOLIDAYS", "true")
    settings.cache_clear()
    answer(ANA, FIRST - DAY)
    week = night(FIRST)
    score(week, {ANA: 0.9})
    raise_alerts(database, week)
    write("INSERT INTO intake.holiday (date, name) VALUES (:day, 'a'), (:day, 'b')", {"day": FIRST + 5 * DAY})
    for idle in (14, 15):
        raise_alerts(database, night(FIRST + idle * DAY))
        assert stored(database) == [(ANA, FIRST, FIRST + 15 * DAY if idle == 15 else None)]


def test_corrected_risks_of_the_same_midnight_give_what_they_would_have_given_at_first(database, night, score):
    week = night(FIRST)
    score(week, {ANA: 0.9, BEN: 0.1})
    raise_alerts(database, week)
    week = night(FIRST + DAY)
    for ana, ben, raised in ((0.9, 0.1, 0), (0.1, 0.9, 1), (0.9, 0.1, 0), (0.9, 0.9, 0)):
        score(week, {ANA: ana, BEN: ben})
        assert raise_alerts(database, week) == raised
    assert stored(database) == [(ANA, FIRST, None), (BEN, FIRST + DAY, None)]
    score(week, {ANA: 0.1, BEN: 0.1})
    raise_alerts(database, week)
    assert stored(database) == [(ANA, FIRST, FIRST + DAY), (BEN, FIRST + DAY, FIRST + DAY)]


def test_a_subset_is_those_students_and_no_others(database, night, score):
    week = night(FIRST)
    score(week, {ANA: 0.9, BEN: 0.9, EVE: 0.9})
    assert raise_alerts(database, week, [ANA, BEN]) == 2
    week = night(FIRST + DAY)
    score(week, {ANA: 0.1, BEN: 0.1, EVE: 0.9})
    assert raise_alerts(database, week, []) == 0
    assert raise_alerts(database, week, [ANA]) == 0
    assert stored(database) == [(ANA, FIRST, FIRST + DAY), (BEN, FIRST, None)]
    assert raise_alerts(database, week) == 1
    assert stored(database) == [(ANA, FIRST, FIRST + DAY), (BEN, FIRST, FIRST + DAY), (EVE, FIRST + DAY, None)]


def test_a_student_who_has_not_been_scored_since_midnight_keeps_the_alert(database, night, score, answer):
    answer(ANA, FIRST - DAY)
    answer(BEN, FIRST - DAY)
    week = night(FIRST)
    score(week, {ANA: 0.9, BEN: 0.1})
    raise_alerts(database, week)
    later = night(FIRST + DAY)
    score(later, {BEN: 0.9}, only=[BEN])  # as the sensor does before the nightly run
    assert raise_alerts(database, later) == 1
    assert stored(database) == [(ANA, FIRST, None), (BEN, FIRST + DAY, None)]


def test_an_answer_after_midnight_is_one_of_the_next_day(database, night, score, answer):
    answer(ANA, FIRST - DAY)
    week = night(FIRST)
    score(week, {ANA: 0.9})
    raise_alerts(database, week)
    answer(ANA, FIRST + 13 * DAY, before_midnight=-timedelta(hours=1))
    raise_alerts(database, night(FIRST + 14 * DAY))
    assert stored(database) == [(ANA, FIRST, FIRST + 14 * DAY)]


def test_only_the_horizon_of_the_kpi_and_the_newest_midnight_count(database, night, score):
    week = night(FIRST + DAY)
    score(week, {ANA: 1.0}, horizon=28)
    assert raise_alerts(database, week) == 0
    score(week, {ANA: 1.0}, as_of=week.as_of - DAY)
    assert raise_alerts(database, week) == 0
    score(week, {ANA: 1.0})
    assert raise_alerts(database, week) == 1


def test_a_week_of_the_past_raises_and_clears_nothing(database, night, score):
    old = night(FIRST + 6 * DAY)
    score(old, {ANA: 0.9})
    raise_alerts(database, old)
    was = whole(database)
    night(FIRST + 7 * DAY)  # Tuesday: the week before is of the past
    score(old, {ANA: 0.1, BEN: 0.9})
    assert raise_alerts(database, old) == 0
    assert whole(database) == was
    assert len(was) == 1


@pytest.mark.parametrize("end", ["2006-06-26", "2006-06-29", "2006-07-02"])
def test_the_end_of_a_historical_data_set_is_its_now(database, score, monkeypatch, end):
    monkeypatch.setenv("SEEDTEST_DATA_END", end)
    settings.cache_clear()
    raised = []
    for week in [Week.of(date(2006, 6, 19) + number * 7 * DAY) for number in range(3)]:
        score(week, {ANA: 0.9})
        raised.append(raise_alerts(database, week))
    assert raised == [0, 1, 0]


def test_an_earlier_end_of_the_data_clears_nothing_before_it_was_raised(database, score, monkeypatch):
    for end, risk in (("2006-06-29", 0.9), ("2006-06-22", 0.1)):
        monkeypatch.setenv("SEEDTEST_DATA_END", end)
        settings.cache_clear()
        week = Week.of(monday(date.fromisoformat(end)))
        score(week, {ANA: risk})
        raise_alerts(database, week)
    assert stored(database) == [(ANA, date(2006, 7, 3), None)]


def test_two_at_once_raise_no_duplicate(database, night, score):
    week = night(FIRST)
    score(week, {str(uuid.UUID(int=number)): 0.9 for number in range(50)})
    sessions = [Database() for _ in range(3)]

    def linger(connection, cursor, statement, *rest):
        if statement.startswith("INSERT"):
            time.sleep(0.1)  # long enough for the others to look as well

    for session in sessions:
        sa.event.listen(session.engine, "after_cursor_execute", linger)
    try:
        with ThreadPoolExecutor(len(sessions)) as pool:
            raised = list(pool.map(lambda session: raise_alerts(session, week), sessions))
    finally:
        for session in sessions:
            session.engine.dispose()
    assert sorted(raised) == [0, 0, 50]
    assert len(stored(database)) == 50


def test_a_first_night_of_many_students_takes_no_time_that_grows_with_their_square(database, night, score):
    week = night(FIRST)
    score(week, {str(uuid.UUID(int=number)): 0.9 for number in range(60_000)})
    begun = time.monotonic()
    assert raise_alerts(database, week) == 60_000
    assert time.monotonic() - begun < 8  # half a second; reading all alerts for each risk took half a minute


# -- telling the webhook -------------------------------------------------------------------------------------


@pytest.fixture
def listening(monkeypatch):
    """A webhook on a loopback port, configured while the block lasts; the students of a request decide its status."""
    monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.01, 0.01))

    @contextmanager
    def at(status):
        with Between(lambda request: Answer(status(sent(request)))).listening() as between:
            monkeypatch.setenv("CHURN_WEBHOOK_URL", between.url + PATH)
            monkeypatch.setenv("CHURN_WEBHOOK_TOKEN", TOKEN)
            settings.cache_clear()
            yield between

    return at


def sent(request):
    return [alert["user_id"] for alert in json.loads(request.body)["alerts"]]


@pytest.fixture
def materialise(database, instance):
    """Materialise churn_alert for a week: what the asset and its check say of it."""

    def run(week):
        result = dg.materialize(
            [churn_alert],
            partition_key=week.key,
            resources={"database": database, "webhook": ChurnWebhook()},
            instance=instance,
        )
        (asset,), (check,) = result.asset_materializations_for_node("churn_alert"), result.get_asset_check_evaluations()
        return {name: value.value for name, value in asset.metadata.items()}, check

    return run


@pytest.fixture
def many(night, score):
    """1,200 students above the threshold: their keys in the order in which they are told of."""
    keys = sorted(str(uuid.UUID(int=number)) for number in range(1200))
    week = night(FIRST)
    score(week, dict.fromkeys(keys, 0.9))
    return week, keys


def test_without_a_webhook_alerts_are_raised_and_nothing_is_said(many, materialise, read, listening):
    week, keys = many
    told, check = materialise(week)
    assert told == {
        "dagster/partition_row_count": 1200,
        **{"raised": 1200, "cleared": 0, "open": 1200, "delivered": 0, "waiting": 1200},
    }
    assert (check.passed, check.description) == (True, None)
    with listening(lambda students: 200) as stub:
        told, check = materialise(week)
        assert (told["raised"], told["delivered"], told["waiting"], check.passed) == (1200, 1200, 0, True)
        assert [sent(request) for request in stub.seen] == [keys[:500], keys[500:1000], keys[1000:]]
        told, check = materialise(week)
        assert (told["delivered"], check.passed, len(stub.seen)) == (0, True, 3)
    assert read("SELECT count(*) FROM analytics.churn_alert WHERE notified_at > now() - interval '1 min'") == [(1200,)]


def test_a_batch_that_is_refused_holds_up_no_other_and_is_sent_by_the_next_run(many, materialise, listening):
    week, keys = many
    refused = [True]
    with listening(lambda students: 413 if keys[500] in students and refused[0] else 200) as stub:
        told, check = materialise(week)
        assert (told["delivered"], told["waiting"]) == (700, 500)
        assert (check.passed, check.severity.value) == (False, "WARN")
        assert check.description == "alerts that wait: 500; 127.0.0.1 refused the alerts: 413"
        assert len(stub.seen) == 3
        refused[0] = False
        told, check = materialise(week)
        assert (told["delivered"], told["waiting"], check.passed) == (500, 0, True)
        assert sent(stub.seen[3]) == keys[500:1000]


def test_a_webhook_that_is_down_fails_nothing_and_is_asked_for_one_batch_only(many, materialise, listening):
    week, keys = many
    with listening(lambda students: 503) as stub:
        told, check = materialise(week)
        assert (told["delivered"], told["waiting"], check.passed) == (0, 1200, False)
        assert check.description == "alerts that wait: 1200; 127.0.0.1 answered 503"
        assert [sent(request) for request in stub.seen] == [keys[:500]] * 4
    told, check = materialise(week)  # nobody listens there any more
    assert check.description == "alerts that wait: 1200; 127.0.0.1 does not answer (ConnectError)"
    with listening(lambda students: 200):
        assert materialise(week)[0]["delivered"] == 1200


def test_a_wrong_token_is_told(night, score, materialise, listening):
    week = night(FIRST)
    score(week, {ANA: 0.9})
    with listening(lambda students: 401) as stub:
        told, check = materialise(week)
        assert (told["waiting"], len(stub.seen)) == (1, 1)
        assert check.description == "alerts that wait: 1; 127.0.0.1 refused the alerts: 401"


def test_what_is_over_or_acknowledged_is_not_sent(database, night, score, write, materialise, listening):
    week = night(FIRST)
    score(week, {ANA: 0.9, BEN: 0.9, EVE: 0.9})
    raise_alerts(database, week)
    acknowledge(write, ANA)
    week = night(FIRST + DAY)
    score(week, {ANA: 0.9, BEN: 0.1, EVE: 0.9})
    with listening(lambda students: 200) as stub:
        told, _ = materialise(week)
    assert [sent(request) for request in stub.seen] == [[EVE]]
    assert {name: told[name] for name in ("raised", "cleared", "open", "delivered", "waiting")} == {
        **{"raised": 0, "cleared": 1, "open": 2, "delivered": 1, "waiting": 0}
    }


class Stop(Exception):
    pass


def test_an_interruption_after_the_answer_repeats_the_same_request_and_loses_nothing(
    database, many, listening, monkeypatch
):
    week, keys = many
    raise_alerts(database, week)
    noted = []

    def interrupted(database, taken):
        if len(noted) == 1:
            raise Stop
        noted.append(taken)
        note(database, taken)

    note = alerts._note
    with listening(lambda students: 200) as stub:
        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(alerts, "_note", interrupted)
            alerts.deliver(database, ChurnWebhook())
        assert alerts.deliver(database, ChurnWebhook()) == alerts.Delivery(700, None)
    first, second, again, third = stub.seen
    assert (sent(first), sent(second), sent(third)) == (keys[:500], keys[500:1000], keys[1000:])
    assert (second.body, second.headers["Idempotency-Key"]) == (again.body, again.headers["Idempotency-Key"])


def test_a_backfill_of_an_old_week_says_that_it_does_nothing(database, night, score, materialise, listening):
    old = night(FIRST)
    score(old, {ANA: 0.9})
    raise_alerts(database, old)
    night(FIRST + 7 * DAY)
    old = Week.of(old.start)
    score(old, {ANA: 0.1, BEN: 0.9})
    with listening(lambda students: 200) as stub:
        told, check = materialise(old)
    assert told == {
        "dagster/partition_row_count": 1,
        "nothing_done_because": "an alert about the past helps nobody",
        **{"open": 1, "waiting": 1},
    }
    assert check.description == "alerts that wait: 1; the next run for the week of yesterday sends them"
    assert stub.seen == []
    assert stored(database) == [(ANA, FIRST, None)]


def test_nothing_that_is_logged_tells_an_address_a_token_or_a_student(many, materialise, listening, instance, capfd):
    week, keys = many
    with listening(lambda students: 400 if keys[0] in students else 200):
        materialise(week)
    (run,) = instance.get_runs()
    told = "".join(f"{entry.to_json()}" for entry in instance.all_logs(run.run_id)) + "".join(capfd.readouterr())
    assert "refused the alerts: 400" in told
    assert not [secret for secret in (TOKEN, "s3cret", "hooks", *keys) if secret in told]
