import pytest

from physicnet.evaluation import labels


@pytest.mark.parametrize(("minutes", "text"), [(5.0, "5 min"), (150.0, "150 min"), (180.0, "3 h"), (5760.0, "4 d")])
def test_leads_are_named_in_the_unit_that_fits(minutes: float, text: str) -> None:
    assert labels.lead(minutes) == text


@pytest.mark.parametrize(("units", "text"), [("mm h-1", "mm h⁻¹"), ("m2", "m²"), ("K", "K"), ("1e-3", "1e⁻³")])
def test_exponents_are_raised(units: str, text: str) -> None:
    assert labels.pretty(units) == text


def test_scores_carry_threshold_and_units() -> None:
    assert labels.score_title("csi_0.5", "mm h-1") == "CSI 0.5 mm h⁻¹"
    assert labels.score_title("rmse", "K") == "RMSE (K)"
    assert labels.score_title("ssim", "K") == "SSIM"


def test_unknown_models_and_scores_keep_their_names() -> None:
    assert labels.title("mine") == "mine"
    assert labels.score_title("mine", "K") == "mine"


def test_leads_are_spread_up_to_the_last() -> None:
    assert labels.spread(12, 4) == [3, 6, 9, 12]
    assert labels.spread(3, 4) == [1, 2, 3]
    assert labels.spread(7, 1) == [7]
