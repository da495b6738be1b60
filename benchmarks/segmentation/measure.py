"""False segments, recovery and speed of the segmentation; prints the tables of README.md.

From the checkout: python -m benchmarks.segmentation.measure with nulls METHOD SHAPE, recovery METHOD APART, missing, or
scale. METHOD is kmeans or gmm, SHAPE round, long or skewed, APART a number of standard deviations.
"""

import resource
import sys
import time
from itertools import product

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from seedtest_assets.models.segmentation import Segmentation, assign, segment
from seedtest_assets.models.segmentation_choice import MIN_JACCARD
from tests.statistics.segment_worlds import blob, planted, unlogged

DATA_SETS = {100: 50, 300: 30, 1000: 16, 2000: 4}
"""Of each number of students: a hundred of each shape."""

FRESH = 1000
"""First seed: the settings were chosen on worlds of smaller ones."""

REFERENCES = BOOTSTRAPS = 10
FEATURES = 8


def run(features: pd.DataFrame, method: str) -> Segmentation:
    return segment(features, method=method, references=REFERENCES, bootstraps=BOOTSTRAPS)


def show_nulls(method: str, shape: str) -> None:
    print("| shape | method | students | data sets | k > 1 by the gap's 1-SE rule | and stable there | segments |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for n, seeds in DATA_SETS.items():
        by_gap = stable = segments = 0
        for seed in range(FRESH, FRESH + seeds):
            features = blob(shape, n, FEATURES, seed)
            found = run(features, method)
            segments += found.k > 1
            if found.gap_k > 1:
                by_gap += 1
                asked = segment(features, method=method, k=found.gap_k, references=2, bootstraps=BOOTSTRAPS)
                stable += asked.stability.min() >= MIN_JACCARD
        print(f"| {shape} | {method} | {n:,} | {seeds} | {by_gap} | {stable} | {segments} |", flush=True)


def show_recovery(method: str, apart: str) -> None:
    print("| method | apart, sd | students | missing | right k | by the 1-SE rule | mean ARI | least Jaccard, mean |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    seeds = range(FRESH, FRESH + 6)
    for n, missing in product((200, 1000), (0.0, 0.1)):
        right = by_gap = 0
        scores, stable = [], []
        for seed in seeds:
            k = 3 + seed % 2
            features, truth = planted(n, FEATURES, k, seed, apart=float(apart), missing=missing)
            found = run(features, method)
            right, by_gap = right + (found.k == k), by_gap + (found.gap_k == k)
            scores.append(adjusted_rand_score(truth, assign(found, features)["segment"].astype(int)))
            if found.stability is not None:
                stable.append(found.stability.min())
        total = len(seeds)
        print(
            f"| {method} | {apart} | {n:,} | {missing:.0%} | {right} of {total} | {by_gap} of {total} "
            f"| {np.mean(scores):.3f} | {np.mean(stable):.3f} |",
            flush=True,
        )


def show_missing() -> None:
    """A feature that was not logged for a third of the students: left missing, and filled by its mean."""
    print("| method | right k, left missing | right k, mean filled in | clusters found with the mean filled in |")
    print("|---|--:|--:|---|")
    for method in ("kmeans", "gmm"):
        left, filled = [], []
        for seed in range(10):
            features = unlogged(400, seed)[0]
            left.append(run(features, method).k)
            filled.append(run(features.fillna(features.mean()), method).k)
        print(f"| {method} | {sum(k == 2 for k in left)} of 10 | {sum(k == 2 for k in filled)} of 10 | {filled} |")


def show_scale() -> None:
    print("| what | missing | k | seconds | memory above the data, MB |\n|---|--:|--:|--:|--:|")
    for missing in (0.0, 0.1):
        features, truth = planted(100_000, 12, 4, 1, missing=missing)
        if not missing:
            with threadpool_limits(limits=1):
                begin, held = time.perf_counter(), memory()
                KMeans(4, n_init=10, random_state=0).fit(features.to_numpy())
                line("scikit-learn's KMeans, k given, 10 starts", missing, 4, begin, held)
        for method in ("kmeans", "gmm"):
            begin, held = time.perf_counter(), memory()
            found = segment(features, method=method)
            line(f"segment, {method}, k found", missing, found.k, begin, held)
            begin, held = time.perf_counter(), memory()
            assigned = assign(found, features)
            line(f"assign, {method}", missing, found.k, begin, held)
            assert adjusted_rand_score(truth, assigned["segment"].astype(int)) > 0.9


def line(what: str, missing: float, k: int, begin: float, held: float) -> None:
    print(f"| {what} | {missing:.0%} | {k} | {time.perf_counter() - begin:.1f} | {memory() - held:.0f} |", flush=True)


def memory() -> float:
    """Peak of the process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    what, *which = sys.argv[1:]
    {"nulls": show_nulls, "recovery": show_recovery, "missing": show_missing, "scale": show_scale}[what](*which)


if __name__ == "__main__":
    main()
