"""The simulated cohort against its stated truth: probabilities, parameters, calendar, choice of items."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, log_expit
from scipy.stats import chi2, kstest

from seedtest_assets.simulate import (
    ATTEMPTS_SCHEMA,
    Batch,
    CohortSpec,
    ItemChooser,
    simulate,
    true_items,
    true_theta,
    write_cohort,
)

END = date(2025, 6, 29)
SPEC = CohortSpec(end=END)
SMALL = CohortSpec(end=END, students=40, weeks=8)


def collected(spec: CohortSpec, batch_size: int = 1_000) -> Batch:
    batches = list(simulate(spec, batch_size))
    return Batch(
        pa.concat_tables(batch.attempts for batch in batches),
        pa.concat_tables(batch.students for batch in batches),
    )


def with_truth(spec: CohortSpec, cohort: Batch) -> pd.DataFrame:
    """Every answer beside what it was drawn from."""
    answers = cohort.attempts.to_pandas()
    answers["theta"] = true_theta(cohort.students, answers.student_id, answers.answered_at, answers.topic_id)
    answers["deviation"] = answers.theta - true_theta(cohort.students, answers.student_id, answers.answered_at)
    items = true_items(spec).to_pandas().drop(columns="topic_id")
    students = cohort.students.select(["student_id", "theta_0", "slope", "speed", "hint_propensity"]).to_pandas()
    answers = answers.merge(items, on="item_id", how="left").merge(students, on="student_id", how="left")
    answers["p"] = expit(answers.a * (answers.theta - answers.b))
    local = answers.answered_at.dt.tz_convert(spec.timezone)
    answers["local_day"] = local.dt.tz_localize(None).dt.normalize()
    return answers


def surely_off_topic(answers: pd.DataFrame) -> pd.Series:
    """Answers on a topic so rare in a long session that it cannot be the session's."""
    within = answers.groupby(["session_id", "topic_id"]).answered_at.transform("size")
    session = answers.groupby("session_id").answered_at.transform("size")
    return (session >= 10) & (within <= 0.3 * session)


@pytest.fixture(scope="module")
def cohort() -> Batch:
    return collected(SPEC)


@pytest.fixture(scope="module")
def answers(cohort: Batch) -> pd.DataFrame:
    return with_truth(SPEC, cohort)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[tuple[CohortSpec, Batch, pd.DataFrame]]:
    """A cohort across a change of the clock, with much coming and going."""
    spec = CohortSpec(
        end=date(2025, 4, 2),
        students=200,
        weeks=10,
        timezone="America/New_York",
        pause_per_week=0.1,
        dropout_per_week=0.1,
        return_share=0.5,
    )
    cohort = collected(spec)
    yield spec, cohort, with_truth(spec, cohort)


@pytest.fixture(scope="module")
def many() -> tuple[CohortSpec, Batch]:
    """Many students with few answers: enough to see the distributions of their truth."""
    spec = CohortSpec(
        end=END, students=4_000, weeks=20, items=6, topics=2, sessions_per_week=0.6, session_answers=3.0,
        holidays=tuple(END - timedelta(days=days) for days in range(0, 140, 10)), timezone="Asia/Seoul",
    )  # fmt: skip
    return spec, collected(spec)


# Reproduction


def test_a_seed_gives_the_same_rows_whatever_the_batch_size() -> None:
    once = collected(SMALL)
    again = collected(SMALL, batch_size=7)
    assert once.attempts.equals(again.attempts)
    assert once.students.equals(again.students)


def test_another_seed_gives_other_truth_and_other_answers() -> None:
    once, other = collected(SMALL), collected(replace(SMALL, seed=2))
    assert not set(once.students["theta_0"].to_pylist()) & set(other.students["theta_0"].to_pylist())
    assert not set(true_items(SMALL)["b"].to_pylist()) & set(true_items(replace(SMALL, seed=2))["b"].to_pylist())
    assert not set(once.attempts["answered_at"].to_pylist()) & set(other.attempts["answered_at"].to_pylist())


