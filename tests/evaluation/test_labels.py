import numpy as np
import pytest
import xarray as xr

from physicnet.evaluation import labels
from physicnet.fields import Field


@pytest.mark.parametrize(
    ("minutes", "text"),
    [(1 / 6, "10 s"), (10 / 3, "200 s"), (5.0, "5 min"), (150.0, "150 min"), (180.0, "3 h"), (5760.0, "4 d")],
)
def test_leads_are_named_in_the_unit_that_fits(minutes: float, text: str) -> None:
    assert labels.lead(minutes) == text


@pytest.mark.parametrize(("units", "text"), [("mm h-1", "mm h⁻¹"), ("m2", "m²"), ("K", "K"), ("1e-3", "1e⁻³")])
def test_exponents_are_raised(units: str, text: str) -> None:
    assert labels.pretty(units) == text


def test_scores_carry_threshold_and_units() -> None:
    assert labels.score_title("csi_0.5", "mm h-1") == "CSI 0.5 mm h⁻¹"
    assert labels.score_title("rmse", "K") == "RMSE (K)"
    assert labels.score_title("ssim", "K") == "SSIM"


def test_what_has_no_units_is_written_without() -> None:
    assert labels.score_title("csi_2", "1") == "CSI 2"
    assert labels.score_title("rmse", "1") == "RMSE"
    assert labels.in_units("change", "1") == "change"


def test_a_frame_of_a_sequence_is_named_by_it_and_not_by_a_time_that_only_counts() -> None:
    times = np.datetime64("2000-01-01T05:00", "ns") + np.arange(2) * np.timedelta64(5, "m")
    dataset = xr.Dataset({"u": (("time", "y", "x"), np.zeros((2, 3, 3)), {"units": "1"})}, {"time": times})
    assert labels.origin(Field(dataset)) == "2000-01-01 05:05 UTC"
    assert labels.origin(Field(dataset.assign_coords(sequence=("time", [7, 7])))) == "sequence 7"


def test_unknown_models_and_scores_keep_their_names() -> None:
    assert labels.title("mine") == "mine"
    assert labels.score_title("mine", "K") == "mine"


def test_leads_are_spread_up_to_the_last() -> None:
    assert labels.spread(12, 4) == [3, 6, 9, 12]
    assert labels.spread(3, 4) == [1, 2, 3]
    assert labels.spread(7, 1) == [7]
