import numpy as np
import pytest
import xarray as xr
from samples import raw_dataset

from physicnet.data.grids import Grid, Grids


def grid(**changes: object) -> Grid:
    dataset = raw_dataset().set_coords("projection")
    dataset["projection"].attrs["latitude_of_projection_origin"] = 90.0
    dataset = dataset.assign_coords(latitude=(("north", "east"), np.linspace(50, 51, 54).reshape(6, 9)))
    return Grid.of(dataset.assign_coords(**changes))  # type: ignore[arg-type]


def test_a_grid_does_not_depend_on_time() -> None:
    assert set(grid().coordinates.coords) == {"north", "east", "projection", "latitude"}
    assert grid().shape == (6, 9)


def test_rounding_is_no_difference() -> None:
    east = (10.0 * np.arange(9) * (1 + 1e-7)).astype(np.float32)
    assert grid().difference(grid(east=east)) is None


@pytest.mark.parametrize("name", ["north", "latitude"])
def test_other_values_are_named(name: str) -> None:
    assert grid().difference(grid(**{name: grid().coordinates[name] + 0.1})) == (
        f"it has other values of {name} than most frames"
    )


def test_another_level_is_named() -> None:
    assert grid(level=500.0).difference(grid(level=850.0)) == "it has other values of level than most frames"


def test_a_missing_or_additional_axis_is_named() -> None:
    bare = Grid(grid().dims, grid().coordinates.drop_vars("north"))
    assert grid().difference(bare) == "it lacks the coordinate north, unlike most frames"
    assert bare.difference(grid()) == "it has the coordinate north, unlike most frames"


def test_coordinates_beside_the_axes_may_be_missing() -> None:
    bare = Grid(grid().dims, grid().coordinates.drop_vars("latitude"))
    assert grid().difference(bare) is None


def test_another_shape_and_other_names_are_named() -> None:
    other = Grid.of(raw_dataset(width=8).rename(east="x"))
    assert grid().difference(other) == "its grid is 6 north x 8 x, that of most frames 6 north x 9 east"


def test_another_grid_mapping_is_named() -> None:
    one = xr.Variable((), 0, {"grid_mapping_name": "stereographic", "latitude_of_projection_origin": 60.0})
    two = xr.Variable((), 0, {"grid_mapping_name": "mercator"})
    note = xr.Variable((), 5, {"grid_mapping_name": "stereographic", "comment": "another text and value"})
    assert grid().difference(grid(projection=one)) == (
        "its grid mapping projection has latitude_of_projection_origin = 60.0, that of most frames 90.0"
    )
    assert grid().difference(grid(projection=two)) == (
        "its grid mapping projection is mercator, that of most frames stereographic"
    )
    assert grid().difference(grid(projection=note)) is None


def test_equal_grids_are_held_once() -> None:
    grids = Grids()
    first = grids.shared(grid())
    assert grids.shared(grid()) is first
    assert grids.shared(first) is first


@pytest.mark.parametrize(
    "changes",
    [
        {"east": (10.0 * np.arange(9)).astype(np.float32)},
        {"east": xr.Variable("east", 10.0 * np.arange(9), {"units": "m"})},
        {"east": xr.Variable("east", np.array([-0.0, *(10.0 * np.arange(1, 9))]), {"units": "km"})},
        {"level": 500.0},
    ],
    ids=["type", "attribute", "sign of zero", "additional"],
)
def test_grids_that_differ_in_a_bit_are_held_apart(changes: dict[str, object]) -> None:
    grids = Grids()
    first, other = grids.shared(grid()), grid(**changes)
    assert grids.shared(other) is other
    assert grids.shared(grid()) is first
