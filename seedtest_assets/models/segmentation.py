"""Segments of students: k-means or a Gaussian mixture, and proof that there are any.

Features are scaled robustly. Missing values are left missing: distances and densities are
those of what is known. More than one segment is published only if the gap statistic prefers it to one, there is a
valley between every two neighbours, and every segment comes back in bootstrap samples. Otherwise k = 1: a result.
scikit-learn takes a second to import: it is where it is used.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

import numpy as np
import pandas as pd
from scipy.special import softmax
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from seedtest_assets.models.irt import Floats
from seedtest_assets.models.segment_features import Transform, left_out, natural, transformed
from seedtest_assets.models.segmentation_choice import Choice, Method, Status, choose
from seedtest_assets.models.segmentation_kmeans import distances, nearest
from seedtest_assets.models.segmentation_mixture import Mixture

MIN_STUDENTS = 30
MIN_STUDENTS_EACH = 5
"""Students per segment when a number of segments is asked for."""

SAMPLE = 2_000
"""Students that the number of segments is chosen on, at most."""

NORMAL_IQR = 1.3489795
"""Interquartile range of a standard normal distribution."""

OUTLYING = 5.0
"""Robust standard deviations from the median that a value counts for in a feature's scale."""

FURTHEST = 4.0
"""Scaled units from the median that a student is at most: one of a kind is no segment."""


class CannotSegment(ValueError):
    """The request makes no sense for these students."""


