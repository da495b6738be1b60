"""What the teacher's report is made of: the cohort's week, as JSON that is written by the pipeline alone.

Unknown is None, and the document says so. Abilities are logits on the bank's scale; probabilities and shares lie
between 0 and 1; intervals hold 90 %. Lists are cut to what is printed; the number of all stands beside them.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from seedtest_assets.reports.bank_facts import BankFacts
from seedtest_assets.reports.facts import Estimate, Lang


@dataclass(frozen=True)
class ActivityFacts:
    """What the students did in a week.

    Attributes:
        students: with an answer in it.
        attempts: answers.
        correct: of these correct.
    """

    students: int
    attempts: int
    correct: int


@dataclass(frozen=True)
class SeriesFacts:
    """A weekly series of the cohort, and its forecast.

    Attributes:
        weeks: Mondays of the weeks that have a value, oldest first.
        values: of these weeks.
        coming: Mondays of the weeks ahead.
        ahead: what is to be expected in them.
        engine: what the forecast is by.
    """

    weeks: list[date]
    values: list[float]
    coming: list[date]
    ahead: list[Estimate]
    engine: str


@dataclass(frozen=True)
class UnusualSeriesFacts:
    """A series whose week is not what the weeks before let expect.

    Attributes:
        scope: whose series it is.
        name: of the topic or, as `segment_names` has it, of the segment; empty for the cohort.
        metric: theta_week, attempts, sessions or accuracy.
        value: of the week.
        expected: what was to be expected.
    """

    scope: Literal["cohort", "topic", "segment"]
    name: str
    metric: str
    value: float
    expected: Estimate


@dataclass(frozen=True)
class RiskReason:
    """The risk of falling silent has reached the threshold, or an alert is open.

    Attributes:
        risk: of 14 silent days within the horizon.
        idle_days: days without an answer; None = not known.
        alert: whether an alert is open.
    """

    risk: Estimate
    idle_days: int | None
    alert: bool
    kind: Literal["risk"] = "risk"


@dataclass(frozen=True)
class AbilityReason:
    """The week's own ability is unusually low for the student."""

    value: float
    expected: Estimate
    kind: Literal["ability"] = "ability"


@dataclass(frozen=True)
class GoalReason:
    """A goal that the student has set is near and not likely to be reached.

    Attributes:
        topic: None = ability as a whole.
        day: by when.
        probability: to reach it.
        more: how many other goals of the student are so, too; this is the least likely.
    """

    topic: str | None
    day: date
    probability: Estimate
    more: int
    kind: Literal["goal"] = "goal"


@dataclass(frozen=True)
class FitReason:
    """Right and wrong answers are not where the student's ability lets expect them.

    Attributes:
        lz_star: person fit, standard normal under the model.
        n: answers.
    """

    lz_star: float
    n: int
    kind: Literal["fit"] = "fit"


@dataclass(frozen=True)
class LapsedReason:
    """The student has been silent for so long, since this week, that no risk is computed any more."""

    idle_days: int | None
    kind: Literal["lapsed"] = "lapsed"


