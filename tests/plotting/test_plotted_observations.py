from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from plotting import drawn

from physicnet.data.synthetic import write_netcdf
from physicnet.fields import DataError, Field
from physicnet.forecasting import cf
from physicnet.plotting.forecast import Forecast
from physicnet.plotting.observed import Observed, observed

RAIN = drawn.record("rate")
RULES = drawn.rules("rate")


def read(folder: Path, record: Field = RAIN, **words: str) -> Observed:
    """What was observed of the times of a forecast, whose variable says so of itself."""
    path = drawn.file(folder, RAIN)
    told = cf.read(path)
    told["rate"].attrs |= words
    cf.write(path, told)
    return observed(Forecast.read(path), [drawn.observe(folder, record)], RULES)


def test_the_last_frame_and_the_truth_of_every_lead_are_read(tmp_path: Path) -> None:
    seen = read(tmp_path)
    assert np.array_equal(seen.last["rate"], RAIN.dataset["rate"].values[4], equal_nan=True)
    assert np.array_equal(seen.truth["rate"], RAIN.dataset["rate"].values[5:8], equal_nan=True)


def test_what_was_not_observed_yet_is_missing(tmp_path: Path) -> None:
    seen = read(tmp_path, RAIN.isel(0, 7))
    assert np.isfinite(seen.truth["rate"]).any(axis=(1, 2)).tolist() == [True, True, False]


def test_a_forecast_of_which_the_start_was_not_observed_has_its_truth(tmp_path: Path) -> None:
    seen = read(tmp_path, RAIN.isel(6, 10))
    assert np.isnan(seen.last["rate"]).all()
    assert np.isfinite(seen.truth["rate"]).any(axis=(1, 2)).tolist() == [False, True, True]


def test_observations_are_turned_the_way_of_the_forecast(tmp_path: Path) -> None:
    turned = Field(RAIN.dataset.isel(y=slice(None, None, -1)))
    assert np.array_equal(read(tmp_path, turned).truth["rate"], RAIN.dataset["rate"].values[5:8], equal_nan=True)


def test_a_forecast_of_a_part_of_what_was_observed_gets_that_part(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, Field(RAIN.dataset.isel(y=slice(2, 9), x=slice(3, 8))))
    seen = observed(Forecast.read(path), [drawn.observe(tmp_path, RAIN)], RULES)
    assert np.array_equal(seen.last["rate"], RAIN.dataset["rate"].values[4, 2:9, 3:8], equal_nan=True)


def test_observations_come_in_the_units_of_the_forecast(tmp_path: Path) -> None:
    seen = read(tmp_path, units="m s-1")  # which is rain all the same, shown in mm/h
    assert np.allclose(seen.last["rate"], RAIN.dataset["rate"].values[4], rtol=1e-5, equal_nan=True)


def test_files_and_folders_may_be_named_together(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, RAIN)
    write_netcdf(RAIN.isel(0, 6), tmp_path / "first.nc")
    folder = drawn.observe(tmp_path, RAIN.isel(6, 10))
    seen = observed(Forecast.read(path), [tmp_path / "first.nc", folder], RULES)
    assert np.isfinite(seen.truth["rate"]).any(axis=(1, 2)).all()


def test_other_calendars_are_compared_as_well(tmp_path: Path) -> None:
    times = xr.date_range("2020-02-28T23:40", periods=10, freq="5min", calendar="noleap", use_cftime=True)
    record = Field(RAIN.dataset.assign_coords(time=times))
    path = drawn.file(tmp_path, record)
    forecast = Forecast.read(path)
    seen = observed(forecast, [drawn.observe(tmp_path, record)], RULES)
    assert np.array_equal(seen.truth["rate"], RAIN.dataset["rate"].values[5:8], equal_nan=True)
    assert forecast.minutes.tolist() == [5, 10, 15]


def test_observations_of_another_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        read(tmp_path, RAIN.isel(0, 3))
    assert str(refused.value) == (
        f"{tmp_path / 'forecast.nc'} cannot be compared with what was observed: no frame was observed from "
        "2020-01-01T00:20:00 to 2020-01-01T00:35:00; these files have 3 from 2020-01-01T00:00:00 to "
        "2020-01-01T00:10:00; give observations of that time (--observations), or leave the option out"
    )


def test_observations_between_the_leads_are_refused(tmp_path: Path) -> None:
    times = RAIN.times + np.timedelta64(2, "m")
    with pytest.raises(DataError, match="but none of the 3 frames observed then is of the time of a lead; give"):
        read(tmp_path, Field(RAIN.dataset.assign_coords(time=times)))


def test_another_grid_is_refused(tmp_path: Path) -> None:
    moved = Field(RAIN.dataset.assign_coords(x=RAIN.dataset["x"] + 500))
    with pytest.raises(DataError, match=r"x has 14 cells from 0 to 13000, in the observations 14 from 500 to 13500"):
        read(tmp_path, moved)


def test_other_axes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the axis y, the observations have north, x; draw a forecast with"):
        read(tmp_path, Field(RAIN.dataset.rename(y="north")))


def test_grids_without_coordinates_are_of_one_size(tmp_path: Path) -> None:
    bare = Field(RAIN.dataset.drop_vars(["x", "y"]))
    path = drawn.file(tmp_path, bare)
    forecast = Forecast.read(path)
    seen = observed(forecast, [drawn.observe(tmp_path, bare)], RULES)
    assert np.array_equal(seen.last["rate"], RAIN.dataset["rate"].values[4], equal_nan=True)
    larger = drawn.observe(tmp_path, Field(drawn.record("rate", height=15).dataset.drop_vars(["x", "y"])))
    with pytest.raises(DataError, match="y has 12 cells from 0 to 11, in the observations 15 from 0 to 14"):
        observed(forecast, [larger], RULES)


def test_a_variable_that_was_not_observed_is_named(tmp_path: Path) -> None:
    path = drawn.file(tmp_path, drawn.record("t2m"))
    with pytest.raises(DataError, match="forecasts t2m, of which nothing was observed, only of rate; name it in"):
        observed(Forecast.read(path), [drawn.observe(tmp_path, RAIN)], RULES)


def test_units_that_cannot_be_converted_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="variable rate has units 'K', the observations have 'mm h-1', and one cannot"):
        read(tmp_path, units="K", standard_name="air_temperature")
