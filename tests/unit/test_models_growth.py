"""Growth: closed forms against dense normal distributions, goals against a plain loop, mixtures against integration."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate
from scipy.stats import multivariate_normal, norm

from seedtest_assets.models import growth
from seedtest_assets.models.growth import (
    PARAMETERS,
    Mixture,
    NothingToLearn,
    Priors,
    Scores,
    conditional_line,
    goal_probability,
    log_likelihood,
    predictive,
    statistics,
    unpublishable,
)

TYPICAL = dict(zip(PARAMETERS, (0.2, 0.03, 0.8, 0.05, 0.3, 1.1), strict=True))
SINGULAR = {
    "no spread of slopes": {"sd_week": 0.0},
    "no spread of levels": {"sd_intercept": 0.0},
    "no spread": {"sd_week": 0.0, "sd_intercept": 0.0},
    "correlation 1": {"correlation": 1.0},
    "correlation -1": {"correlation": -1.0},
}
CASES = pytest.mark.parametrize("changed", [{}, *SINGULAR.values()], ids=["typical", *SINGULAR])


def drawn(seed=1, students=6, most=9):
    """Scores of students; the last has none, the first one only, the second two in the same week."""
    random = np.random.default_rng(seed)
    counts = random.integers(2, most, students)
    counts[:2], counts[-1] = (1, 2), 0
    student = np.repeat(np.arange(students), counts)
    week = -0.5 - random.integers(0, 12, len(student))
    week[1:3] = -3.5
    order = random.permutation(len(student))
    score, se = random.normal(0, 1, len(student)), random.uniform(0.2, 0.9, len(student))
    return Scores(*(values[order] for values in (student, week, score, se)), students)


def dense(scores, student, parameters):
    """Design, residual from the fixed effects, covariance of the scores and G of a student."""
    own = scores.student == student
    b0, b1, sd0, sd1, correlation, kappa = parameters.values()
    x = np.column_stack([np.ones(own.sum()), scores.week[own]])
    g = np.array([[sd0**2, correlation * sd0 * sd1], [correlation * sd0 * sd1, sd1**2]])
    return x, scores.score[own] - x @ [b0, b1], x @ g @ x.T + np.diag((kappa * scores.se[own]) ** 2), g


@CASES
def test_the_likelihood_is_that_of_the_dense_normal_distribution(changed):
    scores, parameters = drawn(), TYPICAL | changed
    found = log_likelihood(statistics(scores), parameters)
    for student in range(scores.n_students - 1):
        _, residual, covariance, _ = dense(scores, student, parameters)
        assert found[student] == pytest.approx(multivariate_normal(cov=covariance).logpdf(residual), abs=1e-9)
    assert found[-1] == 0


@CASES
def test_the_line_is_that_of_the_dense_conditional_distribution(changed):
    scores, parameters = drawn(2), TYPICAL | changed
    mean, covariance = conditional_line(statistics(scores), parameters)
    for student in range(scores.n_students):
        x, residual, of_scores, g = dense(scores, student, parameters)
        gain = g @ x.T @ np.linalg.inv(of_scores)
        fixed = [parameters["intercept"], parameters["week"]]
        np.testing.assert_allclose(mean[student], fixed + gain @ residual, atol=1e-12)
        np.testing.assert_allclose(covariance[student], g - gain @ x @ g, atol=1e-12)


def test_without_slopes_the_level_is_the_mean_shrunk_by_its_reliability():
    scores = Scores(np.zeros(4, int), np.array([-1.0, -2, -3, -4]), np.array([1.0, 2, 3, 2]), np.full(4, 0.5), 1)
    parameters = dict(zip(PARAMETERS, (1.0, 0.0, 1.0, 0.0, 0.0, 2.0), strict=True))
    mean, covariance = conditional_line(statistics(scores), parameters)
    reliability = 1 / (1 + (2 * 0.5) ** 2 / 4)  # 0.8
    np.testing.assert_allclose(mean, [[1 + reliability * (2 - 1), 0]])
    np.testing.assert_allclose(covariance, [[[1 - reliability, 0], [0, 0]]], atol=1e-15)


def draws_around(parameters, n, seed=3):
    random = np.random.default_rng(seed)
    spread = dict(zip(PARAMETERS, (0.05, 0.01, 0.08, 0.01, 0.1, 0.05), strict=True))
    return pd.DataFrame({name: random.normal(parameters[name], spread[name], n) for name in PARAMETERS})


def test_goals_are_what_a_plain_loop_finds():
    scores, draws = drawn(4), draws_around(TYPICAL, 40)
    student, week = np.array([0, 1, 2, 3, 5, 3, 2]), np.array([4.0, 8, 12, 0, 6, -5.5, 3])
    target = np.array([0.5, -0.4, 1.0, 0.3, 0.5, 0.3, 9.0])
    found = goal_probability(statistics(scores), draws, student, week, target)
    for row, (who, when, level) in enumerate(zip(student, week, target, strict=True)):
        means, variances, chances = [], [], []
        for parameters in draws.to_dict("records"):
            mean, covariance = (each[who] for each in conditional_line(statistics(scores), parameters))
            at = np.array([1.0, when])
            means.append(at @ mean)
            variances.append(at @ covariance @ at)
            chances.append(norm.sf(level, means[-1], np.sqrt(variances[-1])))
        expected = [np.mean(chances), *np.quantile(chances, [0.05, 0.95]), np.mean(means)]
        expected.append(np.sqrt(np.mean(variances) + np.var(means)))
        np.testing.assert_allclose(found.iloc[row], expected, atol=1e-12)


def test_many_goals_at_once_are_the_same_goals(monkeypatch):
    of, draws = statistics(drawn(4)), draws_around(TYPICAL, 40)
    student, week, target = np.arange(6), np.linspace(-4, 8, 6), np.linspace(-1, 1, 6)
    whole = goal_probability(of, draws, student, week, target)
    monkeypatch.setattr(growth, "CELLS_AT_ONCE", 80)
    pd.testing.assert_frame_equal(goal_probability(of, draws, student, week, target), whole)


def test_the_order_of_scores_and_students_does_not_matter():
    scores, draws = drawn(5), draws_around(TYPICAL, 20)
    random = np.random.default_rng(0)
    order, renamed = random.permutation(len(scores.week)), random.permutation(scores.n_students)
    columns = (renamed[scores.student], scores.week, scores.score, scores.se)
    other = Scores(*(values[order] for values in columns), scores.n_students)
    everyone, week, target = np.arange(6), np.full(6, 5.0), np.full(6, 0.4)
    one = goal_probability(statistics(scores), draws, everyone, week, target)
    another = goal_probability(statistics(other), draws, renamed, week, target)
    np.testing.assert_allclose(one, another, atol=1e-12)


def test_a_student_without_scores_has_the_populations_line():
    parameters = dict(zip(PARAMETERS, (0.2, 0.1, 0.6, 0.1, -0.5, 1.0), strict=True))
    found = goal_probability(
        statistics(drawn()), pd.DataFrame([parameters]), np.array([5]), np.array([4.0]), np.array([1.0])
    )
    sigma = np.sqrt(0.36 + 2 * 4 * -0.5 * 0.6 * 0.1 + 16 * 0.01)
    assert found["mu"].item() == pytest.approx(0.6)
    assert found["sigma"].item() == pytest.approx(sigma)
    assert found["p_goal"].item() == pytest.approx(norm.sf((1.0 - 0.6) / sigma))


def test_a_single_draw_has_no_interval():
    found = goal_probability(statistics(drawn()), pd.DataFrame([TYPICAL]), np.array([0]), np.zeros(1), np.zeros(1))
    assert found[["p_lower", "p_upper"]].isna().all(axis=None)
    assert found[["p_goal", "mu", "sigma"]].notna().all(axis=None)


@pytest.mark.parametrize(("target", "p"), [(0.29, 1.0), (0.31, 0.0), (0.25, 1.0)])
def test_a_line_that_is_known_reaches_a_goal_or_does_not(target, p):
    parameters = dict(zip(PARAMETERS, (0.25, 0.01, 0.0, 0.0, 0.0, 1.0), strict=True))
    of = statistics(drawn())
    found = goal_probability(of, pd.DataFrame([parameters] * 2), np.array([1]), np.array([5.0]), np.array([target]))
    assert found[["p_goal", "p_lower", "p_upper"]].to_numpy().tolist() == [[p, p, p]]
    assert found["sigma"].item() == pytest.approx(0, abs=1e-12)


def test_a_target_that_is_met_exactly_is_reached():
    parameters = dict(zip(PARAMETERS, (0.5, 0.0, 0.0, 0.0, 0.0, 1.0), strict=True))
    of = statistics(drawn())
    found = goal_probability(of, pd.DataFrame([parameters]), np.array([0]), np.array([3.0]), np.array([0.5]))
    assert found["p_goal"].item() == 1


def test_goals_far_ahead_fall_back_to_one_half_and_low_ones_are_sure():
    of = statistics(drawn())
    at = np.full(3, 1.0), np.array([-30.0, 30.0, 0.0])
    found = goal_probability(of, pd.DataFrame([TYPICAL] * 3), np.full(3, 2), *at)
    np.testing.assert_allclose(found["p_goal"][:2], [1, 0], atol=1e-12)
    flat = pd.DataFrame([TYPICAL | {"week": 0.0}])
    far = goal_probability(of, flat, np.array([5]), np.array([1e6]), np.array([1.0]))
    assert far["p_goal"].item() == pytest.approx(0.5, abs=1e-4)


def test_a_goal_in_the_past_is_surest_where_the_scores_are():
    scores = Scores(np.zeros(9, int), -np.arange(9.0), np.full(9, 0.7), np.full(9, 0.3), 1)
    found = goal_probability(
        statistics(scores), pd.DataFrame([TYPICAL]), np.zeros(3, int), np.array([-4.0, 4, -12]), np.zeros(3)
    )
    assert found["sigma"].idxmin() == 0
    assert found["mu"][0] == pytest.approx(0.7, abs=0.05)


def test_more_scores_make_a_line_surer_and_constant_ones_are_its_level():
    parameters = TYPICAL | {"week": 0.0, "correlation": 0.0}
    sigmas = []
    for n in (1, 4, 16, 4000):
        scores = Scores(np.zeros(n, int), -0.5 - np.arange(n) % 12, np.full(n, 1.3), np.full(n, 0.4), 1)
        mean, covariance = conditional_line(statistics(scores), parameters)
        sigmas.append(covariance[0, 0, 0])
    assert sigmas == sorted(sigmas, reverse=True)
    np.testing.assert_allclose(mean, [[1.3, 0]], atol=0.01)


def test_scores_of_one_week_say_nothing_of_growth_where_it_does_not_hang_together_with_the_level():
    parameters = TYPICAL | {"correlation": 0.0}
    scores = Scores(np.zeros(5, int), np.zeros(5), np.linspace(0, 1, 5), np.full(5, 0.4), 1)
    mean, covariance = conditional_line(statistics(scores), parameters)
    assert mean[0, 1] == pytest.approx(parameters["week"])
    assert covariance[0, 1, 1] == pytest.approx(parameters["sd_week"] ** 2)


def test_one_draw_with_known_parameters_is_calibrated():
    random = np.random.default_rng(8)
    n, weeks = 4000, 8
    b0, b1, sd0, sd1, correlation, kappa = TYPICAL.values()
    covariance = [[sd0**2, correlation * sd0 * sd1], [correlation * sd0 * sd1, sd1**2]]
    line = random.multivariate_normal([b0, b1], covariance, n)
    student, week = np.repeat(np.arange(n), weeks), np.tile(-0.5 - np.arange(weeks), n)
    se = random.uniform(0.3, 0.8, n * weeks)
    score = line[student, 0] + line[student, 1] * week + kappa * se * random.normal(size=n * weeks)
    of = statistics(Scores(student, week, score, se, n))
    target = random.normal(0.5, 0.3, n)
    p = goal_probability(of, pd.DataFrame([TYPICAL]), np.arange(n), np.full(n, 6.0), target)["p_goal"].to_numpy()
    reached = line @ [1, 6.0] >= target
    for low in np.arange(0, 1, 0.2):
        some = (p >= low) & (p < low + 0.2)
        assert reached[some].mean() == pytest.approx(p[some].mean(), abs=4 * np.sqrt(0.25 / some.sum()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"se": np.array([0.3, 0.0])}, "se must be greater than 0"),
        ({"se": np.array([0.3, -1.0])}, "se must be greater than 0"),
        ({"se": np.array([0.3, np.inf])}, "every se must be a finite number"),
        ({"score": np.array([0.3, np.nan])}, "every score must be a finite number"),
        ({"week": np.array([0.3, -np.inf])}, "every week must be a finite number"),
        ({"student": np.array([0, 2])}, r"every student must be in 0\.\.1"),
        ({"student": np.array([0, -1])}, r"every student must be in 0\.\.1"),
    ],
)
def test_impossible_scores_are_refused(changed, message):
    given = {"student": np.array([0, 1]), "week": np.zeros(2), "score": np.zeros(2), "se": np.ones(2)} | changed
    with pytest.raises(ValueError, match=message):
        statistics(Scores(**given, n_students=2))


@pytest.mark.parametrize(("week", "target", "name"), [(np.nan, 0, "week"), (np.inf, 0, "week"), (0, np.nan, "target")])
def test_a_goal_without_a_date_or_a_level_is_refused(week, target, name):
    at = np.array([week], dtype=float), np.array([target], dtype=float)
    with pytest.raises(ValueError, match=f"the {name} of every goal must be a finite number"):
        goal_probability(statistics(drawn()), pd.DataFrame([TYPICAL]), np.array([0]), *at)


@pytest.mark.parametrize(("level", "n", "message"), [(0.0, 0, "no score"), (0.7, 3, "equal"), (0.0, 40, "equal")])
def test_scores_that_say_nothing_are_not_sampled(level, n, message):
    se = np.random.default_rng(0).uniform(0.2, 0.9, n)
    of = statistics(Scores(np.arange(n) % 5, np.zeros(n), np.full(n, level), se, 5))
    with pytest.raises(NothingToLearn, match=message):
        growth.sample(of, Priors(), chains=1, samples=1, warmup=1, seed=1, max_seconds=1)


# -- publication ----------------------------------------------------------------------------------------------

GOOD = {"rhat": 1.0099, "ess_bulk": 401.0, "ess_tail": 401.0, "divergences": 0, "ebfmi": 0.3}


def test_good_diagnostics_are_publishable():
    assert unpublishable(GOOD | {"seconds": 3.0}) == []


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"rhat": 1.01}, "R-hat"),
        ({"rhat": np.nan}, "R-hat"),
        ({"ess_bulk": 400.0}, "bulk ESS"),
        ({"ess_bulk": np.nan}, "bulk ESS"),
        ({"ess_tail": 400.0}, "tail ESS"),
        ({"divergences": 1}, "1 divergences"),
        ({"divergences": np.nan}, "divergences"),
        ({"ebfmi": 0.29}, "E-BFMI"),
        ({"ebfmi": np.nan}, "E-BFMI"),
    ],
)
def test_each_bad_diagnostic_is_a_reason(changed, reason):
    (found,) = unpublishable(GOOD | changed)
    assert reason in found


def test_priors_are_sent_as_plain_json():
    assert Priors(week=(0.1, 0.2), lkj=3.0).as_request() == {
        "intercept": [0.0, 1.0],
        "week": [0.1, 0.2],
        "sd_intercept": 1.0,
        "sd_week": 1.0,
        "lkj": 3.0,
        "log_kappa": [0.0, 0.5],
    }


# -- predicted scores -----------------------------------------------------------------------------------------


def mixture(rows=4, draws=7, seed=9):
    random = np.random.default_rng(seed)
    return Mixture(random.normal(0, 1, (rows, draws)), random.uniform(0.1, 1.5, (rows, draws)))


def test_a_predicted_score_is_the_line_and_its_residual():
    of, draws = statistics(drawn()), draws_around(TYPICAL, 30)
    student, week, se = np.array([2, 5]), np.array([0.5, 3.0]), np.array([0.4, 0.7])
    found = predictive(of, draws, student, week, se)
    line = goal_probability(of, draws, student, week, np.zeros(2))
    np.testing.assert_allclose(found.mean, line["mu"])
    np.testing.assert_allclose(found.sd**2, line["sigma"] ** 2 + se**2 * np.mean(draws["kappa"] ** 2))


def test_moments_of_a_mixture_are_those_of_its_draws():
    of, random = mixture(), np.random.default_rng(1)
    component = random.integers(0, 7, 200_000)
    drawn = random.normal(of.means[:, component], of.sds[:, component])
    np.testing.assert_allclose(of.mean, drawn.mean(axis=1), atol=0.015)
    np.testing.assert_allclose(of.sd, drawn.std(axis=1), atol=0.015)
    np.testing.assert_allclose(of.at_least(np.full(4, 0.3)), (drawn >= 0.3).mean(axis=1), atol=0.005)
    np.testing.assert_allclose(of.below(np.full(4, 0.3)), (drawn < 0.3).mean(axis=1), atol=0.005)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.9, 0.999])
def test_a_quantile_has_its_share_below(share):
    of = mixture(20)
    np.testing.assert_allclose(of.below(of.quantile(share)), share, atol=1e-9)


def test_quantiles_of_one_draw_are_those_of_the_normal_distribution():
    of = Mixture(np.array([[1.0], [-2.0]]), np.array([[0.5], [2.0]]))
    np.testing.assert_allclose(of.quantile(0.95), [1 + 1.644854 * 0.5, -2 + 1.644854 * 2], atol=1e-6)
    np.testing.assert_allclose(of.quantile(0.5), [1, -2], atol=1e-9)


def test_crps_is_the_integral_of_the_squared_distance_of_distribution_functions():
    of, came = mixture(), np.array([0.4, -3.0, 1.2, 0.0])
    for row, score in enumerate(came):
        only = Mixture(of.means[[row]], of.sds[[row]])

        def squared(x, only=only, score=score):
            return (only.below(np.array([x])).item() - (x >= score)) ** 2

        expected, _ = integrate.quad(squared, -12, 12, points=[score], limit=400)
        assert of.crps(came)[row] == pytest.approx(expected, abs=1e-6)


def test_crps_of_a_standard_normal_at_its_mean_is_as_published():
    # Gneiting & Raftery 2007: sigma (2 phi(0) - 1 / sqrt(pi)).
    assert Mixture(np.zeros((1, 5)), np.ones((1, 5))).crps(np.zeros(1)).item() == pytest.approx(0.2336950, abs=1e-6)
