"""How many clusters: the gap statistic (Tibshirani, Walther & Hastie 2001).

The pooled squared distances within k clusters, W_k, are compared on the log scale with those of data without clusters:
uniform in the box that the data fill along their principal components. With squared distances and these references it
is `clusGap(d.power = 2, spaceH0 = "scaledPCA")` of R's package cluster.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seedtest_assets.models.irt import Floats, Ints
from seedtest_assets.models.segmentation_kmeans import known_means

Partition = Callable[[Floats, int], Ints]
"""The cluster of each row of x, shape (n,), when there are to be k."""


@dataclass(frozen=True)
class Gap:
    """The curve from k = 1 on.

    Attributes:
        log_w: log W_k of the data, shape (k_max,).
        expected: mean of log W_k over the references, shape (k_max,).
        se: its standard deviation over them times sqrt(1 + 1 / references), shape (k_max,).
    """

    log_w: Floats
    expected: Floats
    se: Floats

    @property
    def gap(self) -> Floats:
        """How much tighter the clusters are than those of data without clusters, shape (k_max,)."""
        return self.expected - self.log_w

    @property
    def k(self) -> int:
        """The smallest k with gap(k) >= gap(k + 1) - se(k + 1): the 1-SE rule; k_max when there is none."""
        enough = np.append(self.gap[:-1] >= self.gap[1:] - self.se[1:], True)
        return int(np.argmax(enough)) + 1


def gap_statistic(
    x: Floats, partition: Partition, k_max: int, *, references: int, seed: int, completed: Floats | None = None
) -> Gap:
    """The gap for k = 1 .. k_max.

    Args:
        x: rows to cluster; NaN = missing, shape (n, p).
        partition: how to cluster them, and the references, which have missing values where the data have.
        k_max: largest number of clusters.
        references: data sets without clusters that are drawn.
        seed: of the references.
        completed: x with its missing values filled, where there are any: it gives the box.
    """
    random = np.random.default_rng(seed)
    box = _Box.of(x if completed is None else completed)
    log_w = _curve(x, partition, k_max)
    drawn = np.array(
        [_curve(np.where(np.isnan(x), np.nan, box.draw(random)), partition, k_max) for _ in range(references)]
    )
    return Gap(log_w, drawn.mean(axis=0), drawn.std(axis=0, ddof=1) * np.sqrt(1 + 1 / references))


def log_dispersion(x: Floats, labels: Ints) -> float:
    """Log of half the summed squared distances of known values from their cluster's means.

    The sum is that of d^2 / n_cluster over all pairs in a cluster, each once; the half is R's, and cancels in the gap.
    """
    means = known_means(x, labels, int(labels.max()) + 1)
    return float(np.log(np.nansum((x - means[labels]) ** 2) / 2))


@dataclass(frozen=True)
class _Box:
    """The range of the data along their principal components."""

    n: int
    mean: Floats
    axes: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, x: Floats) -> "_Box":
        mean = x.mean(axis=0)
        axes = np.linalg.svd(x - mean, full_matrices=False)[2]
        scores = (x - mean) @ axes.T
        return cls(len(x), mean, axes, scores.min(axis=0), scores.max(axis=0))

    def draw(self, random: np.random.Generator) -> Floats:
        return np.asarray(random.uniform(self.low, self.high, (self.n, len(self.axes))) @ self.axes + self.mean)


def _curve(x: Floats, partition: Partition, k_max: int) -> Floats:
    one = np.zeros(len(x), np.int64)
    return np.array([log_dispersion(x, partition(x, k) if k > 1 else one) for k in range(1, k_max + 1)])
