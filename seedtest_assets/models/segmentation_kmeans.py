"""k-means on what is known: a missing coordinate has no part in any distance or mean.

The objective is the sum over known coordinates of the squared distance to the row's centre, that of k-POD (Chi, Chi &
Baraniuk 2016); it is descended directly, by turns over clusters and centres. Without missing values it is k-means.
"""

import numpy as np

from seedtest_assets.models.irt import Floats, Ints

STARTS = 5
"""Runs from different beginnings, of which the best is kept."""


def kmeans(x: Floats, k: int, seed: int) -> Floats:
    """Centres of k clusters, shape (k, p).

    Each start is k-means++ (Arthur & Vassilvitskii 2007) on rows whose missing values are random known ones of the same
    column: unlike its mean, they make no cluster of their own.

    Args:
        x: at least k rows; NaN = missing, but no row and no column is all NaN, shape (n, p).
        k: number of clusters.
        seed: of the starts.
    """
    from sklearn.cluster import KMeans, kmeans_plusplus

    known = ~np.isnan(x)
    if known.all():
        return np.asarray(KMeans(k, n_init=STARTS, random_state=seed).fit(x).cluster_centers_)
    random = np.random.default_rng(seed)
    found = []
    for start in range(STARTS):
        drawn = np.column_stack([random.choice(column[~np.isnan(column)], len(x)) for column in x.T])
        seeds, _ = kmeans_plusplus(np.where(known, x, drawn), k, random_state=seed + start)
        found.append(refine(x, seeds))
    return min(found, key=lambda centers: float(np.sum(np.min(distances(x, centers), axis=1))))


def refine(x: Floats, centers: Floats) -> Floats:
    """Lloyd's turns from given centres until no row changes its cluster; a centre keeps what none of its rows knows."""
    labels = nearest(x, centers)
    while True:
        means = known_means(x, labels, len(centers))
        centers = np.where(np.isnan(means), centers, means)
        before, labels = labels, nearest(x, centers)
        if np.array_equal(before, labels):
            return centers


def known_means(x: Floats, labels: Ints, k: int) -> Floats:
    """Means of the known values by cluster; NaN where there are none, shape (k, p)."""
    member = (labels == np.arange(k)[:, None]).astype(float)
    with np.errstate(invalid="ignore"):
        return np.asarray((member @ np.nan_to_num(x)) / (member @ ~np.isnan(x)))


def distances(x: Floats, centers: Floats) -> Floats:
    """Squared Euclidean distances over each row's known coordinates, shape (n, k)."""
    values = np.nan_to_num(x)
    squared = np.sum(values**2, axis=1)[:, None] - 2 * values @ centers.T + ~np.isnan(x) @ (centers**2).T
    return np.asarray(np.maximum(squared, 0))


def nearest(x: Floats, centers: Floats) -> Ints:
    """Index of each row's nearest centre, shape (n,)."""
    return np.asarray(np.argmin(distances(x, centers), axis=1), dtype=np.int64)
