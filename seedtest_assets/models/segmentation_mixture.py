"""Gaussian mixtures by EM on what is known: missing coordinates are integrated out (Ghahramani & Jordan 1994).

Covariances are full, each with a weak inverse Wishart prior (Fraley & Raftery 2007), so that a small component stays
a distribution: nu = p + 2 and, as scale, the variances of the data / k^(2/p).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from seedtest_assets.models.irt import Bools, Floats, Ints
from seedtest_assets.models.segmentation_kmeans import known_means, nearest

CLOSE = 1e-4
"""EM ends when the mean log density of a row and its part of the prior gain less."""

MAX_ITERATIONS = 200


@dataclass(frozen=True)
class Mixture:
    """Parameters of k components.

    Attributes:
        weights: shares, shape (k,).
        means: shape (k, p).
        covariances: shape (k, p, p).
    """

    weights: Floats
    means: Floats
    covariances: Floats

    def log_joint(self, x: Floats) -> Floats:
        """Log of weight times density of each row's known coordinates, shape (n, k)."""
        rows = _Rows.of(x)
        parts = zip(self.means, self.covariances, strict=True)
        return np.asarray(np.log(self.weights) + np.column_stack([rows.expect(*part).log_density for part in parts]))

    def posterior(self, x: Floats) -> Floats:
        """Probability of each component given the row's known coordinates, shape (n, k)."""
        joint = self.log_joint(x)
        return np.asarray(np.exp(joint - logsumexp(joint, axis=1, keepdims=True)))

    def bic(self, x: Floats) -> float:
        """-2 log likelihood + (number of parameters) log n: smaller is better (Schwarz 1978)."""
        k, p = self.means.shape
        parameters = k - 1 + k * p + k * p * (p + 1) // 2
        return float(-2 * logsumexp(self.log_joint(x), axis=1).sum() + parameters * np.log(len(x)))


def fit_mixture(x: Floats, centers: Floats, *, prior: bool = True) -> Mixture:
    """The mode that EM comes to from k-means' clusters.

    Args:
        x: NaN = missing, but no row and no column is all NaN, shape (n, p).
        centers: of the clusters to begin with, shape (k, p).
        prior: the prior of the covariances; without it, maximum likelihood.
    """
    k = len(centers)
    labels = nearest(x, centers)
    # a little of the whole variance and one more row each: no component begins without width or weight
    within = np.nanvar(x - centers[labels], axis=0) + 1e-3 * np.nanvar(x, axis=0)
    weights = (np.bincount(labels, minlength=k) + 1) / (len(x) + k)
    start = Mixture(weights, centers, np.tile(np.diag(within), (k, 1, 1)))
    return fit_from(x, start, prior=prior)


def fit_from(x: Floats, mixture: Mixture, *, prior: bool = True) -> Mixture:
    """The mode that EM comes to from given parameters."""
    k, p = mixture.means.shape
    scale = np.diag(np.nanvar(x, axis=0)) / k ** (2 / p) * prior
    weight = (2 * p + 3) * prior
    rows = _Rows.of(x)
    before = -np.inf
    for _ in range(MAX_ITERATIONS):
        expected = [rows.expect(*part) for part in zip(mixture.means, mixture.covariances, strict=True)]
        joint = np.log(mixture.weights) + np.column_stack([part.log_density for part in expected])
        total = logsumexp(joint, axis=1)
        reached = total.mean() + _log_prior(mixture.covariances, scale, weight) / len(x)
        if reached - before < CLOSE:
            break
        before = reached
        mixture = _maximise(rows, expected, np.exp(joint - total[:, None]), scale, weight)
    return mixture


def completed(x: Floats) -> Floats:
    """Missing values at their expectation under one Gaussian given the row's known ones, shape (n, p)."""
    one = fit_mixture(x, known_means(x, np.zeros(len(x), np.int64), 1))
    return _Rows.of(x).expect(one.means[0], one.covariances[0]).filled


@dataclass(frozen=True)
class _Expected:
    """What one component says of the rows.

    Attributes:
        log_density: of the known coordinates, shape (n,).
        filled: rows with their missing coordinates' conditional means, shape (n, p).
        covariances: conditional, of the missing coordinates, by pattern; 0 for known ones, shape (patterns, p, p).
    """

    log_density: Floats
    filled: Floats
    covariances: Floats


@dataclass(frozen=True)
class _Rows:
    """Rows by which of their coordinates are known.

    Attributes:
        x: shape (n, p).
        known: shape (n, p).
        patterns: the different rows of `known`, shape (patterns, p).
        pattern: of each row, shape (n,).
        groups: row numbers of each pattern.
    """

    x: Floats
    known: Bools
    patterns: Bools
    pattern: Ints
    groups: list[Ints]

    @classmethod
    def of(cls, x: Floats) -> "_Rows":
        known = ~np.isnan(x)
        patterns, pattern, counts = np.unique(known, axis=0, return_inverse=True, return_counts=True)
        groups = np.split(np.argsort(pattern, kind="stable"), np.cumsum(counts)[:-1])
        return cls(x, known, patterns, pattern, groups)

    def expect(self, mean: Floats, covariance: Floats) -> _Expected:
        """Density and conditional moments; the covariance of a pattern's known part has ones for what is missing."""
        both = self.patterns[:, :, None] & self.patterns[:, None, :]
        padded = np.where(both, covariance, np.eye(len(mean)))
        precision = np.where(both, np.linalg.inv(padded), 0.0)
        off = np.where(self.known, self.x - mean, 0.0)
        solved = np.empty_like(off)
        for rows, inverse in zip(self.groups, precision, strict=True):
            solved[rows] = off[rows] @ inverse
        log_det = np.linalg.slogdet(padded)[1] + self.patterns.sum(axis=1) * np.log(2 * np.pi)
        log_density = -(log_det[self.pattern] + np.sum(off * solved, axis=1)) / 2
        filled = np.where(self.known, self.x, mean + solved @ covariance)
        conditional = np.where(self.patterns[:, :, None] | self.patterns[:, None, :], 0.0, 1.0) * (
            covariance - covariance @ precision @ covariance
        )
        return _Expected(log_density, filled, conditional)


def _maximise(rows: _Rows, expected: list[_Expected], share: Floats, scale: Floats, weight: float) -> Mixture:
    sizes = np.maximum(share.sum(axis=0), np.finfo(float).tiny)
    means, covariances = [], []
    for part, mine, size in zip(expected, share.T, sizes, strict=True):
        mean = mine @ part.filled / size
        off = part.filled - mean
        by_pattern = np.bincount(rows.pattern, weights=mine, minlength=len(rows.patterns))
        scatter = (off * mine[:, None]).T @ off + np.einsum("m,mij->ij", by_pattern, part.covariances)
        means.append(mean)
        covariances.append((scale + scatter) / (weight + size))
    return Mixture(sizes / sizes.sum(), np.array(means), np.array(covariances))


def _log_prior(covariances: Floats, scale: Floats, weight: float) -> float:
    """Of the inverse Wishart densities, what depends on the covariances; weight is nu + p + 1."""
    trace = np.einsum("kij,ji->", np.linalg.inv(covariances), scale)
    return float(-(weight * np.linalg.slogdet(covariances)[1].sum() + trace) / 2)
