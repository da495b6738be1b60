"""Words, numbers and days in the language of a report; and text of strangers made harmless."""

import datetime as dt
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from babel.dates import format_date

from seedtest_assets.reports.facts import Estimate, Lang

FOLDER = Path(__file__).resolve().parents[2] / "quarto_reports"
"""Documents, words and styles."""
UNKNOWN = "–"
"""In place of a number that is not known."""
LONGEST = 60
"""Characters of a name, a topic or a question that are printed."""
PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
MONTH_DAY: dict[Lang, str] = {"en": "d MMM", "ko": "M월 d일"}
WEEKDAY: dict[Lang, str] = {"en": "EEE d MMM", "ko": "M월 d일(E)"}
WEEK: dict[Lang, tuple[str, str]] = {"en": ("EEE d MMM", "EEE d MMM y"), "ko": ("y년 M월 d일(E)", "M월 d일(E)")}
FULL: dict[Lang, str] = {"en": "d MMMM y", "ko": "y년 M월 d일"}


def shown(name: str, longest: int = LONGEST) -> str:
    """A stranger's text as it may be seen: one line, no control or direction characters, not too long."""
    visible = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in unicodedata.normalize("NFC", name))
    line = " ".join(visible.split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


class Markdown(str):
    """Text that is Markdown already. What is not is escaped before it becomes part of it."""

    __slots__ = ()


def plain(text: str) -> Markdown:
    r"""Markdown that shows this line and means nothing else: every ASCII punctuation mark is escaped."""
    return Markdown(PUNCTUATION.sub(r"\\\1", text))


class Language:
    """How one language says things.

    Args:
        lang: en or ko; its words are in quarto_reports/words.
    """

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self._words = words(lang)

    def say(self, key: str, n: int | None = None, **values: object) -> Markdown:
        """A phrase with its values, as Markdown; a value that is none is taken as text.

        Args:
            key: dotted name of the phrase.
            n: the number that chooses between one and other, and is {n}.
            values: what the phrase names in braces.
        """
        phrase: Any = self._words
        for part in key.split("."):
            phrase = phrase[part]
        if isinstance(phrase, dict):
            phrase = phrase["one"] if n == 1 and "one" in phrase else phrase["other"]
        if n is not None:
            values["n"] = f"{n:,}"
        marked = {name: value if isinstance(value, Markdown) else plain(str(value)) for name, value in values.items()}
        return Markdown(str(phrase).format(**marked))

    def day(self, day: dt.date) -> str:
        """A day without its year."""
        return format_date(day, MONTH_DAY[self.lang], locale=self.lang)

    def weekday(self, day: dt.date) -> str:
        """A day with its weekday."""
        return format_date(day, WEEKDAY[self.lang], locale=self.lang)

    def date(self, day: dt.date) -> str:
        """A day with its year."""
        return format_date(day, FULL[self.lang], locale=self.lang)

    def week(self, monday: dt.date) -> str:
        """The days of a week, with the year."""
        first, last = (
            format_date(day, form, locale=self.lang)
            for day, form in zip((monday, monday + dt.timedelta(days=6)), WEEK[self.lang], strict=True)
        )
        return f"{first} – {last}"

    def interval(self, estimate: Estimate, digits: int = 2) -> str:
        """The limits of a number, or a dash where there are none."""
        return self._between(estimate, lambda limit: number(limit, digits))

    def percent_interval(self, estimate: Estimate) -> str:
        """The limits of a share, or a dash where there are none."""
        return self._between(estimate, percent)

    def _between(self, estimate: Estimate, written: Callable[[float], str]) -> str:
        if estimate.lower is None or estimate.upper is None:
            return UNKNOWN
        return self.say("between", lower=written(estimate.lower), upper=written(estimate.upper))


@lru_cache(maxsize=2)
def words(lang: Lang) -> dict[str, Any]:
    """The phrases of a language."""
    text = (FOLDER / "words" / f"{lang}.yml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus; no minus before a zero."""
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if round(value, digits) == 0 else text.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """A number that always shows its sign."""
    text = number(value, digits)
    return text if text.startswith("−") or round(value, digits) == 0 else f"+{text}"


def percent(share: float) -> str:
    """A share in per cent, never rounded to certainty."""
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{100 * share:.0f}%"
