"""What a week's run computed, for a terminal: rows by table, the KPI of a few students, two charts."""

from datetime import date, timedelta

import numpy as np
import sqlalchemy as sa
from rich.box import SIMPLE
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from seedtest_assets import tables
from seedtest_assets.assets.common import newest_bank, window
from seedtest_assets.calendar import WEEK, Week
from seedtest_assets.resources.database import Database

PATH = (
    tables.mirt_fit_meta,
    tables.mirt_item_params,
    tables.mirt_ability,
    tables.item_drift,
    tables.features_topic_daily,
    tables.weekly_metrics,
    tables.survival_risk,
    tables.growth_glmm_effect,
    tables.growth_goal,
    tables.user_segment,
    tables.prophet_fit_meta,
    tables.anomalies,
    tables.theta_forecast,
    tables.weekly_kpi,
)
STUDENTS = 8
CHART_WEEKS = 26
CAPTION = (
    "θ ability ± standard error, I_t improvement in 14 days (* of accuracy), both in logits; E_t efficiency, R_t "
    "recovery, A_t engagement; Δ growth, logits per week; P probability to reach the goal; S probability of 14 days of "
    "silence within the horizon; n answers of the week; idle days. Δ and P are made when a week is over."
)
BLOCKS = " ▁▂▃▄▅▆▇█"


def print_summary(console: Console, database: Database, week_start: date) -> None:
    """Print the summary of one week."""
    week = Week.of(week_start)
    console.print(f"\n[bold]The week of {week.start}[/bold], facts before {week.as_of:%Y-%m-%d %H:%M} UTC")
    console.print(_scale(database, week))
    console.print(_segments(database, week))
    console.print(_unusual(database, week))
    console.print(Columns([_rows(database, week), _charts(database, week)], padding=(0, 2)))
    console.print(_students(database, week))


def _scale(database: Database, week: Week) -> str:
    """One line: the link of the calibration in use to the reference scale, and the anchors that have drifted."""
    bank = newest_bank(database, week)
    if bank is None:
        return "no calibration yet"
    calibrated = f"items calibrated in the week of {bank.week_start}"
    if bank.linking is None:
        return f"{calibrated}, on a scale of their own"
    link, drift = bank.linking, tables.item_drift.c
    (found,) = database.rows(
        sa.select(sa.func.count().filter(drift.flag).label("flagged")).where(drift.run_id == bank.run_id)
    )
    return (
        f"{calibrated}, linked to {link['n_anchors']} anchors ({link['method']}): A = {link['A']:.3f}, "
        f"B = {link['B']:.3f}; {found.flagged} anchors drifted"
    )


def _segments(database: Database, week: Week) -> str:
    """One line: the segments and their sizes, or that there are none."""
    user = tables.user_segment.c
    count = sa.func.count()
    found = database.rows(
        sa.select(user.segment, user.segment_label, count.label("students"))
        .where(window(tables.user_segment, week))
        .group_by(user.segment, user.segment_label)
        .order_by(count.desc(), user.segment)
    )
    if not found:
        return "segments: not made in this week"
    if found[0].segment == tables.UNSEGMENTED:
        return f"segments: {found[0].segment_label.lower()}"
    return "segments: " + ", ".join(f"{row.segment_label} ({row.students})" for row in found)


def _unusual(database: Database, week: Week) -> str:
    """One line: the series that were unusual in this week, and how many students."""
    a = tables.anomalies.c
    flagged = database.rows(
        sa.select(a.scope, a.scope_id, a.metric, a.score)
        .where(window(tables.anomalies, week), a.flag)
        .order_by(sa.func.abs(a.score).desc(), a.scope, a.scope_id, a.metric)
    )
    series = [
        f"{row.metric} of {row.scope} {row.scope_id} ({row.score:+.1f})" for row in flagged if row.scope != "user"
    ]
    students = len({row.scope_id for row in flagged if row.scope == "user"})
    return f"unusual: {', '.join([*series, f'{students} students'])}"


def _rows(database: Database, week: Week) -> Table:
    table = Table("table", "this week", "in all", box=SIMPLE, title="rows")
    for each in PATH:
        count = sa.func.count()
        (found,) = database.rows(sa.select(count.filter(window(each, week)), count).select_from(each))
        table.add_row(each.name, f"{found[0]:,}", f"{found[1]:,}")
    return table


def _charts(database: Database, week: Week) -> Panel:
    daily, ability = tables.features_topic_daily.c, tables.mirt_ability.c
    first = week.start - (CHART_WEEKS - 1) * WEEK
    monday = sa.cast(sa.func.date_trunc("week", daily.date), sa.Date)
    answers: dict[date, int] = dict(
        tuple(row)
        for row in database.rows(
            sa.select(monday, sa.func.sum(daily.attempts))
            .where(daily.date >= first, daily.date < week.end)
            .group_by(monday)
        )
    )
    theta = [row.theta for row in database.rows(sa.select(ability.theta).where(ability.week_start == week.start))]
    share, _ = np.histogram(theta, bins=np.arange(-3.25, 3.5, 0.25))
    weekly = [int(answers.get(first + timedelta(weeks=i), 0)) for i in range(CHART_WEEKS)]
    return Panel(
        f"answers a week, to {max(weekly):,}\n{_bars(weekly)}\n\n"
        f"ability of {len(theta):,} students, -3 to 3 logits\n{_bars(share.tolist())}",
        title="charts",
        expand=False,
    )


def _bars(values: list[int]) -> str:
    top = max(max(values, default=0), 1)
    return "".join(BLOCKS[-(-value * (len(BLOCKS) - 1) // top)] for value in values)


def _students(database: Database, week: Week) -> Table:
    kpi, metrics = tables.weekly_kpi.c, tables.weekly_metrics.c
    found = database.rows(
        sa.select(
            kpi.user_id, metrics.theta, metrics.theta_se, kpi.i_t, metrics.i_t_method,
            kpi.e_t, kpi.r_t, kpi.a_t, kpi.growth_slope, kpi.p_goal, kpi.s_churn, metrics.attempts, metrics.idle_days,
        )
        .join_from(
            tables.weekly_kpi,
            tables.weekly_metrics,
            (kpi.user_id == metrics.user_id) & (kpi.week_start == metrics.week_start),
        )
        .where(kpi.week_start == week.start)
        .order_by(metrics.attempts.desc(), kpi.user_id)
        .limit(STUDENTS)
    )  # fmt: skip
    table = Table(
        "student", "θ", "I_t", "E_t", "R_t", "A_t", "Δ", "P", "S", "n", "idle", box=SIMPLE, padding=(0, 1, 0, 0),
        title="KPI of the most active students", caption=CAPTION,
    )  # fmt: skip
    for column in table.columns:
        column.no_wrap = True
    for row in found:
        table.add_row(
            str(row.user_id)[:8], _number(row.theta, row.theta_se),
            _number(row.i_t) + ("*" if row.i_t_method == "accuracy" else ""), _number(row.e_t),
            _number(row.r_t), _number(row.a_t), _number(row.growth_slope), _number(row.p_goal), _number(row.s_churn),
            str(row.attempts), str(row.idle_days),
        )  # fmt: skip
    return table


def _number(value: float | None, se: float | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if se is None else f"{value:.2f} ±{se:.2f}"
