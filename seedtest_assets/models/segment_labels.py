"""Names of segments: made from their profiles, in Korean and English, and kept from run to run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, count

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from seedtest_assets.models.irt import Floats
from seedtest_assets.models.segmentation import Segmentation

NOTABLE = 0.5
"""Distance from the average student, in scaled units, from which a feature is worth a word."""

MOVED = 1.0
"""A segment gets a new name when it is further from where it was named, in this run's scaled units of any feature."""

Name = tuple[str, str, str]
"""Key, Korean, English."""

ALL: Name = ("all", "전체", "All students")
AVERAGE: Name = ("average", "보통", "average")

WORDS: dict[str, tuple[Name, Name]] = {
    "frequency": (("frequent", "자주", "frequent"), ("infrequent", "드물게", "infrequent")),
    "irregularity": (("irregular", "불규칙하게", "irregular"), ("steady", "꾸준히", "steady")),
    "gap_days": (("long_gaps", "띄엄띄엄", "long gaps"), ("short_gaps", "촘촘히", "short gaps")),
    "session_minutes": (("long_sessions", "길게", "long sessions"), ("short_sessions", "짧게", "short sessions")),
    "answers_per_day": (("many_answers", "많이", "many answers"), ("few_answers", "적게", "few answers")),
    "response_s": (("slow", "천천히", "slow"), ("fast", "빠르게", "fast")),
    "hint_rate": (("many_hints", "힌트 많이", "many hints"), ("few_hints", "힌트 적게", "few hints")),
    "accuracy": (("accurate", "정확하게", "accurate"), ("many_errors", "오답 많이", "many errors")),
    "improvement": (("improving", "향상 중", "improving"), ("declining", "하락 중", "declining")),
    "improvement_spread": (
        ("uneven_progress", "향상 기복 큼", "uneven progress"),
        ("even_progress", "향상 고름", "even progress"),
    ),
    "efficiency": (("speeding_up", "빨라지는 중", "speeding up"), ("slowing_down", "느려지는 중", "slowing down")),
    "efficiency_spread": (("uneven_pace", "속도 기복 큼", "uneven pace"), ("even_pace", "속도 고름", "even pace")),
    "recovery": (
        ("corrects_errors", "오답 극복", "corrects errors"),
        ("repeats_errors", "오답 반복", "repeats errors"),
    ),
    "recovery_spread": (
        ("uneven_recovery", "극복 기복 큼", "uneven recovery"),
        ("even_recovery", "극복 고름", "even recovery"),
    ),
}
"""Of each feature, what much of it is called, and what little."""


@dataclass(frozen=True)
class SegmentLabel:
    """A segment's name.

    Attributes:
        segment: its index in the segmentation.
        key: unique among the segments.
        ko: Korean.
        en: English.
        named_at: the centre when it was given the name, by feature, on the transformed scale.
    """

    segment: int
    key: str
    ko: str
    en: str
    named_at: dict[str, float]


def label_segments(
    segmentation: Segmentation, previous: tuple[Segmentation, Sequence[SegmentLabel]] | None = None
) -> tuple[SegmentLabel, ...]:
    """A name for each segment, in their order.

    Segments are matched with those of the previous run so that the summed distance of centres is least (Kuhn 1955),
    over the features of both, in the previous run's scaled units. A matched segment keeps its name while it is within
    MOVED of where it got it. The others are named by the two features in which they are furthest from the average
    student; no name of the previous run is given to another segment.

    Args:
        segmentation: of this run.
        previous: segmentation and names of the run before.
    """
    if segmentation.k == 1:
        return (_label(0, ALL, segmentation),)
    matched = _matched(segmentation, *previous) if previous else {}
    taken = {label.key for label in previous[1]} if previous else set()
    effects = segmentation.centers - segmentation.weights @ segmentation.centers
    labels = []
    for number, effect in enumerate(effects):
        old = matched.get(number)
        if old is not None and _near(old, segmentation, number):
            labels.append(replace(old, segment=number))
            continue
        others = taken - {old.key} if old else taken
        name = next(name for name in _names(segmentation.features, effect) if name[0] not in others)
        labels.append(_label(number, name, segmentation))
        taken.add(name[0])
    return tuple(labels)


def transition(before: pd.Series, after: pd.Series) -> pd.DataFrame:
    """How students moved between the segments of two runs.

    Args:
        before: key of each student's segment, index = student.
        after: the same, later.

    Returns:
        Columns previous, current (None: not assigned in that run), students, share (of the previous segment; NaN for
        students who had none), sorted by previous and current, None last.
    """
    both = pd.concat({"previous": before, "current": after}, axis=1, join="outer")
    table = both.groupby(["previous", "current"], dropna=False).size().rename("students").reset_index()
    table = table[table[["previous", "current"]].notna().any(axis=1)]
    table["share"] = table["students"] / table.groupby("previous")["students"].transform("sum")
    ordered = table.sort_values(["previous", "current"], na_position="last", ignore_index=True).astype(
        {"previous": object, "current": object}
    )
    names = ordered[["previous", "current"]]
    return ordered.assign(**names.where(names.notna(), None))


def _label(segment: int, name: Name, segmentation: Segmentation) -> SegmentLabel:
    center = segmentation.transformed_centers[segment].tolist()
    return SegmentLabel(segment, *name, dict(zip(segmentation.features, center, strict=True)))


def _matched(
    segmentation: Segmentation, before: Segmentation, labels: Sequence[SegmentLabel]
) -> dict[int, SegmentLabel]:
    """The previous names by index of this run's segment."""
    both = [name for name in segmentation.features if name in before.features]
    if before.k == 1 or not both:
        return {}
    now, then = ([one.features.index(name) for name in both] for one in (segmentation, before))
    unit = before.scale[then]
    apart = cdist(segmentation.transformed_centers[:, now] / unit, before.transformed_centers[:, then] / unit)
    by_segment = {label.segment: label for label in labels}
    return {int(one): by_segment[int(other)] for one, other in zip(*linear_sum_assignment(apart), strict=True)}


def _near(label: SegmentLabel, segmentation: Segmentation, segment: int) -> bool:
    """Within MOVED of where it was named, as far as the features of then are known now."""
    named = np.array([label.named_at.get(name, np.nan) for name in segmentation.features])
    moved = np.abs(segmentation.transformed_centers[segment] - named) / segmentation.scale
    return bool(np.fmax.reduce(moved) <= MOVED)


def _names(features: Sequence[str], effect: Floats) -> Iterator[Name]:
    """Names that fit, the best first, without end."""
    order = [place for place in np.argsort(-np.abs(effect), kind="stable") if abs(effect[place]) >= NOTABLE]
    words = [_word(features[place], high=bool(effect[place] > 0)) for place in order] or [AVERAGE]
    names = [_joined(pair) for pair in combinations(words, 2)] or [_joined(words)]
    yield from names
    key, ko, en = names[0]
    for number in count(2):
        yield f"{key}_{number}", f"{ko} {number}", f"{en} {number}"


def _word(feature: str, *, high: bool) -> Name:
    if feature in WORDS:
        return WORDS[feature][0 if high else 1]
    level, ko = ("high", "높음") if high else ("low", "낮음")
    return f"{level}_{feature}", f"{feature} {ko}", f"{level} {feature}"


def _joined(words: Sequence[Name]) -> Name:
    keys, ko, en = zip(*words, strict=True)
    text = ", ".join(en)
    return "_".join(keys), "·".join(ko), text[0].upper() + text[1:]
