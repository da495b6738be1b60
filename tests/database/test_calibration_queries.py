"""What a calibration looks at, the anchors in force, the use of the bank: SQL against loops over the same rows."""

import random
import uuid
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from seedtest_assets import tables
from seedtest_assets.assets.irt import answered_once, calibration_answers
from seedtest_assets.assets.item_bank import _counts, _use_of_items
from seedtest_assets.assets.reference_scale import _topics, anchors_in_force, is_set
from seedtest_assets.calendar import Week
from seedtest_assets.local import demo
from seedtest_assets.settings import settings

WEEK = Week.of(date(2026, 3, 2))
OPENS = datetime(2026, 3, 9, tzinfo=UTC) - timedelta(days=20)


@pytest.fixture
def rows(database, monkeypatch):
    """Four students on five items, most of them more than once, before, in and after a window of twenty days."""
    monkeypatch.setenv("MIRT_LOOKBACK_DAYS", "20")
    settings.cache_clear()
    dice, made = random.Random(3), []
    for student in range(4):
        for item in range(5):
            times = sorted(OPENS + timedelta(hours=dice.randint(-200, 600)) for _ in range(dice.randint(0, 4)))
            for number, completed_at in enumerate(times, start=1):
                made.append(
                    {
                        "student_id": uuid.UUID(int=student),
                        "item_id": item,
                        "correct": dice.random() < 0.5,
                        "completed_at": completed_at,
                        "attempt_no": number,
                        "topic_id": dice.choice(["x", "y", None]),
                        "source": demo.SOURCE,
                        "source_id": str(len(made)),
                    }
                )
    with database.transaction() as connection:
        connection.execute(tables.attempt.insert(), made)
    return made


def in_window(rows):
    return [row for row in rows if OPENS <= row["completed_at"] < WEEK.as_of]


def found(database, query):
    return sorted(tuple(row) for row in database.rows(query))


def as_tuples(rows):
    return sorted((row["student_id"], row["item_id"], row["correct"]) for row in rows)


@pytest.mark.parametrize("attempts", ["first", "last", "all"])
def test_answers_are_the_first_ever_the_windows_last_or_all(database, rows, monkeypatch, attempts):
    monkeypatch.setenv("MIRT_ATTEMPTS", attempts)
    settings.cache_clear()
    inside = in_window(rows)
    last = {(row["student_id"], row["item_id"]): row for row in sorted(inside, key=lambda row: row["completed_at"])}
    expected = {
        "first": [row for row in inside if row["attempt_no"] == 1],
        "last": list(last.values()),
        "all": inside,
    }
    assert found(database, calibration_answers(database, WEEK)) == as_tuples(expected[attempts])
    assert len({len(each) for each in expected.values()}) == 3  # the three differ


def test_of_repeated_answers_the_earliest_is_judged(database, rows, monkeypatch):
    monkeypatch.setenv("MIRT_ATTEMPTS", "all")
    settings.cache_clear()
    once = answered_once(database.frame(calibration_answers(database, WEEK)))
    inside = sorted(in_window(rows), key=lambda row: row["completed_at"], reverse=True)
    earliest = {(row["student_id"], row["item_id"]): row["correct"] for row in inside}
    keys = zip(once["student_id"].map(uuid.UUID), once["item_id"], strict=True)
    assert dict(zip(keys, once["correct"], strict=True)) == earliest


def test_use_of_items_counts_answers_and_students(database, rows):
    met = defaultdict(list)
    for row in in_window(rows):
        met[row["item_id"]].append(row["student_id"])
    expected = sorted((item, len(students), len(set(students))) for item, students in met.items())
    assert found(database, _use_of_items(database, WEEK)) == expected
    students = {row["student_id"] for row in in_window(rows)}
    known = {row["item_id"] for row in rows if row["completed_at"] < WEEK.as_of}
    assert _counts(database, WEEK) == (len(students), len(known))


def test_the_topic_of_an_item_is_that_of_most_of_its_answers(database, rows):
    topics = defaultdict(list)
    for row in in_window(rows):
        topics[row["item_id"]].append(row["topic_id"])
    expected = []
    for item, given in topics.items():
        counts = {topic: given.count(topic) for topic in sorted(filter(None, given))}
        expected.append((item, max(counts, key=counts.get) if counts else None))
    assert found(database, _topics(database, WEEK)) == sorted(expected)


def anchor(item, **changed):
    known = {"item_id": item, "valid_from": WEEK.as_of, "a": 1.0, "b": 0.0, "c": 0.0, "model": "2PL"}
    return known | {"bank": uuid.UUID(int=1), "valid_to": None} | changed


def test_anchors_in_force_are_of_the_model_and_valid_at_as_of(database):
    assert not is_set(database)
    second = timedelta(seconds=1)
    with database.transaction() as connection:
        connection.execute(
            tables.item_anchor.insert(),
            [
                anchor(1),
                anchor(2, valid_from=WEEK.as_of + second),
                anchor(3, valid_from=WEEK.as_of - second, valid_to=WEEK.as_of),
                anchor(4, valid_from=WEEK.as_of - second, valid_to=WEEK.as_of + second),
                anchor(5, model="3PL"),
            ],
        )
    assert anchors_in_force(database, WEEK)["item_id"].tolist() == [1, 4]
    assert is_set(database)


def test_another_demo_forgets_the_answers_and_the_anchors_of_the_one_before_and_no_others(database, rows):
    other = rows[0] | {"item_id": 99, "source": "file"}
    with database.transaction() as connection:
        connection.execute(tables.attempt.insert(), [other])
        connection.execute(tables.item_anchor.insert(), [anchor(0), anchor(4), anchor(99)])
    demo.forget_attempts(database)
    assert found(database, sa.select(tables.item_anchor.c.item_id)) == [(99,)]
    assert found(database, sa.select(tables.attempt.c.item_id)) == [(99,)]
