"""The charts that only the teacher's report has; colours, fonts and axes are those of `charts`."""

from collections.abc import Sequence
from itertools import pairwise

import altair as alt
import pandas as pd

from seedtest_assets.reports.bank_facts import HealthFacts
from seedtest_assets.reports.charts import BLUE, GREY, VERMILION, WIDTH, Axis, svg, week_axis
from seedtest_assets.reports.cohort_facts import RiskFacts, SeriesFacts
from seedtest_assets.reports.language import number

HEIGHT = 190


def series(facts: SeriesFacts, axis: Axis) -> bytes:
    """A weekly series, and its forecast with limits, broken from it."""
    past = pd.DataFrame({"week": pd.to_datetime(facts.weeks), "value": facts.values})
    ahead = pd.DataFrame(
        {
            "week": pd.to_datetime(facts.coming),
            "value": [each.value for each in facts.ahead],
            "lower": [each.lower for each in facts.ahead],
            "upper": [each.upper for each in facts.ahead],
        }
    )
    # The forecast begins at the last value, so that the eye can follow.
    last = past.tail(1)
    coming = pd.concat([last.assign(lower=last["value"], upper=last["value"]), ahead])
    x = week_axis(pd.concat([past["week"], ahead["week"]]), axis)
    y = alt.Y("value:Q", title=axis.value, scale=alt.Scale(zero=False, nice=True))
    layers: list[alt.Chart] = [
        alt.Chart(past).mark_line(color=BLUE, strokeWidth=2.5).encode(x=x, y=y),
        alt.Chart(past).mark_circle(color=BLUE, size=55, opacity=1).encode(x=x, y=y),
    ]
    if len(ahead):
        layers = [
            alt.Chart(coming).mark_area(color=GREY, opacity=0.2).encode(x=x, y=alt.Y("lower:Q"), y2="upper:Q"),
            alt.Chart(coming).mark_line(color=GREY, strokeWidth=2, strokeDash=[5, 4]).encode(x=x, y=y),
            *layers,
        ]
    return svg(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def risks(facts: RiskFacts, threshold: float, title: str, axis: Axis) -> bytes:
    """Students by band of risk; what has reached the threshold is of another colour, and right of a line.

    Args:
        facts: the counts.
        threshold: of an alert.
        title: of the risk's axis, per cent.
        axis: its value is the title of the counts.
    """
    width = 100 / len(facts.bands)
    frame = pd.DataFrame(
        {
            "lower": [place * width for place in range(len(facts.bands))],
            "upper": [(place + 1) * width for place in range(len(facts.bands))],
            "students": facts.bands,
        }
    )
    x = alt.X("lower:Q", title=title, scale=alt.Scale(domain=[0, 100]), axis=alt.Axis(tickCount=len(facts.bands)))
    y = alt.Y("students:Q", title=axis.value, axis=alt.Axis(tickMinStep=1))
    colour = alt.condition(f"datum.upper > {100 * threshold}", alt.value(VERMILION), alt.value(BLUE))
    bars = alt.Chart(frame).mark_bar(binSpacing=2).encode(x=x.bin("binned"), x2="upper:Q", y=y, color=colour)
    line = alt.Chart(pd.DataFrame({"x": [100 * threshold]}))
    rule = line.mark_rule(color=GREY, strokeDash=[5, 4], strokeWidth=2).encode(x="x:Q")
    return svg(alt.layer(bars, rule).properties(width=WIDTH, height=HEIGHT - 50))


def wright_map(facts: HealthFacts, students: str, questions: str, axis: Axis) -> bytes:
    """Students by ability, and questions by difficulty, in the same bands: one row each.

    Args:
        facts: of the bank.
        students: title of the left side.
        questions: title of the right side.
        axis: its value is the title of the bands.
    """
    bands = bands_of(facts.band_edges)
    y = alt.Y("band:N", title=axis.value, sort=bands[::-1], axis=alt.Axis(ticks=False))
    sides = [
        _side(bands, facts.students, students, BLUE, y, reverse=True),
        _side(bands, facts.items, questions, VERMILION, y.axis(None), reverse=False),
    ]
    return svg(alt.hconcat(*sides, spacing=8))


def bands_of(edges: Sequence[float]) -> list[str]:
    """How the bands between these edges are written, from below the first to above the last."""
    inner = [f"{number(low, 0)} … {number(high, 0)}" for low, high in pairwise(edges)]
    return [f"< {number(edges[0], 0)}", *inner, f"> {number(edges[-1], 0)}"]


def _side(bands: list[str], counts: list[int], title: str, colour: str, y: alt.Y, *, reverse: bool) -> alt.Chart:
    chart = alt.Chart(pd.DataFrame({"band": bands, "n": counts}), width=WIDTH // 2 - 50, height=24 * len(bands))
    x = alt.X("n:Q", title=title, scale=alt.Scale(reverse=reverse), axis=alt.Axis(tickMinStep=1, tickCount=5))
    drawn: alt.Chart = chart.mark_bar(color=colour, size=18).encode(x=x, y=y)
    return drawn
