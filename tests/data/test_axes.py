from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from samples import variable

from physicnet.config import VariableConfig
from physicnet.data.axes import grid_dims, horizontal, select
from physicnet.fields import DataError

FILE = Path("odd.nc")
LEVEL = xr.DataArray(np.array([250.0, 500.0, 850.0], np.float32), dims="level", attrs={"units": "hPa"})


def array(sizes: dict[str, int], coords: dict[str, Any] | None = None, **attributes: str) -> xr.DataArray:
    values = np.arange(np.prod(list(sizes.values())), dtype=float).reshape(tuple(sizes.values()))
    found = {name: xr.as_variable(coord, name=None) for name, coord in (coords or {}).items()}
    return xr.DataArray(values, xr.Coordinates(found, indexes={}), tuple(sizes), "rate", attributes)


def config(**changes: Any) -> VariableConfig:
    return VariableConfig.model_validate(variable(**changes))


def grid_of(sizes: dict[str, int], coords: dict[str, Any] | None = None, **attributes: str) -> tuple[str, str]:
    time = "time" if "time" in sizes else None
    return grid_dims(FILE, array(sizes, coords, **attributes), config(), time)


@pytest.mark.parametrize(
    ("name", "attributes", "axis"),
    [
        ("lat", {}, "Y"),
        ("Longitude", {}, "X"),
        ("a", {"standard_name": "projection_y_coordinate"}, "Y"),
        ("a", {"units": "degrees_east"}, "X"),
        ("a", {"axis": "Y"}, "Y"),
        ("x", {"standard_name": "grid_latitude"}, "Y"),
        ("level", {"axis": "Z"}, None),
        ("a", {"units": "degrees"}, None),
    ],
)
def test_axes_are_known_by_attributes_and_else_by_name(name: str, attributes: dict[str, str], axis: str | None) -> None:
    assert horizontal(name, attributes) == axis


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"time": 4, "lat": 2, "lon": 3}, ("lat", "lon")),
        ({"time": 4, "lon": 3, "lat": 2}, ("lat", "lon")),
        ({"x": 3, "time": 4, "y": 2}, ("y", "x")),
        ({"time": 4, "level": 1, "y": 2, "x": 3}, ("y", "x")),
        ({"time": 4, "y": 1, "x": 3}, ("y", "x")),
        ({"time": 4, "phony_0": 2, "phony_1": 3}, ("phony_0", "phony_1")),
        ({"time": 4, "member": 1, "phony_0": 2, "phony_1": 3}, ("phony_0", "phony_1")),
        ({"time": 4, "x": 3, "level": 2}, ("level", "x")),
        ({"time": 4, "level": 2, "y": 3}, ("y", "level")),
        ({"lat": 2, "lon": 3}, ("lat", "lon")),
    ],
)
def test_rows_run_along_y_and_columns_along_x_where_they_are_known(
    sizes: dict[str, int], expected: tuple[str, str]
) -> None:
    assert grid_of(sizes) == expected


def test_a_selected_level_is_taken_and_told() -> None:
    four = array({"time": 2, "level": 3, "y": 2, "x": 2}, {"level": LEVEL})
    taken = select(FILE, four, config(select={"level": 500}))
    np.testing.assert_array_equal(taken, four.values[:, 1])
    assert taken.attrs == {"selection": "level = 500 hPa"}
    assert "level" not in taken.coords


def test_a_dimension_without_coordinate_is_counted() -> None:
    five = array({"member": 4, "level": 3, "y": 2, "x": 2}, {"level": LEVEL})
    taken = select(FILE, five, config(select={"member": 3, "level": 850}))
    np.testing.assert_array_equal(taken, five.values[3, 2])
    assert taken.attrs["selection"] == "member = 3, level = 850 hPa"


def test_a_level_written_in_single_precision_is_found() -> None:
    level = xr.DataArray(np.array([0.1, 0.2], np.float32), dims="level")
    assert select(FILE, array({"level": 2}, {"level": level}), config(select={"level": 0.2})).item() == 1


def test_a_level_between_those_there_are_is_named() -> None:
    with pytest.raises(
        DataError, match=r"odd\.nc: variable rate has no single level 501, it has 250, 500, 850; correct"
    ):
        select(FILE, array({"level": 3}, {"level": LEVEL}), config(select={"level": 501}))


def test_a_selection_of_no_dimension_is_named() -> None:
    with pytest.raises(
        DataError, match=r"rate has no dimension 'height', only the dimensions y \(2\), x \(3\); correct"
    ):
        select(FILE, array({"y": 2, "x": 3}), config(select={"height": 2}))


def test_a_further_dimension_is_named_with_what_to_write() -> None:
    with pytest.raises(DataError, match=r"level, which has 250, 500, 850: write .* select: \{level: 250\}"):
        grid_of({"time": 4, "level": 3, "lat": 2, "lon": 2}, {"level": LEVEL})


def test_of_unknown_dimensions_those_that_are_no_axes_are_named() -> None:
    with pytest.raises(
        DataError, match=r"Take one value of bottom_top, which has 0, 1, 2, .*, 11, \.\.\.: write for it"
    ):
        grid_of({"time": 4, "south_north": 2, "bottom_top": 39, "west_east_stag": 2})


def test_a_series_is_named() -> None:
    with pytest.raises(DataError, match=r"rate is a series without a grid: it has the dimensions time \(4\); move"):
        grid_of({"time": 4})


@pytest.mark.parametrize("sizes", [{"time": 4, "station": 5}, {"time": 4, "cell": 5, "level": 1}])
def test_one_dimension_of_space_is_named(sizes: dict[str, int]) -> None:
    with pytest.raises(
        DataError, match=r"one dimension of space, as stations, profiles and unstructured meshes have; only"
    ):
        grid_of(sizes)


def test_a_list_of_places_is_no_axis() -> None:
    places = {
        name: xr.DataArray(np.zeros(5), dims="station", attrs={"standard_name": name})
        for name in ("latitude", "longitude")
    }
    with pytest.raises(
        DataError, match=r"rate is on a list of places or an unstructured mesh: it has the dim.* station"
    ):
        grid_of({"time": 4, "station": 5, "instrument": 2}, places)


def test_a_mesh_is_named() -> None:
    with pytest.raises(
        DataError, match=r"rate is on an unstructured mesh: it has the dim.* face \(5\); only grids with"
    ):
        grid_of({"time": 4, "face": 5}, mesh="topology")
