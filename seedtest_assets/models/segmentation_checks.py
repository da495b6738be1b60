"""Whether clusters are there: a valley between them, and the same clusters again when students are drawn anew.

Every method finds k clusters where there is one. Coming back is no proof alone: the halves of one long blob do so in
nearly every bootstrap sample, but there is no valley between them.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import binom

from seedtest_assets.models.irt import Bools, Floats, Ints

WINDOW = 1 / 3
"""Width of the stretches whose students are counted, as a share of the way between two centres."""

TUBE = 0.9
"""Share of the two clusters' students that the tube around the line between their centres holds."""

ROUNDING = 1e-9
"""Of squared distances from the line: with a single feature, all of them are."""

NOT_VISIBLE = 0.5
"""A row whose known coordinates make up less of the squared way between two centres has no place on it."""


def stability(
    x: Floats, labels: Ints, k: int, cluster: Callable[[Floats, int], Ints], *, bootstraps: int, seed: int
) -> Floats:
    """Mean over bootstrap samples of each cluster's largest Jaccard similarity with a cluster found there, shape (k,).

    Similarity is over the rows that were drawn, each once (Hennig 2007, scheme "boot"). Samples without any row of a
    cluster do not count for it; one that is never drawn, because it is empty, has 0.

    Args:
        x: shape (n, p).
        labels: 0 .. k - 1, shape (n,).
        k: number of clusters.
        cluster: labels of a sample's rows, given the sample and a seed.
        bootstraps: samples.
        seed: of the samples.
    """
    random = np.random.default_rng(seed)
    total, samples = np.zeros(k), np.zeros(k)
    for number in range(bootstraps):
        drawn = np.sort(random.integers(len(x), size=len(x)))
        there, first = cluster(x[drawn], seed + number), np.unique(drawn, return_index=True)[1]
        both = np.zeros((k, k))
        np.add.at(both, (labels[drawn[first]], there[first]), 1)
        either = both.sum(axis=1, keepdims=True) + both.sum(axis=0) - both
        total += np.max(both / np.maximum(either, 1), axis=1)
        samples += both.any(axis=1)
    return np.asarray(total / np.maximum(samples, 1))


def separation(x: Floats, labels: Ints, centers: Floats) -> float:
    """The largest p-value, over pairs of neighbours, of the hypothesis that there is no valley between them.

    Neighbours are pairs without a third centre that is nearer to both than they are to each other (Toussaint 1980): the
    students of such a third one may lie half-way. Within a tube around the line through their centres, from which no
    log-concave density comes out with two peaks (Prekopa 1973), students are counted in three equal stretches: at
    either centre and half-way. Without a valley the one half-way expects at least as many as the lesser of the two at
    the ends, so both exact binomial tests must reject, and the p-value is the larger one (Berger 1982). It takes the
    centres as given; what choosing them costs is measured in benchmarks/segmentation.

    Args:
        x: NaN = missing, shape (n, p).
        labels: shape (n,).
        centers: k >= 2 of them, shape (k, p).
    """
    return max(_valley(x, (labels == a) | (labels == b), centers[a], centers[b]) for a, b in _neighbours(centers))


def _neighbours(centers: Floats) -> list[tuple[int, int]]:
    squared = np.sum((centers[:, None] - centers) ** 2, axis=2)
    k = len(centers)
    return [
        (a, b)
        for a in range(k)
        for b in range(a)
        if all(max(squared[a, c], squared[b, c]) >= squared[a, b] for c in range(k) if c not in (a, b))
    ]


def _valley(x: Floats, own: Bools, start: Floats, end: Floats) -> float:
    way = end - start
    known = ~np.isnan(x)
    off = np.nan_to_num(x - start)
    seen = known @ way**2
    visible = seen >= NOT_VISIBLE * np.sum(way**2)
    if not (visible & own).any():
        return 1.0
    position = (off @ way)[visible] / seen[visible]
    squared = np.sum(off[visible] ** 2, axis=1) - position**2 * seen[visible]
    aside = squared * x.shape[1] / known[visible].sum(axis=1)
    radius = np.quantile(aside[own[visible]], TUBE) + ROUNDING * np.sum(way**2)
    inside = position[aside <= radius]
    first, middle, last = (np.sum(np.abs(inside - at) < WINDOW / 2) for at in (0.0, 0.5, 1.0))
    return float(max(binom.cdf(middle, middle + end_count, 0.5) for end_count in (first, last)))
