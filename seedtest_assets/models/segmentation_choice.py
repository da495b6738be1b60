"""How many segments: the largest number of which every segment is proven, or one.

The 1-SE rule of the gap statistic alone splits a fifth of skewed blobs, nearly half of these stably, and misses the
number of planted segments in 7 of 24 cohorts (benchmarks/segmentation), since it stops where two clusters are no
better than one. So its choice is reported, and three conditions on each k decide: its gap is above that of one
cluster by a standard error, there is a valley between every two neighbours, and all clusters are stable.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from seedtest_assets.models.gap_statistic import gap_statistic
from seedtest_assets.models.irt import Floats, Ints
from seedtest_assets.models.segmentation_checks import separation, stability
from seedtest_assets.models.segmentation_kmeans import kmeans, nearest, refine
from seedtest_assets.models.segmentation_mixture import Mixture, completed, fit_from, fit_mixture

Method = Literal["kmeans", "gmm"]
Status = Literal["segments", "no stable segments", "unstable segments", "too few students", "no features"]

K_MAX = 8
MIN_JACCARD = 0.75
"""Of every segment, in the mean over bootstrap samples: below, it is not stable (Hennig 2007)."""

LEVEL = 0.05
"""Of the test for a valley between neighbours."""


@dataclass(frozen=True)
class Clusters:
    """Clusters by either method.

    Attributes:
        centers: shape (k, p).
        mixture: its parameters, whose means are the centres; None for k-means.
    """

    centers: Floats
    mixture: Mixture | None

    @classmethod
    def of(cls, x: Floats, k: int, method: Method, seed: int) -> "Clusters":
        """The clusters of x; k-means, which the mixture begins with."""
        centers = kmeans(x, k, seed)
        if method == "kmeans":
            return cls(centers, None)
        mixture = fit_mixture(x, centers)
        return cls(mixture.means, mixture)

    def refined(self, x: Floats) -> "Clusters":
        """The same clusters on other rows, begun where these ended."""
        if self.mixture is None:
            return Clusters(refine(x, self.centers), None)
        mixture = fit_from(x, self.mixture)
        return Clusters(mixture.means, mixture)

    def labels(self, x: Floats) -> Ints:
        """The most probable cluster of each row, shape (n,)."""
        if self.mixture is None:
            return nearest(x, self.centers)
        return np.asarray(np.argmax(self.mixture.log_joint(x), axis=1), dtype=np.int64)


@dataclass(frozen=True)
class Choice:
    """A number of clusters and why.

    Attributes:
        clusters: of the rows given.
        status: "segments" when they are proven.
        reason: of another status; else empty.
        stability: Jaccard similarity of each cluster, shape (k,); None for k = 1.
        gap_k: by the gap statistic's 1-SE rule alone.
        curves: as in `Segmentation`.
    """

    clusters: Clusters
    status: Status
    reason: str
    stability: Floats | None
    gap_k: int
    curves: pd.DataFrame


def choose(x: Floats, method: Method, k: int | None, *, seed: int, references: int, bootstraps: int) -> Choice:
    """As many clusters as are proven, or k and whether they are.

    Args:
        x: scaled, at least one column and two different rows; NaN = missing, shape (n, p).
        method: kmeans or gmm.
        k: a number that is wanted; None = as many as are proven.
        seed: of starts, references and bootstrap.
        references: data sets of the gap statistic.
        bootstraps: samples for the stability.
    """
    different = len(pd.DataFrame(x).drop_duplicates())
    k_max = max(k or 1, min(K_MAX, len(x) // 10, different - 1))
    fits = {number: Clusters.of(x, number, method, seed) for number in range(1, k_max + 1)}
    curves, gap_k = _curves(x, fits, seed, references)

    def judged(number: int) -> Floats:
        def again(drawn: Floats, other_seed: int) -> Ints:
            return Clusters.of(drawn, number, method, other_seed).labels(drawn)

        found = stability(x, fits[number].labels(x), number, again, bootstraps=bootstraps, seed=seed)
        curves.loc[number, "stability"] = found.min()
        return found

    if k is not None:
        of_each = judged(k) if k > 1 else None
        doubt = _doubt(curves, [k]) if k > 1 else ""
        status: Status = "unstable segments" if doubt else "segments"
        return Choice(fits[k], status, doubt, of_each, gap_k, curves.reset_index())
    for number in range(k_max, 1, -1):
        if not _doubt(curves, [number]):
            of_each = judged(number)
            if not _doubt(curves, [number]):
                return Choice(fits[number], "segments", "", of_each, gap_k, curves.reset_index())
    reason = _doubt(curves, range(2, k_max + 1))
    return Choice(fits[1], "no stable segments", reason, None, gap_k, curves.reset_index())


def _doubt(curves: pd.DataFrame, numbers: Iterable[int]) -> str:
    """The first condition that none of these numbers of clusters meets; empty when one meets all it was tried on."""
    left = curves.loc[list(numbers)]
    conditions = {
        "the gap statistic does not prefer more than one": left["gap"] - left["se"] > curves.loc[1, "gap"],
        "there is no valley between some neighbours": left["separation"] < LEVEL,
        "some segments do not come back in bootstrap samples": ~(left["stability"] < MIN_JACCARD),
    }
    met = pd.Series(True, index=left.index)
    for reason, condition in conditions.items():
        met &= condition
        if not met.any():
            return reason
    return ""


def _curves(x: Floats, fits: dict[int, Clusters], seed: int, references: int) -> tuple[pd.DataFrame, int]:
    """All but the stability, by k; and the gap statistic's own choice."""
    from sklearn.metrics import silhouette_score
    from sklearn.metrics.pairwise import nan_euclidean_distances

    complete = completed(x) if np.isnan(x).any() else None
    gap = gap_statistic(
        x,
        lambda rows, k: nearest(rows, kmeans(rows, k, seed)),
        len(fits),
        references=references,
        seed=seed,
        completed=complete,
    )
    apart = nan_euclidean_distances(x)
    apart = np.where(np.isnan(apart), np.nanmean(apart), apart)
    rows = []
    for k, fit in fits.items():
        labels, mixture = fit.labels(x), fit.mixture or fit_mixture(x, fit.centers)
        found = {"k": k, "silhouette": np.nan, "bic": mixture.bic(x), "separation": np.nan, "stability": np.nan}
        if k > 1 and np.bincount(labels, minlength=k).all():
            found["silhouette"] = silhouette_score(apart, labels, metric="precomputed")
            found["separation"] = separation(x, labels, fit.centers)
        rows.append(found)
    curves = pd.DataFrame(rows).assign(log_w=gap.log_w, expected=gap.expected, se=gap.se, gap=gap.gap)
    return curves.set_index("k"), gap.k
