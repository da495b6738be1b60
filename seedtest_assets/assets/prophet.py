"""Prophet as one of the engines that forecast a panel, told of the weeks with days off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.calendar import WEEK, monday
from seedtest_assets.failures import PermanentFailure
from seedtest_assets.models.forecast import LEVEL, Forecast
from seedtest_assets.models.irt import Floats, Ints
from seedtest_assets.models.public_holidays import NoSuchHolidays, holiday_frame
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.forecast import ForecastService, ProphetFit
from seedtest_assets.resources.plumber import Progress
from seedtest_assets.settings import settings


def weeks_off(database: Database, first: date, last: date) -> list[date]:
    """Mondays of the weeks from `first` to `last` with a day of intake.holiday or of PROPHET_HOLIDAY_COUNTRY's."""
    day = tables.holiday.c.date
    days = {row.date for row in database.rows(sa.select(day).where(day.between(first, last)))}
    country = settings().prophet_holiday_country
    if country:
        try:
            days |= set(holiday_frame(country, first, last)["ds"])
        except NoSuchHolidays as unknown:
            raise PermanentFailure(f"PROPHET_HOLIDAY_COUNTRY: {unknown}") from unknown
    return sorted({monday(each) for each in days})


@dataclass(frozen=True)
class Prophet:
    """The forecast service's prophet, as `models.forecast` takes an engine.

    Attributes:
        service: where it runs.
        weeks: Mondays of a panel's columns; a panel of fewer weeks has the first of them.
        off: Mondays of weeks with days off, those to come included.
        progress: is told of the service's job while it runs.
    """

    service: ForecastService
    weeks: Sequence[date]
    off: Sequence[date]
    progress: Progress

    def __call__(self, panel: Floats, horizon: int) -> Forecast:
        """Forecast a panel; series that cannot be fitted get NaN."""
        found = np.full((3, len(panel), horizon), np.nan)
        if np.isfinite(panel).any():
            ahead = self.fit(panel, horizon).forecast
            row, step = ahead["series"].to_numpy(dtype=int), ahead.groupby("series").cumcount().to_numpy()
            for i, name in enumerate(("yhat", "lower", "upper")):
                found[i, row, step] = ahead[name]
        return Forecast(*found)

    def fit(self, panel: Floats, horizon: int) -> ProphetFit:
        """Fit the series of a panel, each named by its position in it; at least one has a known week."""
        n_series, n_weeks = panel.shape
        known = np.isfinite(panel).any(axis=1)
        points = pd.DataFrame(
            {
                "series": np.repeat(np.arange(n_series).astype(str), n_weeks),
                "ds": [week.isoformat() for week in self.weeks[:n_weeks]] * n_series,
                "y": panel.ravel(),
            }
        )
        holidays = pd.DataFrame({"holiday": "days off", "ds": [week.isoformat() for week in self.off]})
        return self.service.fit_prophet(
            points[np.repeat(known, n_weeks)],
            horizon=horizon,
            holidays=holidays if len(holidays) else None,
            interval_width=LEVEL / 100,
            seed=self.weeks[-1].toordinal(),
            progress=self.progress,
        )

    def changepoints(self, panel: Floats, shown: Ints) -> dict[int, dict[str, list[Any]]]:
        """Where the trends of some series change.

        Args:
            panel: shape (series, weeks).
            shown: positions of the series that are asked for.

        Returns:
            By position: week_start (ISO dates), and slope_change, by how much the weekly slope changes there, in the
            panel's units. Series that could not be fitted are missing.
        """
        shown = shown[np.isfinite(panel[shown]).any(axis=1)]
        if not len(shown):
            return {}
        found = self.fit(panel[shown], 1)
        fitted = found.series.loc[found.series["status"] == "ok", "series"]
        changes = found.changepoints.assign(slope_change=found.changepoints["slope_change"] * WEEK.days)
        return {
            int(shown[int(series)]): {
                "week_start": of["ds"].dt.strftime("%Y-%m-%d").tolist(),
                "slope_change": of["slope_change"].tolist(),
            }
            for series in fitted
            for of in [changes[changes["series"] == series]]
        }
