"""The inactivity sensor against a slow reference: any history, late answers, lost cursors, a clock that jumps, ties."""

import random
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from seedtest_assets import tables
from seedtest_assets.automation import inactivity as module
from seedtest_assets.automation.inactivity import inactivity, refresh_inactive
from seedtest_assets.calendar import monday
from seedtest_assets.models.landmarks import training_landmarks
from seedtest_assets.models.survival import HorizonModel, fit_risk
from seedtest_assets.resources.database import Database, run_id
from seedtest_assets.resources.webhook import ChurnWebhook
from seedtest_assets.settings import settings
from tests.statistics.silence_oracle import FIRST, Silence

RISK = tables.survival_risk
DAY = timedelta(days=1)
FIRST_DAY = date(2026, 2, 16)  # summer time begins in New York on 8 March, in Berlin on 29 March
ZONES = ("UTC", "Asia/Seoul", "America/New_York", "Europe/Berlin")
STUDENTS = 5
EDGES = (time(0), time(0, 0, 0, 1), time(12), time(23, 59, 59, 999_999))
FORGOTTEN = (tables.attempt, tables.holiday, RISK, tables.churn_alert, tables.weekly_kpi)


@pytest.fixture(scope="module")
def risk_model() -> list[HorizonModel]:
    """Of a simulated cohort."""
    records = Silence.draw(400, 140, seed=11).records(seed=11)
    return fit_risk(training_landmarks(records, FIRST + 140, 90))


@pytest.fixture
def fitted(database: Database, risk_model: list[HorizonModel]) -> Database:
    """The database with a published fit."""
    publish(database, risk_model, date(2026, 1, 5))
    return database


def publish(database: Database, risk_model: list[HorizonModel], week: date) -> None:
    meta = tables.survival_fit_meta
    row = {
        "run_id": run_id(meta.name, week),
        "week_start": week,
        "as_of": datetime.combine(week + 7 * DAY, time(), ZoneInfo("UTC")),
        **{"engine": "python", "model": "full", "risk_model": risk_model, "cox": {}, "calibration": {}},
        **{"n": risk_model[1]["n"], "events": risk_model[1]["events"], "dagster_run_id": "simulated"},
    }
    with database.transaction() as connection:
        connection.execute(meta.insert(), [row])


def user(student: int) -> uuid.UUID:
    return uuid.UUID(int=student + 1)


def answer(database: Database, answers: list[tuple[int, datetime]]) -> None:
    """(student, instant) of each."""
    rows = [
        {
            **{"source": "test", "source_id": uuid.uuid4().hex, "student_id": user(student), "item_id": 1},
            **{"correct": True, "completed_at": instant, "attempt_no": 1},
        }
        for student, instant in answers
    ]
    with database.transaction() as connection:
        connection.execute(tables.attempt.insert(), rows)


def tick(database: Database, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    """What the sensor says."""
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"database": database}) as context:
        return inactivity.evaluate_tick(context)


def bounds(request: dg.RunRequest) -> tuple[datetime, datetime, datetime]:
    """First, last and as_of, which is all that a run is told."""
    ((op, told),) = request.run_config["ops"].items()
    assert op == "rescore_inactive"
    assert not any(value for name, value in request.run_config.items() if name != "ops")
    assert set(told["config"]) == {"first", "last", "as_of"}
    return tuple(datetime.fromisoformat(told["config"][name]) for name in ("first", "last", "as_of"))


