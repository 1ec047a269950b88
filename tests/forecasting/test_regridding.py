import numpy as np
import pytest
import xarray as xr
from forecasting import samples

from physicnet.fields import DataError, Field
from physicnet.forecasting.loading import Model
from physicnet.forecasting.regridding import interpolated


def placed(dataset: xr.Dataset, step: float, start: float = 0.0, units: str = "m") -> xr.Dataset:
    """The same values on cells of another size."""
    return dataset.assign_coords(
        {dim: (dim, start + step * np.arange(dataset.sizes[dim]), {"units": units}) for dim in ("y", "x")}
    )


def test_whole_cells_are_averaged(model: Model) -> None:
    coarse = samples.record().dataset
    values = coarse["rate"].values.repeat(4, axis=1).repeat(4, axis=2)
    fine = xr.Dataset({"rate": (("time", "y", "x"), values, coarse["rate"].attrs)}, {"time": coarse["time"]})
    forecast = model.forecast(placed(fine, 0.25, -0.375, "km"), regrid=True)
    np.testing.assert_allclose(forecast["rate"], model.forecast(coarse)["rate"], rtol=1e-5)
    assert forecast.attrs["history"].endswith("; 4 x 4 cells were averaged into one")
    assert forecast["rate"].attrs["cell_methods"] == "time: point area: mean"
    np.testing.assert_allclose(forecast["x"], coarse["x"] / 1000, atol=1e-9)


def test_between_cells_values_are_interpolated(model: Model) -> None:
    dataset = placed(samples.record().dataset, 1500.0)
    field = Field(dataset)
    found, words = interpolated(field, model.kind.grid)
    assert words == "observations interpolated linearly from 23 x 29 to 34 x 43 cells"
    row = np.interp(found.dataset["x"], dataset["x"], dataset["rate"][0, 20])
    np.testing.assert_allclose(found.dataset["rate"][0, 30], row, rtol=1e-5)
    assert np.isnan(found.dataset["rate"][0, 5, 8])
    forecast = model.forecast(dataset, regrid=True)
    assert forecast.attrs["history"].endswith(words)
    np.testing.assert_array_equal(forecast["rate"], model.forecast_field(found, 2)["rate"])


def test_an_axis_may_fall(model: Model) -> None:
    dataset = placed(samples.record().dataset, -1500.0)
    assert interpolated(Field(dataset), model.kind.grid)[0].dataset["y"].values[:3].tolist() == [0, -1000, -2000]


def test_axes_are_turned_round_on_request(model: Model) -> None:
    dataset = samples.record().dataset
    forecast = model.forecast(dataset.isel(y=slice(None, None, -1)), regrid=True)
    assert forecast.attrs["history"].endswith("; y was turned round")
    np.testing.assert_array_equal(forecast["rate"], model.forecast(dataset)["rate"])
    np.testing.assert_array_equal(forecast["y"], dataset["y"])


def test_what_has_the_spacing_stays_as_it_is(model: Model) -> None:
    dataset = samples.record().dataset
    forecast = model.forecast(dataset, regrid=True)
    np.testing.assert_array_equal(forecast["rate"], model.forecast(dataset)["rate"])
    assert "cells" not in forecast.attrs["history"]


def test_degrees_are_no_metres(model: Model) -> None:
    dataset = placed(samples.record().dataset, 0.1, units="degrees_north")
    dataset["x"].attrs["units"] = "degrees_east"
    with pytest.raises(DataError, match="y is in degrees_north, the model's y in m: .*cannot be regridded here"):
        model.forecast(dataset, regrid=True)


def test_longitudes_across_the_seam_are_not_interpolated(model: Model) -> None:
    dataset = placed(samples.record().dataset, 1500.0)
    longitudes = np.tile(np.linspace(179.0, 181.0, 29), (23, 1))
    words = {"standard_name": "longitude", "units": "degrees_east"}
    dataset = dataset.assign_coords(lon=(("y", "x"), np.where(longitudes > 180, longitudes - 360, longitudes), words))
    with pytest.raises(DataError, match="the longitudes lon cross the seam"):
        model.forecast(dataset, regrid=True)
