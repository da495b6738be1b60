"""`seedtest evaluate irt`: next-answer prediction on held-out students.

Students are divided into folds. A fold's items are calibrated on the other students; of its own students each answer
is then predicted from their strictly earlier answers alone. Nothing else of a held-out student is used: neither later
answers, nor those of the same instant, nor the answer itself.

* attempts = first: a student's first answer on each item is all there is, for every method. all: every answer is
  predicted and is evidence for the next ones, and the calibration takes a repeated answer as one more answer.
* Items that a fold's calibration does not know (too few answers, all right or all wrong) are not predicted by
  any method, so that all are judged on the same answers; `coverage` says how many that leaves.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import sqlalchemy as sa

from seedtest_assets.assets.irt import PRIORS
from seedtest_assets.intake.files import read_file
from seedtest_assets.models.evaluation import (
    METRICS,
    Estimate,
    Outcomes,
    Scores,
    empirical_reliability,
    score_predictions,
)
from seedtest_assets.models.irt import Bools, Floats, Ints
from seedtest_assets.models.next_answer import (
    Followed,
    History,
    ItemBank,
    Shares,
    follow,
    item_shares,
    logistic_combination,
)
from seedtest_assets.resources.database import Database
from seedtest_assets.resources.plumber import Calibration, IrtService

IRT = "IRT"
GLOBAL = "share correct"
ITEM = "item's share"
OWN = "own share so far"
ITEM_AND_OWN = "item's + own share"
AND_OWN_ON_ITEM = "… + own on item"

Progress = Callable[[str, float], None]
Model = Literal["Rasch", "2PL", "3PL"]
Attempts = Literal["first", "all"]


class NotEvaluable(ValueError):
    """These answers cannot be evaluated this way; the message says why and what to change."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the evaluation is made.

    Attributes:
        model: item response model.
        folds: folds of students.
        seed: of the folds and the bootstrap.
        min_responses: fewest training answers of an item that is calibrated.
        attempts: first answers of a student on an item, or all.
        bootstrap: replicates over students behind each interval.
    """

    model: Model = "2PL"
    folds: int = 5
    seed: int = 1
    min_responses: int = 30
    attempts: Attempts = "first"
    bootstrap: int = 500


@dataclass(frozen=True)
class Fold:
    """One fold's calibration, on the students of the other folds.

    Attributes:
        students: held-out students.
        items: items calibrated.
        excluded: items left out.
        iterations: EM cycles.
        latent_mean, latent_sd: ability before the first answer.
    """

    students: int
    items: int
    excluded: int
    iterations: int
    latent_mean: float
    latent_sd: float


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        protocol: how it was made.
        answers: answers there were (first ones, or all).
        predicted: of these on items known to their fold's calibration: what is judged.
        students: students with a predicted answer.
        items: items with a predicted answer.
        share_correct: of the predicted answers.
        reliability: empirical reliability of held-out students' ability after their last answer.
        folds: the calibrations.
        scores: metrics of all methods.
        best_naive: the naive method of least log-loss.
        predictions: of each predicted answer student, at (indices in sorted and in time order), fold, correct, and
            P(correct) by each method.
    """

    protocol: Protocol
    answers: int
    predicted: int
    students: int
    items: int
    share_correct: float
    reliability: float
    folds: list[Fold]
    scores: Scores
    best_naive: str
    predictions: pd.DataFrame

    def difference(self, metric: str) -> Estimate:
        """IRT minus the best naive method, over the same replicates."""
        return self.scores.difference(IRT, self.best_naive, metric)

    def document(self) -> dict[str, Any]:
        """All numbers, for JSON; an unknown bound is null."""
        methods = {
            method: {metric: _plain(self.scores.estimate(method, metric)) for metric in METRICS}
            for method in self.scores.by_method
        }
        numbers = ("answers", "predicted", "students", "items", "share_correct", "reliability")
        return {
            "protocol": asdict(self.protocol),
            **{name: getattr(self, name) for name in numbers},
            "coverage": self.predicted / self.answers,
            "methods": methods,
            "best_naive": self.best_naive,
            "irt_minus_best_naive": {metric: _plain(self.difference(metric)) for metric in METRICS},
            "folds": [asdict(fold) for fold in self.folds],
        }


def answers_of_file(
    path: Path, item_column: str | None, progress: Callable[[float], None] = lambda done: None
) -> tuple[pd.DataFrame, Counter[str]]:
    """Answered questions of a file, as `evaluate_irt` takes them, and how many rows were refused, by reason.

    Raises:
        UnreadableFile: no such file, another format, or a required column is missing.
    """
    rows, refused = read_file(path, item_column=item_column, progress=progress)
    names = {"student": "student_id", "item": "item_id"}
    return rows.rename(columns=names)[["student_id", "item_id", "correct", "completed_at"]], refused


