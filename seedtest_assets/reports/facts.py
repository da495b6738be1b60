"""What a report is made of: every number once, with its interval, as JSON that is written by the pipeline alone.

Unknown is None, and the document says so. Abilities are logits on the bank's scale; probabilities and shares lie
between 0 and 1; intervals hold 90 %.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal
from uuid import UUID

from pydantic import TypeAdapter

Lang = Literal["en", "ko"]


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Attributes:
        value: the number.
        lower: 5 % limit; None where the method gives none.
        upper: 95 % limit.
        n: what it rests on: answers, sessions, weeks; None where that is not counted.
    """

    value: float
    lower: float | None = None
    upper: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class WeekFacts:
    """One week of the student's history.

    Attributes:
        week_start: its Monday.
        attempts: questions answered in it.
        ability: over the look-back window, as of the week's end.
        own_week: ability by the week's own answers alone.
        linked: its calibration was brought onto the reference scale; None where there is no ability.
    """

    week_start: date
    attempts: int
    ability: Estimate | None
    own_week: Estimate | None
    linked: bool | None = None


@dataclass(frozen=True)
class TopicFacts:
    """A topic as the student knows it.

    Attributes:
        topic: its name; empty for questions without one.
        attempts: questions answered in the last four weeks.
        correct: of these correct.
        last_day: the last day with an answer.
        ability: in the topic, after that day.
        strength: 1 above the student's own overall ability, -1 below (probability .9), 0 not to be told apart.
    """

    topic: str
    attempts: int
    correct: int
    last_day: date
    ability: Estimate | None
    strength: int


@dataclass(frozen=True)
class GoalFacts:
    """A goal and the probability to reach it.

    Attributes:
        topic: None = ability as a whole.
        target: ability to reach.
        day: by when.
        own: the student has set it; False = the platform's default.
        probability: to have reached it then; its limits are None by the normal method.
        expected: ability on that day.
    """

    topic: str | None
    target: float
    day: date
    own: bool
    probability: Estimate
    expected: Estimate


@dataclass(frozen=True)
class QuestionFacts:
    """A question worth practising, or due again.

    Attributes:
        question: its name.
        topic: its topic; empty = none.
        probability: expected, of a correct answer; None for a review.
        missed: day of the last miss; None for a new question.
        due: day from which it is due again; None for a new question.
    """

    question: str
    topic: str
    probability: float | None = None
    missed: date | None = None
    due: date | None = None


@dataclass(frozen=True)
class UnusualFacts:
    """The week's own ability beside what the weeks before let expect."""

    value: float
    expected: Estimate
    flag: bool


@dataclass(frozen=True)
class SegmentFacts:
    """The group of students with similar habits that the student is in."""

    key: str
    en: str
    ko: str
    probability: float | None
    as_of: date


@dataclass(frozen=True)
class ScaleFacts:
    """The calibration that abilities are measured with.

    Attributes:
        model: Rasch, 2PL or 3PL.
        calibrated: Monday of the week that calibrated it.
        n_items: its questions.
        anchors: questions by which it was brought onto the reference scale; None = it was not.
        right_of_hundred: how many of 100 such questions the student would now get right, luck included.
    """

    model: str
    calibrated: date
    n_items: int
    anchors: int | None
    right_of_hundred: Estimate | None


@dataclass(frozen=True)
class StudentFacts:
    """A student's week.

    Attributes:
        user_id: the student.
        name: how the student wants to be addressed; None = not known.
        lang: of the report.
        week_start: Monday of the week.
        as_of: the day on whose midnight the facts end; the Monday after the week when all of it is in them.
        lookback_days: days of answers that ability rests on.
        weeks: the history, oldest first, this week last.
        answered: questions answered in this week.
        correct: of these correct.
        active_days: days with answers in this week.
        sessions: in four weeks.
        idle_days: whole days without an answer.
        mean_gap_days: between active days.
        session_minutes: mean minutes at work per session, in four weeks.
        lapsed: away for so long that no risk is computed.
        risk: probability of 14 silent days within the horizon. It chooses the advice, and is not printed.
        improvement: ability of the last 14 days less that of the 14 before.
        improvement_method: theta; or accuracy: logits of shares right in their place; None = not known.
        efficiency: relative gain of time on correct answers.
        recovery: share of earlier errors now right.
        engagement: 0 to 1.
        slope: growth of ability per week.
        forecast: own-week ability to be expected next week.
        unusual: None = not judged.
        goals: the overall one first.
        topics: most answered first.
        next_topics: to practise, the most urgent first.
        practice: new questions.
        review: questions due again by the end of the coming week.
        reviews_due: how many are, listed or not.
        segment: None = none yet.
        scale: None = nothing is calibrated yet.
    """

    user_id: UUID
    name: str | None
    lang: Lang
    week_start: date
    as_of: date
    lookback_days: int
    weeks: list[WeekFacts]
    answered: int
    correct: int
    active_days: int
    sessions: int
    idle_days: int
    mean_gap_days: float | None
    session_minutes: float | None
    lapsed: bool
    risk: float | None
    improvement: Estimate | None
    improvement_method: str | None
    efficiency: Estimate | None
    recovery: Estimate | None
    engagement: Estimate | None
    slope: Estimate | None
    forecast: Estimate | None
    unusual: UnusualFacts | None
    goals: list[GoalFacts]
    topics: list[TopicFacts]
    next_topics: list[str]
    practice: list[QuestionFacts]
    review: list[QuestionFacts]
    reviews_due: int
    segment: SegmentFacts | None
    scale: ScaleFacts | None


STUDENT = TypeAdapter(StudentFacts)


def read_student(file: str | Path) -> StudentFacts:
    """The facts of a student, from the file that the pipeline wrote for this one report."""
    return STUDENT.validate_json(Path(file).read_bytes())
