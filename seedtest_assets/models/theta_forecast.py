"""The next week's own-week ability of each student, by the local level that unusual weeks are judged with."""

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from seedtest_assets.models.anomaly import TAIL, cohort_parameters
from seedtest_assets.models.anomaly_level import one_step, row_medians
from seedtest_assets.models.irt import Floats


def next_week(theta: Floats, se: Floats) -> pd.DataFrame:
    """Forecast the week after the last one.

    A student's level is shrunk to the cohort's, and the cohort stays where it is: of a week to come nothing is known
    that moves all. The interval is that of a score, so the error with which it will be measured is in it: the
    student's usual one.

    Args:
        theta: own-week ability, logits, NaN where missing, shape (students, weeks).
        se: its standard error, same shape.

    Returns:
        A row for each student: expected, lower, upper (90 %), logits, NaN for a student without a score or where no
        student has two that differ; weeks, the student's scores.
    """
    n = np.count_nonzero(~np.isnan(theta), axis=1)
    found = pd.DataFrame(np.nan, index=range(len(theta)), columns=["expected", "lower", "upper"]).assign(weeks=n)
    parameters = cohort_parameters(theta, se)
    some = n > 0
    if parameters is None or not some.any():
        return found
    errors = np.where(np.isnan(theta), 1.0, se)[some]
    usual = row_medians(np.where(np.isnan(theta), np.nan, se)[some])[:, None]
    unknown = np.full((int(some.sum()), 1), np.nan)
    last = one_step(np.hstack([theta[some], unknown]), np.hstack([errors, usual]), parameters)
    expected, sd, df = (of[:, -1] for of in (last.expected, last.sd, last.df))
    width = stdtrit(df, 1 - TAIL) * sd
    found.loc[some, ["expected", "lower", "upper"]] = np.column_stack([expected, expected - width, expected + width])
    return found
