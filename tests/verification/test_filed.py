from pathlib import Path

import numpy as np
import pytest
from verification.filings import MODEL, file, record, told

from physicnet.fields import DataError, Field
from physicnet.forecasting import cf
from physicnet.verification.filed import Filed

FIELD = record()
PAST = FIELD.isel(4, 6)


def filed(path: Path) -> Filed:
    return Filed.of("model", [path])


def test_what_was_filed_is_what_is_forecast(tmp_path: Path) -> None:
    forecasts = Filed.of("model", [file(tmp_path, FIELD, origin, too_much=1.0) for origin in (7, 5)])
    assert forecasts.origins == [FIELD.times[5], FIELD.times[7]]
    entry = forecasts.files[FIELD.times[5]]
    assert (entry.path, entry.num_leads, entry.checkpoint) == (tmp_path / "005.nc", 3, MODEL)
    np.testing.assert_allclose(forecasts.forecast(PAST, 2), FIELD.frames(6, 8) + 1)


def test_rows_that_run_the_other_way_and_other_units_are_brought_to_those_of_the_observations(tmp_path: Path) -> None:
    dataset = told(FIELD, 5).isel(y=slice(None, None, -1)).transpose("time", "x", "y")
    dataset = dataset.assign(rate=(dataset["rate"] / 3.6e6).assign_attrs(units="m s-1"))
    cf.write(tmp_path / "turned.nc", dataset)
    np.testing.assert_allclose(filed(tmp_path / "turned.nc").forecast(PAST, 3), FIELD.frames(6, 9), rtol=1e-5)


def test_a_lead_of_zero_is_no_lead(tmp_path: Path) -> None:
    words = {"standard_name": "forecast_reference_time"}
    dataset = told(FIELD, 4, leads=4).assign_coords(forecast_reference_time=((), FIELD.times[5], words))
    cf.write(tmp_path / "with_now.nc", dataset)
    forecasts = filed(tmp_path / "with_now.nc")
    assert forecasts.files[FIELD.times[5]].num_leads == 3
    np.testing.assert_allclose(forecasts.forecast(PAST, 3), FIELD.frames(6, 9))


def test_two_forecasts_from_one_time_are_not_of_one_model(tmp_path: Path) -> None:
    paths = [file(tmp_path, FIELD, 5), tmp_path / "again.nc"]
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(DataError, match=r"005.nc and .*again.nc are both forecasts from 2020-01-01T00:25:00"):
        Filed.of("model", paths)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda forecast: forecast.isel(time=slice(1)), "does not forecast 2020-01-01T00:35:00, one of 3 times"),
        (lambda forecast: forecast.isel(y=slice(5)), "the observations have 12 along y"),
        (lambda forecast: forecast.assign_coords(x=forecast["x"] + 250.0), "x runs from 250 to 13250, in the observ"),
        (lambda forecast: forecast.rename(rate="rain"), "has no variable rate, only rain"),
        (lambda forecast: forecast.assign(rate=forecast["rate"].assign_attrs(units="K")), "has units 'K'"),
        (lambda forecast: forecast.expand_dims(member=2), "rate has the dimensions"),
    ],
)
def test_what_does_not_fit_the_observations_is_refused(change, message: str, tmp_path: Path) -> None:
    cf.write(tmp_path / "odd.nc", change(told(FIELD, 5)))
    with pytest.raises(DataError, match=message):
        filed(tmp_path / "odd.nc").forecast(PAST, 3)


def test_a_time_without_a_forecast_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no forecast of model from 2020-01-01T00:30:00"):
        filed(file(tmp_path, FIELD, 5)).forecast(Field(FIELD.dataset.isel(time=slice(5, 7))), 3)
