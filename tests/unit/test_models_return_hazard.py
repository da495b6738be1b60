"""What the Cox model says where there is little to say; its numbers are compared with other engines elsewhere."""

import json

import numpy as np
import pandas as pd

from seedtest_assets.models.landmarks import COVARIATES
from seedtest_assets.models.return_hazard import fit_cox


def gaps(n=60, stop=1, seed=1):
    random = np.random.default_rng(seed)
    times = np.full(n, stop) if np.isscalar(stop) else np.asarray(stop)
    covariates = {name: random.normal(size=n) for name in COVARIATES}
    return pd.DataFrame({"student": np.arange(n) // 2, "start": 0, "stop": times, "returned": 1, **covariates})


def test_returns_at_one_time_cannot_be_tested_for_proportionality():
    found = fit_cox(gaps(n=200).assign(returned=lambda rows: (rows.index % 3 > 0).astype(int)))
    assert found["status"] == "fitted"
    assert set(found["ph_test"]["p"]) == {None}
    json.dumps(found, allow_nan=False)


def test_too_few_returns_and_no_covariate_are_said():
    assert fit_cox(gaps().assign(returned=0))["status"] == "too few events"
    assert fit_cox(gaps().assign(**dict.fromkeys(COVARIATES, 1.0)))["status"] == "no covariate"


def test_covariates_that_determine_each_other_are_no_model():
    rows = gaps(n=300, stop=np.random.default_rng(2).integers(1, 9, 300))
    assert fit_cox(rows)["status"] == "fitted"
    nearly = rows["a_t"] + 1e-8 * rows["e_t"]
    assert fit_cox(rows.assign(session_rate=nearly))["status"] == "not converged"
