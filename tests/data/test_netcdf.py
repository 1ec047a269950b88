import pickle
from pathlib import Path
from typing import Any

import dask
import netCDF4
import numpy as np
import pytest
import xarray as xr
from dialects import AXES, VALUES, add, fill, write
from samples import START, STEP, ingest_config, raw_dataset, variable
from xarray.backends.file_manager import FILE_CACHE

from physicnet.clock import format_time
from physicnet.data import netcdf, opening
from physicnet.data.netcdf import open_netcdf, time_dimension
from physicnet.fields import DataError

FIVES = ["2020-06-01T05:00:00", "2020-06-01T05:05:00", "2020-06-01T05:10:00", "2020-06-01T05:15:00"]


def opened(path: Path, *variables: dict[str, Any], **changes: Any) -> xr.Dataset:
    return open_netcdf(path, ingest_config(*variables, **changes))


def rate(path: Path, **changes: Any) -> xr.DataArray:
    return opened(path, variable(**changes))["rate"]


def clock(dataset: xr.Dataset) -> list[str]:
    return [format_time(time) for time in dataset[time_dimension(dataset)].values]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    return tmp_path / "odd.nc"


@pytest.mark.parametrize(
    "kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA", "NETCDF4", "NETCDF4_CLASSIC"]
)
def test_every_format_gives_the_same(kind: str, odd: Path) -> None:
    dataset = opened(write(odd, kind=kind))
    np.testing.assert_array_equal(dataset["rate"], VALUES)
    assert dataset["rate"].dims == ("time", "lat", "lon")
    assert dataset["rate"].dtype == np.float64
    assert clock(dataset) == FIVES
    for name in ("lat", "lon"):
        np.testing.assert_array_equal(dataset[name], AXES[name])


def test_what_xarray_writes_comes_back_with_coordinates_and_grid_mapping(odd: Path) -> None:
    raw_dataset().assign_attrs(institution="KNMI").to_netcdf(odd)
    dataset = opened(odd)
    np.testing.assert_array_equal(dataset["rate"], raw_dataset()["rate"])
    np.testing.assert_array_equal(dataset["time"], START + STEP * np.arange(7))
    assert dataset["rate"].attrs == {"units": "mm h-1"}
    assert dataset["rate"].encoding == {"grid_mapping": "projection"}
    assert dataset["projection"].attrs == {"grid_mapping_name": "stereographic"}
    assert dataset["north"].attrs == {"units": "km"}
    assert dataset.attrs == {"institution": "KNMI"}


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF4"])
def test_packed_values_are_unpacked_and_both_fill_values_are_missing(kind: str, odd: Path) -> None:
    stored = VALUES.copy()
    stored[1, 2, 3], stored[3, 0, 1] = -999, -1
    scale = {"scale_factor": 0.5, "add_offset": 10.0}
    write(odd, stored, dtype="i2", kind=kind, _FillValue=np.int16(-999), missing_value=np.int16(-1), **scale)
    np.testing.assert_array_equal(rate(odd), np.where(stored < 0, np.nan, 0.5 * stored + 10))
    assert rate(odd).attrs == {"units": "mm h-1"}


def test_cells_that_nobody_wrote_are_missing(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, VALUES[:, :, :3], ("time", "lat", "lon"), axes=AXES | {"lon": np.arange(3.0)})
        file.createVariable("sparse", "f4", ("time", "lat", "lon")).units = "mm h-1"
        file["sparse"][1] = 7.0
    values = opened(odd, variable("sparse"))["sparse"].values
    assert (values[1] == 7).all()
    assert np.isnan(np.delete(values, 1, axis=0)).all()


def test_infinite_values_stay(odd: Path) -> None:
    stored = VALUES.copy()
    stored[0, 0, 0] = np.inf
    assert rate(write(odd, stored))[0, 0, 0] == np.inf


def test_units_are_converted(odd: Path) -> None:
    dataset = rate(write(odd), units="m s-1")
    np.testing.assert_allclose(dataset, VALUES / 3.6e6, rtol=1e-12)
    assert dataset.attrs["units"] == "m s-1"


