"""Tables and pictures of the metadata: PNG images of a modest size, and as many rows as are meant."""

import base64
import io

import numpy as np
import pandas as pd
import pytest

from seedtest_assets.assets import plots

RANDOM = np.random.default_rng(1)
THETA = RANDOM.normal(0, 1, 500)
A, B, C = RANDOM.lognormal(0, 0.3, 300), RANDOM.normal(0, 1, 300), np.full(300, 0.2)
MOVED = pd.DataFrame(
    {"item_id": np.arange(50) + 2**61, "b": B[:50], "d_b": 0.1 * A[:50], "se_d_b": 0.1, "flag": np.arange(50) < 4}
)
DIF = pd.DataFrame(
    {"item_id": np.arange(50), "attribute": "g", "focal": "x", "mh_d_dif": B[:50], "mh_se": 0.3, "flag": B[:50] > 1.5}
)
NOBODY = np.array([])
AHEAD = pd.DataFrame({"expected": [1.0, 1.1], "lower": [0.5, 0.4], "upper": [1.5, 1.8]})
COURSE = plots.Course(
    "cohort all attempts",
    RANDOM.normal(1, 0.2, 18),
    AHEAD,
    {"lower": 0.6, "upper": 1.4},
    True,
    [n == 9 for n in range(18)],
)
UNKNOWN = plots.Course("topic t i_t", np.full(18, np.nan), AHEAD * np.nan, None, False, [False] * 18)
CURVES = pd.DataFrame(
    {"gap": [0.6, 0.9, 1.0], "se": 0.02, "silhouette": [np.nan, 0.4, 0.5], "bic": [900.0, 700.0, 650.0]},
    index=[1, 2, 3],
)
SEGMENTS = ["Frequent, fast", "Average", "Long gaps, many hints"]
DRAWN = {
    "courses": lambda: plots.courses([COURSE, UNKNOWN, COURSE] * 3),
    "one course": lambda: plots.courses([COURSE]),
    "profiles": lambda: plots.profiles(SEGMENTS, [f"feature_{n}" for n in range(14)], RANDOM.normal(0, 1, (3, 14))),
    "profile of all": lambda: plots.profiles(["All students"], ["frequency"], np.zeros((1, 1))),
    "map": lambda: plots.map_of_students(
        RANDOM.normal(0, 1, (6000, 2)), RANDOM.integers(0, 3, 6000), SEGMENTS, np.array([0.4, 0.2])
    ),
    "number of segments": lambda: plots.number_of_segments(CURVES, 3),
    "item map": lambda: plots.item_map(B, THETA),
    "item map of nobody": lambda: plots.item_map(NOBODY, NOBODY),
    "test information": lambda: plots.test_information(A, B, C, THETA),
    "drift": lambda: plots.drift(MOVED),
    "drift without standard errors": lambda: plots.drift(MOVED.assign(se_d_b=np.nan)),
    "no anchors": lambda: plots.drift(MOVED.head(0)),
    "dif": lambda: plots.dif_forest(DIF),
    "no dif": lambda: plots.dif_forest(DIF.head(0)),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_picture_is_markdown_with_a_small_png_inside(draw):
    from matplotlib.image import imread

    text = draw().value
    assert text.startswith("![")
    assert len(text) < 60_000
    pixels = imread(io.BytesIO(base64.b64decode(text.partition("base64,")[2].rstrip(")"))))
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 5  # something is drawn


def test_the_same_numbers_give_the_same_picture():
    assert plots.drift(MOVED).value == plots.drift(MOVED).value


def test_items_that_drifted_are_drawn_in_another_colour():
    assert plots.drift(MOVED).value != plots.drift(MOVED.assign(flag=False)).value


def test_a_table_shows_the_first_rows_and_says_what_is_missing():
    frame = pd.DataFrame({"item_id": np.arange(30) + 2**61, "b": np.linspace(0, 1, 30), "flag": None})
    frame.loc[1, "b"] = np.nan
    table = plots.table(frame)
    assert len(table.records) == plots.ROWS
    assert [column.name for column in table.schema.columns] == ["item_id", "b", "flag"]
    assert table.records[0].data == {"item_id": str(2**61), "b": "0.000", "flag": "–"}
    assert table.records[1].data["b"] == "–"
    assert plots.table(frame.head(0)).records == []