def test_a_larger_cohort_begins_with_the_smaller_one() -> None:
    small, large = collected(SMALL), collected(replace(SMALL, students=60))
    assert large.attempts.slice(0, small.attempts.num_rows).equals(small.attempts)
    assert large.students.slice(0, 40).equals(small.students)


def test_students_and_items_have_random_numbers_of_their_own(many: tuple[CohortSpec, Batch]) -> None:
    theta = many[1].students["theta_0"].to_numpy()
    assert len(set(theta)) == len(theta)
    assert abs(np.corrcoef(theta[:-1], theta[1:])[0, 1]) < 4 / np.sqrt(len(theta))


# The measurement model


def test_the_share_correct_is_the_models_probability(answers: pd.DataFrame) -> None:
    answers = answers.assign(variance=answers.p * (1 - answers.p))
    for rows in (answers, answers[surely_off_topic(answers)]):
        for by in ("p", "theta", "deviation", "b", "a", "answered_at", "attempt_no"):
            groups = rows.groupby(pd.qcut(rows[by], 20, labels=False, duplicates="drop"))
            z2 = ((groups.is_correct.sum() - groups.p.sum()) ** 2 / groups.variance.sum()).sum()
            assert z2 < chi2.ppf(0.999, groups.ngroups), by


def test_item_parameters_are_recovered_by_logistic_regression_on_true_theta(answers: pd.DataFrame) -> None:
    item = answers.item_id.astype("category")
    truth = answers.groupby(item, observed=True)[["a", "b"]].first().to_numpy()
    a, d = truth[:, 0], -truth[:, 0] * truth[:, 1]
    for _ in range(25):  # Newton's method for all items at once: logit p = a theta + d
        p = expit(a[item.cat.codes] * answers.theta + d[item.cat.codes])
        terms = pd.DataFrame({"w": p * (1 - p), "r": answers.is_correct - p})
        terms["w1"], terms["w2"], terms["r1"] = (
            terms.w * answers.theta,
            terms.w * answers.theta**2,
            terms.r * answers.theta,
        )
        sums = terms.groupby(item, observed=True).sum()
        information = np.stack([sums.w2, sums.w1, sums.w1, sums.w], axis=1).reshape(-1, 2, 2)
        step = np.linalg.solve(information, sums[["r1", "r"]].to_numpy()[..., None])[..., 0]
        a, d = a + step[:, 0], d + step[:, 1]
    assert np.abs(step).max() < 1e-8
    covariance = np.linalg.inv(information)
    z = np.stack([a, d], axis=1) - np.stack([truth[:, 0], -truth[:, 0] * truth[:, 1]], axis=1)
    mahalanobis = np.einsum("ij,ijk,ik->i", z, information, z)
    assert 0.8 < mahalanobis.mean() / 2 < 1.2
    z /= np.sqrt(covariance[:, [0, 1], [0, 1]])
    covered = (np.abs(z) < 1.96).mean(axis=0)
    assert (np.abs(covered - 0.95) < 3.3 * np.sqrt(0.95 * 0.05 / len(truth))).all()
    assert np.median(np.abs(-d / a - truth[:, 1])) < 0.12


def test_growth_is_recovered_from_the_answers(answers: pd.DataFrame) -> None:
    weeks = (answers.answered_at - pd.Timestamp(SPEC.start, tz="UTC")) / pd.Timedelta(weeks=1)
    without_growth = answers.theta - answers.slope * weeks - answers.b
    growth = 0.0
    for _ in range(25):  # Newton's method for a common slope, all else known
        p = expit(answers.a * (without_growth + growth * weeks))
        weight = answers.a**2 * weeks**2 * p * (1 - p)
        growth += (answers.a * weeks * (answers.is_correct - p)).sum() / weight.sum()
    se = weight.sum() ** -0.5
    assert abs(growth - (weight * answers.slope).sum() / weight.sum()) < 3 * se
    assert growth > 10 * se


