"""The reports' charts: drawn once as SVG, in colours that the colour-blind tell apart, in the font of the documents.

Colours are Okabe and Ito's (2008). What a chart shows is told in words beside it (`fig-alt`), by whoever places it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from seedtest_assets.reports.facts import TopicFacts, WeekFacts
from seedtest_assets.reports.language import shown
from seedtest_assets.reports.renderers import FONT
from seedtest_assets.settings import settings

MEASURED = "sans-serif"
"""The font that text is measured in: the one that is shown is large, and takes twice as long."""
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6b7280"
WIDTH = 440
LINE = 24
"""Pixels of a row in a chart by topic."""
TOPICS = 12
"""Most topics in a chart."""


@dataclass(frozen=True)
class Axis:
    """What the axes of a chart are called, and how days are written.

    Attributes:
        value: title of the value axis.
        day_format: of d3-time-format.
    """

    value: str
    day_format: str


DAYS = {"en": "%d %b", "ko": "%m/%d"}


CONFIG = {
    "font": MEASURED,
    "background": "#ffffff",
    "view": {"stroke": None},
    "axis": {
        **{"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 180},
        **{"titleColor": "#374151", "labelColor": "#374151", "gridColor": "#e5e7eb"},
        **{"domainColor": "#9ca3af", "tickColor": "#9ca3af"},
    },
}


def svg(chart: alt.TopLevelMixin) -> bytes:
    """A chart as SVG; its text stays text."""
    _register_fonts()
    # The specification is right or wrong for all students alike: checking it for each costs half of the time, and so
    # does a copy of the chart for each of `configure`'s methods.
    specification = chart.to_dict(validate=False) | {"config": CONFIG}
    drawn = str(vl_convert.vegalite_to_svg(specification))
    return drawn.replace(f'font-family="{MEASURED}"', f'font-family="{FONT}, {MEASURED}"').encode()


def ability(weeks: Sequence[WeekFacts], axis: Axis) -> bytes:
    """Ability by week with its interval, and each week's own."""
    frame = pd.DataFrame(
        [
            {
                "week": pd.Timestamp(week.week_start),
                "theta": week.ability.value if week.ability else None,
                "lower": week.ability.lower if week.ability else None,
                "upper": week.ability.upper if week.ability else None,
                "own": week.own_week.value if week.own_week else None,
            }
            for week in weeks
        ]
    )
    known = alt.Chart(frame[frame["theta"].notna()])
    x = week_axis(frame["week"], axis)
    y = alt.Y("theta:Q", title=axis.value, scale=alt.Scale(zero=False, nice=True))
    # An area of one week would be nothing.
    area = known.mark_rule(color=BLUE) if frame["theta"].count() == 1 else known.mark_area(color=BLUE, opacity=0.18)
    band = area.encode(x=x, y=alt.Y("lower:Q"), y2="upper:Q")
    line = known.mark_line(color=BLUE, strokeWidth=2.5).encode(x=x, y=y)
    dots = known.mark_circle(color=BLUE, size=55, opacity=1).encode(x=x, y=y)
    own = (
        alt.Chart(frame[frame["own"].notna()])
        .mark_point(color=GREY, size=35, filled=False, clip=True)
        .encode(x=x, y=alt.Y("own:Q"))
    )
    return svg(alt.layer(band, own, line, dots).properties(width=WIDTH, height=190))


def topics(facts: Sequence[TopicFacts], overall: float | None, axis: Axis, untitled: str) -> bytes:
    """Ability in each topic with its interval, the highest first, beside ability as a whole."""
    rows = [(fact, fact.ability) for fact in facts]
    frame = pd.DataFrame(
        [
            {
                "topic": shown(fact.topic) or untitled,
                "key": number,
                "theta": ability.value,
                "lower": ability.lower,
                "upper": ability.upper,
                "side": fact.strength,
            }
            for number, (fact, ability) in enumerate(rows)
            if ability is not None
        ]
    ).nlargest(len(rows), "theta")
    frame["key"] = [str(number) for number in range(len(frame))]
    labels = dict(zip(frame["key"], frame["topic"], strict=True))
    chart = alt.Chart(frame)
    # Two topics may be called the same once they are shortened: rows are told apart by number, and labelled by name.
    y = alt.Y(
        "key:N",
        title=None,
        sort=list(labels),
        axis=alt.Axis(labelExpr=f"({json.dumps(labels)})[datum.value]", ticks=False, domain=False),
    )
    colour = alt.Color(
        "side:O",
        scale=alt.Scale(domain=[-1, 0, 1], range=[VERMILION, GREY, BLUE]),
        legend=None,
    )
    shape = alt.Shape(
        "side:O", scale=alt.Scale(domain=[-1, 0, 1], range=["triangle-down", "circle", "triangle-up"]), legend=None
    )
    x = alt.X("theta:Q", title=axis.value, scale=alt.Scale(zero=False, nice=True))
    bars = chart.mark_rule(strokeWidth=3, opacity=0.45).encode(y=y, x=alt.X("lower:Q"), x2="upper:Q", color=colour)
    dots = chart.mark_point(size=80, filled=True, opacity=1).encode(y=y, x=x, color=colour, shape=shape)
    layers = [bars, dots]
    if overall is not None:
        layers.insert(
            0, alt.Chart(pd.DataFrame({"x": [overall]})).mark_rule(color=BLUE, strokeDash=[5, 4]).encode(x="x:Q")
        )
    return svg(alt.layer(*layers).properties(width=WIDTH - 120, height=LINE * len(frame)))


def bars(weeks: Sequence[date], values: Sequence[float], axis: Axis) -> bytes:
    """One bar per week, this week's darker."""
    frame = pd.DataFrame({"week": pd.to_datetime(list(weeks)), "value": list(values)})
    frame["now"] = frame["week"] == frame["week"].max()
    chart = alt.Chart(frame).mark_bar(size=22, cornerRadiusTopLeft=3, cornerRadiusTopRight=3)
    colour = alt.condition("datum.now", alt.value(BLUE), alt.value("#9cc4dd"))
    y = alt.Y("value:Q", title=axis.value, axis=alt.Axis(tickMinStep=1))
    return svg(chart.encode(x=week_axis(frame["week"], axis), y=y, color=colour).properties(width=WIDTH, height=130))


def week_axis(mondays: pd.Series, axis: Axis) -> alt.X:
    """An axis of Mondays: a tick where a week is, not where a month begins."""
    shown_weeks = sorted(set(mondays))[:: 1 if mondays.nunique() <= 6 else 2]
    ticks: list[Any] = [alt.DateTime(year=day.year, month=day.month, date=day.day) for day in shown_weeks]
    return alt.X(
        "week:T",
        title=None,
        scale=alt.Scale(padding=18),
        axis=alt.Axis(format=axis.day_format, values=ticks, grid=False, labelOverlap=False),
    )


@lru_cache(maxsize=1)
def _register_fonts() -> None:
    vl_convert.register_font_directory(str(settings().report_fonts))
