"""What the teacher's report says of the item bank. Unknown is None; lists are cut, and say how many there are."""

from dataclasses import dataclass
from datetime import date

from seedtest_assets.reports.facts import Estimate


@dataclass(frozen=True)
class HealthFacts:
    """How the bank is used, and how well it measures its students; see analytics.bank_health.

    Attributes:
        n_known: questions ever answered.
        never_used_share: of these, without an answer in the look-back window.
        max_exposure: largest share of the students that met one question.
        effective_size: questions, if all were used alike.
        information: of a calibrated question, mean, at the 10 %, 50 % and 90 % quantile of ability; None = not known.
        share_well_measured: of the students, with a standard error of at most 0.5.
        band_edges: between the bands of ability and difficulty, logits.
        items, students: in each band, from below the first edge to above the last.
    """

    n_known: int
    never_used_share: float | None
    max_exposure: float | None
    effective_size: float | None
    information: list[float | None]
    share_well_measured: float | None
    band_edges: list[float]
    items: list[int]
    students: list[int]


@dataclass(frozen=True)
class MisfitFacts:
    """A question whose answers do not fit its curve.

    Attributes:
        question: its name.
        flag: what is wrong.
        n: answers.
        infit, outfit: mean squares; 1 = as the model expects.
        rmsd: root mean square deviation from the curve.
    """

    question: str
    flag: str
    n: int
    infit: float | None
    outfit: float | None
    rmsd: float | None


@dataclass(frozen=True)
class DriftFacts:
    """A known question that has moved on the scale.

    Attributes:
        question: its name.
        severity: moderate or large.
        difficulty: b of the week less that of the reference, logits; None = not known.
        slope: a of the week less that of the reference; None = not known, or the same for all (Rasch).
    """

    question: str
    severity: str
    difficulty: Estimate | None
    slope: Estimate | None


@dataclass(frozen=True)
class DifFacts:
    """A question that is harder, or easier, for a group than for others who are equally able.

    Attributes:
        question: its name.
        attribute, focal, reference: the groups that are compared.
        ets_class: A, B or C.
        delta: Mantel-Haenszel difference on the delta scale; negative = harder for the focal group.
    """

    question: str
    attribute: str
    focal: str
    reference: str
    ets_class: str | None
    delta: Estimate | None


@dataclass(frozen=True)
class BankFacts:
    """The newest calibration of the week or before.

    Attributes:
        model: Rasch, 2PL or 3PL.
        calibrated: Monday of the week that calibrated it.
        n_items: its questions.
        anchors: questions by which it was brought onto the reference scale; None = it was not.
        health: None = not judged.
        misfits: the worst of those flagged.
        n_misfits: how many are.
        drifted: the worst of the anchors that drifted.
        n_drifted: how many did.
        n_anchors_compared: anchors that were compared.
        dif: the worst of the differences between groups.
        n_dif: how many there are.
        n_dif_compared: comparisons of a question in two groups.
    """

    model: str
    calibrated: date
    n_items: int
    anchors: int | None
    health: HealthFacts | None
    misfits: list[MisfitFacts]
    n_misfits: int
    drifted: list[DriftFacts]
    n_drifted: int
    n_anchors_compared: int
    dif: list[DifFacts]
    n_dif: int
    n_dif_compared: int