def test_response_times_are_lognormal_about_item_and_student(answers: pd.DataFrame) -> None:
    logged = answers[answers.response_time_ms.notna()]
    expected = logged.time_intensity - logged.speed + SPEC.wrong_slowdown * ~logged.is_correct
    residual = (np.log(logged.response_time_ms / 1_000) - expected) / SPEC.time_noise_sd
    uncut = residual[expected + 4 * SPEC.time_noise_sd < np.log(120)]
    assert len(uncut) > 50_000
    assert kstest(uncut, "norm").pvalue > 0.001
    assert logged.response_time_ms.max() == 120_000
    share = answers.response_time_ms.isna().mean()
    assert abs(share - 0.03) < 4 * np.sqrt(0.03 * 0.97 / len(answers))


def test_each_further_hint_has_the_stated_probability(answers: pd.DataFrame) -> None:
    q = expit(answers.hint_propensity - (answers.theta - answers.b))
    assert set(answers.hints_used) == {0, 1, 2, 3}
    for hints in (1, 2, 3):
        p = q**hints
        taken = answers.hints_used >= hints
        assert abs(taken.sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())
        bins = pd.qcut(p, 10, labels=False)
        z2 = ((taken - p).groupby(bins).sum() ** 2 / (p * (1 - p)).groupby(bins).sum()).sum()
        assert z2 < chi2.ppf(0.999, 10)


def test_students_are_drawn_from_the_stated_distributions(many: tuple[CohortSpec, Batch]) -> None:
    spec, cohort = many
    truth = cohort.students.flatten().to_pandas()
    standard = {
        "theta_0": truth.theta_0 / spec.theta_sd,
        "slope": (truth.slope - spec.slope_mean) / spec.slope_sd,
        "topic_deviation.t001": truth["topic_deviation.t001"] / spec.topic_sd,
        "topic_deviation.t002": truth["topic_deviation.t002"] / spec.topic_sd,
        "activity": np.log(truth.activity / spec.sessions_per_week) / spec.activity_sd,
        "speed": truth.speed / spec.speed_sd,
        "hint_propensity": (truth.hint_propensity - spec.hint_mean) / spec.hint_sd,
    }
    for name, z in standard.items():
        assert kstest(z, "norm").pvalue > 0.001, name
    correlation = np.corrcoef(np.stack(list(standard.values())))
    assert np.abs(correlation - np.eye(len(standard))).max() < 4 / np.sqrt(len(truth))


def test_items_are_drawn_from_the_stated_distributions() -> None:
    spec = replace(SPEC, items=4_000, topics=40)
    items = true_items(spec).to_pandas()
    for z in (
        np.log(items.a) / spec.a_log_sd,
        items.b / spec.b_sd,
        (items.b_provisional - items.b) / spec.b_provisional_sd,
        (items.time_intensity - np.log(spec.time_median_s)) / spec.time_intensity_sd,
    ):
        assert kstest(z, "norm").pvalue > 0.001
    assert (items.topic_id.value_counts() == 100).all()


# Choice of items


def test_choices_are_remade_from_the_answers_alone() -> None:
    """A chooser fed with recorded answers and the choices' own random numbers takes the recorded items."""
    spec = replace(SPEC, students=60, topics=1, items=40)  # one topic: nothing else of the plan is needed
    items = true_items(spec)
    rows = collected(spec).attempts.to_pandas()
    rows["item"] = pd.Index(items["item_id"].to_pandas()).get_indexer(rows.item_id)
    rows["day"] = (rows.answered_at - pd.Timestamp(spec.start, tz="UTC")).dt.days
    rows["student"] = rows.student_id.str[1:].astype(int) - 1
    choices = 5  # number of the random stream
    u = [
        np.random.Generator(
            np.random.Philox(key=np.array([spec.seed, student], dtype=np.uint64), counter=[0, 0, 0, choices])
        ).random((count, 2))
        for student, count in rows.groupby("student").size().items()
    ]
    rows[["review", "item_u"]] = np.concatenate(u)
    chooser = ItemChooser(spec.students, 1, items["b_provisional"].to_numpy(), spec.review_share)
    for _, turn in rows.groupby(rows.groupby("student").cumcount()):
        student, day = turn.student.to_numpy(), turn.day.to_numpy()
        chosen = chooser.choose(student, np.zeros_like(student), day, turn[["review", "item_u"]].to_numpy())
        assert (chosen == turn["item"]).all()
        attempt_no = chooser.observe(student, chosen, day, turn.is_correct.to_numpy())
        assert (attempt_no == turn.attempt_no).all()


