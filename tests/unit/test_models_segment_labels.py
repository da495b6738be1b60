"""Names by hand, and that they follow the segments."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.models.segment_features import TRANSFORMS
from seedtest_assets.models.segment_labels import ALL, WORDS, label_segments, transition
from seedtest_assets.models.segmentation import Segmentation

FEATURES = ("frequency", "response_s", "hint_rate")


def segmentation(centers, features=FEATURES, weights=None):
    """With these centres, median 0 and scale 1 on the transformed scale."""
    centers = np.array(centers, dtype=float)
    k, p = centers.shape
    return Segmentation(
        "kmeans",
        k,
        "segments",
        "",
        100,
        {},
        features=features,
        transforms=("none",) * p,
        location=np.zeros(p),
        scale=np.ones(p),
        centers=centers,
        weights=np.full(k, 1 / k) if weights is None else np.array(weights),
    )


FIRST = segmentation([[2, -1.5, 0], [-2, 1.5, 0.1], [0, 0.1, 0.2]])


def keys(labels):
    return [label.key for label in labels]


def test_a_name_is_made_of_the_two_features_furthest_from_the_average_student():
    labels = label_segments(FIRST)
    assert [(label.key, label.ko, label.en) for label in labels] == [
        ("frequent_fast", "자주·빠르게", "Frequent, fast"),
        ("infrequent_slow", "드물게·천천히", "Infrequent, slow"),
        ("average", "보통", "Average"),
    ]
    assert labels[0].named_at == {"frequency": 2, "response_s": -1.5, "hint_rate": 0}


def test_the_average_student_is_weighted_by_the_segments():
    """Medians sit in the larger segment: without the weights it would be 'average' at 0."""
    labels = label_segments(segmentation([[0, 0, 0], [5, -4, 0]], weights=[0.7, 0.3]))
    assert keys(labels) == ["infrequent_slow", "frequent_fast"]


def test_names_are_unique_even_for_segments_alike():
    labels = label_segments(
        segmentation([[3, 2, 1], [3.2, 2, 1.2], [2.9, 2.1, 1], [-3, -2, -1], [0, 0, 0], [0, 0.1, 0]])
    )
    for names in (keys(labels), [label.ko for label in labels], [label.en for label in labels]):
        assert len(set(names)) == 6


def test_every_feature_has_words_and_no_two_the_same():
    words = [name for both in WORDS.values() for name in both]
    assert set(WORDS) == set(TRANSFORMS)
    for texts in zip(*words, strict=True):
        assert len(set(texts)) == len(words)
    labels = label_segments(segmentation([[1.0], [-1.0]], features=("new",)))
    assert keys(labels) == ["high_new", "low_new"]


def test_one_segment_is_all_students():
    (label,) = label_segments(segmentation([[1, 2, 3]]))
    assert (label.key, label.ko, label.en) == ALL
    nothing = Segmentation("gmm", 1, "no features", "", 0, {})
    assert keys(label_segments(nothing)) == ["all"]


def test_names_follow_the_segments_into_another_order_and_scaling():
    before = label_segments(FIRST)
    moved = FIRST.centers[[2, 0, 1]] + 0.3
    now = segmentation((moved - 1) / 2, features=FEATURES)
    now = replace(now, location=np.ones(3), scale=np.full(3, 2.0))
    after = label_segments(now, (FIRST, before))
    assert keys(after) == ["average", "frequent_fast", "infrequent_slow"]
    assert [label.segment for label in after] == [0, 1, 2]
    assert after[1].named_at == before[0].named_at


def test_a_segment_that_drifts_away_gets_a_new_name_though_no_step_was_long():
    labels, before, seen = label_segments(FIRST), FIRST, []
    for step in range(1, 6):
        now = replace(FIRST, centers=FIRST.centers + np.outer([1, 0, 0], [-0.8 * step, 0, 0.5 * step]))
        labels = label_segments(now, (before, labels))
        before = now
        seen.append(labels[0].key)
    assert seen[0] == "frequent_fast"
    assert seen[-1] == "fast_many_hints"
    assert keys(labels)[1:] == ["infrequent_slow", "average"]


def test_a_new_segment_gets_no_name_of_the_previous_run_and_a_returning_one_may_keep_its_own():
    before = label_segments(FIRST)
    more = segmentation([*FIRST.centers.tolist(), [3.3, -2.8, 0.6]])
    after = label_segments(more, (FIRST, before))
    assert keys(after)[:3] == keys(before)
    assert after[3].key not in keys(before)
    # the first is gone, and what is nearest to it still deserves its name, though not for where it was given
    fewer = segmentation([[3.5, -3.5, 0], [-2, 1.5, 0.1], [0, 0.1, 0.2]])
    again = label_segments(fewer, (FIRST, before))
    assert keys(again) == keys(before)
    assert again[0].named_at["frequency"] == 3.5


def test_only_features_of_both_runs_are_compared():
    before = label_segments(FIRST)
    other = segmentation([[-2, 0.2], [2, 0.1], [0, 0.1]], features=("frequency", "accuracy"))
    assert keys(label_segments(other, (FIRST, before))) == ["infrequent_slow", "frequent_fast", "average"]


def test_transitions_by_hand():
    before = pd.Series({"a": "x", "b": "x", "c": "x", "d": "y", "e": "y"})
    after = pd.Series({"a": "x", "b": "z", "c": "x", "d": "y", "f": "z"})
    table = transition(before, after)
    rows = [tuple(row) for row in table.drop(columns="share").itertuples(index=False)]
    assert rows == [("x", "x", 2), ("x", "z", 1), ("y", "y", 1), ("y", None, 1), (None, "z", 1)]
    assert table["share"].tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 2, 1 / 2, np.nan], nan_ok=True)
