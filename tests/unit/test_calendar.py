"""The week, the day and as_of: around midnight, daylight saving and the turn of the week, in any time zone."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedtest_assets.calendar import WEEKS, Week, local_day, local_midnight, monday, week_of_yesterday, weeks_between

DAY, INSTANT = timedelta(days=1), timedelta(microseconds=1)
ZONES = [
    "UTC",
    "Asia/Seoul",
    "America/New_York",
    "Europe/Berlin",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Asia/Kathmandu",
    "America/Sao_Paulo",  # midnight did not exist when summer time began (until 2018)
    "America/Havana",  # midnight comes twice when summer time ends
    "Africa/Cairo",
    "Australia/Lord_Howe",  # moves by half an hour
]
days = st.dates(date(2005, 1, 1), date(2030, 12, 31))
mondays = days.map(monday)
zones = st.sampled_from(ZONES)
instants = st.datetimes(datetime(2005, 1, 10), datetime(2030, 12, 31), timezones=st.just(UTC))


@given(days, zones)
def test_a_day_begins_at_its_first_instant(day, zone):
    begins = local_midnight(day, zone)
    assert begins.tzinfo is UTC
    assert local_day(begins, zone) == day
    assert local_day(begins - INSTANT, zone) == day - DAY


@given(days, zones)
def test_days_follow_each_other_and_last_a_day_but_for_daylight_saving(day, zone):
    length = local_midnight(day + DAY, zone) - local_midnight(day, zone)
    assert length in {timedelta(hours=hours) for hours in (23, 23.5, 24, 24.5, 25)}


@pytest.mark.parametrize(
    ("day", "zone", "begins"),
    [
        (date(2026, 3, 2), "UTC", "2026-03-02T00:00Z"),
        (date(2026, 3, 2), "Asia/Seoul", "2026-03-01T15:00Z"),
        (date(2026, 3, 30), "Europe/Berlin", "2026-03-29T22:00Z"),
        (date(2018, 11, 4), "America/Sao_Paulo", "2018-11-04T03:00Z"),  # 00:00 became 01:00
        (date(2025, 11, 2), "America/Havana", "2025-11-02T04:00Z"),  # the first of two midnights
    ],
)
def test_midnight_where_it_is_known(day, zone, begins):
    assert local_midnight(day, zone) == datetime.fromisoformat(begins)


@given(mondays, zones, instants)
def test_a_week_ends_on_its_sunday_or_at_the_last_midnight(start, zone, now):
    today = local_day(now, zone)
    if start > today:
        with pytest.raises(ValueError, match="has not begun"):
            Week.of(start, timezone=zone, now=now)
        return
    week = Week.of(start, timezone=zone, now=now)
    assert week.begins <= week.as_of <= now
    assert week.as_of <= local_midnight(week.end, zone)
    assert week.as_of_day in {today, week.end}
    assert week.as_of == local_midnight(week.as_of_day, zone)
    if today < week.end:
        assert now - week.as_of < timedelta(hours=25, minutes=1)


@given(mondays, zones, instants, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_as_of_never_goes_back_and_stands_still_once_the_week_is_over(start, zone, now, later):
    if start > local_day(now, zone):
        return
    first, second = (Week.of(start, timezone=zone, now=instant) for instant in (now, now + later))
    assert first.as_of <= second.as_of
    if first.as_of_day == first.end:
        assert first == second


@given(mondays, zones, st.integers(0, 3660))
def test_windows_are_whole_local_days(start, zone, number):
    week = Week.of(start, timezone=zone, now=datetime(2031, 6, 1, tzinfo=UTC))
    assert local_day(week.days_before(number), zone) == week.end - number * DAY
    assert week.days_before(0) == week.as_of
    assert week.days_before(7) == week.begins


@pytest.mark.parametrize("day", range(1, 7))
def test_a_week_is_named_by_its_monday(day):
    with pytest.raises(ValueError, match="a week is named by its Monday"):
        Week.of(date(2026, 3, 2) + day * DAY, timezone="UTC", now=datetime(2026, 6, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("now", "as_of"),
    [
        ("2026-03-02T00:00Z", "2026-03-02T00:00Z"),  # it has just begun: no answer yet
        ("2026-03-02T23:59Z", "2026-03-02T00:00Z"),
        ("2026-03-05T12:00Z", "2026-03-05T00:00Z"),
        ("2026-03-08T23:59Z", "2026-03-08T00:00Z"),  # Sunday: Saturday is in, Sunday is not
        ("2026-03-09T00:00Z", "2026-03-09T00:00Z"),  # over
        ("2027-01-01T00:00Z", "2026-03-09T00:00Z"),
    ],
)
def test_as_of_of_a_week_as_it_passes(now, as_of):
    week = Week.of(date(2026, 3, 2), timezone="UTC", now=datetime.fromisoformat(now))
    assert week.as_of == datetime.fromisoformat(as_of)
    assert week.key == "2026-03-02"


def test_the_zone_and_the_clock_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SEEDTEST_TIMEZONE", "Asia/Seoul")
    week = Week.of(date(2026, 3, 2))
    assert week.begins == datetime(2026, 3, 1, 15, tzinfo=UTC)
    assert week.as_of == datetime(2026, 3, 8, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("local", "zone", "week"),
    [
        ("2026-03-09T02:30", "UTC", date(2026, 3, 2)),  # Monday's run gives Sunday to its week
        ("2026-03-10T02:30", "UTC", date(2026, 3, 9)),  # Tuesday's works on the running one
        ("2026-03-15T02:30", "UTC", date(2026, 3, 9)),
        ("2026-03-09T02:30", "Asia/Seoul", date(2026, 3, 2)),  # in UTC it is still Sunday
        ("2026-03-10T02:30", "Asia/Seoul", date(2026, 3, 9)),
        ("2026-03-30T02:30", "Europe/Berlin", date(2026, 3, 23)),  # the night after the clocks moved
        ("2026-01-01T02:30", "UTC", date(2025, 12, 29)),
    ],
)
def test_a_nightly_run_works_on_the_week_of_yesterday(local, zone, week):
    now = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone))
    assert week_of_yesterday(now, zone) == week


@given(instants, zones)
def test_the_week_of_yesterday_has_begun_and_holds_yesterday(now, zone):
    start = week_of_yesterday(now, zone)
    yesterday = local_day(now, zone) - DAY
    assert start <= yesterday < start + 7 * DAY
    assert Week.of(start, timezone=zone, now=now).as_of_day == yesterday + DAY


@given(days, days)
def test_weeks_between_touch_every_day_and_no_other_week(one, other):
    first, last = sorted((one, other))
    weeks = weeks_between(first, last)
    assert weeks[0] == monday(first)
    assert weeks[-1] == monday(last)
    assert {later - earlier for earlier, later in pairwise(weeks)} <= {7 * DAY}
    assert all(week.weekday() == 0 for week in weeks)


@pytest.mark.parametrize("start", [date(2005, 12, 26), date(2026, 3, 2), date(2026, 11, 16)], ids=str)
def test_partitions_are_all_iso_weeks_from_the_first_to_the_running_one(start):
    begins = datetime.combine(start, datetime.min.time(), UTC)
    keys = WEEKS.get_partition_keys(current_time=begins)
    assert keys == [week.isoformat() for week in weeks_between(date(2004, 1, 5), start)]
    assert WEEKS.get_partition_keys(current_time=begins - INSTANT) == keys[:-1]