def test_ability_reaches_the_choice_only_through_the_answers() -> None:
    """Two cohorts that differ in ability alone meet the same items up to their first different answer."""
    weak = replace(SPEC, slope_mean=0.0, theta_sd=0.5)
    able = replace(weak, slope_mean=0.05, theta_sd=1.5)
    frames = [collected(spec).attempts.to_pandas() for spec in (weak, able)]
    assert (frames[0].session_id == frames[1].session_id).all()
    differs = frames[0].is_correct != frames[1].is_correct
    before = differs.groupby(frames[0].student_id).cumsum().sub(differs) == 0
    assert before.sum() > 1_500
    assert (frames[0].item_id == frames[1].item_id)[before].all()
    assert (frames[0].item_id != frames[1].item_id)[~before].mean() > 0.2


def test_the_choosers_estimate_is_the_posterior_of_a_rasch_model() -> None:
    """Against quadrature; the filter's normal approximation is close, not exact."""
    random = np.random.default_rng(1)
    students, items = np.arange(500), 60
    b = random.normal(0, 1.1, items)
    theta = random.normal(0, 1, len(students))
    chooser = ItemChooser(len(students), 1, b, review_share=0.0)
    nodes = np.linspace(-6, 6, 241)
    log_posterior = np.tile(-(nodes**2) / 2, (len(students), 1))
    today = np.zeros(len(students), dtype=np.int64)
    for item in range(items):
        correct = random.random(len(students)) < expit(theta - b[item])
        chooser.observe(students, np.full(len(students), item), today, correct)
        log_posterior += log_expit(np.where(correct[:, None], 1, -1) * (nodes - b[item]))
    weight = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ nodes
    variance = weight @ nodes**2 - mean**2
    error = (chooser.ability - mean) / np.sqrt(variance)
    assert abs(error.mean()) < 0.05
    assert np.sqrt((error**2).mean()) < 0.25
    assert np.abs(chooser.variance / variance - 1).mean() < 0.1

    before = chooser.variance.copy()
    chooser.observe(students, np.zeros_like(students), today + 70, correct)
    p = expit(mean - b[0])
    assert chooser.variance == pytest.approx(1 / (1 / (before + 0.01 * 10) + p * (1 - p)), rel=0.05)


def test_items_come_near_the_ability_and_every_item_is_met(answers: pd.DataFrame) -> None:
    items = true_items(SPEC)["b_provisional"].to_numpy()
    settled = answers[answers.groupby("student_id").cumcount() >= 30]
    at_random = np.abs(settled.theta.to_numpy()[::100, None] - items).mean()
    assert np.abs(settled.theta - settled.b_provisional).mean() < 0.75 * at_random
    exposure = answers.item_id.value_counts()
    assert len(exposure) == SPEC.items
    assert exposure.min() > exposure.median() / 18
    assert exposure.max() < 5 * exposure.median()


def test_reviews_are_of_items_answered_wrong_3_to_28_days_before(answers: pd.DataFrame) -> None:
    meetings = answers.groupby(["student_id", "item_id"])
    was_wrong = meetings.is_correct.shift() == False  # noqa: E712 - missing is not False
    due = was_wrong & (answers.local_day - meetings.local_day.shift()).dt.days.between(3, 28)
    off_topic = surely_off_topic(answers)
    assert due[off_topic].all()
    long = answers.groupby("session_id").answered_at.transform("size") >= 10
    late = long & (answers.local_day > pd.Timestamp(SPEC.start) + pd.Timedelta(weeks=6))
    share = off_topic[late].mean()  # of the reviews one in twelve falls on the session's own topic
    assert abs(share - SPEC.review_share * 11 / 12) < 0.015


