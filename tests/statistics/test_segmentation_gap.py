"""The gap statistic against R's cluster::clusGap, on the same data."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from seedtest_assets.models.gap_statistic import gap_statistic, log_dispersion

SCRIPT = Path(__file__).with_name("gap_second_engine.R")
K_MAX, REFERENCES = 6, 200
TRUE_K = {"one": 1, "long": 1, "three": 3, "four": 4}


def data() -> dict[str, np.ndarray]:
    random = np.random.default_rng(4)
    noise = random.normal(size=(4, 120, 3))
    corners = np.array([[0, 0, 0], [7, 0, 0], [0, 7, 0], [0, 0, 7]])
    return {
        "one": noise[0],
        "long": noise[1] @ np.array([[3, 2, 1], [0, 1, 0.5], [0, 0, 0.5]]),
        "three": noise[2] + np.repeat(corners[:3], 40, axis=0) + 100,
        "four": noise[3] + np.repeat(corners, [60, 30, 20, 10], axis=0),
    }


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What R says, by name of the data."""
    probe = ["Rscript", "-e", "stopifnot(requireNamespace('cluster'), requireNamespace('jsonlite'))"]
    if shutil.which("Rscript") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("R's package cluster is not installed (Debian: r-cran-cluster, r-cran-jsonlite)")
    folder = tmp_path_factory.mktemp("gap")
    for name, x in data().items():
        pd.DataFrame(x).to_csv(folder / f"{name}.csv", index=False)
    subprocess.run(["Rscript", SCRIPT, folder], check=True, capture_output=True)
    yield {name: json.loads((folder / f"{name}.json").read_text()) for name in data()}


@pytest.mark.parametrize("name", TRUE_K)
def test_the_dispersion_of_a_partition_is_r_s(other, name):
    x, theirs = data()[name], other[name]
    assert log_dispersion(x, np.zeros(len(x), np.int64)) == pytest.approx(theirs["table"]["logW"][0], abs=1e-10)
    for k in range(2, K_MAX + 1):
        labels = np.array(theirs["partitions"][str(k)]) - 1
        assert log_dispersion(x, labels) == pytest.approx(theirs["table"]["logW"][k - 1], abs=1e-10)


@pytest.mark.parametrize("name", TRUE_K)
def test_references_and_choice_are_r_s(other, name):
    theirs = {column: np.array(values) for column, values in other[name]["table"].items()}

    def partition(x, k):
        return KMeans(k, n_init=10, random_state=0).fit(x).labels_.astype(np.int64)

    with threadpool_limits(limits=1):  # twenty times faster on so little data
        mine = gap_statistic(data()[name], partition, K_MAX, references=REFERENCES, seed=3)
    error = np.sqrt(mine.se**2 + theirs["SE.sim"] ** 2) / np.sqrt(REFERENCES)
    assert (np.abs(mine.expected - theirs["E.logW"]) < 3.5 * error).all()
    np.testing.assert_allclose(mine.se, theirs["SE.sim"], rtol=0.25)  # 3.5 errors of a standard deviation over 200
    k = TRUE_K[name]  # at more clusters, k-means has several ends
    assert mine.log_w[k - 1] == pytest.approx(theirs["logW"][k - 1], abs=1e-10)
    assert mine.k == other[name]["k"] == k
