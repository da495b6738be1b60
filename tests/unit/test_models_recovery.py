"""R_t by hand, and its shrinkage against SciPy's beta-binomial."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import beta, betabinom, norm

from seedtest_assets.models.recovery import recovery, shrunk_share


def counts(rows):
    """(met again, right now) of one student's answers: (item, topic, correct, recent)."""
    item, topic, correct, recent = (np.array(column) for column in zip(*rows, strict=True))
    student = np.zeros(len(rows), np.int64)
    result = recovery(student, item, topic, correct.astype(bool), recent.astype(bool), 1)
    return result.n[0], result.right[0]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, 0, False, False), (1, 0, True, True)], (1, 1)),
        ([(1, 0, False, False), (1, 0, True, True), (1, 0, False, True)], (1, 0)),
        ([(1, 0, True, False), (1, 0, False, True)], (0, 0)),
        ([(1, 0, False, False), (1, 0, False, False), (1, 0, True, True)], (1, 1)),
        ([(1, 0, False, False), (2, 0, True, True)], (1, 1)),
        ([(1, 0, False, False), (2, 0, False, False), (3, 0, True, True)], (1, 1)),
        ([(1, 0, False, False), (2, 0, False, False), (2, 0, False, True)], (2, 0)),
        ([(1, -1, False, False), (2, -1, True, True)], (0, 0)),
        ([(1, -1, False, False), (1, -1, True, True)], (1, 1)),
        ([(1, 0, False, False), (2, 1, True, True)], (0, 0)),
    ],
    ids=[
        "met again and right",
        "the last meeting counts",
        "right before is no error",
        "an item counts once",
        "not met again: through its topic",
        "a topic counts once",
        "by the item where it was met, by the topic where not",
        "no topic, not met again",
        "no topic, met again",
        "another topic says nothing",
    ],
)
def test_worked_example(rows, expected):
    assert counts(rows) == expected


@pytest.mark.parametrize("students", [1, 4, 40, 400])
def test_shares_are_the_beta_binomial_posterior_means_at_the_mode(students):
    random = np.random.default_rng(students)
    n = random.integers(1, 12, students)
    right = random.binomial(n, random.beta(3, 2, students))

    def loss(x):
        m, k = expit(x[0]), np.exp(x[1])
        prior = beta.logpdf(m, 2, 2) + np.log(m * (1 - m)) + norm.logpdf(x[1], np.log(4), 1)
        return -betabinom.logpmf(right, n, m * k, (1 - m) * k).sum() - prior

    logit, log_k = minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}).x
    m, k = expit(logit), np.exp(log_k)
    np.testing.assert_allclose(shrunk_share(right, n), (right + m * k) / (n + k), atol=1e-3)


def test_shares_are_calibrated():
    slopes, sizes = [], []
    for seed in range(12):
        random = np.random.default_rng(seed)
        truth = random.beta(6, 3, 5000)
        n = random.integers(1, 10, 5000)
        share = shrunk_share(random.binomial(n, truth), n)
        slopes.append(np.polyfit(share, truth, 1)[0])
        sizes.append(np.mean(share))
    assert np.mean(slopes) == pytest.approx(1, abs=0.05)
    assert np.mean(sizes) == pytest.approx(2 / 3, abs=0.005)


@pytest.mark.parametrize("all_right", [True, False])
def test_shares_stay_within_zero_and_one_when_everyone_is_alike(all_right):
    n = np.array([1, 3, 9, 0])
    share = shrunk_share(n if all_right else 0 * n, n)
    assert np.all((share[:3] > 0) & (share[:3] < 1))
    assert np.all(np.diff(share[:3]) * (1 if all_right else -1) > 0)
    assert np.isnan(share[3])


def test_nobody_with_errors_gives_unknown_shares():
    nothing = np.empty(0, np.int64)
    result = recovery(nothing, nothing, nothing, np.empty(0, bool), np.empty(0, bool), 2)
    assert np.isnan(result.value).tolist() == [True, True]
    assert result.n.tolist() == result.right.tolist() == [0, 0]
