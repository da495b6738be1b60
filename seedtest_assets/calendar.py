"""The week, the day and `as_of`: the one place that knows what time it is.

All assets share one weekly partitions definition (ISO weeks, the running one included), because partitions of
different length cannot sit in one job or one backfill.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from seedtest_assets.settings import settings

WEEK = timedelta(weeks=1)

WEEKS = dg.WeeklyPartitionsDefinition(
    start_date=settings().seedtest_start_date.isoformat(),
    timezone=settings().seedtest_timezone,
    day_offset=1,
    end_offset=1,
)
"""ISO weeks from SEEDTEST_START_DATE to the running week; the key is the Monday, e.g. '2026-11-16'."""


def local_midnight(day: date, timezone: str) -> datetime:
    """The instant (UTC) at which `day` begins in `timezone`."""
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)


def local_day(instant: datetime, timezone: str) -> date:
    """The day that an instant falls on in `timezone`."""
    return instant.astimezone(ZoneInfo(timezone)).date()


@dataclass(frozen=True, order=True)
class Week:
    """One ISO week as the pipeline sees it.

    Attributes:
        start: its Monday; the partition key.
        as_of_day: the first day whose answers are *not* used: the day after Sunday once the week is over, today
            while it runs. Facts of the week are those before this day's midnight.
        timezone: IANA name of the zone in which days begin.
    """

    start: date
    as_of_day: date
    timezone: str

    @classmethod
    def of(cls, start: date, *, timezone: str | None = None, now: datetime | None = None) -> "Week":
        """The week that begins on `start`, seen from `now` (default: the clock).

        Raises:
            ValueError: when `start` is no Monday or lies in the future.
        """
        if start.weekday() != 0:
            raise ValueError(f"{start} is a {start:%A}; a week is named by its Monday")
        timezone = timezone or settings().seedtest_timezone
        today = local_day(now or datetime.now(UTC), timezone)
        if start > today:
            raise ValueError(f"the week of {start} has not begun (today is {today})")
        return cls(start, min(start + WEEK, today), timezone)

    @property
    def end(self) -> date:
        """The Monday after (exclusive end)."""
        return self.start + WEEK

    @property
    def key(self) -> str:
        """The partition key."""
        return self.start.isoformat()

    @property
    def begins(self) -> datetime:
        """Local midnight of its Monday (UTC)."""
        return local_midnight(self.start, self.timezone)

    @property
    def as_of(self) -> datetime:
        """Replay rule: the week uses only facts with completed_at before this instant (UTC)."""
        return local_midnight(self.as_of_day, self.timezone)

    def days_before(self, days: int) -> datetime:
        """Local midnight `days` whole days before `as_of` (UTC); windows are whole local days."""
        return local_midnight(self.as_of_day - timedelta(days=days), self.timezone)


def today(now: datetime | None = None) -> date:
    """The local day of `now` (default: the clock); of a historical data set the day after SEEDTEST_DATA_END."""
    day, end = local_day(now or datetime.now(UTC), settings().seedtest_timezone), settings().seedtest_data_end
    return day if end is None else min(day, end + timedelta(days=1))


def current_week(now: datetime | None = None) -> Week:
    """The week of yesterday, whose as_of is the newest midnight before `now` (default: the clock), see `today`."""
    return Week.of(monday(today(now) - timedelta(days=1)), now=now)


def week_of_yesterday(now: datetime, timezone: str) -> date:
    """Monday of the week that contains yesterday: what a nightly run works on (Sunday's answers on Monday)."""
    return monday(local_day(now, timezone) - timedelta(days=1))


def monday(day: date) -> date:
    """The Monday of the ISO week that contains `day`."""
    return day - timedelta(days=day.weekday())


def weeks_between(first: date, last: date) -> list[date]:
    """Mondays of all weeks that touch the days from `first` to `last`, both included."""
    start, stop = monday(first), monday(last)
    return [start + i * WEEK for i in range((stop - start).days // 7 + 1)]
