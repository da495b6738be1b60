"""The gap statistic by hand, and what its references are."""

import numpy as np
import pytest

from seedtest_assets.models.gap_statistic import Gap, gap_statistic, log_dispersion


def test_the_dispersion_is_half_the_sum_of_squares_within():
    x = np.array([[0.0, 0.0], [2.0, 0.0], [10.0, 1.0], [10.0, 4.0]])
    labels = np.array([0, 0, 1, 1])
    pairs = (2.0**2 / 2 + 3.0**2 / 2) / 2  # sum over pairs of d^2 / n_cluster, and the half
    assert log_dispersion(x, labels) == pytest.approx(np.log(pairs))


def test_what_is_missing_is_at_no_distance():
    x = np.array([[0.0, 5.0], [2.0, np.nan], [np.nan, 9.0]])
    assert log_dispersion(x, np.zeros(3, np.int64)) == pytest.approx(np.log((1 + 1 + 4 + 4) / 2))


@pytest.mark.parametrize(
    ("gap", "k"),
    [
        ([0.5, 0.4, 0.9], 1),
        ([0.1, 0.5, 0.55, 0.9], 2),  # 0.5 >= 0.55 - 0.1
        ([0.1, 0.5, 0.7, 0.9], 4),
    ],
)
def test_the_rule_takes_the_first_k_that_the_next_does_not_beat_by_a_standard_error(gap, k):
    assert Gap(np.zeros(len(gap)), np.array(gap), np.full(len(gap), 0.1)).k == k


def test_references_fill_the_box_along_the_principal_components_and_miss_what_the_data_miss():
    random = np.random.default_rng(2)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    complete = random.uniform([-5, -1], [5, 1], (400, 2)) @ turn.T + 3
    x = np.where(random.random((400, 2)) < 0.1, np.nan, complete)
    seen = []

    def partition(rows, k):
        seen.append(rows)
        return np.arange(len(rows)) % k

    gap_statistic(x, partition, 2, references=30, seed=0, completed=complete)
    for rows in seen[1:]:
        np.testing.assert_array_equal(np.isnan(rows), np.isnan(x))
    drawn = np.concatenate(seen[1:])
    # a uniform box has variances L^2 / 12 along its sides: 100 / 12 and 4 / 12, here turned
    expected = turn @ np.diag([100 / 12, 4 / 12]) @ turn.T
    both = drawn[~np.isnan(drawn).any(axis=1)]
    np.testing.assert_allclose(np.cov(both.T), expected, rtol=0.05, atol=0.1)
    np.testing.assert_allclose(both.mean(axis=0), 3, atol=0.2)
