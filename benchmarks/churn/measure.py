"""Risks of falling silent against exact probabilities and on real data; prints the tables of README.md.

From the checkout: python -m benchmarks.churn.measure [--students N]
"""

import argparse
import os
import resource
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from seedtest_assets.models.calibration_curve import brier_skill, calibration_bins, calibration_curve, recalibration
from seedtest_assets.models.engagement import engagement
from seedtest_assets.models.evaluation import Outcomes, auc, brier
from seedtest_assets.models.landmarks import (
    HORIZONS,
    Calendar,
    Records,
    at_risk,
    return_gaps,
    student_keys,
    training_landmarks,
)
from seedtest_assets.models.return_hazard import Times, concordance, cox, fit_cox, scores
from seedtest_assets.models.survival import IDLE_PRIOR_SD, HorizonModel, fit_logistic, fit_risk, predict_risk
from tests.statistics.silence_oracle import FIRST, Silence

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
CUT, END = FIRST + 7 * 24, FIRST + 7 * 40
LOOKBACK_DAYS = 120
DAYS_OFF = FIRST + np.array([100, 101, 102, 103, 200, 201, 202])
REPLICATES = 500


def table(rows: list[dict[str, str]]) -> None:
    print(f"| {' | '.join(rows[0])} |")
    print(f"|---|{'--:|' * (len(rows[0]) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row.values())} |", flush=True)
    print()


def number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def skill_cell(skill: np.ndarray) -> str:
    low, high = np.quantile(skill[1:], [0.025, 0.975])
    return f"{number(skill[0])} ({number(low)} to {number(high)})"


def quality(risk: np.ndarray, baseline: np.ndarray | None, outcomes: Outcomes) -> dict[str, str]:
    """Cells of a table; the skill's interval comes from drawing whole students."""
    n = outcomes.n_students
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=REPLICATES).T
    weights = np.concatenate([np.ones((n, 1)), drawn], axis=1)
    found = recalibration(risk, outcomes.correct, outcomes.student)
    return {
        "n": f"{len(risk):,}",
        "happened": number(outcomes.correct.mean()),
        "predicted": number(risk.mean()),
        "slope": f"{number(found.slope)} ± {number(1.96 * found.slope_se)}",
        "intercept": number(found.intercept),
        "ICI": number(calibration_curve(risk, outcomes.correct).ici, 4),
        "AUC": number(auc(risk, outcomes, weights[:, :1])[0]),
        "Brier": number(brier(risk, outcomes, weights[:, :1])[0], 4),
        "skill": "" if baseline is None else skill_cell(brier_skill(risk, baseline, outcomes, weights)),
    }


def stacked(rows: pd.DataFrame, model: list[HorizonModel], recency_only: bool) -> np.ndarray:
    """Risks, shape (horizons, rows)."""
    found = predict_risk(rows, model, recency_only=recency_only)
    return found["risk"].to_numpy().reshape(-1, len(rows))


def slope_to_truth(risk: np.ndarray, truth: np.ndarray) -> float:
    """Recalibration with true probabilities in the place of outcomes."""
    design = np.stack([np.ones(len(risk)), logit(risk)])
    return float(fit_logistic(design, truth, np.arange(len(risk)), np.full(2, np.inf)).coefficients[1])


def judged(rows: pd.DataFrame, risks: list[np.ndarray], truth: np.ndarray | None = None) -> list[dict[str, str]]:
    """A row per horizon and method, over the landmarks at which the event is possible and its outcome known."""
    found = []
    for position, horizon in enumerate(HORIZONS):
        outcome = rows[f"event_{horizon}"].to_numpy()
        used = (rows["due"] <= horizon).to_numpy() & ~np.isnan(outcome) & ~np.isnan(risks[0][position])
        if not used.any():
            print(f"{horizon} days: too few events in training\n")
            continue
        student = np.unique(rows["student"].to_numpy()[used], return_inverse=True)[1]
        outcomes = Outcomes(outcome[used] == 1, student, np.zeros(used.sum(), np.int64))
        recency = risks[1][position][used]
        for name, risk, baseline in (("whole model", risks[0][position][used], recency), ("idle days", recency, None)):
            row = {"horizon": f"{horizon}, {name}"} | quality(risk, baseline, outcomes)
            if truth is not None:
                row["slope to truth"] = number(slope_to_truth(risk, truth[used, position]))
                row["ICI to truth"] = number(calibration_curve(risk, truth[used, position]).ici, 4)
                row["Brier of truth"] = number(np.mean((truth[used, position] - outcomes.correct) ** 2), 4)
            found.append(row)
    return found


