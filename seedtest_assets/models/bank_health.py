"""Whether an item bank serves its students: how it is used, and how well it measures where they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from seedtest_assets.models.irt import Floats, Ints, item_information

QUANTILES = (0.1, 0.5, 0.9)
WELL_MEASURED_SE = 0.5
"""Logits. A posterior standard deviation of 0.5 leaves a quarter of the variance of N(0, 1) abilities unknown."""
BAND_EDGES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
"""Of difficulty and ability, logits."""


@dataclass(frozen=True)
class CalibratedItems:
    """Parameters of the calibrated items, each of shape (items,)."""

    a: Floats
    b: Floats
    c: Floats

    def mean_information(self, theta: Floats) -> Floats:
        """Fisher information of one answer, mean over the items, at each theta."""
        a, b, c = (values[:, None] for values in (self.a, self.b, self.c))
        return np.asarray(item_information(a, c, a * (theta - b)).mean(axis=0))


@dataclass(frozen=True)
class BankHealth:
    """The columns of bank_health that are computed; None where there is nothing to compute them from."""

    n_items: int
    n_known: int
    never_used_share: float | None
    max_exposure: float | None
    mean_exposure: float | None
    effective_size: float | None
    information_p10: float | None
    information_p50: float | None
    information_p90: float | None
    share_well_measured: float | None
    details: dict[str, Any]


def bank_health(
    items: CalibratedItems, theta: Floats, se: Floats, answers: Ints, met_by: Ints, n_students: int, n_known: int
) -> BankHealth:
    """Use and precision of a bank in one window.

    Exposure of an item is the share of the window's students that met it. The effective size, 1 / sum p^2 of the items'
    shares p of the answers, is the number of items that, used alike, would spread the answers as much.

    Args:
        items: the calibrated items.
        theta: ability of each student, logits, shape (scored students,).
        se: their standard errors.
        answers: answers on each item that was used in the window, shape (used items,).
        met_by: students that met each of them.
        n_students: students with an answer in the window.
        n_known: items that were ever answered, up to the window's end.
    """
    exposure, share = met_by / max(n_students, 1), answers / max(answers.sum(), 1)
    used, scored = len(answers) > 0, len(theta) > 0
    where = np.quantile(theta, QUANTILES) if scored else np.full(len(QUANTILES), np.nan)
    p10, p50, p90 = items.mean_information(where).tolist() if scored else (None, None, None)
    return BankHealth(
        n_items=len(items.a),
        n_known=n_known,
        never_used_share=(n_known - len(answers)) / n_known if n_known else None,
        max_exposure=float(exposure.max()) if used else None,
        mean_exposure=float(exposure.mean()) if used else None,
        effective_size=float(1 / np.sum(share**2)) if used else None,
        information_p10=p10,
        information_p50=p50,
        information_p90=p90,
        share_well_measured=float(np.mean(se <= WELL_MEASURED_SE)) if scored else None,
        details={
            "exposure_deciles": np.quantile(exposure, np.linspace(0, 1, 11)).tolist() if used else [],
            "band_edges": BAND_EDGES.tolist(),
            "items_by_band": _by_band(items.b),
            "students_by_band": _by_band(theta),
        },
    )


def _by_band(values: Floats) -> list[int]:
    """Counts below the first edge, between the edges, and from the last edge on."""
    bands = np.searchsorted(BAND_EDGES, values, side="right")
    return [int(count) for count in np.bincount(bands, minlength=len(BAND_EDGES) + 1)]