def answers_of_database(database: Database, item_column: str) -> pd.DataFrame:
    """Answered questions of the database, as `evaluate_irt` takes them; those without an item are left out.

    Args:
        database: where from, by SEEDTEST_ATTEMPT_RELATION.
        item_column: the item's column, item_id or topic_id.

    Raises:
        NotEvaluable: the relation has no such column.
    """
    a = database.attempt.c
    if item_column not in a:
        raise NotEvaluable(f"The database's answers have no column {item_column}; give item_id or topic_id.")
    item = a[item_column]
    return database.frame(
        sa.select(a.student_id, item.label("item_id"), a.correct, a.completed_at)
        .where(item.is_not(None))
        .order_by(a.id)
    )


def evaluate_irt(
    answers: pd.DataFrame, irt: IrtService, protocol: Protocol, progress: Progress = lambda what, done: None
) -> Evaluation:
    """Predict held-out students' next answers by IRT and naively, and judge both.

    Args:
        answers: student_id, item_id, correct, completed_at; of answers of one instant the first row is the earlier
            attempt on an item. The order of the rows matters for nothing else.
        irt: the IRT service.
        protocol: how.
        progress: called with what is being done and the share of it that is done.

    Raises:
        NotEvaluable: fewer students than folds, no item with enough answers, a calibration that does not
            converge, or answers that are all right or all wrong.
        Unprocessable: the service cannot calibrate a fold.
    """
    history = _history(answers, protocol)
    fold = fold_of_student(int(history.student.max()) + 1, protocol.folds, protocol.seed)[history.student]
    _require_items(history, fold, protocol)
    naive = _Naive(history, repeated=protocol.attempts == "all")
    predictions = {name: np.full(len(history), np.nan) for name in (IRT, *naive.names)}
    folds, followed = [], []
    for held_out in range(protocol.folds):
        done = held_out / protocol.folds
        progress(f"calibrating fold {held_out + 1} of {protocol.folds}", done)
        train = fold != held_out
        fit = _calibrate(history.take(train), irt, protocol, held_out)
        known = fit.items["item_id"].to_numpy()
        rows = np.flatnonzero(~train & np.isin(history.item, known))
        followed.append(_follow(history.take(rows), fit))
        predictions[IRT][rows] = followed[-1].probability
        for name, prediction in naive.predictions(train, known).items():
            predictions[name][rows] = prediction[rows]
        folds.append(_summary(fit, len(followed[-1].theta)))
    theta, sd = (np.concatenate([getattr(each, name) for each in followed]) for name in ("theta", "sd"))
    reliability = empirical_reliability(theta, sd)
    return _judge(history, fold, predictions, folds, reliability, protocol, progress)


def _history(answers: pd.DataFrame, protocol: Protocol) -> History:
    """Ids as indices in sorted order; answers in order of time, first ones only if so asked for."""
    if answers.empty:
        raise NotEvaluable("There are no answers to evaluate.")
    ordered = answers.sort_values("completed_at", kind="stable")
    if protocol.attempts == "first":
        ordered = ordered.drop_duplicates(["student_id", "item_id"])
    return History(
        student=_index(ordered["student_id"]),
        at=_index(ordered["completed_at"]),
        item=_index(ordered["item_id"]),
        correct=ordered["correct"].to_numpy(dtype=bool),
    )


def _index(values: "pd.Series[Any]") -> Ints:
    return np.unique(values.to_numpy(), return_inverse=True)[1].astype(np.int64)


def fold_of_student(students: int, folds: int, seed: int) -> Ints:
    """The fold of each student: equal parts of a shuffled list, shape (students,).

    Raises:
        NotEvaluable: fewer students than folds.
    """
    if students < folds:
        raise NotEvaluable(f"{students} students cannot be divided into {folds} folds; give fewer (--folds).")
    return np.asarray(np.random.default_rng([seed, 0]).permutation(students) % folds)


def _require_items(history: History, fold: Ints, protocol: Protocol) -> None:
    for held_out in range(protocol.folds):
        most = int(np.bincount(history.item[fold != held_out]).max())
        if most < protocol.min_responses:
            raise NotEvaluable(
                f"No item has {protocol.min_responses} answers of training students (the most is {most}): take "
                "coarser items (--item-column topic_id), --attempts all, or lower --min-responses."
            )


