"""k-means and mixtures with missing values against scikit-learn and SciPy; valleys and stability against known ones."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binom, multivariate_normal
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits

from seedtest_assets.models.segmentation_checks import separation, stability
from seedtest_assets.models.segmentation_kmeans import distances, kmeans, nearest, refine
from seedtest_assets.models.segmentation_mixture import Mixture, completed, fit_mixture


@pytest.fixture(autouse=True)
def _one_thread():
    """So few rows are quicker so."""
    with threadpool_limits(limits=1):
        yield


def two(n=120, seed=0, missing=0.0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 3)) + np.where(np.arange(n) < n // 3, 5.0, 0.0)[:, None]
    gone = random.random((n, 3)) < missing
    gone[gone.all(axis=1), 0] = False
    return np.where(gone, np.nan, x)


def test_without_missing_values_it_is_scikit_learn_s_kmeans():
    x = two()
    theirs = KMeans(2, n_init=5, random_state=1).fit(x)
    mine = kmeans(x, 2, seed=1)
    np.testing.assert_allclose(np.sort(mine, axis=0), np.sort(theirs.cluster_centers_, axis=0), rtol=1e-12)
    assert distances(x, mine).min(axis=1).sum() == pytest.approx(theirs.inertia_)
    np.testing.assert_allclose(refine(x, mine), mine, rtol=1e-12)


def test_with_missing_values_each_turn_of_k_pod_is_at_its_end():
    """k-POD fills what is missing by the centre and runs k-means (Chi et al. 2016): here that changes nothing."""
    x = two(missing=0.2)
    centers = kmeans(x, 2, seed=1)
    filled = np.where(np.isnan(x), centers[nearest(x, centers)], x)
    again = KMeans(2, init=centers, n_init=1).fit(filled)
    np.testing.assert_allclose(again.cluster_centers_, centers, atol=1e-6)


def test_a_centre_keeps_what_none_of_its_rows_knows():
    x = np.array([[0.0, 0.0], [0.2, 0.1], [9.0, np.nan], [9.2, np.nan]])
    np.testing.assert_allclose(refine(x, np.array([[0.0, 0.0], [9.0, 4.0]])), [[0.1, 0.05], [9.1, 4.0]])


def test_without_prior_and_missing_values_it_is_scikit_learn_s_mixture():
    x = two(300)
    labels = nearest(x, kmeans(x, 2, seed=1))
    means = np.array([x[labels == k].mean(axis=0) for k in range(2)])
    theirs = GaussianMixture(2, means_init=means, tol=1e-9, max_iter=1000, reg_covar=0).fit(x)
    mine = fit_mixture(x, means, prior=False)
    np.testing.assert_allclose(mine.weights, theirs.weights_, atol=1e-3)
    np.testing.assert_allclose(mine.means, theirs.means_, atol=5e-3)
    np.testing.assert_allclose(mine.covariances, theirs.covariances_, atol=5e-3)
    assert mine.bic(x) == pytest.approx(theirs.bic(x), abs=0.02)
    same = Mixture(theirs.weights_, theirs.means_, theirs.covariances_)
    np.testing.assert_allclose(same.posterior(x), theirs.predict_proba(x), atol=1e-12)
    assert same.bic(x) == pytest.approx(theirs.bic(x), abs=1e-8)


def test_densities_are_those_of_the_known_coordinates():
    x = two(30, missing=0.3)
    mean, root = np.array([1.0, 2.0, 3.0]), np.array([[2.0, 0, 0], [0.5, 1, 0], [-0.3, 0.4, 0.7]])
    mixture = Mixture(np.ones(1), mean[None], (root @ root.T)[None])
    for row, found in zip(x, mixture.log_joint(x)[:, 0], strict=True):
        known = ~np.isnan(row)
        marginal = multivariate_normal(mean[known], (root @ root.T)[np.ix_(known, known)])
        assert found == pytest.approx(marginal.logpdf(row[known]))


def test_one_gaussian_with_missing_values_is_where_the_likelihood_of_the_known_is_greatest():
    random = np.random.default_rng(3)
    x = random.multivariate_normal([1, -1], [[2, 1.2], [1.2, 1]], 200)
    x[random.random(200) < 0.4, 1] = np.nan

    def loss(at):
        root = np.array([[np.exp(at[2]), 0], [at[3], np.exp(at[4])]])
        return -Mixture(np.ones(1), at[None, :2], (root @ root.T)[None]).log_joint(x).sum()

    best = minimize(loss, np.zeros(5), method="BFGS")
    mine = fit_mixture(x, np.nanmean(x, axis=0)[None], prior=False)
    np.testing.assert_allclose(mine.means[0], best.x[:2], atol=0.02)
    assert -mine.log_joint(x).sum() == pytest.approx(best.fun, abs=0.02)


def test_what_is_missing_is_completed_along_the_regression():
    random = np.random.default_rng(4)
    first = random.normal(size=2000)
    x = np.column_stack([first, 3 * first + 1])
    truth = x[:500, 1].copy()
    x[:500, 1] = np.nan
    np.testing.assert_allclose(completed(x)[:500, 1], truth, atol=0.1)


def test_the_valley_by_hand():
    """On a line from 0 to 6: 9 within 1 of 0, 2 within 1 of 3, 8 within 1 of 6."""
    places = np.array([*np.linspace(-0.9, 0.9, 9), 2.5, 3.4, *np.linspace(5.2, 6.9, 8), 1.5, 4.7])
    x, centers = places[:, None], np.array([[0.0], [6.0]])
    expected = binom.cdf(2, 2 + 8, 0.5)
    assert separation(x, nearest(x, centers), centers) == pytest.approx(expected)


def test_a_third_cluster_half_way_is_no_bridge():
    random = np.random.default_rng(5)
    centers = np.array([[0.0, 0.0], [8.0, 0.0], [16.0, 0.0]])
    x = np.concatenate([random.normal(size=(60, 2)) + center for center in centers])
    assert separation(x, nearest(x, centers), centers) < 1e-6


def test_between_the_parts_of_one_cluster_there_is_no_valley():
    for seed in range(20):
        x = np.random.default_rng(seed).normal(size=(200, 4))
        for k in (2, 3, 5):
            centers = kmeans(x, k, seed)
            assert separation(x, nearest(x, centers), centers) > 0.05


def test_stability_is_1_for_a_clustering_that_always_comes_back_and_that_of_chance_for_one_that_never_does():
    x = two(200)
    labels = nearest(x, kmeans(x, 2, seed=1))
    always = stability(x, labels, 2, lambda rows, seed: nearest(rows, kmeans(rows, 2, seed)), bootstraps=10, seed=0)
    assert (always > 0.97).all()
    whole = np.zeros(200, np.int64)
    never = stability(x, whole, 1, lambda rows, seed: np.zeros(len(rows), np.int64), bootstraps=5, seed=0)
    assert never == pytest.approx(1.0)
    halves = np.arange(200) % 2
    chance = stability(
        x, halves, 2, lambda rows, seed: np.random.default_rng(seed).integers(0, 2, len(rows)), bootstraps=50, seed=0
    )
    assert chance == pytest.approx(1 / 3, abs=0.06)  # half of each half, of three quarters of all; the larger of two


def test_components_without_width_and_without_rows_stay_distributions():
    x = np.column_stack([np.repeat([0.0, 1.0], 20), np.random.default_rng(6).normal(size=40)])
    found = fit_mixture(x, np.array([[0.0, 0.0], [1.0, 0.0], [50.0, 50.0]]))
    assert (np.linalg.eigvalsh(found.covariances) > 0).all()
    np.testing.assert_allclose(found.posterior(x).argmax(axis=1), x[:, 0])
