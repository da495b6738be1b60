"""From a calibration's own scale to the reference: theta_reference = A theta + B (Kolen & Brennan 2014, ch. 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

LOCATIONS = {"latent_mean", "mean"}
SPREADS = {"latent_sd", "sd", "se_latent_mean", "se_latent_sd", "se_mean", "se_sd"}
"""Names of what the metrics of a calibration say about the distribution of ability, also by group."""


@dataclass(frozen=True)
class Scale:
    """A change of the unit and the origin of ability.

    P = c + (1 - c) logistic(a (theta - b)) stays what it is when theta and b become A theta + B and A b + B, and a
    becomes a / A. A and B are taken as known: their own uncertainty is shared by all items and students of a
    week, and is kept beside the link.

    Attributes:
        slope: A, positive.
        intercept: B, logits.
    """

    slope: float
    intercept: float

    def items(self, items: pd.DataFrame) -> pd.DataFrame:
        """Parameters a, b with se_a, se_b on the new scale; c and Cov(a / A, A b + B) = Cov(a, b) stay as they are."""
        numbers = items.astype(dict.fromkeys(["a", "b", "se_a", "se_b"], float))
        return numbers.assign(
            a=numbers["a"] / self.slope,
            b=self.slope * numbers["b"] + self.intercept,
            se_a=numbers["se_a"] / self.slope,
            se_b=self.slope * numbers["se_b"],
        )

    def abilities(self, abilities: pd.DataFrame) -> pd.DataFrame:
        """Theta and its se on the new scale."""
        return abilities.assign(theta=self.slope * abilities["theta"] + self.intercept, se=self.slope * abilities["se"])

    def metrics(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """The latent distribution and its standard errors on the new scale, also of each group; the rest stays."""
        moved = {name: self._moved(name, value) for name, value in metrics.items()}
        if metrics.get("groups"):
            moved["groups"] = {
                name: [self._moved(name, value) for value in column] for name, column in metrics["groups"].items()
            }
        return moved

    def quadrature(self, quadrature: Mapping[str, float]) -> dict[str, float]:
        """The same nodes on the new scale."""
        ends = {end: self.slope * quadrature[end] + self.intercept for end in ("min", "max")}
        return {**quadrature, **ends}

    def _moved(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in LOCATIONS:
            return self.slope * value + self.intercept
        return self.slope * value if name in SPREADS else value


OWN = Scale(1.0, 0.0)
"""The scale on which a calibration was made."""
