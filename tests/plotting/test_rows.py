from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotting import drawn

from physicnet.forecasting import cf
from physicnet.plotting import scales
from physicnet.plotting.forecast import Forecast
from physicnet.plotting.observed import observed
from physicnet.plotting.rows import Quantity, quantities, rows_of

RAIN = drawn.record("rate")
CURRENT = drawn.record("uo", "vo")


def drawn_of(folder: Path, *names: str, alone: bool = False, **more: Any) -> list[Quantity]:
    record = drawn.record(*names)
    forecast = Forecast.read(drawn.file(folder, record, **more))
    return quantities(
        forecast, None if alone else observed(forecast, [drawn.observe(folder, record)], drawn.rules(*names))
    )


def test_rows_are_what_was_observed_and_forecast_the_error_and_each_probability(tmp_path: Path) -> None:
    frames = (drawn.DIMS, np.ones((3, 12, 14), np.float32), {"units": "mm h-1"})
    (rain,) = drawn_of(tmp_path, "rate", rate_sharp=frames, **drawn.chances(RAIN, "rate", 0.5, 2.0))
    rows = rows_of(rain)
    titles = [
        "Observed",
        "Forecast",
        "Forecast, sharp",
        "Error",
        "Probability\n≥ 0.5 mm h⁻¹",
        "Probability\n≥ 2 mm h⁻¹",
    ]
    assert [row.title for row in rows] == titles
    assert [row.in_film for row in rows] == [True, True, False, True, True, False]
    assert rows[0].scale is rows[1].scale is rows[2].scale
    assert rows[0].start is rain.last


def test_a_forecast_alone_has_neither_truth_nor_error(tmp_path: Path) -> None:
    (rain,) = drawn_of(tmp_path, "rate", alone=True, **drawn.chances(RAIN, "rate", 0.5))
    rows = rows_of(rain)
    assert [row.title.split()[0] for row in rows] == ["Forecast", "Probability"]
    assert rows[1].events is None
    assert np.isfinite(rows[0].frames).all()  # the file's, where nothing is observed, too


def test_where_nothing_is_ever_observed_nothing_is_forecast(tmp_path: Path) -> None:
    sharp = (drawn.DIMS, np.ones((3, 12, 14), np.float32), {"units": "mm h-1"})
    (rain,) = drawn_of(tmp_path, "rate", rate_sharp=sharp, **drawn.chances(RAIN, "rate", 0.5))
    for row in rows_of(rain):
        assert np.isnan(row.frames[:, :3, :3]).all()
        assert np.isfinite(row.frames[:, 3:, 3:]).all()


def test_the_error_is_the_forecast_less_the_truth_with_its_rmse(tmp_path: Path) -> None:
    (rain,) = drawn_of(tmp_path, "rate")
    error = rows_of(rain)[2]
    assert np.allclose(error.frames[:, 5, 5], drawn.TOO_MUCH)
    assert list(error.notes) == ["RMSE 0.50 mm h⁻¹"] * 3
    assert error.bar == "forecast − observed"


def test_a_lead_that_was_not_observed_has_no_rmse(tmp_path: Path) -> None:
    forecast = Forecast.read(drawn.file(tmp_path, RAIN))
    seen = observed(forecast, [drawn.observe(tmp_path, RAIN.isel(0, 6))], drawn.rules("rate"))
    assert list(rows_of(quantities(forecast, seen)[0])[2].notes) == ["RMSE 0.50 mm h⁻¹", "", ""]


def test_events_are_where_the_truth_is_above_the_threshold(tmp_path: Path) -> None:
    (rain,) = drawn_of(tmp_path, "rate", **drawn.chances(RAIN, "rate", 0.7))
    row = rows_of(rain)[-1]
    assert row.events is not None
    assert np.array_equal(row.events, RAIN.dataset["rate"].values[5:8] > 0.7)
    assert np.nanmax(row.frames) == pytest.approx(20)


def test_of_many_probabilities_three_are_drawn(tmp_path: Path) -> None:
    (rain,) = drawn_of(tmp_path, "rate", alone=True, **drawn.chances(RAIN, "rate", 0.1, 0.5, 1.0, 2.0, 5.0, 10.0))
    assert [row.title.split()[-3] for row in rows_of(rain)[1:]] == ["0.5", "2", "10"]


def test_a_vector_has_its_components_about_zero_and_its_speed_with_arrows(tmp_path: Path) -> None:
    right, up, speed = drawn_of(tmp_path, "uo", "vo")
    assert [each.name for each in (right, up, speed)] == ["uo", "vo", "uo_vo_speed"]
    assert rows_of(right)[0].scale.is_about_zero
    assert not any(row.flows for row in [*rows_of(right), *rows_of(up)])
    seen, forecast, error = rows_of(speed)
    truth = CURRENT.dataset.isel(time=slice(5, 8))
    assert np.allclose(seen.frames, np.hypot(truth["uo"], truth["vo"]), equal_nan=True)
    assert np.allclose(forecast.flows[0].vectors[0, 5, 5], truth["uo"].values[0, 5, 5] + drawn.TOO_MUCH)
    assert seen.start_flow is not None
    assert np.array_equal(seen.start_flow.vectors[1], CURRENT.dataset["vo"].values[4], equal_nan=True)
    assert seen.scale.norm.vmin == 0
    assert not error.flows
    assert (seen.bar, speed.shown.title, speed.shown.written) == ("speed", "sea water speed", "m s⁻¹")


def test_the_speed_of_a_forecast_alone_has_arrows(tmp_path: Path) -> None:
    *_, speed = drawn_of(tmp_path, "uo", "vo", alone=True)
    (row,) = rows_of(speed)
    assert len(row.flows) == drawn.NUM_LEADS
    assert speed.truth is None


def test_arrows_point_against_columns_that_run_westwards(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, CURRENT)
    cf.write(path, cf.read(path).isel(x=slice(None, None, -1)))
    speed = quantities(Forecast.read(path), None)[-1]
    truth = CURRENT.dataset.isel(time=5, x=slice(None, None, -1))
    assert np.allclose(speed.vectors[0].vectors[0, 5], -(truth["uo"].values[5] + drawn.TOO_MUCH))
    assert np.allclose(speed.vectors[0].vectors[1, 5], truth["vo"].values[5] + drawn.TOO_MUCH)


def test_a_scale_is_chosen_by_the_quantity(tmp_path: Path) -> None:
    (rain,) = drawn_of(tmp_path, "rate")
    assert rows_of(rain)[0].scale.norm.boundaries.tolist() == list(scales.RAIN)
    (warmth,) = drawn_of(tmp_path, "t2m")
    seen, _, error = rows_of(warmth)
    assert (seen.scale.units, seen.scale.is_about_zero, error.scale.is_about_zero) == ("°C", False, True)