def execute(database: Database, instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    return refresh_inactive.execute_in_process(
        {**request.run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        resources={"database": database, "webhook": ChurnWebhook()},
        instance=instance,
    )


@dataclass(frozen=True)
class Written:
    """A student's risks of one week."""

    horizons: tuple[int, ...]
    last_active: date
    idle_days: int
    as_of: datetime
    trigger: str
    rank: int | None
    computed_at: datetime


def written(database: Database) -> dict[tuple[uuid.UUID, date], Written]:
    same = (RISK.c.last_active, RISK.c.idle_days, RISK.c.as_of, RISK.c.trigger, RISK.c.rank, RISK.c.computed_at)
    horizons = sa.func.array_agg(RISK.c.horizon_days, type_=sa.ARRAY(sa.Integer))
    rows = database.rows(
        sa.select(RISK.c.user_id, RISK.c.week_start, horizons, *same).group_by(RISK.c.user_id, RISK.c.week_start, *same)
    )
    found = {(who, week): Written(tuple(sorted(horizons)), *rest) for who, week, horizons, *rest in rows}
    assert len(found) == len(rows)
    return found


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens, in any order; after each step the reference says who had to be refreshed, and who was."""

    def __init__(
        self,
        database: Database,
        instance: dg.DagsterInstance,
        set_clock: Callable[[datetime], None],
        environment: pytest.MonkeyPatch,
    ) -> None:
        super().__init__()
        self.database, self.instance = database, instance
        self.set_clock, self.environment = set_clock, environment

    @initialize(
        zone=st.sampled_from(ZONES),
        threshold=st.sampled_from([1, 3, 7, 13]),
        batch=st.integers(1, 4),
        off=st.sets(st.integers(0, 40), max_size=12),
        skips=st.booleans(),
    )
    def begin(self, zone: str, threshold: int, batch: int, off: set[int], skips: bool) -> None:
        with self.database.transaction() as connection:
            for table in FORGOTTEN:
                connection.execute(sa.delete(table))
            days = [{"date": FIRST_DAY + n * DAY, "name": "off"} for n in off]
            if days:
                connection.execute(tables.holiday.insert(), days)
        self.environment.setenv("SEEDTEST_TIMEZONE", zone)
        self.environment.setenv("INACTIVITY_THRESHOLD_DAYS", str(threshold))
        self.environment.setenv("SURVIVAL_IDLE_SKIPS_HOLIDAYS", str(skips))
        self.environment.setattr(module, "BATCH", batch)
        settings.cache_clear()
        self.zone, self.threshold = ZoneInfo(zone), threshold
        self.off = {FIRST_DAY + n * DAY for n in off} if skips else set()
        self.answers: set[tuple[int, datetime]] = set()
        self.silences: Counter[tuple[int, date]] = Counter()  # refreshed: student, last active day
        self.cursor: str | None = None
        self.requests: dict[str, dg.RunRequest] = {}
        self.waiting: list[str] = []
        self.crashed: set[str] = set()
        self.midnights: set[date] = set()
        self.set_time(20, 12)

    # -- what happens ----------------------------------------------------------------------------------------

    @rule(day=st.integers(14, 40), hour=st.integers(0, 23))
    def set_time(self, day: int, hour: int) -> None:
        """Time goes on, or the clock is set back."""
        self.as_of_day = FIRST_DAY + day * DAY
        self.set_clock(datetime.combine(self.as_of_day, time(hour), self.zone))

    @rule(who=st.sets(st.integers(0, STUDENTS - 1), min_size=1), day=st.integers(0, 40), at=st.sampled_from(EDGES))
    def answers_arrive(self, who: set[int], day: int, at: time) -> None:
        """At the same instant, now or late, some of them of days that have not come by the clock."""
        instant = datetime.combine(FIRST_DAY + day * DAY, at, self.zone)
        self.answers |= {(student, instant) for student in who}
        answer(self.database, [(student, instant) for student in who])

    @rule()
    def sensor_ticks(self) -> None:
        self.sensor_finds()

    def sensor_finds(self) -> bool:
        """As the daemon: the cursor is kept, and a run key is run once."""
        said = tick(self.database, self.instance, self.cursor)
        due = self.due(self.as_of_day)
        if said.skip_message is not None:
            assert not due
            assert said.cursor == self.cursor
            return False
        (request,) = said.run_requests
        first, last, _ = bounds(request)
        assert {first, last} <= set(due.values())
        self.cursor = said.cursor
        if request.run_key not in self.requests:
            self.requests[request.run_key] = request
            self.waiting.append(request.run_key)
            self.midnights.add(self.as_of_day)
        return True

    @rule()
    def cursor_is_lost(self) -> None:
        self.cursor = None

    @precondition(lambda self: self.waiting)
    @rule(choice=st.randoms(use_true_random=False))
    def a_run_is_executed(self, choice: random.Random) -> None:
        self.executes(self.waiting.pop(choice.randrange(len(self.waiting))))

    @precondition(lambda self: self.waiting)
    @rule(choice=st.randoms(use_true_random=False))
    def a_run_crashes(self, choice: random.Random) -> None:
        self.crashed.add(self.waiting.pop(choice.randrange(len(self.waiting))))

    @precondition(lambda self: self.requests)
    @rule(choice=st.randoms(use_true_random=False))
    def a_run_is_executed_again(self, choice: random.Random) -> None:
        self.executes(choice.choice(sorted(self.requests)))

    def teardown(self) -> None:
        """Everything that waits is executed and the sensor goes on until it has nothing more to say."""
        if not hasattr(self, "requests"):
            return
        self.goes_on()
        if self.crashed:  # a batch that fails costs one run a day: the next midnight brings another
            self.set_time((max({self.as_of_day, *self.midnights}) - FIRST_DAY).days + 1, 0)
            self.goes_on()
        assert not self.due(self.as_of_day)
        assert set(self.silences.values()) <= {1}

    # -- what must come of it --------------------------------------------------------------------------------

    def goes_on(self) -> None:
        for _ in range(3 * STUDENTS):
            while self.waiting:
                self.executes(self.waiting.pop(0))
            if not self.sensor_finds():
                return
        assert self.crashed

    def executes(self, key: str) -> None:
        request = self.requests[key]
        first, last, as_of = bounds(request)
        day = max(self.as_of_day, as_of.astimezone(self.zone).date())
        expected = {(who, ended.date()) for who, ended in self.due(day).items() if first <= ended <= last}
        before = written(self.database)
        result = execute(self.database, self.instance, request)
        after = written(self.database)
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        week = monday(day - DAY)
        assert changed == {(user(student), week) for student, _ in expected}
        for student, began in expected:
            row = after[user(student), week]
            assert (row.horizons, row.last_active, row.idle_days) == ((7, 14, 28), began, self.idle(began, day))
            assert (row.as_of.astimezone(self.zone).date(), row.trigger, row.rank) == (day, "inactivity", None)
            self.silences[student, began] += 1
        assert not [event for event in result.all_events if event.is_step_materialization]

    def due(self, day: date) -> dict[int, datetime]:
        """Students who have been idle long enough and are at risk at the midnight that begins `day`, and for whose
        silence nothing has been done; with their last answer before it."""
        due = {}
        for student in range(STUDENTS):
            known = [instant for who, instant in self.answers if who == student and instant.date() < day]
            if not known:
                continue
            last = max(known)
            done = any(who == student and began >= last.date() for who, began in self.silences)
            if not done and self.threshold <= self.idle(last.date(), day) < 14:
                due[student] = last
        return due

    def idle(self, last: date, day: date) -> int:
        silent = [last + n * DAY for n in range(1, (day - last).days)]
        return sum(each not in self.off for each in silent)


@pytest.mark.slow
def test_nobody_is_missed_or_done_twice(fitted, instance, clock, monkeypatch):
    run_state_machine_as_test(
        lambda: AnyHistory(fitted, instance, clock, monkeypatch),
        settings=hypothesis.settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )


@pytest.mark.slow
def test_thousands_at_once_are_one_run(fitted, instance, clock):
    """A school's term ends: everybody falls silent on the same day, many of them at the same instant."""
    many = 5_000
    clock(datetime.combine(FIRST_DAY + 20 * DAY, time(12), ZoneInfo("UTC")))
    instants = [datetime.combine(FIRST_DAY + 10 * DAY, time(hour), ZoneInfo("UTC")) for hour in (9, 10)]
    answer(fitted, [(student, instants[student % 2]) for student in range(many)])
    said = tick(fitted, instance)
    (request,) = said.run_requests
    assert bounds(request)[:2] == tuple(instants)
    assert execute(fitted, instance, request).success
    rows = written(fitted)
    assert {who for who, _ in rows} == {user(student) for student in range(many)}
    assert {(row.horizons, row.idle_days, row.trigger) for row in rows.values()} == {((7, 14, 28), 9, "inactivity")}
    assert tick(fitted, instance, said.cursor).skip_message
