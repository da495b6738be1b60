"""The calibration through HTTP against published estimates (Thissen 1982; Chalmers 2012)."""

import pandas as pd
import pytest

from seedtest_assets.resources.plumber import Calibration, IrtService

LSAT6 = (
    "00000:3 00001:6 00010:2 00011:11 00100:1 00101:1 00110:3 00111:4 01000:1 01001:8 01011:16 01101:3 01110:2 "
    "01111:15 10000:10 10001:29 10010:14 10011:81 10100:3 10101:28 10110:15 10111:80 11000:16 11001:56 "
    "11010:21 11011:173 11100:11 11101:61 11110:28 11111:298"
)
LSAT7 = (
    "00000:12 00001:19 00010:1 00011:7 00100:3 00101:19 00110:3 00111:17 01000:10 01001:5 01010:3 01011:7 01100:7 "
    "01101:23 01110:8 01111:28 10000:7 10001:39 10010:11 10011:34 10100:14 10101:51 10110:15 10111:90 11000:6 11001:25 "
    "11010:7 11011:35 11100:18 11101:136 11110:32 11111:308"
)


def answers(patterns: str) -> pd.DataFrame:
    rows = []
    student = 0
    for entry in patterns.split():
        pattern, count = entry.split(":")
        for _ in range(int(count)):
            student += 1
            rows += [(f"s{student:04d}", item, right == "1") for item, right in enumerate(pattern, start=1)]
    return pd.DataFrame(rows, columns=["student_id", "item_id", "correct"])


def calibrate(irt: IrtService, patterns: str, model: str) -> Calibration:
    return irt.calibrate(answers(patterns), model=model, priors=None, min_responses=1)


def test_lsat6_rasch_estimates_match_thissen_1982(irt_service):
    fit = calibrate(irt_service, LSAT6, "Rasch")
    assert fit.items["a"].tolist() == [1.0] * 5
    assert fit.items["b"].tolist() == pytest.approx([-2.730, -0.999, -0.240, -1.306, -2.099], abs=0.005)
    metrics = fit.fit_meta["metrics"]
    assert metrics["latent_sd"] == pytest.approx(0.755, abs=0.005)
    assert metrics["log_lik"] == pytest.approx(-2466.938, abs=0.01)
    assert metrics["converged"] is True


def test_lsat6_two_parameter_estimates_match_the_published_ones(irt_service):
    fit = calibrate(irt_service, LSAT6, "2PL")
    assert fit.items["a"].tolist() == pytest.approx([0.825, 0.723, 0.890, 0.689, 0.657], abs=0.005)
    assert fit.items["b"].tolist() == pytest.approx([-3.360, -1.370, -0.280, -1.866, -3.124], abs=0.005)
    assert fit.fit_meta["metrics"]["log_lik"] == pytest.approx(-2466.653, abs=0.01)


def test_lsat7_two_parameter_estimates_match_chalmers_2012(irt_service):
    fit = calibrate(irt_service, LSAT7, "2PL")
    intercepts = (-fit.items["a"] * fit.items["b"]).tolist()
    assert fit.items["a"].tolist() == pytest.approx([0.988, 1.081, 1.706, 0.765, 0.736], abs=0.005)
    assert intercepts == pytest.approx([1.856, 0.808, 1.804, 0.486, 1.854], abs=0.005)
    assert fit.fit_meta["metrics"]["log_lik"] == pytest.approx(-2658.805, abs=0.01)


def test_the_same_answers_in_another_order_give_the_same_calibration(irt_service):
    fit = calibrate(irt_service, LSAT7, "2PL")
    shuffled = answers(LSAT7).sample(frac=1, random_state=1)
    again = irt_service.calibrate(shuffled, model="2PL", priors=None, min_responses=1)
    pd.testing.assert_frame_equal(fit.items, again.items, rtol=1e-9)
