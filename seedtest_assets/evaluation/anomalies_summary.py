"""An evaluation of anomalies in few words: sentences, and tables for a terminal."""

import math
from collections.abc import Iterator

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seedtest_assets.evaluation.anomalies import (
    ALARMS_CLEAN,
    ALARMS_PLANTED,
    DELAY,
    METHODS,
    MOST_ALARMS,
    PRECISION,
    RECALL,
    ROBUST,
    Evaluation,
    Finding,
)
from seedtest_assets.evaluation.anomalies_simulated import ABILITY, ACTIVITY, DROP_OUT, STUDENTS, TOPICS
from seedtest_assets.evaluation.report import cell, plain_number

PANELS = tuple((level, measure) for level in (STUDENTS, TOPICS) for measure in (ABILITY, ACTIVITY))
ALARM_HEADINGS = ("false alarms a year, clean ↓", "planted ↓", "precision ↑")
ALARMS = (ALARMS_CLEAN, ALARMS_PLANTED, PRECISION)
EVENT_HEADINGS = tuple(f"{what}, {method}" for method in METHODS for what in ("found ↑", "delay ↓"))


def print_anomaly_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the tables and what they say in sentences."""
    console.print(_alarm_table(evaluation))
    console.print(_event_table(evaluation))
    for sentence in verdicts(evaluation):
        console.print(escape(sentence), highlight=False)


def verdicts(evaluation: Evaluation) -> list[str]:
    """Whether false alarms are as rare as they should be, and whether what is flagged is there."""
    return [
        sentence
        for level, measure in PANELS
        for sentence in (_rare(evaluation, level, measure), _precise(evaluation, level, measure))
    ]


def _rare(evaluation: Evaluation, level: str, measure: str) -> str:
    found = evaluation.find(level, measure, ALARMS_CLEAN)[0].estimate
    said = f"{level}, {measure}: {_interval(found.value, found.low, found.high)} false alarms a year on clean series"
    if math.isnan(found.low):
        return f"{said}, without an interval."
    if found.high <= MOST_ALARMS:
        return f"{said}: as rare as they should be (at most {MOST_ALARMS:g})."
    return f"{said}: {'too many' if found.low > MOST_ALARMS else 'not shown to be rare enough'} ({MOST_ALARMS:g})."


def _precise(evaluation: Evaluation, level: str, measure: str) -> str:
    """Against the naive method of highest precision."""
    by_method = {method: evaluation.find(level, measure, PRECISION, method)[0].estimate for method in METHODS}
    ours = by_method.pop(ROBUST)
    known = {method: found for method, found in by_method.items() if not math.isnan(found.value)}
    said = f"{level}, {measure}: precision {_interval(ours.value, ours.low, ours.high)}"
    if math.isnan(ours.value) or not known:
        return f"{said}: nothing to compare it with."
    best = max(known, key=lambda method: known[method].value)
    other = known[best]
    against = f"that of “{best}” is {_interval(other.value, other.low, other.high)}"
    if ours.low > other.high:
        return f"{said}, {against}: higher."
    if ours.high < other.low:
        return f"{said}, {against}: lower."
    return f"{said}, {against}: no difference is shown."


def _interval(value: float, low: float, high: float) -> str:
    if math.isnan(low):
        return plain_number(value)
    return f"{plain_number(value)} [{plain_number(low)}, {plain_number(high)}]"


def alarm_rows(evaluation: Evaluation) -> Iterator[tuple[str, list[str]]]:
    """By series and method the cells under ALARM_HEADINGS."""
    for level, measure in PANELS:
        for method in METHODS:
            numbers = (evaluation.find(level, measure, what, method)[0] for what in ALARMS)
            yield f"{level}, {measure}: {method}", [cell(found.estimate) for found in numbers]


def event_rows(evaluation: Evaluation) -> Iterator[tuple[str, list[str]]]:
    """By kind and size of event the cells under EVENT_HEADINGS."""
    for level, measure in PANELS:
        columns = [evaluation.find(level, measure, what, method) for method in METHODS for what in (RECALL, DELAY)]
        for numbers in zip(*columns, strict=True):
            yield event_name(numbers[0]), [cell(found.estimate) for found in numbers]


def event_name(found: Finding) -> str:
    """Series, kind, size and number of events."""
    size = f"{found.size:.0%} left" if found.event == DROP_OUT else f"{found.size:g} sd"
    return f"{found.level}, {found.event}, {size}\n{found.n:,} events"


def _alarm_table(evaluation: Evaluation) -> Table:
    protocol = evaluation.protocol
    table = _table(
        title=(
            f"{protocol.seeds} simulated cohorts of {protocol.students:,} students and {protocol.topics:,} topics, "
            f"{protocol.weeks} weeks scored, {protocol.history} weeks of look-back"
        ),
        caption=(
            "False alarms: flags in weeks without an event, per series and 52 weeks; clean: cohorts without any event. "
            f"Precision: events found of events found and false alarms, {protocol.share:.0%} of the series with an "
            f"event. Flag: |score| or |z| ≥ {protocol.threshold:g}, of students by “{ROBUST}” also q ≤ .10. "
            f"95 % intervals by {protocol.bootstrap:,} draws of cohorts."
        ),
        headings=ALARM_HEADINGS,
    )
    for number, (name, cells) in enumerate(alarm_rows(evaluation)):
        table.add_row(name, *cells, end_section=number % len(METHODS) == len(METHODS) - 1)
    return table


def _event_table(evaluation: Evaluation) -> Table:
    table = _table(
        title="Events",
        caption=(
            f"Found: flagged in one of the first {evaluation.protocol.within} weeks of the event; no point adjustment. "
            "Sizes in sds of a usual week's noise. Delay in weeks from the onset, of events found."
        ),
        headings=EVENT_HEADINGS,
    )
    for name, cells in event_rows(evaluation):
        table.add_row(name, *cells)
    return table


def _table(title: str, caption: str, headings: tuple[str, ...]) -> Table:
    table = Table(box=SIMPLE, padding=0, show_edge=False, pad_edge=False, title=title, caption=caption)
    table.add_column(no_wrap=True)
    for name in headings:
        table.add_column(name, justify="right")
    return table