@dataclass(frozen=True)
class Segmentation:
    """Segments and how they were found; `to_json` and `from_json` keep every digit.

    Attributes:
        method: kmeans or gmm.
        k: number of segments; 1 = no segments.
        status: "segments" when they are proven, otherwise what is wrong.
        reason: of a status other than "segments"; else empty.
        n: students that the segments are made from: those with a known feature.
        left_out: features without a part in it, with the reason.
        features: names, p of them.
        transforms: of each feature before scaling.
        location: medians of the transformed features, shape (p,).
        scale: standard deviations without what lies far out, shape (p,).
        centers: in scaled units, the segment with the largest weight first, shape (k, p).
        weights: share of the students, or of the mixture, shape (k,).
        spread: k-means: standard deviation of a known coordinate around its centre, scaled units.
        mixture: gmm: its parameters, in scaled units.
        stability: Jaccard similarity of each segment, shape (k,); None for k = 1.
        gap_k: what the gap statistic's 1-SE rule alone would choose.
        curves: row k = 1, 2, … of the method's fits to the sample: log_w, expected, se, gap, silhouette, bic (of a
            mixture of k, for either method), separation (p-value), stability (of the least stable segment; NaN where
            gap or separation already say no).
    """

    method: Method
    k: int
    status: Status
    reason: str
    n: int
    left_out: dict[str, str]
    features: tuple[str, ...] = ()
    transforms: tuple[Transform, ...] = ()
    location: Floats = field(default_factory=lambda: np.empty(0))
    scale: Floats = field(default_factory=lambda: np.empty(0))
    centers: Floats = field(default_factory=lambda: np.empty((1, 0)))
    weights: Floats = field(default_factory=lambda: np.ones(1))
    spread: float | None = None
    mixture: Mixture | None = None
    stability: Floats | None = None
    gap_k: int | None = None
    curves: pd.DataFrame | None = None

    def transformed(self, features: pd.DataFrame) -> Floats:
        """Features, given in natural units, on the scale of their transforms; shape (students, p)."""
        columns = zip(self.features, self.transforms, strict=True)
        values = [transformed(features[name].to_numpy(dtype=float), transform) for name, transform in columns]
        return np.reshape(values, (len(self.features), len(features))).T

    def scaled(self, features: pd.DataFrame) -> Floats:
        """Features, given in natural units, as they are clustered; shape (students, p)."""
        return np.clip((self.transformed(features) - self.location) / self.scale, -FURTHEST, FURTHEST)

    @property
    def transformed_centers(self) -> Floats:
        """Centres as the transforms leave them, before scaling: comparable from run to run; shape (k, p)."""
        return self.centers * self.scale + self.location

    @property
    def natural_centers(self) -> pd.DataFrame:
        """Centres in natural units; columns `features`, index 0 .. k - 1."""
        columns = zip(self.features, self.transformed_centers.T, self.transforms, strict=True)
        return pd.DataFrame(
            {name: natural(column, transform) for name, column, transform in columns}, index=range(self.k)
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON document, NaN as null."""
        document = asdict(self) | {"curves": None if self.curves is None else self.curves.to_dict("list")}
        return dict(_plain(document))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Segmentation":
        """The segmentation that the document was made from."""
        arrays = {name: np.array(document[name], dtype=float) for name in ("location", "scale", "weights")}
        mixture, curves, stable = document["mixture"], document["curves"], document["stability"]
        made = {
            "features": tuple(document["features"]),
            "transforms": tuple(document["transforms"]),
            "centers": np.array(document["centers"], dtype=float).reshape(document["k"], len(document["features"])),
            "stability": None if stable is None else np.array(stable, dtype=float),
            "mixture": mixture and Mixture(**{name: np.array(value) for name, value in mixture.items()}),
            "curves": None if curves is None else pd.DataFrame(curves, dtype=float).astype({"k": int}),
        }
        return cls(**{**document, **arrays, **made})


def segment(
    features: pd.DataFrame,
    transforms: Mapping[str, Transform] | None = None,
    *,
    method: Method,
    k: int | None = None,
    seed: int = 0,
    references: int = 20,
    bootstraps: int = 20,
) -> Segmentation:
    """Segments of students; the order of the rows does not matter.

    The number is chosen, and its stability judged, on at most SAMPLE students; the clusters found there are then
    refined on all.

    Args:
        features: natural units, a row per student, index = student; NaN = not known.
        transforms: of the features; those not named stay as they are.
        method: kmeans or gmm.
        k: a number of segments that is wanted whether they are proven or not; None = as many as are proven.
        seed: of the sample, the starts, the references and the bootstrap.
        references: data sets of the gap statistic.
        bootstraps: samples for the stability.

    Raises:
        CannotSegment: for an unknown method, less than one segment, or a student with two rows.
    """
    if method not in get_args(Method):
        raise CannotSegment(f"no method {method!r}: set CLUSTER_METHOD to one of {', '.join(get_args(Method))}")
    if k is not None and k < 1:
        raise CannotSegment(f"{k} segments: set CLUSTER_N_CLUSTERS to auto or to a number from 1")
    if not features.index.is_unique:
        raise CannotSegment("a student has more than one row: give segment_features one row per student and week")
    features = features.sort_index()
    dropped = left_out(features)
    names = [str(name) for name in features if name not in dropped]
    features = features.loc[features[names].notna().any(axis=1), names]
    empty = Segmentation(method, 1, "no features", "every feature is constant or unknown", len(features), dropped)
    if not names:
        return empty
    scaled = _scaled_by(features, replace(empty, features=tuple(names)), transforms or {})
    x = scaled.scaled(features)
    needed = max(MIN_STUDENTS, MIN_STUDENTS_EACH * (k or 1))
    different = int((~features.duplicated()).sum())
    if different < needed:
        reason = f"{different} different students; {needed} are needed"
        return replace(scaled, status="too few students", reason=reason, centers=np.nanmean(x, axis=0)[None])
    some = np.random.default_rng(seed).permutation(len(x))[:SAMPLE]
    with threadpool_limits(limits=1):  # threads add up in an order of their own, and such sums differ
        choice = choose(x[np.sort(some)], method, k, seed=seed, references=references, bootstraps=bootstraps)
        return _published(scaled, choice, x)


def _scaled_by(features: pd.DataFrame, empty: Segmentation, transforms: Mapping[str, Transform]) -> Segmentation:
    """With the scaling of these students: by the standard deviation of values brought in to OUTLYING robust ones.

    By the interquartile range alone, a feature in which most students are alike would set apart the few who are not,
    and nothing else would count.
    """
    of_each: tuple[Transform, ...] = tuple(transforms.get(name, "none") for name in empty.features)
    plain = replace(empty, transforms=of_each, location=np.zeros(len(of_each)), scale=np.ones(len(of_each)))
    values = plain.transformed(features)
    low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
    reach = OUTLYING * np.where(high > low, (high - low) / NORMAL_IQR, np.nanstd(values, axis=0))
    return replace(plain, location=middle, scale=np.nanstd(np.clip(values, middle - reach, middle + reach), axis=0))


def _published(scaled: Segmentation, choice: Choice, x: Floats) -> Segmentation:
    """The clusters of all students, the largest first."""
    clusters = choice.clusters.refined(x)
    centers, mixture, spread = clusters.centers, clusters.mixture, None
    if mixture is None:
        weights = np.bincount(nearest(x, centers), minlength=len(centers)) / len(x)
        squared = float(distances(x, centers).min(axis=1).sum())
        spread = float(np.sqrt(squared / (np.count_nonzero(~np.isnan(x)) - centers.size)))
    else:
        weights = mixture.weights
    order = np.lexsort((*centers.T, -weights))
    return replace(
        scaled,
        k=len(centers),
        status=choice.status,
        reason=choice.reason,
        centers=centers[order],
        weights=weights[order],
        spread=spread,
        mixture=mixture and Mixture(weights[order], centers[order], mixture.covariances[order]),
        stability=None if choice.stability is None else choice.stability[order],
        gap_k=choice.gap_k,
        curves=choice.curves,
    )


def assign(segmentation: Segmentation, features: pd.DataFrame) -> pd.DataFrame:
    """The segment of each student, also of one that the segments were not made from.

    The probability is the mixture's posterior. k-means has none of its own: it is that of the mixture whose limit it
    is, with equal weights and the same spread in every direction around every centre. It says how near a student is to
    a border, and is 1 when there is but one segment.

    Args:
        segmentation: whose scaling and centres are used as they are.
        features: natural units, index = student; NaN = not known.

    Returns:
        Columns segment (0 .. k - 1; missing for a student of whom nothing is known), probability; index of `features`.
    """
    x = segmentation.scaled(features)
    known = ~np.isnan(x).all(axis=1) | (segmentation.k == 1)
    if segmentation.k == 1:
        posterior = np.ones((len(x), 1))
    elif segmentation.mixture is not None:
        posterior = segmentation.mixture.posterior(x)
    else:
        posterior = softmax(-distances(x, segmentation.centers) / (2 * (segmentation.spread or 1.0) ** 2), axis=1)
    found = pd.DataFrame(
        {"segment": np.argmax(posterior, axis=1), "probability": posterior.max(axis=1)}, index=features.index
    )
    return found.astype({"segment": "Int64"}).where(pd.Series(known, index=features.index), axis=0)


def _plain(value: Any) -> Any:
    """Numbers, texts, lists and dicts, NaN as None."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
