"""A student's weekly report: facts worded and drawn, piece by piece, for weekly_report.qmd to place.

Every piece is Markdown. What is unknown is said to be; what the pipeline knows of a student's risk of leaving chooses
the advice, and is never printed.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from seedtest_assets.reports import charts
from seedtest_assets.reports.facts import Estimate, GoalFacts, QuestionFacts, StudentFacts, TopicFacts, read_student
from seedtest_assets.reports.language import UNKNOWN, Language, Markdown, number, percent, plain, shown, signed
from seedtest_assets.reports.markdown import fenced, figure, table, tile

LISTED = 3
"""Names in a sentence, and questions of a kind on the first page."""
ROWS = 12
"""Longest table of a report."""
PAUSE_DAYS = 5
"""Idle days from which a short session is suggested."""
STEADY_DAYS = 3.5
"""Mean days from one active day to the next up to which a rhythm is called steady: twice a week."""
CERTAIN = 0.9
"""Probability from which a goal needs no more practice."""
HIGH_RISK = 0.5
"""Risk of a silence from which it is suggested earlier."""


class StudentReport:
    """The pieces of one report.

    Args:
        facts: what it is made of.
        folder: where its charts are written, beside the document.
    """

    def __init__(self, facts: StudentFacts, folder: Path) -> None:
        self.facts = facts
        self.folder = folder
        self.language = Language(facts.lang)

    @classmethod
    def read(cls, data: str) -> Self:
        """The report of the facts in a file; charts are written into its folder."""
        return cls(read_student(data), Path(data).parent)

    def say(self, key: str, n: int | None = None, **values: object) -> Markdown:
        """A phrase of the student's report."""
        return self.language.say(f"student.{key}", n, **values)

    # -- first page ------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What the report is, and for whom."""
        name = shown(self.facts.name or "")
        return self.say("title_for", name=name) if name else self.say("title")

    @property
    def subtitle(self) -> str:
        """The week."""
        return plain(self.language.week(self.facts.week_start))

    @property
    def running(self) -> str:
        """That the week is not over, where it is not."""
        if self.facts.as_of >= self.facts.week_start + timedelta(days=7):
            return ""
        return self.say("running", day=self.language.weekday(self._last_day))

    @property
    def tiles(self) -> str:
        """Four numbers, each in a box."""
        return fenced("tiles", "\n\n".join((self._answers_tile, self._days_tile, self._bank_tile, self._goal_tile)))

    @property
    def story(self) -> str:
        """The week in two or three sentences."""
        sentences = [self._worked]
        if not self.facts.lapsed:
            sentences.append(self._direction)
        if self.facts.unusual and self.facts.unusual.flag:
            sentences.append(self.unusual)
        return " ".join(sentences)

    @property
    def advice(self) -> str:
        """What to do next: at most three things."""
        return "\n".join(f"- {line}" for line in [*self._advice()] or [self.say("advice.free")])

    # -- ability ---------------------------------------------------------------------------------------------

    @property
    def ability(self) -> str:
        """Ability, what it means in plain words, and what it rests on."""
        ability, scale = self._ability, self.facts.scale
        if ability is None:
            return self.say("ability.none")
        parts = [self.say("ability.lead", theta=number(ability.value), interval=self.language.interval(ability))]
        if scale and scale.right_of_hundred:
            parts.append(self.say("ability.bank", **counts(scale.right_of_hundred)))
        if ability.n is not None:
            parts.append(self.say("ability.rests", ability.n, lookback=self.facts.lookback_days))
        return " ".join(parts)

    @property
    def ability_chart(self) -> str:
        """Ability by week; nothing when no week has any."""
        known = [week for week in self.facts.weeks if week.ability]
        if not known or known[-1].ability is None:
            return ""
        axis = charts.Axis(self.say("ability.axis"), charts.DAYS[self.facts.lang])
        alt = self.say(
            "ability.alt",
            theta=number(known[-1].ability.value),
            interval=self.language.interval(known[-1].ability),
            weeks=len(known),
            first=self.language.day(known[0].week_start),
            last=self.language.day(known[-1].week_start),
        )
        return figure(self.folder, "ability", charts.ability(self.facts.weeks, axis), self.say("ability.caption"), alt)

    @property
    def scale(self) -> str:
        """Whether weeks can be compared."""
        scale = self.facts.scale
        if scale is None:
            return self.say("ability.no_scale")
        facts: dict[str, Any] = {
            "model": scale.model,
            "items": f"{scale.n_items:,}",
            "day": self.language.date(scale.calibrated),
        }
        if scale.anchors is None:
            return self.say("ability.unlinked", **facts)
        own = [week.week_start for week in self.facts.weeks if week.ability and not week.linked]
        if own:
            since = self.language.date(max(own) + timedelta(days=7))
            return self.say("ability.partly", anchors=scale.anchors, since=since, **facts)
        return self.say("ability.linked", anchors=scale.anchors, **facts)

    # -- topics ----------------------------------------------------------------------------------------------

    @property
    def topics(self) -> str:
        """Strong, weak and next topics, in sentences."""
        if not self.facts.topics:
            return self.say("topics.none")
        strong = [topic for topic in self.facts.topics if topic.strength > 0]
        weak = [topic for topic in self.facts.topics if topic.strength < 0]
        lines = [
            self.say(f"topics.{kind}", topics=", ".join(self._topic(topic.topic) for topic in found[:LISTED]))
            for kind, found in (("strong", strong), ("weak", weak))
            if found
        ]
        if not any(topic.ability for topic in self.facts.topics):
            lines.append(self.say("topics.no_ability"))
        elif not lines:
            lines.append(self.say("topics.even"))
        if self.facts.next_topics:
            lines.append(self.say("topics.next", topics=", ".join(map(self._topic, self.facts.next_topics[:LISTED]))))
        return "\n\n".join(lines)

    @property
    def topic_chart(self) -> str:
        """Ability by topic; nothing when none is known."""
        drawn = [topic for topic in self.facts.topics if topic.ability][: charts.TOPICS]
        if not drawn:
            return ""
        by_ability = sorted(drawn, key=lambda topic: topic.ability.value if topic.ability else 0.0)
        alt = self.say(
            "topics.alt",
            highest=self._topic(by_ability[-1].topic),
            lowest=self._topic(by_ability[0].topic),
            count=len(drawn),
        )
        axis = charts.Axis(self.say("ability.axis"), charts.DAYS[self.facts.lang])
        overall = self._ability.value if self._ability else None
        drawing = charts.topics(drawn, overall, axis, self.say("topics.untitled"))
        return figure(self.folder, "topics", drawing, self.say("topics.caption"), alt)

    @property
    def topic_table(self) -> str:
        """Answers, accuracy and ability of the topics with most answers."""
        if not self.facts.topics:
            return ""
        rows = [self._topic_row(topic) for topic in self.facts.topics[:ROWS]]
        more = len(self.facts.topics) - ROWS
        return table(self.say("topics.columns"), rows, "lrrrr") + (
            f"\n\n{self.say('topics.more', more)}" if more > 0 else ""
        )

    # -- questions -------------------------------------------------------------------------------------------

    @property
    def practice(self) -> str:
        """New questions."""
        if self._ability is None:
            return self.say("practice.unknown")
        if not self.facts.practice:
            return self.say("practice.none")
        rows = [
            (
                plain(shown(q.question)),
                plain(self._topic(q.topic)),
                UNKNOWN if q.probability is None else percent(q.probability),
            )
            for q in self.facts.practice
        ]
        return f"{self.say('practice.lead')}\n\n{table(self.say('practice.columns'), rows, 'llr')}"

    @property
    def review(self) -> str:
        """Questions that are due again."""
        if not self.facts.review:
            return self.say("review.none")
        rows = [self._review_row(question) for question in self.facts.review]
        more = self.facts.reviews_due - len(rows)
        text = f"{self.say('review.lead')}\n\n{table(self.say('review.columns'), rows, 'llrr')}"
        return text + (f"\n\n{self.say('review.more', more)}" if more > 0 else "")

    # -- goals, rhythm, outlook, group -----------------------------------------------------------------------

    @property
    def goals(self) -> str:
        """Each goal with its probability, and what that means."""
        if not self.facts.goals:
            return self.say("goals.none")
        rows = [self._goal_row(goal) for goal in self.facts.goals[:ROWS]]
        by_posterior = any(goal.probability.lower is not None for goal in self.facts.goals)
        note = self.say("goals.note_posterior" if by_posterior else "goals.note_normal")
        return f"{table(self.say('goals.columns'), rows, 'lrrrrr')}\n\n{note} {self.say('goals.over')}"

    @property
    def rhythm(self) -> str:
        """How often and how long, and a kind word."""
        facts = self.facts
        minutes = facts.session_minutes
        length = "" if minutes is None else self.say("rhythm.length", minutes=number(minutes, 0))
        sessions = self.say("rhythm.sessions", facts.sessions, length=length)
        gap = (
            self.say("rhythm.no_gap")
            if facts.mean_gap_days is None
            else self.say("rhythm.gap", days=number(facts.mean_gap_days, 1))
        )
        return f"{sessions} {gap}\n\n{self._kind_word}"

    @property
    def rhythm_chart(self) -> str:
        """Questions answered in each week."""
        weeks = self.facts.weeks
        axis = charts.Axis(self.say("rhythm.axis"), charts.DAYS[self.facts.lang])
        drawing = charts.bars([week.week_start for week in weeks], [week.attempts for week in weeks], axis)
        values = ", ".join(f"{self.language.day(week.week_start)}: {week.attempts}" for week in weeks)
        return figure(self.folder, "rhythm", drawing, self.say("rhythm.caption"), self.say("rhythm.alt", values=values))

    @property
    def forecast(self) -> str:
        """Next week's ability to be expected."""
        expected = self.facts.forecast
        if expected is None:
            return self.say("outlook.no_forecast")
        return self.say("outlook.forecast", value=number(expected.value), interval=self.language.interval(expected))

    @property
    def unusual(self) -> str:
        """Whether the week was an unusual one."""
        week = self.facts.unusual
        if week is None:
            return self.say("outlook.not_judged")
        kind = "usual"
        if week.flag:
            kind = "unusual_up" if week.value > week.expected.value else "unusual_down"
        elif week.expected.upper is not None and week.value > week.expected.upper:
            kind = "above"
        elif week.expected.lower is not None and week.value < week.expected.lower:
            kind = "below"
        return self.say(f"outlook.{kind}", value=number(week.value), interval=self.language.interval(week.expected))

    @property
    def group(self) -> str:
        """The segment, and what it is not."""
        segment = self.facts.segment
        if segment is None:
            return self.say("group.none")
        label = segment.ko if self.facts.lang == "ko" else segment.en
        doubtful = segment.probability is not None and segment.probability < 1
        sure = self.say("group.sure", probability=percent(segment.probability or 0.0)) if doubtful else ""
        return f"{self.say('group.member', label=label, sure=sure)} {self.say('group.note')}"

    @property
    def numbers(self) -> str:
        """Every indicator with its interval, what it rests on, and what it means."""
        return table(self.say("numbers.columns"), [*self._number_rows()], "lrrrL")

    @property
    def until(self) -> str:
        """Which answers were used."""
        return self.say("about.until", day=self.language.date(self._last_day))

    # -- parts -----------------------------------------------------------------------------------------------

    @cached_property
    def _ability(self) -> Estimate | None:
        return self.facts.weeks[-1].ability if self.facts.weeks else None

    @property
    def _answered(self) -> int:
        return self.facts.answered

    @property
    def _last_day(self) -> date:
        return self.facts.as_of - timedelta(days=1)

    @property
    def _overall_goal(self) -> GoalFacts | None:
        return next((goal for goal in self.facts.goals if goal.topic is None), None)

    @property
    def _answers_tile(self) -> str:
        right = (
            self.say("tiles.right", share=percent(self.facts.correct / self._answered))
            if self._answered
            else self.say("tiles.none_right")
        )
        return tile(f"{self._answered:,}", self.say("tiles.answers"), right)

    @property
    def _days_tile(self) -> str:
        return tile(f"{self.facts.active_days}", self.say("tiles.days"), self.say("tiles.of_seven"))

    @property
    def _bank_tile(self) -> str:
        scale = self.facts.scale
        if self._ability is None or scale is None or scale.right_of_hundred is None:
            why = "needs_more" if scale else "no_calibration"
            return tile(UNKNOWN, self.say("tiles.bank"), f"{self.say('tiles.unknown')}: {self.say(f'tiles.{why}')}")
        of_hundred = counts(scale.right_of_hundred)
        return tile(of_hundred["score"], self.say("tiles.bank"), self.say("tiles.between", **of_hundred))

    @property
    def _goal_tile(self) -> str:
        goal = self._overall_goal
        label = self.say("tiles.goal" if goal is None or goal.own else "tiles.default_goal")
        if goal is None:
            return tile(UNKNOWN, label, self.say("tiles.unknown"))
        by = self.say("tiles.by", day=self.language.day(goal.day))
        limits = self.language.percent_interval(goal.probability)
        below = by if limits == UNKNOWN else f"{by} ({limits})"
        return tile(percent(goal.probability.value), label, below)

    @property
    def _worked(self) -> str:
        if not self._answered:
            return self.say("story.rested")
        days = self.say("story.days", self.facts.active_days)
        share = percent(self.facts.correct / self._answered)
        return self.say("story.worked", self._answered, days=days, share=share)

    @property
    def _direction(self) -> str:
        slope = self.facts.slope
        if self._ability is None:
            return self.say("story.new")
        if slope is None or slope.lower is None or slope.upper is None:
            return self.say("story.no_slope")
        kind = "up" if slope.lower > 0 else "down" if slope.upper < 0 else "level"
        return self.say(
            f"story.{kind}", slope=signed(slope.value, 3), lower=signed(slope.lower, 3), upper=signed(slope.upper, 3)
        )

    def _advice(self) -> Iterable[str]:
        if self.facts.lapsed:
            yield self.say("advice.back")
        elif not self._answered and self._ability is None:
            yield self.say("advice.first")
        if self.facts.next_topics:
            topic = self.facts.next_topics[0]
            yield f"{self.say('advice.practise', topic=self._topic(topic))} {self._why(topic)}".rstrip()
        if self.facts.review:
            yield self.say("advice.review", len(self.facts.review))
        if self.facts.lapsed:
            return
        if self._is_pausing:
            yield self.say("advice.short")
        elif self._answered:
            yield self.say("advice.keep", days=self.say("story.days", max(self.facts.active_days, LISTED)))

    def _why(self, topic: str) -> str:
        if any(goal.topic == topic and goal.probability.value < CERTAIN for goal in self.facts.goals):
            return self.say("advice.because_goal")
        if any(known.topic == topic and known.strength < 0 for known in self.facts.topics):
            return self.say("advice.because_weak")
        return self.say("advice.because_new")

    @property
    def _is_pausing(self) -> bool:
        return self.facts.idle_days >= PAUSE_DAYS or (self.facts.risk or 0.0) >= HIGH_RISK

    @property
    def _kind_word(self) -> str:
        if self.facts.lapsed:
            return self.say("rhythm.away", days=self.facts.idle_days)
        if self.facts.idle_days >= PAUSE_DAYS:
            return self.say("rhythm.pause", days=self.facts.idle_days)
        if self._is_pausing:
            return self.say("advice.short")
        gap = self.facts.mean_gap_days
        return self.say("rhythm.steady") if gap is not None and gap <= STEADY_DAYS else ""

    def _topic(self, topic: str) -> str:
        return shown(topic) or self.say("topics.untitled")

    def _topic_row(self, topic: TopicFacts) -> tuple[str, ...]:
        ability = topic.ability
        return (
            plain(self._topic(topic.topic)),
            f"{topic.attempts:,}",
            percent(topic.correct / topic.attempts) if topic.attempts else UNKNOWN,
            number(ability.value) if ability else self.say("tiles.unknown"),
            self.language.interval(ability) if ability else UNKNOWN,
        )

    def _review_row(self, question: QuestionFacts) -> tuple[str, ...]:
        days = (self.language.day(day) if day else UNKNOWN for day in (question.missed, question.due))
        return plain(shown(question.question)), plain(self._topic(question.topic)), *days

    def _goal_row(self, goal: GoalFacts) -> tuple[str, ...]:
        whole = self.say("goals.overall" if goal.own else "goals.default")
        name = whole if goal.topic is None else plain(self._topic(goal.topic))
        return (
            name,
            number(goal.target),
            self.language.date(goal.day),
            percent(goal.probability.value),
            self.language.percent_interval(goal.probability),
            f"{number(goal.expected.value)} ({self.language.interval(goal.expected)})",
        )

    def _number_rows(self) -> Iterable[tuple[str, ...]]:
        facts, goal = self.facts, self._overall_goal
        for name, estimate, counted, digits in (
            ("ability", self._ability, "answers", 2),
            ("improvement", facts.improvement, None, 2),
            ("slope", facts.slope, None, 3),
            ("efficiency", facts.efficiency, "answers", 2),
            ("recovery", facts.recovery, "errors", 2),
            ("engagement", facts.engagement, "sessions", 2),
            ("goal", goal.probability if goal else None, "weeks", 2),
        ):
            by_accuracy = name == "improvement" and facts.improvement_method == "accuracy"
            kind = "by_accuracy" if by_accuracy else "means"
            means = self.say(f"numbers.{name}_{kind}", lookback=facts.lookback_days)
            if estimate is None:
                yield self.say(f"numbers.{name}"), self.say("numbers.unknown"), UNKNOWN, UNKNOWN, means
                continue
            rests = UNKNOWN if estimate.n is None or counted is None else self.say(f"numbers.{counted}", estimate.n)
            yield (
                self.say(f"numbers.{name}"),
                number(estimate.value, digits),
                self.language.interval(estimate, digits),
                rests,
                means,
            )


def counts(of_hundred: Estimate) -> dict[str, Any]:
    """A number of questions and its limits, whole, by the names that phrases give them."""
    limits = ("score", of_hundred.value), ("lower", of_hundred.lower), ("upper", of_hundred.upper)
    return {name: UNKNOWN if value is None else number(value, 0) for name, value in limits}
