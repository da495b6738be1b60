"""The teacher's report on topics, on groups of students, and on how good the predictions were."""

from seedtest_assets.reports.cohort_facts import MoveFacts, SegmentationFacts, TopicWeekFacts
from seedtest_assets.reports.cohort_pieces import Pieces, logged, written
from seedtest_assets.reports.language import UNKNOWN, number, percent, plain, shown, signed
from seedtest_assets.reports.markdown import table


class GroupPieces(Pieces):
    """Pieces on topics, groups of students and predictions."""

    @property
    def topics(self) -> str:
        """Answers and mean ability by topic."""
        if not self.facts.topics:
            return self.say("topics.none")
        rows = [self._topic_row(topic) for topic in self.facts.topics]
        return f"{self.rows('topics.columns', rows, 'lrrrrr', self.facts.n_topics)}\n\n{self.say('topics.note')}"

    @property
    def segments(self) -> str:
        """The groups with their sizes, or why there are none."""
        found = self.facts.segmentation
        if found is None:
            return self.say("segments.untried")
        made = self.say("segments.made", found.n_students, day=self.language.date(found.made))
        if not found.sizes:
            return f"{made} {self.say('segments.without', status=self._status(found))} {self._because(found)}".rstrip()
        everybody = sum(size.students for size in found.sizes)
        rows = [
            (self._segment(size.key), f"{size.students:,}", percent(size.students / everybody)) for size in found.sizes
        ]
        return f"{made}\n\n{table(self.say('segments.columns'), rows, 'lrr')}"

    @property
    def moves(self) -> str:
        """Who has moved since the segmentation before; nothing where there are no groups."""
        found = self.facts.segmentation
        if found is None or not (found.sizes or found.moves):
            return ""
        if not found.moves:
            return self.say("segments.stayed", found.stayed) if found.stayed else self.say("segments.no_before")
        rows = [self._move_row(move) for move in found.moves]
        stayed = self.say("segments.stayed", found.stayed)
        return f"{stayed}\n\n{self.rows('segments.move_columns', rows, 'llr', found.n_moves)}"

    @property
    def risk_record(self) -> str:
        """How the published risks came true."""
        record = self.facts.risk_record
        if record is None:
            return self.say("record.no_fit")
        fitted = self.say("record.fitted", day=self.language.date(record.fitted))
        if not record.n or record.brier is None:
            return f"{fitted} {self.say('record.too_early')}"
        parts = [fitted, self.say("record.brier", record.n, events=record.events, brier=number(record.brier, 3))]
        if record.skill is not None:
            kind = "better" if record.skill > 0 else "no_better"
            parts.append(self.say(f"record.{kind}", skill=signed(record.skill)))
        if record.slope is None:
            parts.append(self.say("record.no_slope"))
        else:
            interval = self.language.interval(record.slope)
            parts.append(self.say("record.slope", slope=number(record.slope.value), interval=interval))
        return " ".join(parts)

    @property
    def growth(self) -> str:
        """How the probabilities of the goals were found."""
        growth = self.facts.growth
        if growth is None:
            return self.say("growth.none")
        parts = [
            self.say(f"growth.{growth.method}", growth.goals, engine=self.named("growth.engine", growth.engine)),
            self.say("growth.published" if growth.published else "growth.older"),
        ]
        if growth.instead:
            parts.append(self.say("growth.instead", reason=logged(growth.instead)))
        return " ".join(parts)

    @property
    def unpublished(self) -> str:
        """Which fits of the week were not published, and why."""
        if not self.facts.unpublished:
            return self.say("unpublished.none")
        rows = [
            (plain(self.named("unpublished.fit", fit.asset)), plain(logged(fit.reason or "")) or UNKNOWN)
            for fit in self.facts.unpublished
        ]
        return f"{self.say('unpublished.lead')}\n\n{table(self.say('unpublished.columns'), rows, 'll')}"

    def _topic_row(self, topic: TopicWeekFacts) -> tuple[str, ...]:
        activity, ability = topic.activity, topic.ability
        return (
            plain(self.topic(topic.topic)),
            f"{activity.students:,}",
            f"{activity.attempts:,}",
            percent(activity.correct / activity.attempts) if activity.attempts else UNKNOWN,
            written(ability.value if ability else None),
            self.language.interval(ability) if ability else UNKNOWN,
        )

    def _status(self, found: SegmentationFacts) -> str:
        return self.named("segments.status", found.status)

    def _because(self, found: SegmentationFacts) -> str:
        return self.say("segments.because", reason=logged(found.reason)) if found.reason else ""

    def _segment(self, key: str | None) -> str:
        if key is None:
            return self.say("segments.nowhere")
        return plain(shown(self.facts.segment_names.get(key, key)))

    def _move_row(self, move: MoveFacts) -> tuple[str, ...]:
        return self._segment(move.before), self._segment(move.now), f"{move.students:,}"