def simulated(students: int) -> None:
    begin = time.perf_counter()
    cohort = Silence.draw(2 * students, 7 * 40, seed=1, days_off=DAYS_OFF)
    records = cohort.records(2)
    drawn = time.perf_counter()
    training = training_landmarks(records, CUT, LOOKBACK_DAYS)
    training = training[training["student"] < students]
    built = time.perf_counter()
    model = fit_risk(training)
    fitted = time.perf_counter()
    later = training_landmarks(records, END, 7 * 15)
    later = later[(later["student"] >= students) & later["event_28"].notna()].reset_index(drop=True)
    truth = cohort.true_risk(later, HORIZONS)
    print(
        f"\nsimulated: {training['student'].nunique():,} students, {len(training):,} landmarks in training; "
        f"{later['student'].nunique():,} others, {len(later):,} landmarks later. Seconds: simulating "
        f"{drawn - begin:.1f}, landmarks {built - drawn:.1f}, fitting {fitted - built:.1f}.\n"
    )
    table(judged(later, [stacked(later, model, one) for one in (False, True)], truth))
    risks = predict_risk(later, model)
    for column, horizon in enumerate(HORIZONS):
        risk = risks.loc[risks["horizon"] == horizon, "risk"].to_numpy()
        bins = calibration_bins(risk, later[f"event_{horizon}"].to_numpy())
        true = calibration_bins(risk, truth[:, column])["happened"]
        rows = {"predicted": bins["prediction"], "happened": bins["happened"], "true probability": true}
        table(
            [
                {f"{horizon} days": name, **{str(k + 1): number(v) for k, v in enumerate(values)}}
                for name, values in rows.items()
            ]
        )


def small() -> None:
    """What a cohort of a school has to learn from: the same later landmarks, judged after less and less training."""
    cohort = Silence.draw(16_000, 7 * 40, seed=5, days_off=DAYS_OFF)
    records = cohort.records(6)
    training = training_landmarks(records, CUT, LOOKBACK_DAYS)
    later = training_landmarks(records, END, 7 * 15)
    later = later[(later["student"] >= 8_000) & later["event_28"].notna()].reset_index(drop=True)
    rows = []
    for students in (250, 500, 1_000, 2_000, 4_000, 8_000):
        some = training[training["student"] < students]
        model = fit_risk(some)
        for row in judged(later, [stacked(later, model, one) for one in (False, True)])[::2]:
            kept = {name: row[name] for name in ("horizon", "slope", "ICI", "skill")}
            rows.append({"landmarks in training": f"{len(some):,}"} | kept)
    print("less training\n")
    table(rows)


def scale(students: int) -> None:
    """Seconds and memory of the parts on many students."""
    cohort = Silence.draw(students, 105, seed=3)
    records = cohort.records(4)
    cut = FIRST + 105
    rows = []
    parts = {
        "landmarks": lambda: training_landmarks(records, cut, 90),
        "rows at risk": lambda: at_risk(records, cut),
        "gaps": lambda: return_gaps(records, cut, 90),
    }
    made = {}
    for name, part in parts.items():
        begin = time.perf_counter()
        made[name] = part()
        rows.append({"what": name, "rows": f"{len(made[name]):,}", "seconds": f"{time.perf_counter() - begin:.1f}"})
    begin = time.perf_counter()
    model = fit_risk(made["landmarks"])
    fitted = time.perf_counter()
    rows.append(
        {"what": "fit, three horizons", "rows": f"{len(made['landmarks']):,}", "seconds": f"{fitted - begin:.1f}"}
    )
    predict_risk(made["rows at risk"], model)
    predicted = time.perf_counter()
    rows.append({"what": "predict", "rows": f"{len(made['rows at risk']):,}", "seconds": f"{predicted - fitted:.1f}"})
    fit_cox(made["gaps"])
    rows.append({"what": "Cox", "rows": f"{len(made['gaps']):,}", "seconds": f"{time.perf_counter() - predicted:.1f}"})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{students:,} students, 105 days; peak memory of everything so far {peak:,.0f} MB, "
        f"load {os.getloadavg()[0]:.1f}.\n"
    )
    table(rows)