# The calendar


def test_answers_lie_within_the_days_and_afternoon_hours_of_the_zone(
    elsewhere: tuple[CohortSpec, Batch, pd.DataFrame],
) -> None:
    spec, _, answers = elsewhere
    local = answers.answered_at.dt.tz_convert(ZoneInfo(spec.timezone))
    assert spec.start == date(2025, 1, 23)
    assert answers.local_day.min() == pd.Timestamp(spec.start)
    assert answers.local_day.max() == pd.Timestamp(spec.end)
    hour = local.dt.hour + local.dt.minute / 60
    assert hour.min() >= 14.5
    assert not hour.between(18 + 5 / 60, 19, inclusive="left").any()
    assert set(local.dt.strftime("%z")) == {"-0500", "-0400"}


def test_answers_follow_one_another_and_sessions_are_apart(answers: pd.DataFrame) -> None:
    for _, student in answers.groupby("student_id"):
        gap = student.answered_at.diff() / pd.Timedelta(minutes=1)
        new = student.session_id != student.session_id.shift()
        assert (gap[new].iloc[1:] > 30).all()
        assert (gap[~new] > 0).all()
        assert (gap[~new] <= 128 / 60).all()
    logged = answers.response_time_ms.notna()
    assert (answers.started_at.notna() == logged).all()
    took = (answers.answered_at - answers.started_at)[logged] / pd.Timedelta(milliseconds=1)
    assert (took == answers.response_time_ms[logged]).all()
    previous = answers.groupby("student_id").answered_at.shift()
    assert (answers.started_at > previous)[logged & previous.notna()].all()
    sizes = answers.groupby("session_id").size()
    assert sizes.between(3, 30).all()


def test_nobody_answers_while_away(elsewhere: tuple[CohortSpec, Batch, pd.DataFrame]) -> None:
    spec, cohort, answers = elsewhere
    truth = cohort.students.to_pandas(date_as_object=False)
    assert truth.dropped_on.notna().sum() > 50
    assert truth.returned_on.notna().sum() > 10
    assert (truth.joined_on > truth.joined_on.min()).sum() > 10
    days = answers.merge(truth[["student_id", "joined_on", "dropped_on", "returned_on"]], on="student_id")
    day = days.local_day
    assert (day >= days.joined_on).all()
    assert ((day < days.dropped_on) | days.dropped_on.isna() | (day >= days.returned_on)).all()
    assert ((truth.returned_on - truth.dropped_on).dropna() >= pd.Timedelta(days=14)).all()
    returned = day >= days.returned_on
    assert returned.any()

    pauses = truth[["student_id", "pauses"]].explode("pauses").dropna()
    pauses = pauses.assign(
        first=pd.to_datetime([pause["first"] for pause in pauses.pauses]),
        last=pd.to_datetime([pause["last"] for pause in pauses.pauses]),
    )
    assert len(pauses) > 50
    whole = pauses[pauses["last"] < pd.Timestamp(spec.end)]
    assert ((whole["last"] - whole["first"]).dt.days + 1).between(7, 21).all()
    paired = answers[["student_id", "local_day"]].merge(pauses, on="student_id")
    assert not ((paired.local_day >= paired["first"]) & (paired.local_day <= paired["last"])).any()


def test_dropping_out_has_the_stated_hazard(many: tuple[CohortSpec, Batch]) -> None:
    spec, cohort = many
    truth = cohort.students.to_pandas(date_as_object=False)
    hazard = spec.dropout_per_week * (truth.activity / spec.sessions_per_week) ** -spec.dropout_by_activity / 7
    days = (truth.dropped_on.fillna(pd.Timestamp(END) + pd.Timedelta(days=1)) - truth.joined_on).dt.days
    dropped = truth.dropped_on.notna()
    for group in (hazard > 0, hazard > hazard.median(), hazard <= hazard.median()):
        # dropped_on is a whole day: the chance of a day is 1 - exp(-hazard)
        expected = (-np.expm1(-hazard) * (days + dropped))[group].sum()
        assert abs(dropped[group].sum() - expected) < 3 * np.sqrt(expected)


