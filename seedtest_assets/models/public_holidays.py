"""Public holidays of a country, as prophet takes them."""

from datetime import date

import holidays
import pandas as pd


class NoSuchHolidays(ValueError):
    """The country is not known, or the days are in the wrong order; the message says what to do."""


def holiday_frame(country: str, first: date, last: date) -> pd.DataFrame:
    """Public holidays from `first` to `last`, both included, with moved and lunar dates as the year had them.

    Args:
        country: ISO 3166-1 code of two letters, e.g. KR.
        first: first day.
        last: last day.

    Returns:
        holiday (its English name, or the country's own where there is none), ds (datetime.date), lower_window and
        upper_window (0); a row per day and holiday, in the order of days and names.

    Raises:
        NoSuchHolidays: the country is unknown to the package `holidays`, or `last` comes before `first`.
    """
    if last < first:
        raise NoSuchHolidays(f"holidays from {first} to {last}: the last day comes before the first")
    if country not in holidays.list_supported_countries():
        raise NoSuchHolidays(
            f"No holidays of {country!r} are known. Give a country's ISO code of two letters, e.g. KR, or keep the "
            "days off in intake.holiday."
        )
    years = range(first.year, last.year + 1)
    known = holidays.country_holidays(country, years=years, language="en_US")  # else the locale would choose
    rows = sorted((day, name) for day in known if first <= day <= last for name in known.get_list(day))
    return pd.DataFrame(
        {
            "holiday": [name for _, name in rows],
            "ds": pd.Series([day for day, _ in rows], dtype=object),
            "lower_window": 0,
            "upper_window": 0,
        }
    ).astype({"lower_window": "int64", "upper_window": "int64", "holiday": str})
