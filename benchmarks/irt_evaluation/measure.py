"""Next-answer prediction on real data, held-out students, IRT beside naive methods; prints the tables of README.md."""

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from seedtest_assets.evaluation.irt import (
    GLOBAL,
    IRT,
    ITEM_AND_OWN,
    Attempts,
    Evaluation,
    Model,
    Protocol,
    answers_of_file,
    evaluate_irt,
)
from seedtest_assets.evaluation.report import cell
from seedtest_assets.local.home import CHECKOUT
from seedtest_assets.local.services import RServices
from seedtest_assets.models.evaluation import METRICS
from seedtest_assets.resources.plumber import IrtService
from seedtest_assets.settings import settings

MODELS: tuple[Model, ...] = ("2PL", "Rasch", "3PL")
"""The first one stands beside the naive methods, the others by themselves: the naive rows are the same."""


@dataclass(frozen=True)
class Case:
    """A data set and what is predicted in it."""

    data: str
    item_column: str
    attempts: Attempts
    min_responses: int = 30

    @property
    def name(self) -> str:
        answers = "first answers" if self.attempts == "first" else "all answers"
        return f"{self.data}, {answers}, item = {self.item_column}"

    def evaluate(self, folder: Path, irt: IrtService, model: Model) -> Evaluation:
        answers, _ = answers_of_file(folder / self.data / "attempts.parquet", self.item_column)
        protocol = Protocol(model=model, attempts=self.attempts, min_responses=self.min_responses)
        return evaluate_irt(answers, irt, protocol)


CASES = (
    Case("memphis_stats", "item_id", "first"),
    Case("memphis_stats", "item_id", "all"),
    Case("algebra_2005", "topic_id", "first"),
    Case("algebra_2005", "topic_id", "all"),
    Case("datashop_hints", "topic_id", "all"),
    Case("datashop_hints", "item_id", "first", min_responses=8),
)


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="irt-evaluation-") as name:
        Path(name).chmod(0o755)
        services = RServices(Path(name) / "services")
        os.environ.update(services.start())
        settings.cache_clear()
        try:
            for case in CASES:
                show(case, folder, IrtService())
        finally:
            services.stop()


def show(case: Case, folder: Path, irt: IrtService) -> None:
    for model in MODELS:
        began = time.monotonic()
        found = case.evaluate(folder, irt, model)
        seconds = time.monotonic() - began
        if model == MODELS[0]:
            print(f"\n**{case.name}**: {summary(found)}.\n")
            print("| | AUC | log-loss | Brier | ECE | accuracy | seconds |")
            print("|---|--:|--:|--:|--:|--:|--:|")
            for method in found.scores.by_method:
                if method not in {IRT, GLOBAL}:
                    row(method, [cell(found.scores.estimate(method, metric)) for metric in METRICS])
            row(GLOBAL, [cell(found.scores.estimate(GLOBAL, metric)) for metric in METRICS])
        row(f"**IRT, {model}**", [cell(found.scores.estimate(IRT, metric)) for metric in METRICS], f"{seconds:.0f}")
        row("minus best naive", [cell(found.difference(metric), signed=True) for metric in METRICS])
        if model == MODELS[0]:
            baseline = found
    by_place(baseline)
    by_prediction(baseline)
    sys.stdout.flush()


def by_place(found: Evaluation) -> None:
    """Share correct and mean predictions by the answer's place in the student's history: does ability stand still?"""
    answers = found.predictions.sort_values(["student", "at"])
    place = answers.groupby("student").cumcount() + 1
    groups(answers, pd.qcut(place, 5, duplicates="drop"), place, "predicted answer no.", [IRT, ITEM_AND_OWN])


def by_prediction(found: Evaluation) -> None:
    """Share correct beside IRT's prediction, in fifths of the prediction: is it sure of more than it knows?"""
    answers = found.predictions
    groups(answers, pd.qcut(answers[IRT], 5), answers[IRT], "IRT predicts", [IRT])


def groups(answers: pd.DataFrame, group: pd.Series, of: pd.Series, name: str, methods: list[str]) -> None:
    mean = answers.groupby(group, observed=True)[["correct", *methods]].mean()
    span = of.groupby(group, observed=True).agg(["min", "max"])
    number = "{:.2f}" if of.dtype == float else "{:.0f}"
    spans = [f"{number.format(low)}–{number.format(high)}" for low, high in span.to_numpy()]
    print(f"\n| {name} | {' | '.join(spans)} |")
    print("|---" + "|--:" * len(mean) + "|")
    for column in mean:
        print(f"| {column} | {' | '.join(f'{share:.3f}' for share in mean[column])} |")


def summary(found: Evaluation) -> str:
    return (
        f"{found.predicted:,} of {found.answers:,} answers predicted, {found.students} students, {found.items} items, "
        f"{found.share_correct:.1%} correct, reliability {found.reliability:.2f}, best naive: {found.best_naive}"
    )


def row(name: str, cells: list[str], seconds: str = "") -> None:
    print(f"| {name} | {' | '.join(cell.replace(chr(10), '<br>') for cell in cells)} | {seconds} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKOUT.parent / "shared" / "data")