@pytest.mark.parametrize("attributes", [{"units": None}, {"units": None, "Unit": "mm/h"}, {"units": "mm per hour?"}])
def test_units_that_the_file_does_not_tell_are_those_of_the_parameters(attributes: dict[str, Any], odd: Path) -> None:
    array = rate(write(odd, **attributes), units="m s-1", file_units="mm h-1")
    np.testing.assert_allclose(array, VALUES / 3.6e6, rtol=1e-12)
    assert array.attrs == {"units": "m s-1"}


def test_several_variables_come_in_the_order_asked_for_turned_as_the_first(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file)
        add(file, "air", VALUES.transpose(2, 0, 1), ("lon", "time", "lat"), units="degC")
    dataset = opened(odd, variable("air", "K"), variable())
    assert list(dataset.data_vars) == ["air", "rate"]
    assert dataset["air"].dims == dataset["rate"].dims == ("time", "lat", "lon")
    np.testing.assert_allclose(dataset["air"], VALUES + 273.15)
    assert (dataset["air"].attrs["units"], dataset["rate"].attrs["units"]) == ("K", "mm h-1")


def test_unnamed_axes_are_turned_as_those_of_the_first_variable(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, dims=("time", "a", "b"))
        add(file, "air", VALUES.transpose(0, 2, 1), ("time", "b", "a"), units="K")
    dataset = opened(odd, variable(), variable("air", "K"))
    assert dataset["air"].dims == ("time", "a", "b")
    np.testing.assert_array_equal(dataset["air"], VALUES)


def test_of_several_variables_those_come_that_the_file_holds(odd: Path) -> None:
    assert list(opened(write(odd), variable("wind", "m s-1"), variable()).data_vars) == ["rate"]


@pytest.mark.parametrize(
    "lon", [np.array([-180.0, -90, 0, 90, 170]), np.array([0.0, 90, 180, 270, 350]), np.array([5.0, 4, 3, 2, 1])]
)
@pytest.mark.parametrize("lat", [np.array([1.0, 2, 3]), np.array([3.0, 2, 1])])
def test_axes_of_any_direction_and_origin_stay_as_they_are(lat: np.ndarray, lon: np.ndarray, odd: Path) -> None:
    dataset = opened(write(odd, axes=AXES | {"lat": lat, "lon": lon}))
    np.testing.assert_array_equal(dataset["lat"], lat)
    np.testing.assert_array_equal(dataset["lon"], lon)
    np.testing.assert_array_equal(dataset["rate"], VALUES)


def test_columns_before_rows_are_turned(odd: Path) -> None:
    array = rate(write(odd, VALUES.transpose(0, 2, 1), ("time", "lon", "lat")))
    assert array.dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(array, VALUES)


def test_dimensions_of_one_element_are_squeezed(odd: Path) -> None:
    write(
        odd, VALUES[:, None, :, None], ("time", "level", "lat", "member", "lon"), axes=AXES | {"level": np.array([5.0])}
    )
    array = rate(odd)
    np.testing.assert_array_equal(array, VALUES)
    assert array["level"].item() == 5


def test_two_levels_of_one_variable_are_two_channels(odd: Path) -> None:
    levels = {"level": np.array([250.0, 500.0, 850.0])}
    write(odd, np.stack([VALUES, -VALUES, 2 * VALUES], axis=1), ("time", "level", "lat", "lon"), axes=AXES | levels)
    low, high = (variable(channel=f"r{level}", select={"level": level}) for level in (850, 500))
    dataset = opened(odd, low, high)
    np.testing.assert_array_equal(dataset["r850"], 2 * VALUES)
    np.testing.assert_array_equal(dataset["r500"], -VALUES)
    assert dataset["r500"].attrs["selection"] == "level = 500"


