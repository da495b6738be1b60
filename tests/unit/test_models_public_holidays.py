"""Public holidays against published calendars."""

import os
import subprocess
import sys
from datetime import date

import pytest

from seedtest_assets.models.public_holidays import NoSuchHolidays, holiday_frame

KOREA = {  # Korea Astronomy and Space Science Institute, almanacs of these years
    date(2024, 2, 10): "Korean New Year",
    date(2024, 2, 12): "Alternative holiday for Korean New Year",
    date(2024, 5, 15): "Buddha's Birthday",
    date(2024, 9, 17): "Chuseok",
    date(2025, 1, 29): "Korean New Year",
    date(2025, 10, 6): "Chuseok",
    date(2025, 10, 8): "Alternative holiday for Chuseok",
    date(2026, 2, 17): "Korean New Year",
    date(2026, 9, 25): "Chuseok",
}


@pytest.fixture(scope="module")
def korea():
    return holiday_frame("KR", date(2024, 1, 1), date(2026, 12, 31))


@pytest.mark.parametrize("day", KOREA)
def test_lunar_holidays_are_where_the_almanac_has_them(korea, day):
    assert KOREA[day] in korea.loc[korea["ds"] == day, "holiday"].tolist()
    apart = korea.loc[korea["holiday"] == KOREA[day], "ds"].map(lambda ds: ds.year)
    assert apart.is_unique


def test_two_holidays_on_one_day_are_two_rows(korea):
    assert korea.loc[korea["ds"] == date(2025, 5, 5), "holiday"].tolist() == ["Buddha's Birthday", "Children's Day"]
    assert not korea.duplicated(["holiday", "ds"]).any()
    assert korea["ds"].is_monotonic_increasing
    assert (korea[["lower_window", "upper_window"]] == 0).all(axis=None)


def test_both_ends_are_included_and_a_span_without_holidays_is_an_empty_frame(korea):
    days = holiday_frame("KR", date(2025, 1, 28), date(2025, 1, 30))["ds"].tolist()
    assert days == [date(2025, 1, 28), date(2025, 1, 29), date(2025, 1, 30)]
    none = holiday_frame("KR", date(2025, 11, 1), date(2025, 11, 30))
    assert none.empty
    assert none.dtypes.equals(korea.dtypes)


def test_the_locale_does_not_change_names():
    code = (
        "from datetime import date; from seedtest_assets.models.public_holidays import holiday_frame; "
        "print(*holiday_frame('KR', date(2025, 1, 29), date(2025, 1, 29))['holiday'])"
    )
    environment = os.environ | {"LANG": "ko_KR.UTF-8", "LANGUAGE": "ko", "LC_ALL": "ko_KR.UTF-8"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "Korean New Year"


def test_an_unknown_country_and_days_in_the_wrong_order_are_refused_with_advice():
    with pytest.raises(NoSuchHolidays, match=r"'XX'.*intake\.holiday"):
        holiday_frame("XX", date(2025, 1, 1), date(2025, 12, 31))
    with pytest.raises(NoSuchHolidays, match="before the first"):
        holiday_frame("KR", date(2025, 1, 2), date(2025, 1, 1))
