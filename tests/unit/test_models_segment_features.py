"""Features of a student by hand, and which are left out."""

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.models.segment_features import TRANSFORMS, left_out, natural, segment_features, transformed

COLUMNS = ["active_days", "attempts", "mean_gap_days", "hint_rate", "dwell_s", "i_t", "e_t", "r_t"]
WEEKS = pd.DataFrame(
    [
        ["a", 1, 2, 20, 3.0, 0.1, 600, 0.2, 0.0, 0.5],
        ["a", 2, 4, 60, 2.0, 0.3, 1200, 0.4, None, None],
        ["a", 3, 0, 0, 4.0, 0.2, 600, None, 0.1, None],
        ["a", 4, 6, 40, 3.0, None, 600, 0.6, 0.2, None],
        ["b", 1, 5, 50, 1.5, None, 300, 0.1, 0.1, 0.9],
        ["b", 2, 5, 50, 1.5, None, 300, 0.1, 0.1, 0.9],
        ["b", 3, 5, 50, 1.5, None, 300, 0.1, 0.1, 0.9],
    ],
    columns=["user_id", "week_start", *COLUMNS],
)


def test_a_student_by_hand():
    found = segment_features(WEEKS)
    assert list(found.columns) == list(TRANSFORMS)
    assert found.index.tolist() == ["a"]  # b has three weeks
    expected = {
        "frequency": 3,
        "irregularity": np.std([2, 4, 0, 6], ddof=1),
        "gap_days": 3,
        "session_minutes": 12.5,
        "answers_per_day": 10,
        "response_s": np.nan,
        "hint_rate": 0.2,
        "accuracy": np.nan,
        "improvement": 0.4,
        "improvement_spread": 0.2,
        "efficiency": 0.1,
        "efficiency_spread": 0.1,
        "recovery": 0.5,
        "recovery_spread": np.nan,  # known in one week only
    }
    assert found.loc["a"].to_dict() == pytest.approx(expected, nan_ok=True)


def test_what_was_logged_besides_is_used():
    found = segment_features(
        WEEKS.assign(rt_median_s=[10, 20, None, 30, 1, 1, 1], accuracy=[0.5, 0.7, 0.9, 0.5, 1, 1, 1])
    )
    assert found.loc["a", ["response_s", "accuracy"]].tolist() == pytest.approx([20, 0.65])


def test_the_order_of_rows_changes_no_digit():
    random = np.random.default_rng(0)
    weeks = pd.DataFrame(random.random((60, 8)), columns=COLUMNS).assign(
        user_id=np.repeat(list("abcdef"), 10), week_start=np.tile(np.arange(10), 6)
    )
    shuffled = weeks.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(segment_features(weeks), segment_features(shuffled), check_exact=True)


def test_nobody_gives_no_rows():
    assert segment_features(WEEKS.iloc[:0]).empty


def test_no_activity_is_no_rate():
    idle = WEEKS[WEEKS["user_id"] == "a"].assign(active_days=0, attempts=0)
    assert np.isnan(segment_features(idle).loc["a", "answers_per_day"])


def test_each_reason_to_leave_a_feature_out():
    x = np.arange(1.0, 21)
    features = pd.DataFrame(
        {
            "first": x,
            "half": np.where(x <= 10, np.nan, (x * 7) % 11),
            "rare": np.where(x <= 11, np.nan, x),
            "constant": np.where(x < 3, np.nan, 1.0),
            "falls": -(x**3),
            "other": (x * 7) % 13,
        }
    )
    assert left_out(features) == {
        "rare": "missing for more than half of the students",
        "constant": "constant",
        "falls": "says what first says",
    }


@pytest.mark.parametrize(("name", "at_3"), [("none", 3.0), ("log", np.log(4)), ("sqrt", np.sqrt(3))])
def test_transforms_and_their_inverses(name, at_3):
    values = np.array([0.0, 0.5, 3.0, np.nan])
    assert transformed(values, name)[2] == pytest.approx(at_3)
    np.testing.assert_allclose(natural(transformed(values, name), name), values)
