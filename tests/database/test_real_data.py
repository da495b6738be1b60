"""The real data sets, where they are at hand: everything arrives, and says the same as the file."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from seedtest_assets.intake.files import import_file
from seedtest_assets.resources.database import Database


@pytest.mark.parametrize(
    "name", [pytest.param("algebra_2005", marks=pytest.mark.slow), "memphis_stats", "datashop_hints"]
)
def test_every_row_arrives_with_what_it_says(database: Database, shared_data: Path, read, attempts, name: str) -> None:
    path = shared_data / name / "attempts.parquet"
    file = pd.read_parquet(path)
    count = import_file(database, path)
    assert (count.new, count.rejected) == (len(file), Counter())
    assert count.zero_times == (file["response_time_ms"] == 0).sum()
    assert (count.first, count.last) == (file["answered_at"].min(), file["answered_at"].max())

    numbers = (
        "count(*), count(DISTINCT student_id), count(DISTINCT item_id), count(DISTINCT topic_id), count(topic_id), "
        "count(session_id), count(response_time_ms), sum(response_time_ms), count(hint_used), "
        "count(*) FILTER (WHERE hint_used), count(started_at), count(*) FILTER (WHERE correct)"
    )
    hints = file["hints_used"]
    expected = (
        *(len(file), file["student_id"].nunique(), file["item_id"].nunique(), file["topic_id"].nunique()),
        *(file["topic_id"].notna().sum(), file["session_id"].notna().sum(), (file["response_time_ms"] > 0).sum()),
        *(file["response_time_ms"].sum(), hints.notna().sum(), (hints > 0).sum()),
        *(file["started_at"].notna().sum(), file["is_correct"].sum()),
    )
    assert read(f"SELECT {numbers} FROM intake.attempt") == [expected]

    stored = attempts()
    again = import_file(database, path)
    assert (again.new, again.changed, again.unchanged) == (0, 0, len(file))
    pd.testing.assert_frame_equal(stored, attempts())
    turns = stored.sort_values(["student_id", "item_id", "attempt_no"]).groupby(["student_id", "item_id"])
    assert (turns["attempt_no"].diff().dropna() == 1).all()
    assert (turns["attempt_no"].min() == 1).all()
    assert (turns["completed_at"].diff().dropna() >= pd.Timedelta(0)).all()
