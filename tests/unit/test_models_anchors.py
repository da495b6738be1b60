"""Which items become anchors: each condition of the rule, the spread, and no dependence on the order of rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedtest_assets.models.anchors import choose_anchors

RULE = {"min_responses": 100, "most": 50, "least": 5}


def bank(n=5, **changed):
    good = {"a": 1.0, "se_b": 0.1, "n_responses": 100, "fit_p": 0.5, "rmsd": 0.02, "flag": None, "topic_id": "t"}
    difficulties = {"item_id": np.arange(1, n + 1), "b": np.linspace(-1.9, 1.9, n)}
    return pd.DataFrame(good | difficulties | changed, index=range(n))


def test_items_that_qualify_become_anchors():
    assert choose_anchors(bank(7), **RULE) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("n_responses", 99),
        ("a", 0.49),
        ("b", 2.01),
        ("b", -2.01),
        ("fit_p", 0.009),
        ("rmsd", 0.101),
        ("flag", "underfit"),
        ("se_b", np.nan),
    ],
)
def test_an_item_that_fails_one_condition_does_not(column, value):
    items = bank(8)
    items.loc[3, column] = value
    assert choose_anchors(items, **RULE) == [1, 2, 3, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("column", "value"),
    [("n_responses", 100), ("a", 0.5), ("b", 2.0), ("b", -2.0), ("fit_p", 0.01), ("rmsd", 0.1)],
)
def test_conditions_include_their_bounds(column, value):
    items = bank(8)
    items.loc[3, column] = value
    assert 4 in choose_anchors(items, **RULE)


def test_fit_that_could_not_be_judged_does_not_disqualify():
    assert len(choose_anchors(bank(6, fit_p=np.nan, rmsd=np.nan), **RULE)) == 6


def test_too_few_items_set_no_scale():
    assert choose_anchors(bank(4), **RULE) == []
    assert choose_anchors(bank(5, n_responses=[100, 100, 100, 100, 99]), **RULE) == []
    assert choose_anchors(bank(0), **RULE) == []


def test_anchors_are_spread_over_difficulty_and_topics_before_answers_count():
    # Two hundred items in ten topics: easy items have the most answers, the first topic has half of all items.
    random = np.random.default_rng(1)
    b = random.uniform(-2, 2, 200)
    topic = np.where(random.random(200) < 0.5, "first", random.integers(0, 9, 200).astype(str))
    items = bank(200, b=b, topic_id=topic, n_responses=(1000 - 200 * b).astype(int))
    chosen = items[items["item_id"].isin(choose_anchors(items, **RULE | {"most": 40}))]
    assert np.histogram(chosen["b"], bins=[-2, -1, 0, 1, 2])[0].tolist() == [10, 10, 10, 10]
    assert chosen["topic_id"].value_counts().between(3, 5).all()


def test_among_equals_the_items_with_most_answers_are_taken_and_then_the_lower_ids():
    items = bank(8, b=0.5, n_responses=[100, 300, 200, 200, 200, 100, 100, 100])
    assert choose_anchors(items, **RULE | {"most": 5, "least": 3}) == [1, 2, 3, 4, 5]
    assert choose_anchors(items, **RULE | {"most": 3, "least": 3}) == [2, 3, 4]


@given(st.integers(0, 2**32 - 1), st.integers(3, 60))
@settings(max_examples=40, deadline=None)
def test_the_choice_is_one_of_qualified_items_and_does_not_depend_on_the_order_of_rows(seed, n):
    random = np.random.default_rng(seed)
    items = bank(
        n,
        b=random.normal(0, 1.5, n).round(1),
        a=random.lognormal(0, 0.5, n),
        n_responses=random.choice([50, 100, 150], n),
        fit_p=random.random(n),
        topic_id=random.choice(["x", "y", None], n),
    )
    chosen = choose_anchors(items, **RULE | {"most": 10})
    shuffled = items.sample(frac=1, random_state=random.integers(2**31))
    assert choose_anchors(shuffled, **RULE | {"most": 10}) == chosen
    assert chosen == sorted(set(chosen))
    qualified = items.query("n_responses >= 100 and a >= 0.5 and -2 <= b <= 2 and fit_p >= 0.01")
    assert set(chosen) <= set(qualified["item_id"])
    assert len(chosen) == (0 if len(qualified) < 5 else min(10, len(qualified)))
