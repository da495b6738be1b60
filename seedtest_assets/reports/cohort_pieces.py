"""What all pieces of the teacher's report share: facts, a folder for charts, and a language."""

from collections.abc import Sequence
from pathlib import Path

from seedtest_assets.reports.cohort_facts import CohortFacts
from seedtest_assets.reports.facts import Estimate
from seedtest_assets.reports.language import UNKNOWN, Language, number, percent, shown, words
from seedtest_assets.reports.markdown import table

LONGEST_REASON = 240
"""Characters of what the pipeline has logged that are printed."""
COUNTS, SHARES = ("attempts", "sessions"), ("accuracy",)
"""Metrics of series that are written as whole numbers, and as per cent; the others are logits."""


class Pieces:
    """Pieces of the report.

    Args:
        facts: what it is made of.
        folder: where its charts are written, beside the document.
    """

    def __init__(self, facts: CohortFacts, folder: Path) -> None:
        self.facts = facts
        self.folder = folder
        self.language = Language(facts.lang)

    def say(self, key: str, n: int | None = None, **values: object) -> str:
        """A phrase of the teacher's report."""
        return self.language.say(f"cohort.{key}", n, **values)

    def named(self, kind: str, name: str) -> str:
        """What the pipeline calls `name`, in words, as text; as it is where there are none."""
        known = words(self.facts.lang)["cohort"]
        for part in kind.split("."):
            known = known[part]
        return self.say(f"{kind}.{name}") if name in known else shown(name)

    def rows(self, key: str, rows: Sequence[tuple[str, ...]], alignment: str, total: int) -> str:
        """A table, and how many rows it leaves out.

        Args:
            key: of its headings.
            rows: cells, Markdown.
            alignment: l or r for each column.
            total: rows that there are.
        """
        more = total - len(rows)
        return table(self.say(key), rows, alignment) + (f"\n\n{self.say('more', more)}" if more > 0 else "")

    def topic(self, topic: str) -> str:
        """A topic as text."""
        return shown(topic) or self.say("topics.untitled")

    def value(self, metric: str, value: float) -> str:
        """A value of a series in its unit."""
        return percent(value) if metric in SHARES else number(value, 0 if metric in COUNTS else 2)

    def interval(self, metric: str, estimate: Estimate) -> str:
        """The limits of a value of a series, or a dash where there are none."""
        if metric in SHARES:
            return self.language.percent_interval(estimate)
        return self.language.interval(estimate, 0 if metric in COUNTS else 2)


def logged(reason: str) -> str:
    """What the pipeline has logged, on one line, as text: longer than a name may be."""
    return shown(reason, LONGEST_REASON)


def written(value: float | None, digits: int = 2) -> str:
    """A number, or a dash."""
    return UNKNOWN if value is None else number(value, digits)


def share(value: float | None) -> str:
    """A share in per cent, or a dash."""
    return UNKNOWN if value is None else percent(value)