def _calibrate(train: History, irt: IrtService, protocol: Protocol, held_out: int) -> Calibration:
    fit = irt.calibrate(
        pd.DataFrame({"student_id": train.student, "item_id": train.item, "correct": train.correct}),
        model=protocol.model,
        priors=PRIORS[protocol.model],
        min_responses=protocol.min_responses,
        repeated="keep" if protocol.attempts == "all" else "refuse",
        standard_errors="none",
    )
    metrics = fit.fit_meta["metrics"]
    if not metrics["converged"]:
        raise NotEvaluable(
            f"The calibration of fold {held_out + 1} did not converge in {metrics['iterations']} iterations "
            f"(stopped by {metrics['stopped_by']}): try --model Rasch or more --min-responses."
        )
    return fit


def _follow(held_out: History, fit: Calibration) -> Followed:
    metrics = fit.fit_meta["metrics"]
    items = fit.items.sort_values("item_id")
    a, b, c = (items[name].to_numpy(dtype=float) for name in ("a", "b", "c"))
    bank = ItemBank(a, b, c, metrics["latent_mean"], metrics["latent_sd"])
    place = np.searchsorted(items["item_id"].to_numpy(), held_out.item)
    students, student = np.unique(held_out.student, return_inverse=True)
    return follow(History(student, held_out.at, place, held_out.correct), bank, len(students))


def _summary(fit: Calibration, students: int) -> Fold:
    metrics = fit.fit_meta["metrics"]
    return Fold(
        students=students,
        items=metrics["n_items"],
        excluded=len(fit.fit_meta["model_spec"]["exclusions"]["item_id"]),
        iterations=metrics["iterations"],
        latent_mean=metrics["latent_mean"],
        latent_sd=metrics["latent_sd"],
    )


class _Naive:
    """The naive predictions. Shares so far count all of a student's earlier answers, on unknown items too."""

    def __init__(self, history: History, *, repeated: bool) -> None:
        self._history = history
        self._own = Shares.before(history.student, history)
        self._own_on_item = None
        if repeated:
            pair = history.student * (history.item.max() + 1) + history.item
            self._own_on_item = Shares.before(pair, history)

    @property
    def names(self) -> list[str]:
        """The methods, in the order in which they are shown."""
        return [GLOBAL, ITEM, OWN, ITEM_AND_OWN] + ([AND_OWN_ON_ITEM] if self._own_on_item else [])

    def predictions(self, train: Bools, known: Ints) -> dict[str, Floats]:
        """P(correct) of every answer by each method, fitted on the training students' answers to known items."""
        history = self._history
        fit = train & np.isin(history.item, known)
        overall = np.full(len(history), history.correct[fit].mean())
        by_item = item_shares(history, train, int(history.item.max()) + 1)[history.item]
        own = self._smoothed(self._own, overall, fit)
        found = {
            GLOBAL: overall,
            ITEM: by_item,
            OWN: own,
            ITEM_AND_OWN: logistic_combination([by_item, own], history.correct, fit),
        }
        if self._own_on_item is not None:
            on_item = self._smoothed(self._own_on_item, by_item, fit)
            found[AND_OWN_ON_ITEM] = logistic_combination([by_item, own, on_item], history.correct, fit)
        return found

    def _smoothed(self, shares: Shares, start: Floats, fit: Bools) -> Floats:
        return shares.smoothed(start, shares.best_strength(start, self._history.correct, fit))


def _judge(
    history: History,
    fold: Ints,
    predictions: dict[str, Floats],
    folds: list[Fold],
    reliability: float,
    protocol: Protocol,
    progress: Progress,
) -> Evaluation:
    rows = np.flatnonzero(~np.isnan(predictions[IRT]))
    judged = pd.DataFrame(
        {
            "student": history.student[rows],
            "at": history.at[rows],
            "fold": fold[rows],
            "correct": history.correct[rows],
            **{name: prediction[rows] for name, prediction in predictions.items()},
        }
    )
    correct = history.correct[rows]
    if correct.all() or not correct.any():
        raise NotEvaluable("The predicted answers are all right or all wrong: there is nothing to tell apart.")
    students, student = np.unique(history.student[rows], return_inverse=True)
    scores = score_predictions(
        {name: judged[name].to_numpy() for name in predictions},
        Outcomes(correct, student, fold[rows]),
        protocol.bootstrap,
        np.random.default_rng([protocol.seed, 1]),
        lambda done: progress("drawing students for the intervals", done),
    )
    naive = [name for name in predictions if name != IRT]
    return Evaluation(
        protocol=protocol,
        answers=len(history),
        predicted=len(rows),
        students=len(students),
        items=len(np.unique(history.item[rows])),
        share_correct=float(correct.mean()),
        reliability=reliability,
        folds=folds,
        scores=scores,
        best_naive=min(naive, key=lambda name: scores.by_method[name]["log_loss"][0]),
        predictions=judged,
    )


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in asdict(estimate).items()}
