import numpy as np
import pandas as pd
import pytest

from seedtest_assets.resources.spool import spooled


@pytest.fixture
def answers():
    rng = np.random.default_rng(1)
    student = rng.integers(0, 40, 500)
    return pd.DataFrame(
        {
            "student_id": pd.Categorical([f"s{number:02d}" for number in student]),
            "item_id": rng.integers(0, 2**62, 500),
            "correct": rng.integers(0, 2, 500),
        }
    )


def parts(folder):
    return [pd.read_csv(file) for file in sorted(folder.glob("*.csv"))]


def test_every_answer_is_in_one_part_and_every_student_in_one(answers, tmp_path):
    with spooled(answers, tmp_path, part_rows=100) as name:
        found = parts(tmp_path / name)
    assert len(found) > 3
    students = [set(part["student_id"]) for part in found]
    assert sum(map(len, students)) == len(set.union(*students)) == answers["student_id"].nunique()
    columns = list(answers)
    written = pd.concat(found).sort_values(columns, ignore_index=True)
    sent = answers.astype({"student_id": str}).sort_values(columns, ignore_index=True)
    pd.testing.assert_frame_equal(written, sent, check_dtype=False)


def test_the_folder_is_gone_in_the_end_also_after_an_error(answers, tmp_path):
    with spooled(answers, tmp_path):
        assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ZeroDivisionError), spooled(answers, tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_same_answers_have_the_same_name_others_another(answers, tmp_path):
    with spooled(answers, tmp_path) as name:
        pass
    with spooled(answers.assign(correct=1 - answers["correct"]), tmp_path) as other:
        pass
    with spooled(answers, tmp_path) as again:
        pass
    assert name == again != other


def test_what_a_killed_process_left_is_used_and_removed(answers, tmp_path):
    with spooled(answers, tmp_path) as name:
        (tmp_path / name).rename(tmp_path / "kept")
    (tmp_path / "kept").rename(tmp_path / name)
    with spooled(answers, tmp_path) as again:
        assert again == name
        assert sum(map(len, parts(tmp_path / again))) == len(answers)
    assert list(tmp_path.iterdir()) == []
