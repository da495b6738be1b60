"""The next week's own-week ability: intervals that hold what they say, and students of whom little is known."""

import numpy as np
import pytest

from seedtest_assets.models.theta_forecast import next_week


def cohort(students: int, weeks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Own-week scores around levels that wander, each with its known standard error; the last week too."""
    random = np.random.default_rng(seed)
    level = random.normal(0, 1, (students, 1)) + random.normal(0, 0.1, (students, weeks)).cumsum(axis=1)
    se = random.uniform(0.3, 0.6, (students, 1)) * np.ones((1, weeks))
    theta = level + se * random.normal(size=(students, weeks))
    return np.where(random.random((students, weeks)) < 0.2, np.nan, theta), se


def test_nine_of_ten_scores_of_the_next_week_fall_into_their_intervals():
    theta, se = cohort(2000, 13, seed=1)
    ahead = next_week(theta[:, :-1], np.where(np.isnan(theta[:, :-1]), np.nan, se[:, :-1]))
    known = ~np.isnan(theta[:, -1])
    within = (theta[:, -1] >= ahead["lower"]) & (theta[:, -1] <= ahead["upper"])
    assert within[known].mean() == pytest.approx(0.90, abs=0.02)


def test_it_is_nearer_than_the_last_score_and_than_the_cohort():
    theta, se = cohort(2000, 13, seed=2)
    expected = next_week(theta[:, :-1], se[:, :-1])["expected"].to_numpy()
    both = ~np.isnan(theta[:, -1]) & ~np.isnan(theta[:, -2])

    def error(forecast):
        return np.sqrt(np.mean((theta[both, -1] - forecast) ** 2))

    last, mean = theta[both, -2], np.nanmean(theta[:, :-1])
    assert error(expected[both]) < 0.9 * error(last)
    assert error(expected[both]) < 0.6 * error(mean)


def test_who_has_few_scores_is_drawn_to_the_cohort_with_a_wide_interval():
    theta, se = cohort(500, 12, seed=3)
    theta[0] = np.nan
    theta[1] = np.nan
    theta[1, -1] = 4.0
    ahead = next_week(theta, se)
    assert ahead.loc[0, ["expected", "lower", "upper"]].isna().all()
    assert ahead.loc[0, "weeks"] == 0
    assert 1.0 < ahead.loc[1, "expected"] < 4.0
    width = ahead["upper"] - ahead["lower"]
    assert width[1] > width[2:].median()


def test_the_order_of_the_students_does_not_matter():
    theta, se = cohort(300, 12, seed=4)
    order = np.random.default_rng(5).permutation(300)
    one, other = next_week(theta, se), next_week(theta[order], se[order])
    assert other["expected"].to_numpy() == pytest.approx(one["expected"].to_numpy()[order], abs=1e-12)


def test_scores_that_never_change_go_on():
    ahead = next_week(np.full((3, 12), 0.5), np.ones((3, 12)))
    assert ahead["expected"].to_numpy() == pytest.approx(0.5)
    assert (ahead["lower"] < 0.5).all()


@pytest.mark.parametrize("theta", [np.full((3, 12), np.nan), np.empty((0, 12))])
def test_no_scores_give_nothing(theta):
    assert next_week(theta, np.ones_like(theta))["expected"].isna().all()
