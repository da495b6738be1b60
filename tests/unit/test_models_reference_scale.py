"""The change of scale: probabilities, likelihoods and intervals stay what they are; standard errors by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from seedtest_assets.models.irt import NODES, Answers, log_likelihood, weighted_likelihood
from seedtest_assets.models.reference_scale import OWN, Scale

SCALE = Scale(1.3, -0.4)
ITEMS = pd.DataFrame(
    {
        "item_id": [1, 2, 3],
        "a": [0.8, 1.4, 2.1],
        "b": [-1.0, 0.2, 1.5],
        "c": [0.0, 0.2, 0.25],
        "se_a": [0.1, 0.2, None],
        "se_b": [0.15, 0.1, None],
        "cov_ab": [0.004, -0.01, None],
        "n_responses": [100, 200, 300],
    }
)


def test_probabilities_do_not_change_with_the_scale():
    moved, theta = SCALE.items(ITEMS), np.linspace(-4, 4, 41)
    students = SCALE.abilities(pd.DataFrame({"theta": theta, "se": 0.3}))
    for before, after in zip(ITEMS.itertuples(), moved.itertuples(), strict=True):
        p = before.c + (1 - before.c) * expit(before.a * (theta - before.b))
        q = after.c + (1 - after.c) * expit(after.a * (students["theta"] - after.b))
        np.testing.assert_allclose(p, q, rtol=1e-12)


def test_standard_errors_and_covariance_are_those_of_transformed_estimates():
    # Draws of (a, b) from the estimates' joint distribution, moved one by one.
    random = np.random.default_rng(1)
    for row, moved in zip(ITEMS[:2].itertuples(), SCALE.items(ITEMS[:2]).itertuples(), strict=True):
        covariance = [[row.se_a**2, row.cov_ab], [row.cov_ab, row.se_b**2]]
        draws = random.multivariate_normal([row.a, row.b], covariance, 400_000)
        found = np.cov(draws[:, 0] / SCALE.slope, SCALE.slope * draws[:, 1] + SCALE.intercept)
        assert moved.se_a == pytest.approx(found[0, 0] ** 0.5, rel=0.01)
        assert moved.se_b == pytest.approx(found[1, 1] ** 0.5, rel=0.01)
        assert moved.cov_ab == pytest.approx(found[0, 1], rel=0.02)


def test_what_is_not_known_stays_unknown():
    moved = SCALE.items(ITEMS)
    assert moved.loc[2, ["se_a", "se_b", "cov_ab"]].isna().all()
    assert moved.drop(columns=["a", "b", "se_a", "se_b"]).equals(ITEMS.drop(columns=["a", "b", "se_a", "se_b"]))


def test_an_estimate_made_on_the_new_scale_is_the_moved_estimate():
    random = np.random.default_rng(2)
    item, group = random.integers(0, 3, 300), np.repeat(np.arange(30), 10)
    correct = random.random(300) < 0.6

    def estimate(items):
        a, b, c = (items[name].to_numpy()[item] for name in ("a", "b", "c"))
        return weighted_likelihood(Answers(group, a, b, c, correct, 30))

    before, after = estimate(ITEMS), estimate(SCALE.items(ITEMS))
    students = SCALE.abilities(pd.DataFrame({"theta": before.theta, "se": before.se}))
    inside = np.abs(before.theta) < 4  # beyond, the bounds of the estimate are those of one scale
    np.testing.assert_allclose(after.theta[inside], students["theta"][inside], atol=1e-7)
    np.testing.assert_allclose(after.se[inside], students["se"][inside], rtol=1e-6)


def test_the_likelihood_at_the_moved_nodes_is_the_likelihood_at_the_nodes():
    moved, nodes = SCALE.items(ITEMS), SCALE.quadrature({"n": 61, "min": NODES[0], "max": NODES[-1]})
    there = np.linspace(nodes["min"], nodes["max"], nodes["n"])
    expected = log_likelihood(Answers(*(np.zeros(3, int), *ITEMS[["a", "b", "c"]].to_numpy().T), np.ones(3, bool), 1))[
        0
    ]
    p = [row.c + (1 - row.c) * expit(row.a * (there - row.b)) for row in moved.itertuples()]
    np.testing.assert_allclose(np.log(p).sum(axis=0), expected, rtol=1e-10)


def test_the_latent_distribution_moves_with_its_standard_errors_and_nothing_else_does():
    metrics = {
        "log_lik": -10.0,
        "latent_mean": 0.0,
        "latent_sd": 1.0,
        "se_latent_mean": None,
        "se_latent_sd": 0.1,
        "reliability": 0.8,
        "groups": {
            "group": ["x", "y"],
            "n_students": [3, 4],
            "mean": [0.0, 0.5],
            "sd": [1.0, 2.0],
            "se_mean": [None, 0.2],
        },
    }
    assert SCALE.metrics(metrics) == {
        "log_lik": -10.0,
        "latent_mean": -0.4,
        "latent_sd": 1.3,
        "se_latent_mean": None,
        "se_latent_sd": pytest.approx(0.13),
        "reliability": 0.8,
        "groups": {
            "group": ["x", "y"],
            "n_students": [3, 4],
            "mean": [-0.4, pytest.approx(0.25)],
            "sd": [1.3, 2.6],
            "se_mean": [None, pytest.approx(0.26)],
        },
    }


def test_on_its_own_scale_a_calibration_stays_what_it_is_to_the_last_digit():
    pd.testing.assert_frame_equal(OWN.items(ITEMS), ITEMS, check_exact=True)
    assert OWN.quadrature({"n": 61, "min": -6, "max": 6}) == {"n": 61, "min": -6, "max": 6}


def test_two_changes_of_scale_are_one():
    again = Scale(0.7, 1.1)
    both = Scale(SCALE.slope * again.slope, again.slope * SCALE.intercept + again.intercept)
    pd.testing.assert_frame_equal(again.items(SCALE.items(ITEMS)), both.items(ITEMS), rtol=1e-12)
