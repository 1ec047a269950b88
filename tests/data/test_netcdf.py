from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from samples import START, STEP, raw_dataset, variable

from physicnet.config import VariableConfig
from physicnet.data.netcdf import open_netcdf, time_dimension
from physicnet.fields import DataError

RATE = VariableConfig.model_validate(variable("rate", "mm h-1"))


def written(dataset: xr.Dataset, folder: Path) -> Path:
    dataset.to_netcdf(folder / "odd.nc")
    return folder / "odd.nc"


def test_values_come_back_with_coordinates_and_grid_mapping(tmp_path: Path) -> None:
    opened = open_netcdf(written(raw_dataset(), tmp_path), [RATE])
    np.testing.assert_array_equal(opened["rate"], raw_dataset()["rate"])
    assert time_dimension(opened) == "time"
    assert opened["rate"].encoding == {"grid_mapping": "projection"}
    assert opened["projection"].attrs == {"grid_mapping_name": "stereographic"}
    assert opened["north"].attrs == {"units": "km"}


def test_packed_values_are_unpacked_and_filled_ones_missing(tmp_path: Path) -> None:
    dataset = raw_dataset()
    dataset["rate"].encoding = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 5.0, "_FillValue": -32768}
    opened = open_netcdf(written(dataset, tmp_path), [RATE])
    np.testing.assert_allclose(opened["rate"], dataset["rate"], atol=0.005)


def test_units_are_converted(tmp_path: Path) -> None:
    opened = open_netcdf(written(raw_dataset(), tmp_path), [VariableConfig.model_validate(variable("rate", "m s-1"))])
    np.testing.assert_allclose(opened["rate"], raw_dataset()["rate"] / 3.6e6, rtol=1e-6)
    assert opened["rate"].attrs["units"] == "m s-1"


def test_variables_come_in_the_order_asked_for_and_time_first(tmp_path: Path) -> None:
    dataset = raw_dataset()
    dataset["air"] = dataset["rate"].transpose("north", "time", "east").assign_attrs(units="degC")
    opened = open_netcdf(written(dataset, tmp_path), [VariableConfig.model_validate(variable("air", "K")), RATE])
    assert list(opened.data_vars) == ["air", "rate"]
    assert opened["air"].dims == ("time", "north", "east")
    np.testing.assert_allclose(opened["air"], dataset["rate"] + 273.15, rtol=1e-6)


def test_times_are_rounded_to_milliseconds(tmp_path: Path) -> None:
    dataset = raw_dataset()
    dataset["time"].encoding = {"units": "days since 1900-01-01", "dtype": "float64"}
    opened = open_netcdf(written(dataset, tmp_path), [RATE])
    np.testing.assert_array_equal(opened["time"], START + STEP * np.arange(7))


def test_values_are_read_in_blocks_of_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physicnet.data.netcdf.BLOCK_BYTES", 3 * 8 * 6 * 9)
    opened = open_netcdf(written(raw_dataset(), tmp_path), [RATE])
    assert opened["rate"].chunks == ((3, 3, 1), (6,), (9,))


def test_a_file_that_is_not_netcdf_is_named(tmp_path: Path) -> None:
    (tmp_path / "odd.nc").write_text("no data")
    with pytest.raises(DataError, match=r"odd\.nc cannot be read as NetCDF"):
        open_netcdf(tmp_path / "odd.nc", [RATE])


def test_a_missing_variable_is_named_beside_those_there_are(tmp_path: Path) -> None:
    path = written(raw_dataset(), tmp_path)
    with pytest.raises(
        DataError, match=r"odd\.nc has no variable 'wind'; it has \['rate'\]: correct ingest\.variables"
    ):
        open_netcdf(path, [VariableConfig.model_validate(variable("wind", "m s-1"))])


@pytest.mark.parametrize(
    "odd",
    [
        raw_dataset().isel(time=0),
        raw_dataset().isel(north=0),
        raw_dataset().expand_dims(level=[1.0]),
        raw_dataset().drop_vars("time"),
    ],
    ids=["one frame", "one row", "levels", "no times"],
)
def test_other_dimensions_than_time_and_two_of_space_are_named(odd: xr.Dataset, tmp_path: Path) -> None:
    path = written(odd, tmp_path)
    with pytest.raises(DataError, match=r"odd\.nc: variable rate has dimensions .* one with a coordinate of UTC times"):
        open_netcdf(path, [RATE])


def test_units_that_cannot_be_converted_are_named(tmp_path: Path) -> None:
    path = written(raw_dataset(), tmp_path)
    with pytest.raises(DataError, match=r"odd\.nc: variable rate has units 'mm h-1', which cannot be converted to 'K'"):
        open_netcdf(path, [VariableConfig.model_validate(variable("rate", "K"))])


@pytest.mark.parametrize(("units", "found"), [({}, "None"), ({"units": "furlong?"}, r"'furlong\?'")])
def test_units_that_cannot_be_understood_are_named(units: dict[str, str], found: str, tmp_path: Path) -> None:
    dataset = raw_dataset()
    dataset["rate"].attrs = units
    path = written(dataset, tmp_path)
    with pytest.raises(DataError, match=rf"odd\.nc: variable rate: {found} cannot be understood as units"):
        open_netcdf(path, [RATE])