def test_sessions_have_the_stated_rate_on_weekdays_and_holidays(many: tuple[CohortSpec, Batch]) -> None:
    spec, cohort = many
    local = cohort.attempts["answered_at"].to_pandas().dt.tz_convert(spec.timezone)
    sessions = pd.DataFrame({"id": cohort.attempts["session_id"].to_pandas(), "day": local.dt.strftime("%F")})
    held = sessions.drop_duplicates("id").day.value_counts()
    truth = cohort.students.to_pandas(date_as_object=False)
    pauses = cohort.students["pauses"].to_pylist()
    kinds: dict[object, list[float]] = {}
    for offset in range(spec.days):
        day = spec.start + timedelta(days=offset)
        at = pd.Timestamp(day)
        present = (truth.joined_on <= at) & ~((truth.dropped_on <= at) & ~(truth.returned_on <= at))
        paused = [any(pause["first"] <= day <= pause["last"] for pause in spells) for spells in pauses]
        rate = truth.activity[present & ~np.array(paused)] * spec.weekday_activity[day.weekday()]
        rate = rate / sum(spec.weekday_activity) * (spec.holiday_activity if day in spec.holidays else 1)
        p = np.concatenate([-np.expm1(-0.3 * rate), -np.expm1(-0.7 * rate)])
        kind = "holiday" if day in spec.holidays else day.weekday()
        totals = kinds.setdefault(kind, [0.0, 0.0, 0.0])
        for index, value in enumerate((held.get(str(day), 0), p.sum(), (p * (1 - p)).sum())):
            totals[index] += value
    assert len(kinds) == 8
    for kind, (observed, expected, variance) in kinds.items():
        assert abs(observed - expected) < 4 * np.sqrt(variance), kind


def test_attempt_no_counts_the_students_answers_on_the_item(answers: pd.DataFrame) -> None:
    counted = answers.groupby(["student_id", "item_id"]).cumcount() + 1
    assert (answers.attempt_no == counted).all()
    assert answers.attempt_no.max() > 2


def test_the_default_cohort_has_the_size_of_the_demo(cohort: Batch, answers: pd.DataFrame) -> None:
    assert 105_000 < len(answers) < 140_000
    weekly = answers.groupby(["student_id", answers.local_day.dt.to_period("W")]).size()
    assert 20 < weekly.mean() < 30
    assert 0.45 < answers.is_correct.mean() < 0.65
    assert cohort.students["answers"].to_pandas().sum() == len(answers)


def test_weeks_without_anyone_give_an_empty_table_of_the_same_columns() -> None:
    nobody = collected(replace(SMALL, sessions_per_week=0.0))
    assert nobody.attempts.num_rows == 0
    assert nobody.attempts.schema == ATTEMPTS_SCHEMA
    assert nobody.students["answers"].to_pylist() == [0] * SMALL.students


# Truth and files


def test_true_theta_is_the_students_line() -> None:
    truth = pa.table(
        {
            "student_id": ["x", "y"],
            "theta_0": [0.5, -1.0],
            "theta_0_at": pa.array([datetime(2025, 1, 6), datetime(2025, 1, 6)], pa.timestamp("us", tz="UTC")),
            "slope": [0.02, 0.1],
            "topic_deviation": [{"t1": 0.3, "t2": -0.2}, {"t1": 0.0, "t2": 1.0}],
        }
    )
    at = pd.Series(pd.to_datetime(["2025-01-20T00:00", "2025-01-06T00:00", "2025-01-09T12:00"], utc=True))
    level = [-1.0 + 0.2, 0.5, 0.5 + 0.01]
    assert true_theta(truth, ["y", "x", "x"], at) == pytest.approx(level)
    assert true_theta(truth, ["y", "x", "x"], at.dt.tz_convert("Asia/Seoul")) == pytest.approx(level)
    assert true_theta(truth, ["y", "x", "x"], at, ["t2", "t1", "t2"]) == pytest.approx([0.2, 0.8, 0.31])
    with pytest.raises(KeyError, match="z is not in the truth"):
        true_theta(truth, ["x", "z", "x"], at)
    with pytest.raises(KeyError, match="t3 is not in the truth"):
        true_theta(truth, ["x", "y", "x"], at, ["t1", "t3", "t1"])


