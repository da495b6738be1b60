"""The teacher's weekly report: facts worded and drawn, piece by piece, for cohort_report.qmd to place.

Every piece is Markdown. What is unknown is said to be. Students are written of factually and kindly: what a rule has
found is a reason to ask, not a verdict.
"""

from collections import Counter
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Self

from seedtest_assets.reports import charts, cohort_charts
from seedtest_assets.reports.cohort_bank import BankPieces
from seedtest_assets.reports.cohort_facts import (
    AbilityReason,
    ActivityFacts,
    FitReason,
    GoalReason,
    Reason,
    RiskReason,
    SeriesFacts,
    UnusualSeriesFacts,
    read_cohort,
)
from seedtest_assets.reports.cohort_groups import GroupPieces
from seedtest_assets.reports.cohort_pieces import Pieces
from seedtest_assets.reports.language import UNKNOWN, number, percent, plain, shown
from seedtest_assets.reports.markdown import fenced, figure, tile

WEEK = timedelta(weeks=1)
FIRST = 5
"""Students who are named on the first page."""


class CohortReport(Pieces):
    """The report: the week, and who needs attention; `bank` and `groups` are the rest."""

    @classmethod
    def read(cls, data: str) -> Self:
        """The report of the facts in a file; charts are written into its folder."""
        return cls(read_cohort(data), Path(data).parent)

    @cached_property
    def bank(self) -> BankPieces:
        """Of the item bank."""
        return BankPieces(self.facts, self.folder)

    @cached_property
    def groups(self) -> GroupPieces:
        """Of topics, groups of students, and how good the predictions were."""
        return GroupPieces(self.facts, self.folder)

    # -- first page ------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What the report is."""
        return self.say("title")

    @property
    def subtitle(self) -> str:
        """The week."""
        return plain(self.language.week(self.facts.week_start))

    @property
    def running(self) -> str:
        """That the week is not over, where it is not."""
        if self.facts.as_of >= self.facts.week_start + WEEK:
            return ""
        return self.say("running", day=self.language.weekday(self._last_day))

    @property
    def tiles(self) -> str:
        """Four numbers, each in a box, beside the week before."""
        now, before = self.facts.now, self.facts.before
        boxes = (
            tile(
                f"{now.students:,}", self.say("tiles.students"), self.say("tiles.before", before=f"{before.students:,}")
            ),
            tile(
                f"{now.attempts:,}", self.say("tiles.answers"), self.say("tiles.before", before=f"{before.attempts:,}")
            ),
            tile(_right(now), self.say("tiles.right"), self.say("tiles.before", before=_right(before))),
            self._ability_tile,
        )
        return fenced("tiles", "\n\n".join(boxes))

    @property
    def story(self) -> str:
        """The week in a few sentences."""
        now = self.facts.now
        worked = (
            self.say("story.worked", now.students, answers=f"{now.attempts:,}", share=_right(now))
            if now.students
            else self.say("story.rested")
        )
        return f"{worked} {self._level}"

    @property
    def first(self) -> str:
        """The most urgent students, and why in a few words."""
        facts = self.facts
        if not facts.attention:
            return self.say("attention.none")
        lines = [
            f"- **{name}**: {', '.join(self.say(f'attention.kind.{reason.kind}') for reason in student.reasons)}"
            for name, student in zip(self._names, facts.attention[:FIRST], strict=False)
        ]
        rest = facts.n_attention - len(lines)
        return "\n".join(lines) + (f"\n\n{self.say('attention.rest', rest)}" if rest > 0 else "")

    @property
    def ability_chart(self) -> str:
        """The cohort's own-week ability with its forecast; nothing without the series."""
        return self._series_chart("ability", "theta_week", self.facts.ability)

    # -- the week --------------------------------------------------------------------------------------------

    @property
    def forecast(self) -> str:
        """What is to be expected next week."""
        parts = [
            self.say(
                f"forecast.{metric}",
                value=self.value(metric, series.ahead[0].value),
                interval=self.interval(metric, series.ahead[0]),
                engine=self._engine(series.engine),
            )
            for metric, series in (("theta_week", self.facts.ability), ("attempts", self.facts.answers))
            if series and series.ahead
        ]
        return " ".join(parts) or self.say("forecast.none")

    @property
    def answers_chart(self) -> str:
        """The cohort's answers with their forecast."""
        return self._series_chart("answers", "attempts", self.facts.answers) or self.say("forecast.none")

    @property
    def stood_out(self) -> str:
        """How many series of the week are unusual."""
        if not self.facts.n_judged:
            return self.say("unusual.not_judged")
        if not self.facts.n_unusual:
            return self.say("unusual.none", self.facts.n_judged)
        return self.say("unusual.some", self.facts.n_unusual, judged=f"{self.facts.n_judged:,}")

    @property
    def unusual(self) -> str:
        """The series whose week is not what the weeks before let expect."""
        if not self.facts.unusual:
            return self.stood_out
        rows = [self._unusual_row(series) for series in self.facts.unusual]
        return f"{self.stood_out}\n\n{self.rows('unusual.columns', rows, 'llrrr', self.facts.n_unusual)}"

    # -- who needs attention ---------------------------------------------------------------------------------

    @property
    def attention(self) -> str:
        """Students with all that the rules found, the most urgent first, and how many there are."""
        facts = self.facts
        if not facts.attention:
            return self.say("attention.none")
        counts = ", ".join(
            f"{self.say(f'attention.kind.{kind}')}: {students:,}"
            for kind, students in facts.attention_by_kind.items()
            if students
        )
        lines = [
            f"{place}. **{name}**: {'; '.join(map(self._reason, student.reasons))}."
            for place, (name, student) in enumerate(zip(self._names, facts.attention, strict=True), start=1)
        ]
        more = facts.n_attention - len(lines)
        parts = [f"{self.say('attention.lead', facts.n_attention)} {self.say('attention.counts')} {counts}."]
        parts += ["\n".join(lines), self.say("attention.more", more) if more > 0 else ""]
        return "\n\n".join(parts)

    @property
    def rules(self) -> str:
        """By which rules students are found."""
        return self.say(
            "attention.rules",
            threshold=percent(self.facts.threshold),
            horizon=self.facts.horizon_days,
            lookback=self.facts.lookback_days,
        )

    @property
    def risk_chart(self) -> str:
        """How many students have which risk; nothing when none is known."""
        risk = self.facts.risk
        if risk is None:
            return self.say("risk.none")
        axis = charts.Axis(self.say("risk.students"), charts.DAYS[self.facts.lang])
        drawing = cohort_charts.risks(
            risk, self.facts.threshold, self.say("risk.axis", horizon=self.facts.horizon_days), axis
        )
        width = 100 // len(risk.bands)
        counts = ", ".join(
            f"{place * width}–{(place + 1) * width} %: {students}" for place, students in enumerate(risk.bands)
        )
        caption = self.say("risk.caption", sum(risk.bands), threshold=percent(self.facts.threshold), lapsed=risk.lapsed)
        return figure(self.folder, "risk", drawing, caption, self.say("risk.alt", counts=counts))

    @property
    def until(self) -> str:
        """Which answers were used."""
        return self.say("about.until", day=self.language.date(self._last_day))

    # -- parts -----------------------------------------------------------------------------------------------

    @property
    def _last_day(self) -> date:
        return self.facts.as_of - timedelta(days=1)

    @property
    def _ability_tile(self) -> str:
        own = self.facts.own_week
        if own is None:
            return tile(UNKNOWN, self.say("tiles.ability"), self.say("tiles.unknown"))
        return tile(
            number(own.value),
            self.say("tiles.ability"),
            self.say("tiles.interval", interval=self.language.interval(own)),
        )

    @property
    def _level(self) -> str:
        own, series = self.facts.own_week, self.facts.ability
        if own is None:
            return self.say("story.no_ability")
        known = dict(zip(series.weeks, series.values, strict=True)) if series else {}
        before = known.get(self.facts.week_start - WEEK)
        value, interval = number(own.value), self.language.interval(own)
        if before is None:
            return self.say("story.ability", value=value, interval=interval, students=own.n)
        return self.say("story.ability_after", value=value, interval=interval, students=own.n, before=number(before))

    def _unusual_row(self, series: UnusualSeriesFacts) -> tuple[str, ...]:
        name = {
            "cohort": self.say("unusual.cohort"),
            "topic": plain(self.topic(series.name)),
            "segment": plain(shown(self.facts.segment_names.get(series.name, series.name))),
        }[series.scope]
        return (
            name,
            plain(self.named("metric", series.metric)),
            self.value(series.metric, series.value),
            self.value(series.metric, series.expected.value),
            self.interval(series.metric, series.expected),
        )

    def _series_chart(self, name: str, metric: str, series: SeriesFacts | None) -> str:
        if series is None or not series.weeks:
            return ""
        axis = charts.Axis(self.named("metric", metric), charts.DAYS[self.facts.lang])
        alt = self.say(
            "forecast.alt",
            metric=self.named("metric", metric),
            value=self.value(metric, series.values[-1]),
            weeks=len(series.weeks),
            first=self.language.day(series.weeks[0]),
            last=self.language.day(series.weeks[-1]),
            ahead=self.value(metric, series.ahead[-1].value) if series.ahead else UNKNOWN,
            interval=self.interval(metric, series.ahead[-1]) if series.ahead else UNKNOWN,
        )
        caption = self.say(f"forecast.caption.{metric}", engine=self._engine(series.engine))
        return figure(self.folder, name, cohort_charts.series(series, axis), caption, alt)

    def _engine(self, engine: str) -> str:
        return self.named("engine", engine)

    @cached_property
    def _names(self) -> list[str]:
        """Of the listed students, as Markdown; who has none, or another's, is told by the key."""
        names = [shown(student.name or "") for student in self.facts.attention]
        often = Counter(names)
        return [
            plain(name if name and often[name] == 1 else f"{name} {student.key}".strip())
            for name, student in zip(names, self.facts.attention, strict=True)
        ]

    def _reason(self, reason: Reason) -> str:
        if isinstance(reason, RiskReason):
            return self._risk_reason(reason)
        if isinstance(reason, GoalReason):
            return self._goal_reason(reason)
        if isinstance(reason, AbilityReason):
            value, expected = number(reason.value), number(reason.expected.value)
            interval = self.language.interval(reason.expected)
            return self.say("attention.ability", value=value, expected=expected, interval=interval)
        if isinstance(reason, FitReason):
            return self.say("attention.fit", reason.n, lz=number(reason.lz_star))
        if reason.idle_days is None:
            return self.say("attention.kind.lapsed")
        return self.say("attention.lapsed", reason.idle_days)

    def _risk_reason(self, reason: RiskReason) -> str:
        parts = [
            self.say(
                "attention.risk",
                risk=percent(reason.risk.value),
                interval=self.language.percent_interval(reason.risk),
            )
        ]
        if reason.idle_days is not None:
            parts.append(self.say("attention.idle", reason.idle_days))
        if reason.alert:
            parts.append(self.say("attention.alert"))
        return ", ".join(parts)

    def _goal_reason(self, reason: GoalReason) -> str:
        topic = self.say("attention.overall") if reason.topic is None else self.topic(reason.topic)
        text = self.say(
            "attention.goal",
            topic=topic,
            day=self.language.day(reason.day),
            probability=percent(reason.probability.value),
        )
        limits = self.language.percent_interval(reason.probability)
        if limits != UNKNOWN:
            text += f" {self.say('attention.limits', interval=limits)}"
        return text + (f", {self.say('attention.more_goals', reason.more)}" if reason.more else "")


def _right(activity: ActivityFacts) -> str:
    return percent(activity.correct / activity.attempts) if activity.attempts else UNKNOWN
