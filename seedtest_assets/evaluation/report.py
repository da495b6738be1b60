"""An evaluation for a terminal: each method's metrics with intervals, and IRT's difference from the best naive one."""

import math
import re

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from seedtest_assets.evaluation.irt import IRT, Evaluation
from seedtest_assets.models.evaluation import ECE_BINS, METRICS, Estimate

HEADINGS = {
    "auc": "AUC ↑",
    "log_loss": "log-loss ↓",
    "brier": "Brier ↓",
    "ece": "ECE ↓",
    "accuracy": "accuracy ↑",
}


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print the table and what it says in a sentence."""
    console.print(_table(evaluation))
    console.print(verdict(evaluation))


def verdict(evaluation: Evaluation) -> str:
    """Whether IRT predicts better than the best naive method, judged by the interval of the log-loss difference."""
    found = evaluation.difference("log_loss")
    naive = f"“{evaluation.best_naive}”, the best naive method"
    if math.isnan(found.low):
        return f"{IRT} against {naive}: log-loss {signed_number(found.value)}, without an interval."
    by = f"log-loss {signed_number(found.value)} [{signed_number(found.low)}, {signed_number(found.high)}]"
    if found.high < 0:
        return f"{IRT} predicts better than {naive}: {by}."
    if found.low > 0:
        return f"{IRT} predicts worse than {naive}: {by}."
    return f"{IRT} and {naive}, cannot be told apart: {by}."


def _table(evaluation: Evaluation) -> Table:
    protocol, coverage = evaluation.protocol, evaluation.predicted / evaluation.answers
    table = Table(
        box=SIMPLE,
        padding=0,
        show_edge=False,
        pad_edge=False,
        title=(
            f"Next answer of held-out students, {protocol.model}, {protocol.attempts} answers on each item: "
            f"{evaluation.predicted:,} answers of {evaluation.students:,} students on {evaluation.items:,} items, "
            f"{evaluation.share_correct:.1%} correct"
        ),
        caption=(
            f"{protocol.folds} folds of students. {coverage:.1%} of {evaluation.answers:,} answers are on items that "
            "the training students' calibration knows; the others are left out of every row. AUC within folds; "
            f"log-loss in nats per answer; ECE by {ECE_BINS} bins of equal mass. 95 % intervals by "
            f"{protocol.bootstrap:,} draws of students. Best naive: the least log-loss. "
            f"Reliability of held-out ability {evaluation.reliability:.3f}."
        ),
    )
    table.add_column(no_wrap=True)
    for metric in METRICS:
        table.add_column(HEADINGS[metric], justify="right", no_wrap=True)
    for method in evaluation.scores.by_method:
        table.add_row(method, *(cell(evaluation.scores.estimate(method, metric)) for metric in METRICS))
    table.add_section()
    differences = (cell(evaluation.difference(metric), signed=True) for metric in METRICS)
    table.add_row(f"{IRT} − best naive", *differences)
    return table


def cell(estimate: Estimate, *, signed: bool = False) -> str:
    """A number with its interval below it, if it has one."""
    number = signed_number if signed else plain_number
    if math.isnan(estimate.low):
        return number(estimate.value)
    return f"{number(estimate.value)}\n{number(estimate.low)}{'…' if signed else '–'}{number(estimate.high)}"


def plain_number(value: float) -> str:
    """A number with three decimals."""
    return _short(f"{value:.3f}")


def signed_number(value: float, digits: int = 3) -> str:
    """A number with its sign."""
    return _short(f"{value:+.{digits}f}")


def _short(number: str) -> str:
    """Without the 0 before the point, and with a minus that is one."""
    return re.sub(r"(?<![0-9])0\.", ".", number).replace("-", "−")
