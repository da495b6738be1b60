"""The whole segmentation: order of rows, units, JSON, new students, bad inputs. Its judgement: tests/statistics."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from seedtest_assets.models import segmentation as module
from seedtest_assets.models import segmentation_choice
from seedtest_assets.models.segmentation import CannotSegment, Segmentation, assign, segment

METHODS = ("kmeans", "gmm")
QUICK = {"references": 3, "bootstraps": 3}
CENTERS = {"sessions": [2.0, 9.0, 4.0], "seconds": [np.e**2, np.e**3, np.e**5], "share": [0.2, 0.8, 0.5]}


def students(n=90, seed=0, missing=0.05):
    """Three planted segments, log-normal seconds, with their truth."""
    random = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2], [n // 2, n // 3, n - n // 2 - n // 3])
    features = pd.DataFrame(
        {
            "sessions": np.array(CENTERS["sessions"])[truth] + random.normal(size=n),
            "seconds": np.array(CENTERS["seconds"])[truth] * np.exp(0.25 * random.normal(size=n)),
            "share": np.array(CENTERS["share"])[truth] + 0.08 * random.normal(size=n),
        },
        index=[f"s{number:03d}" for number in random.permutation(n)],
    )
    return features.mask(random.random(features.shape) < missing), truth


@pytest.fixture(scope="module", autouse=True)
def _few_curves():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation_choice, "K_MAX", 4)
        yield


@pytest.fixture(scope="module", params=METHODS)
def found(request):
    features, truth = students()
    return segment(features, {"seconds": "log"}, method=request.param, **QUICK), features, truth


def test_planted_segments_are_found_the_largest_first(found):
    segmentation, features, truth = found
    assert (segmentation.status, segmentation.k, segmentation.n) == ("segments", 3, 90)
    assigned = assign(segmentation, features)["segment"]
    known = assigned.notna().to_numpy()
    assert adjusted_rand_score(truth[known], assigned[known].astype(int)) > 0.93
    assert (np.diff(segmentation.weights) <= 0).all()
    np.testing.assert_allclose(segmentation.weights, [1 / 2, 1 / 3, 1 / 6], atol=0.02)


def test_centres_in_natural_units_are_what_was_planted(found):
    segmentation, _, _ = found
    centers = segmentation.natural_centers
    np.testing.assert_allclose(centers["sessions"], CENTERS["sessions"], atol=0.6)
    np.testing.assert_allclose(centers["seconds"], CENTERS["seconds"], rtol=0.2)
    np.testing.assert_allclose(centers["share"], CENTERS["share"], atol=0.05)


def test_json_keeps_every_digit_and_new_students_are_assigned_by_what_is_stored(found):
    segmentation, features, _ = found
    text = json.dumps(segmentation.to_json(), allow_nan=False)
    again = Segmentation.from_json(json.loads(text))
    assert json.dumps(again.to_json()) == text
    both = assign(segmentation, features)
    pd.testing.assert_frame_equal(assign(again, features), both, check_exact=True)
    alone = pd.concat([assign(again, features.loc[[student]]) for student in features.index])
    pd.testing.assert_frame_equal(alone, both, rtol=1e-9)
    assert again.curves["k"].tolist() == list(range(1, 5))


def test_the_order_of_rows_changes_no_digit(found):
    segmentation, features, _ = found
    again = segment(features.sample(frac=1, random_state=1), {"seconds": "log"}, method=segmentation.method, **QUICK)
    assert again.to_json() == segmentation.to_json()


def test_other_units_change_nothing():
    features, _ = students()
    other = features.assign(sessions=features["sessions"] * 7 - 3, share=features["share"] * 100)
    both = [assign(segment(one, {"seconds": "log"}, method="kmeans", **QUICK), one) for one in (features, other)]
    pd.testing.assert_frame_equal(*both, rtol=1e-6)


def test_a_mixture_s_posterior_and_a_k_means_probability_are_bayes_rule(found):
    """By hand, for a student of whom one feature is not known."""
    segmentation, features, _ = found
    student = features.dropna().iloc[[0]].assign(share=np.nan)
    x = segmentation.scaled(student)[0]
    known = ~np.isnan(x)
    density = []
    for number in range(3):
        off = (x - segmentation.centers[number])[known]
        if segmentation.mixture is None:
            density.append(np.exp(-off @ off / (2 * segmentation.spread**2)))
        else:
            covariance = segmentation.mixture.covariances[number][np.ix_(known, known)]
            weight = segmentation.mixture.weights[number] / np.sqrt(np.linalg.det(covariance))
            density.append(weight * np.exp(-off @ np.linalg.solve(covariance, off) / 2))
    result = assign(segmentation, student).iloc[0]
    assert result["segment"] == np.argmax(density)
    assert result["probability"] == pytest.approx(max(density) / sum(density), rel=1e-9)


def test_a_student_of_whom_nothing_is_known_has_no_segment(found):
    segmentation, features, _ = found
    unknown = assign(segmentation, features.iloc[:2].assign(**dict.fromkeys(features, np.nan)))
    assert unknown["segment"].isna().all()
    assert unknown["probability"].isna().all()


@pytest.mark.parametrize("method", METHODS)
def test_one_blob_has_no_segments_and_a_wanted_number_is_given_with_a_warning(method):
    features = pd.DataFrame(np.random.default_rng(1).normal(size=(80, 3)), columns=list("abc"))
    free = segment(features, method=method, **QUICK)
    assert (free.k, free.status, free.stability) == (1, "no stable segments", None)
    assert free.reason
    assert (assign(free, features)["segment"] == 0).all()
    assert (assign(free, features)["probability"] == 1).all()
    asked = segment(features, method=method, k=3, **QUICK)
    assert (asked.k, asked.status, len(asked.stability)) == (3, "unstable segments", 3)
    assert asked.reason
    assert Segmentation.from_json(json.loads(json.dumps(free.to_json()))).to_json() == free.to_json()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("features", "status"),
    [
        (students()[0].iloc[:29], "too few students"),
        (students()[0].iloc[:1], "no features"),
        (students()[0].iloc[:0], "no features"),
        (students()[0] * 0, "no features"),
        (students()[0] * np.nan, "no features"),
        (pd.concat([students()[0].iloc[:10]] * 9).reset_index(drop=True), "too few students"),
    ],
    ids=["29 students", "one", "none", "constant", "all missing", "ten students nine times"],
)
def test_what_carries_nothing_gives_one_segment_and_the_reason(method, features, status):
    found = segment(features, method=method, **QUICK)
    assert (found.k, found.status) == (1, status)
    assert found.reason
    again = Segmentation.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assigned = assign(again, features)
    assert len(assigned) == len(features)
    assert (assigned["segment"] == 0).all()


def test_features_that_cannot_group_are_left_out_with_the_reason():
    features = students()[0]
    zeros = np.where(np.arange(90) % 9, 0.0, 2.0)
    spoilt = features.assign(
        zeros=zeros, same=1.0, rare=features["share"].where(np.arange(90) < 40), twice=features["share"] ** 3
    )
    found = segment(spoilt, {"seconds": "log"}, method="kmeans", **QUICK)
    assert found.left_out == {
        "same": "constant",
        "rare": "missing for more than half of the students",
        "twice": "says what share says",
    }
    assert found.features == ("sessions", "seconds", "share", "zeros")
    # half of the students share a value: no interquartile range to scale by
    assert found.scale[-1] == pytest.approx(zeros.std())


def test_many_students_are_refined_from_a_sample(monkeypatch):
    features, truth = students(600, missing=0.0)
    monkeypatch.setattr(module, "SAMPLE", 150)
    found = segment(features, {"seconds": "log"}, method="kmeans", **QUICK)
    assert found.n == 600
    x = found.scaled(features)
    labels = assign(found, features)["segment"].to_numpy(dtype=int)
    means = np.array([x[labels == number].mean(axis=0) for number in range(3)])
    np.testing.assert_allclose(found.centers, means, atol=1e-12)
    assert adjusted_rand_score(truth, labels) > 0.93


@pytest.mark.parametrize(
    ("changed", "advice"),
    [
        ({"method": "dbscan"}, "CLUSTER_METHOD"),
        ({"k": 0}, "CLUSTER_N_CLUSTERS"),
        ({"twice": True}, "one row per student"),
    ],
)
def test_requests_without_meaning_are_refused_with_advice(changed, advice):
    features = students()[0]
    if changed.pop("twice", False):
        features = pd.concat([features, features.iloc[:1]])
    with pytest.raises(CannotSegment, match=advice):
        segment(features, **{"method": "kmeans"} | changed)