def test_projected_axes_and_latitudes_of_two_dimensions_come_along(odd: Path) -> None:
    north, east = np.array([30.0, 20.0, 10.0]), np.arange(5.0)
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, dims=("time", "y", "x"), axes=AXES | {"y": north, "x": east}, grid_mapping="crs: x y")
        add(file, "crs", np.array(b"p", "S1"), grid_mapping_name="polar_stereographic", false_easting=0.0)
        add(file, "lat", VALUES[0].T, ("x", "y"), dtype="f4", units="degrees_north")
        add(file, "lon", 2 * VALUES[0], ("y", "x"), dtype="i2", units="degrees_east", scale_factor=0.5)
    array = rate(odd)
    np.testing.assert_array_equal(array["y"], north)
    np.testing.assert_array_equal(array["lat"], VALUES[0])  # linked by nothing but its units, and transposed
    assert (array["lat"].dims, array["lat"].dtype) == (("y", "x"), np.float32)
    np.testing.assert_array_equal(array["lon"], VALUES[0])
    assert array["lon"].attrs == {"units": "degrees_east"}
    assert array.encoding == {"grid_mapping": "crs"}
    assert array["crs"].attrs == {"grid_mapping_name": "polar_stereographic", "false_easting": 0.0}


def test_a_rotated_pole_comes_along(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        axes = AXES | {"rlat": np.arange(3.0), "rlon": np.arange(5.0)}
        fill(file, VALUES, ("time", "rlat", "rlon"), axes=axes, grid_mapping="pole", coordinates="height lead")
        add(file, "pole", 0, grid_mapping_name="rotated_latitude_longitude", grid_north_pole_latitude=37.5)
        add(file, "height", 2.0, units="m")
        add(file, "lead", 6, units="hours", standard_name="forecast_period")
    array = rate(odd)
    assert array.dims == ("time", "rlat", "rlon")
    assert array["pole"].attrs["grid_north_pole_latitude"] == 37.5
    assert set(array.coords) == {"time", "rlat", "rlon", "pole", "height"}


def test_a_variable_of_a_group_has_the_coordinates_of_the_groups_around_it(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, np.zeros((4, 3, 5)), name="other")
        add(file.createGroup("dataset1/data1"), "precip", VALUES, ("time", "lat", "lon"), units="mm h-1")
    dataset = opened(odd, variable("dataset1/data1/precip"))
    assert list(dataset.data_vars) == ["precip"]
    np.testing.assert_array_equal(dataset["precip"], VALUES)
    np.testing.assert_array_equal(dataset["lat"], AXES["lat"])
    assert clock(dataset) == FIVES


def test_variables_of_several_groups_are_channels_of_one_grid(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        for number, height in ((1, 2.0), (2, 10.0)):
            group = file.createGroup(f"dataset{number}")
            fill(group, number * VALUES, coordinates="height")
            add(group, "height", height, units="m")
    names = (variable(f"/dataset{number}/rate", channel=f"rate{number}") for number in (1, 2))
    dataset = opened(odd, *names)
    np.testing.assert_array_equal(dataset["rate2"], 2 * dataset["rate1"])
    assert (dataset["rate1"].attrs["height"], dataset["rate2"].attrs["height"]) == ("2 m", "10 m")
    assert "height" not in dataset.coords


def test_one_frame_without_a_time_dimension_has_the_time_beside_it(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, VALUES[0], ("lat", "lon"))
        add(file, "time", 25.0, units="minutes since 2020-06-01 05:00")
    dataset = opened(odd)
    np.testing.assert_array_equal(dataset["rate"], VALUES[:1])
    assert clock(dataset) == ["2020-06-01T05:25:00"]


@pytest.mark.parametrize("dims", [("lat", "lon"), ("scan", "lat", "lon")])
def test_one_frame_has_the_time_of_the_files_name(dims: tuple[str, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "radar_202006010510.nc", VALUES[0].reshape((1, 3, 5)[-len(dims) :]), dims)
    dataset = opened(path, time_from_name="radar_%Y%m%d%H%M.nc")
    np.testing.assert_array_equal(dataset["rate"], VALUES[:1])
    assert clock(dataset) == ["2020-06-01T05:10:00"]


def test_an_axis_of_time_under_another_name_becomes_the_dimension(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, dims=("record", "lat", "lon"))
        add(file, "XTIME", 5 * np.arange(4), ("record",), units="minutes since 2020-06-01 05:00")
    dataset = opened(odd)
    assert time_dimension(dataset) == "XTIME"
    assert clock(dataset) == FIVES


def test_frames_of_a_forecast_are_at_the_times_that_they_are_valid_for(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, dims=("step", "lat", "lon"), axes=AXES | {"step": np.arange(4.0)}, coordinates="time valid_time")
        hours = "hours since 2020-06-01 05:00"
        add(file, "time", 0, units=hours, standard_name="forecast_reference_time")
        add(file, "valid_time", np.arange(4) / 12, ("step",), units=hours, standard_name="time")
    dataset = opened(odd)
    assert clock(dataset) == FIVES
    assert set(dataset.coords) == {"valid_time", "lat", "lon"}


def test_other_calendars_count_in_their_own_days(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, axes=AXES | {"time": 30 * np.arange(4) + 29})
        file["time"].setncatts({"units": "days since 2020-01-01", "calendar": "360_day"})
    assert clock(opened(odd)) == [f"2020-{month:02}-30T00:00:00 (360_day)" for month in (1, 2, 3, 4)]


def test_frames_stay_in_the_order_of_the_file(odd: Path) -> None:
    dataset = opened(write(odd, axes=AXES | {"time": np.array([5, 0, 0, 15])}))
    assert clock(dataset) == [FIVES[index] for index in (1, 0, 0, 3)]


def test_values_are_read_in_blocks_of_frames_when_they_are_needed(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netcdf, "SMALLEST", 3 * 8 * 3 * 5)
    array = rate(write(odd))
    assert array.chunks == ((3, 1), (3,), (5,))
    np.testing.assert_array_equal(array[2:4, 1], VALUES[2:4, 1])


def test_blocks_can_be_read_by_another_process(odd: Path) -> None:
    copy = pickle.loads(pickle.dumps(rate(write(odd), units="m s-1")))
    np.testing.assert_allclose(copy, VALUES / 3.6e6, rtol=1e-12)


def test_a_file_that_vanishes_during_reading_is_named(odd: Path) -> None:
    array = rate(write(odd))
    odd.unlink()
    FILE_CACHE.clear()  # as when other files have crowded it out
    with pytest.raises(DataError, match=r"odd\.nc cannot be read as NetCDF \(No such file"):
        array.compute()


def test_a_damaged_block_is_named(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netcdf, "SMALLEST", 8 * 40 * 50)
    noise = np.random.default_rng(0).normal(size=(4, 40, 50))
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, noise[:, :3, :5], axes=AXES, name="small")
        for name, size in (("y", 40), ("x", 50)):
            file.createDimension(name, size)
        where = file.createVariable("rate", "f8", ("time", "y", "x"), chunksizes=(1, 40, 50), compression="zlib")
        where.units = "mm h-1"
        where[:] = noise
    content = bytearray(odd.read_bytes())
    content[-4000:-3000] = bytes(1000)
    odd.write_bytes(content)
    array = rate(odd)
    with (
        pytest.raises(DataError, match=r"odd\.nc cannot be read as NetCDF \(NetCDF: .*\); repair"),
        dask.config.set(scheduler="synchronous"),
    ):
        array.compute()


def test_a_missing_variable_is_named_beside_those_there_are(odd: Path) -> None:
    with pytest.raises(
        DataError, match=r"odd\.nc has no variable 'wind' or 'a/b'; it has \['rate'\]: correct ingest\.v"
    ):
        opened(write(odd), variable("wind", "m s-1"), variable("a/b"))


def test_a_file_without_any_grid_is_told_by_what_it_has(odd: Path) -> None:
    write(odd, np.arange(4.0), ("time",), name="index")
    with pytest.raises(DataError, match=r"odd\.nc has no variable 'rate'; it has \['index', 'time'\]: correct"):
        opened(odd)


@pytest.mark.parametrize("dtype", ["S1", "complex"])
def test_text_and_complex_numbers_are_named(dtype: str, odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, name="other")
        compound = file.createCompoundType(np.dtype([("r", "f4"), ("i", "f4")]), "complex")
        file.createVariable("rate", compound if dtype == "complex" else dtype, ("time", "lat", "lon"))
    with pytest.raises(
        DataError, match=r"odd\.nc: variable rate holds (text|complex or other compound numbers), not re"
    ):
        opened(odd)


def test_a_dimension_that_comes_twice_is_named(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        file.createDimension("x", 3)
        add(file, "rate", np.ones((3, 3)), ("x", "x"), units="mm h-1")
    with pytest.raises(
        DataError, match=r"odd\.nc: variable rate has a dimension twice, \('x', 'x'\), and so is on no gr"
    ):
        opened(odd)


def test_a_file_without_a_frame_is_named(odd: Path) -> None:
    write(odd, VALUES[:0], axes=AXES | {"time": np.arange(0)})
    with pytest.raises(
        DataError, match=r"odd\.nc: variable rate has no value: its dimensions are time \(0\), lat \(3\),"
    ):
        opened(odd)


def test_a_channel_that_is_called_as_a_coordinate_is_named(odd: Path) -> None:
    because = r"odd\.nc: the channel lat has the name of a coordinate or dimension; set channel to another name in ing"
    with pytest.raises(DataError, match=because):
        opened(write(odd), variable(channel="lat"))
    with pytest.raises(DataError, match=because):
        opened(write(odd, axes={"time": AXES["time"]}), variable(channel="lat"))


def test_a_variable_asked_for_that_is_a_mere_coordinate_here_is_left_to_other_files(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, coordinates="height")
        add(file, "height", 2.0, units="m")
    dataset = opened(odd, variable("height", "m"), variable(), variable("lat", "m"))
    assert list(dataset.data_vars) == ["rate"]
    assert dataset["height"] == 2.0


def test_a_coordinate_that_is_a_field_itself_is_read_if_it_is_asked_for(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file, coordinates="height")
        fill(file, 100 * VALUES, name="height", units="m")
    np.testing.assert_array_equal(opened(odd, variable(), variable("height", "m"))["height"], 100 * VALUES)


def test_a_frame_beyond_memory_is_named(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_FRAME_CELLS", 14)
    with pytest.raises(DataError, match=r"odd\.nc: a frame of rate has 3 x 5 cells, more than the 14 that can be held"):
        opened(write(odd))


def test_attributes_that_make_no_sense_are_named(odd: Path) -> None:
    with pytest.raises(
        DataError, match=r"odd\.nc: variable rate has scale_factor = 'ten' is not a number; correct this"
    ):
        opened(write(odd, scale_factor="ten"))


def test_variables_of_other_grids_are_named(odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file)
        fill(file, VALUES[:, :, :4], ("time", "lat", "lon_u"), name="u")
    with pytest.raises(DataError, match=r"odd\.nc: u has .* lon_u \(4\), but rate .* lon \(5\); take one of them out"):
        opened(odd, variable(), variable("u"))


@pytest.mark.parametrize("differing", ["time", "lat"])
def test_variables_of_other_times_or_places_are_named(differing: str, odd: Path) -> None:
    with netCDF4.Dataset(odd, "w") as file:
        fill(file.createGroup("a"))
        fill(file.createGroup("b"), axes=AXES | {differing: AXES[differing] + 1})
    with pytest.raises(DataError, match=rf"odd\.nc: b has other values of {differing} than a; take one of"):
        opened(odd, variable("a/rate", channel="a"), variable("b/rate", channel="b"))


def test_a_grid_that_is_written_for_every_frame_comes_along_if_it_stands_still(tmp_path: Path) -> None:
    def with_latitudes(name: str, latitudes: np.ndarray) -> Path:
        with netCDF4.Dataset(tmp_path / name, "w") as file:
            fill(file, dims=("time", "south_north", "west_east"))
            add(file, "XLAT", latitudes, ("time", "south_north", "west_east"), dtype="f4", units="degree_north")
        return tmp_path / name

    array = rate(with_latitudes("standing.nc", np.broadcast_to(VALUES[0], VALUES.shape)))
    np.testing.assert_array_equal(array["XLAT"], VALUES[0])
    assert array["XLAT"].dims == ("south_north", "west_east")
    with pytest.raises(
        DataError, match=r"moving\.nc: the grid moves: XLAT of frame 1 differs from the first; only grids"
    ):
        rate(with_latitudes("moving.nc", VALUES))