Reason = Annotated[
    RiskReason | AbilityReason | GoalReason | FitReason | LapsedReason,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class AttentionFacts:
    """A student who needs attention.

    Attributes:
        name: how the student wants to be addressed; None = not known.
        key: the beginning of the student's key.
        reasons: at least one, the most urgent first.
    """

    name: str | None
    key: str
    reasons: list[Reason]


@dataclass(frozen=True)
class RiskFacts:
    """How the students' risks of falling silent are spread.

    Attributes:
        bands: students with a risk of 0 to .1, … .9 to 1.
        lapsed: students who have been silent for too long to have a risk.
    """

    bands: list[int]
    lapsed: int


@dataclass(frozen=True)
class TopicWeekFacts:
    """A topic in the week.

    Attributes:
        topic: its name; empty for questions without one.
        activity: students, answers and correct ones of the week.
        ability: mean ability in the topic of these students, n of whom it is known.
    """

    topic: str
    activity: ActivityFacts
    ability: Estimate | None


@dataclass(frozen=True)
class SegmentSizeFacts:
    """A group of students with similar habits, and how many are in it."""

    key: str
    students: int


@dataclass(frozen=True)
class MoveFacts:
    """Students who were in one group in the segmentation before and are in another now; None = in none."""

    before: str | None
    now: str | None
    students: int


@dataclass(frozen=True)
class SegmentationFacts:
    """The newest segmentation of the week or before.

    Attributes:
        made: Monday of its week.
        status: segments; or why there are none.
        reason: what a status other than segments comes from.
        n_students: that it was fitted on.
        sizes: of the groups, largest first.
        stayed: students who are in the group in which they were.
        moves: of students, the most frequent first.
        n_moves: different moves.
    """

    made: date
    status: str
    reason: str | None
    n_students: int
    sizes: list[SegmentSizeFacts]
    stayed: int
    moves: list[MoveFacts]
    n_moves: int


@dataclass(frozen=True)
class RiskRecordFacts:
    """How the published risks came true.

    Attributes:
        fitted: Monday of the week of the newest fit.
        brier: mean squared error of the risks that are over; None = none is.
        skill: 1 - brier / that of idle days alone.
        slope: of the calibration; 1 = neither too bold nor too timid; None = too few events.
        n: risks that are over; 0 = none.
        events: of these followed by silence.
    """

    fitted: date
    brier: float | None
    skill: float | None
    slope: Estimate | None
    n: int
    events: int


@dataclass(frozen=True)
class GrowthFacts:
    """How the probabilities of the goals were found.

    Attributes:
        method: posterior or normal.
        engine: plumber, pymc or lme4.
        instead: why it is normal where the posterior was asked for.
        published: whether the fit behind them is of this very week.
        goals: how many there are.
    """

    method: str
    engine: str
    instead: str | None
    published: bool
    goals: int


@dataclass(frozen=True)
class UnpublishedFacts:
    """A fit of the week that was tried and not published."""

    asset: str
    reason: str | None


@dataclass(frozen=True)
class CohortFacts:
    """The cohort's week.

    Attributes:
        lang: of the report.
        week_start: Monday of the week.
        as_of: the day on which midnight facts end; the Monday after the week when it is over.
        horizon_days: within which the 14 silent days of a risk would be.
        threshold: from which a risk is an alert.
        lookback_days: that abilities, and what is said of the bank, rest on.
        now, before: this week, and the one before.
        own_week: mean ability of the students by this week's own answers, n of whom it is known.
        ability: the cohort's own-week ability; None = no series of this week.
        answers: the cohort's answers; None = no series of this week.
        unusual: series of the week that are unusual, the most unusual first.
        n_unusual: how many are.
        n_judged: series that were judged.
        attention: students who need attention, the most urgent first.
        n_attention: how many do.
        attention_by_kind: how many of these for each kind of reason, the most urgent kind first.
        risk: None = nobody has a risk.
        bank: None = nothing is calibrated yet.
        topics: most answered first.
        n_topics: topics with an answer.
        segmentation: None = none was tried.
        segment_names: label of each group that is named, by key, in the language of the report.
        risk_record: None = no fit was published yet.
        growth: None = there are no probabilities of goals.
        unpublished: fits of the week that were not published.
    """

    lang: Lang
    week_start: date
    as_of: date
    horizon_days: int
    threshold: float
    lookback_days: int
    now: ActivityFacts
    before: ActivityFacts
    own_week: Estimate | None
    ability: SeriesFacts | None
    answers: SeriesFacts | None
    unusual: list[UnusualSeriesFacts]
    n_unusual: int
    n_judged: int
    attention: list[AttentionFacts]
    n_attention: int
    attention_by_kind: dict[str, int]
    risk: RiskFacts | None
    bank: BankFacts | None
    topics: list[TopicWeekFacts]
    n_topics: int
    segmentation: SegmentationFacts | None
    segment_names: dict[str, str]
    risk_record: RiskRecordFacts | None
    growth: GrowthFacts | None
    unpublished: list[UnpublishedFacts]


COHORT_FACTS = TypeAdapter(CohortFacts)


def read_cohort(file: str | Path) -> CohortFacts:
    """The facts of the cohort, from the file that the pipeline wrote for this report."""
    return COHORT_FACTS.validate_json(Path(file).read_bytes())