def test_the_folder_holds_what_was_simulated(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    summary = write_cohort(SMALL, tmp_path / "cohort", lambda *done: seen.append(done), batch_size=15)
    expected = collected(SMALL)
    files = {file.name: file for file in (tmp_path / "cohort").iterdir()}
    assert set(files) == {"attempts.parquet", "truth_students.parquet", "truth_items.parquet", "spec.json"}
    assert pq.read_table(files["attempts.parquet"]).equals(expected.attempts)
    students = pq.read_table(files["truth_students.parquet"])
    assert students.equals(expected.students)
    assert pq.read_table(files["truth_items.parquet"]).equals(true_items(SMALL))
    spec = json.loads(files["spec.json"].read_text())
    assert (spec["seed"], spec["students"], spec["end"]) == (1, 40, "2025-06-29")
    assert seen == [(15, 40), (30, 40), (40, 40)]
    assert (summary.students, summary.items) == (40, SMALL.items)
    assert summary.answers == expected.attempts.num_rows
    assert summary.active_students == len(set(expected.attempts["student_id"].to_pylist()))
    assert summary.correct == sum(expected.attempts["is_correct"].to_pylist())
    answered = expected.attempts["answered_at"].to_pylist()
    assert (summary.first_answered_at, summary.last_answered_at) == (min(answered), max(answered))
    theta = true_theta(students, expected.attempts["student_id"], expected.attempts["answered_at"])
    assert len(theta) == summary.answers


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    write_cohort(SMALL, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def interrupt(done: int, students: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort(replace(SMALL, seed=2), tmp_path, interrupt)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before

    write_cohort(replace(SMALL, seed=2), tmp_path)
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(after) == set(before)
    assert {name for name in after if after[name] == before[name]} == {"notes.txt"}


def test_a_cohort_moved_in_part_has_no_spec(tmp_path: Path) -> None:
    write_cohort(SMALL, tmp_path)
    (tmp_path / "truth_items.parquet").unlink()
    (tmp_path / "truth_items.parquet").mkdir()  # no file can take this place
    with pytest.raises(OSError, match=r"truth_items\.parquet"):
        write_cohort(replace(SMALL, seed=2), tmp_path)
    assert not (tmp_path / "spec.json").exists()
    assert not list(tmp_path.glob(".cohort-*"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"students": 0}, "students must lie between 1 and"),
        ({"items": 250}, "items must be a multiple of topics, got 250 items and 12 topics"),
        ({"seed": -1}, "seed must lie between 0"),
        ({"theta_sd": -0.1}, "theta_sd must lie between 0"),
        ({"slope_sd": float("nan")}, "slope_sd must lie between"),
        ({"late_share": 1.5}, "late_share must lie between 0 and 1"),
        ({"session_answers": 31.0}, "session_answers must lie between 1 and 30"),
        ({"dropout_per_week": float("inf")}, "dropout_per_week must lie between 0"),
        ({"weekday_activity": (1.0,) * 6}, "weekday_activity needs seven"),
        ({"weekday_activity": (0.0,) * 7}, "weekday_activity needs seven"),
        ({"timezone": "Mars/Olympus"}, "timezone must be an IANA name"),
    ],
)
def test_a_spec_that_cannot_be_simulated_says_why(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CohortSpec(end=END, **wrong)  # type: ignore[arg-type]


def test_batches_have_at_least_one_student() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        next(simulate(SMALL, 0))