def algebra_records() -> Records:
    """A school year of one tutor: activity, and A_t, gaps, session rates by week; nobody worked on its days off."""
    rows = pd.read_parquet(DATA / "algebra_2005" / "attempts.parquet").sort_values(["student_id", "answered_at"])
    local = rows["answered_at"].dt.tz_convert("America/New_York").dt.date
    day = local.map(date.toordinal).to_numpy(np.int64)
    names, student = np.unique(rows["student_id"].astype(str), return_inverse=True)
    seconds = (rows["answered_at"] - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy()
    first = pd.Series(day).groupby(student).min().to_numpy()
    weeks = []
    for as_of in range(int(day.min() - 1) // 7 * 7 + 8, int(day.max()) + 7, 7):
        window = (day < as_of) & (day >= as_of - 56)
        present, code = np.unique(student[window], return_inverse=True)
        found = engagement(
            code,
            seconds[window],
            day[window],
            rows["session_id"][window].astype(str),
            rows["response_time_ms"].to_numpy(dtype=float, na_value=np.nan)[window] / 1000,
            rows["hints_used"].to_numpy(dtype=float, na_value=np.nan)[window] > 0,
            as_of - 28,
            len(present),
        )
        week = {"a_t": found.a_t, "mean_gap": found.mean_gap_days}
        week["session_rate"] = found.sessions / np.clip(as_of - first[present], 1, 28)
        weeks.append(pd.DataFrame(week).assign(student=present, as_of_day=as_of, e_t=np.nan, r_t=np.nan))
    activity = pd.DataFrame({"student": student, "day": day}).drop_duplicates()
    days_off = np.setdiff1d(np.arange(day.min(), day.max() + 1), day)
    return Records(activity, pd.concat(weeks), student_keys(names.tolist()), Calendar(days_off))


def other_students(rows: pd.DataFrame, folds: int = 5) -> list[np.ndarray]:
    """Risks of each fold's students by a model of the others, as of `stacked`, by the whole model and by idle days."""
    fold = np.random.default_rng(0).permutation(int(rows["student"].max()) + 1)[rows["student"]] % folds
    found = []
    for recency_only in (False, True):
        risk = np.full((len(HORIZONS), len(rows)), np.nan)
        for held_out in range(folds):
            model = fit_risk(rows[fold != held_out])
            risk[:, fold == held_out] = stacked(rows[fold == held_out], model, recency_only)
        found.append(risk)
    return found


def algebra() -> None:
    records = algebra_records()
    last = int(records.activity["day"].max()) + 1 - 14
    cut = date(2006, 3, 1).toordinal()
    for what, calendar in (
        ("no calendar", Calendar()),
        ("days off as a covariate", records.calendar),
        ("days off do not count as idle", replace(records.calendar, idle_skips_days_off=True)),
    ):
        known = replace(records, calendar=calendar)
        training = training_landmarks(known, cut, 180)
        later = training_landmarks(known, last, last - 1 - cut)
        everything = training_landmarks(known, last, 300)
        print(f"\nalgebra_2005, {what}: {everything['student'].nunique()} students, {len(everything):,} landmarks\n")
        print(f"out of time: {len(training):,} landmarks before {date.fromordinal(cut)}, {len(later):,} after\n")
        model = fit_risk(training)
        table(judged(later, [stacked(later, model, one) for one in (False, True)]))
        print("other students: five folds of students, the whole year\n")
        table(judged(everything, other_students(everything)))
    gaps = fit_cox(return_gaps(records, last, 300))
    print(f"Coming back: {gaps['n']:,} gaps, concordance {number(gaps['concordance'])}\n")
    tests = zip(gaps["ph_test"]["p"], gaps["names"], gaps["hr"], gaps["coef"], gaps["se"], strict=False)
    table(
        [
            {
                "covariate (per sd)": name,
                "hazard ratio": f"{hr:.2f}",
                "95 % interval": f"{np.exp(coef - 1.96 * se):.2f}–{np.exp(coef + 1.96 * se):.2f}",
                "p of proportionality": f"{p:.1g}",
            }
            for p, name, hr, coef, se in tests
        ]
    )


def oulad() -> None:
    """Withdrawal after the course has begun, from what was known on enrolling; autumn judged by the spring before."""
    rows = pd.read_parquet(DATA / "oulad_2013" / "enrolments.parquet")
    rows = rows[(rows["duration_days"] > 0) & (rows["date_registration"].fillna(0) <= 0)]
    spring, autumn = (rows[rows["code_presentation"] == name] for name in ("2013B", "2013J"))
    autumn = autumn[
        autumn["code_module"].isin(spring["code_module"]) & ~autumn["id_student"].isin(spring["id_student"])
    ]
    static = ["code_module", "gender", "highest_education", "imd_band", "age_band", "disability"]
    numbers = ["studied_credits", "num_of_prev_attempts", "date_registration"]
    both = pd.concat([spring, autumn])
    dummies = pd.get_dummies(both[static].astype(str), drop_first=True).to_numpy(float)
    levels = both[numbers].fillna(spring[numbers].median())
    x = np.column_stack([dummies, (levels - spring[numbers].mean()) / spring[numbers].std()])
    in_training = np.arange(len(both)) < len(spring)
    x = x[:, x[in_training].std(axis=0) > 0]
    student = np.unique(both["id_student"], return_inverse=True)[1]
    stop, withdrawn = both["duration_days"].to_numpy(), both["event_withdrawn"].to_numpy() == 1
    start = np.zeros(len(both))

    def times(some: np.ndarray) -> Times:
        return Times.of(start[some], stop[some], withdrawn[some])

    fit = cox(x[in_training], times(in_training), np.unique(student[in_training], return_inverse=True)[1])
    print(f"\noulad_2013: {len(spring):,} enrolments of spring train, {len(autumn):,} of other students in autumn.\n")
    table(
        [
            {"Cox model": name, "concordance": number(concordance(scores(x[some], fit.coefficients), times(some)))}
            for name, some in (("training", in_training), ("autumn", ~in_training))
        ]
    )
    found = []
    design = np.concatenate([np.ones((1, len(x))), x.T])
    for horizon in (30, 60, 120):
        happened = withdrawn & (stop <= horizon)
        cluster = np.unique(student[in_training], return_inverse=True)[1]
        prior_sd = np.array([np.inf, *np.full(x.shape[1], IDLE_PRIOR_SD)])  # weak: no idle days stand beside them
        model = fit_logistic(design[:, in_training], happened[in_training].astype(float), cluster, prior_sd)
        risk = expit(model.coefficients @ design[:, ~in_training])
        judge = np.unique(student[~in_training], return_inverse=True)[1]
        outcomes = Outcomes(happened[~in_training], judge, np.zeros(len(risk), np.int64))
        base = np.full(len(risk), happened[in_training].mean())
        row = {"days": str(horizon)} | quality(risk, base, outcomes)
        found.append(row)
    table(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--students", type=int, default=45_000)
    students = parser.parse_args().students
    simulated(students)
    small()
    scale(2 * students)
    if not DATA.is_dir():
        print("the real data sets are not beside this checkout (../shared/data)")
        return
    algebra()
    oulad()


if __name__ == "__main__":
    main()
