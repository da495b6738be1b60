"""Segments are found where they were planted, and nowhere else. benchmarks/segmentation has the long form."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from seedtest_assets.models.segment_features import TRANSFORMS, segment_features
from seedtest_assets.models.segment_labels import label_segments, transition
from seedtest_assets.models.segmentation import Segmentation, assign, segment

from .segment_worlds import blob, planted, unlogged, weekly

QUICK: dict[str, Any] = {"references": 10, "bootstraps": 10}
pytestmark = pytest.mark.slow


@pytest.fixture(params=["kmeans", "gmm"])
def method(request: pytest.FixtureRequest) -> str:
    return request.param


def likeness(truth: np.ndarray, found: Segmentation, features: pd.DataFrame) -> float:
    return adjusted_rand_score(truth, assign(found, features)["segment"].astype(int))


@pytest.mark.parametrize("n", [100, 500])
@pytest.mark.parametrize("shape", ["round", "long", "skewed"])
def test_one_blob_has_no_stable_segments(method, shape, n):
    for seed in range(3):
        found = segment(blob(shape, n, 8, seed), method=method, **QUICK)
        assert (found.k, found.status) == (1, "no stable segments"), found.curves


def test_neither_the_gap_statistic_nor_stability_alone_would_say_so():
    """Some skewed blobs have k > 1 by the 1-SE rule; the halves of a long one come back in every bootstrap sample."""
    skewed = [segment(blob("skewed", 100, 3, seed), method="kmeans", **QUICK) for seed in range(6)]
    assert any(found.gap_k > 1 for found in skewed)
    assert all(found.k == 1 for found in skewed)
    halves = segment(blob("long", 500, 8, 0), method="kmeans", k=2, **QUICK)
    assert halves.stability.min() > 0.75
    assert halves.status == "unstable segments"


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("k", [3, 4])
def test_planted_segments_are_recovered(method, k, missing):
    for seed in range(2):
        features, truth = planted(400, 8, k, seed, missing=missing)
        found = segment(features, method=method, **QUICK)
        assert (found.k, found.status) == (k, "segments"), found.curves
        assert likeness(truth, found, features) >= 0.9
        assert found.stability.min() >= 0.85


def test_students_who_were_not_logged_make_a_segment_only_when_they_are_given_the_mean(method):
    left, filled = [], []
    for seed in range(3):
        features, truth = unlogged(400, seed)
        found = segment(features, method=method, **QUICK)
        left.append(found.k)
        assert likeness(truth, found, features) > 0.9
        filled.append(segment(features.fillna(features.mean()), method=method, **QUICK).k)
    assert left == [2, 2, 2]
    assert max(filled) > 2


def test_probabilities_come_true_where_segments_overlap(method):
    """Of students said to be in their segment with probability p, a share p is."""
    random = np.random.default_rng(3)
    truth = np.repeat([0, 1], 2000)
    x = random.normal(size=(4000, 3)) + np.outer(truth, [1.8, 1.8, 0.0])
    features = pd.DataFrame(x, columns=list("abc"), index=[f"{number:04d}" for number in range(4000)])
    found = segment(features, method=method, k=2, references=2, bootstraps=2)
    result = assign(found, features)
    right = result["segment"].to_numpy(dtype=int) == truth
    right = right if right.mean() > 0.5 else ~right
    said = result["probability"].to_numpy()
    for low, high in ((0.5, 0.75), (0.75, 0.9), (0.9, 1.0)):
        some = (said > low) & (said <= high)
        # the parameters are estimated, too: two standard errors and .03
        assert right[some].mean() == pytest.approx(said[some].mean(), abs=0.03 + 2 * 0.5 / np.sqrt(some.sum()))


def test_habits_are_found_in_weekly_metrics_and_keep_their_names_from_run_to_run(method):
    weeks, habit = weekly(300, 12, seed=1)
    features = segment_features(weeks)
    found = segment(features, TRANSFORMS, method=method, **QUICK)
    assert found.k == 3, found.curves
    assert likeness(habit.to_numpy(), found, features) > 0.9
    assert found.left_out["accuracy"].startswith("missing")
    labels = label_segments(found)
    names = {habit[student]: labels[number].key for student, number in assign(found, features)["segment"].items()}

    later, later_habit = weekly(360, 12, seed=2, hurry=-0.05)
    again_features = segment_features(later.sample(frac=1, random_state=0))
    again = segment(again_features, TRANSFORMS, method=method, **QUICK)
    again_labels = label_segments(again, (found, labels))
    keys = assign(again, again_features)["segment"].map(lambda number: again_labels[number].key)
    assert {label.key for label in again_labels} == {label.key for label in labels}
    assert (keys == later_habit.map(names)).mean() > 0.95

    before = assign(found, features)["segment"].map(lambda number: labels[number].key)
    moves = transition(before, keys)
    shares = moves.groupby("previous")["share"].sum()
    np.testing.assert_allclose(shares, 1)
    assert moves["students"].sum() == 360
