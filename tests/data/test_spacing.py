import numpy as np
import pytest
import xarray as xr

from physicnet.data.spacing import Ends, Spacing, compare_spacing, is_elsewhere, mapping_of, place_of, spacing_of
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.fields import Field

KILOMETRE = [Spacing("y", 1.0, "km", regular=True), Spacing("x", 1.0, "km", regular=True)]


def field_on(**axes: tuple[object, ...] | np.ndarray) -> Field:
    """Two frames of 5 x 7 cells with other coordinates."""
    plain = advected_field(2, 5, 7, flow=Uniform(0.0, 0.0)).dataset
    return Field(plain.drop_vars(["y", "x"]).assign_coords(axes))


def columns(distance: float | None, units: str | None, *, regular: bool = True) -> list[Spacing]:
    return [KILOMETRE[0], Spacing("lon", distance, units, regular=regular)]


def test_spacing_is_the_distance_of_neighbours_with_its_units() -> None:
    rows, cols = spacing_of(advected_field(2, 5, 7, flow=Uniform(0.0, 0.0)))
    assert rows == Spacing("y", 1000.0, "m", regular=True)
    assert cols == Spacing("x", 1000.0, "m", regular=True)


def test_a_descending_axis_has_a_positive_spacing() -> None:
    rows, _ = spacing_of(field_on(y=("y", 52.0 - 0.25 * np.arange(5), {"units": "degrees_north"})))
    assert rows == Spacing("y", 0.25, "degrees_north", regular=True)


def test_an_uneven_axis_is_told_by_its_median() -> None:
    rows, _ = spacing_of(field_on(y=("y", [0.0, 1.0, 2.0, 3.0, 9.0], {"units": "km"})))
    assert rows == Spacing("y", 1.0, "km", regular=False)


def test_rounding_does_not_make_an_axis_uneven() -> None:
    _, cols = spacing_of(field_on(x=("x", np.float32(358.1) + np.float32(0.1) * np.arange(7, dtype=np.float32))))
    assert cols.regular
    assert cols.units is None
    assert cols.distance == pytest.approx(0.1, rel=1e-3)


def test_without_a_coordinate_of_one_dimension_there_is_no_spacing() -> None:
    latitudes = xr.DataArray(np.zeros((5, 7)), dims=("y", "x"), attrs={"units": "degrees_north"})
    assert spacing_of(field_on(lat=latitudes)) == [Spacing(dim, None, None, regular=False) for dim in "yx"]


@pytest.mark.parametrize("other", [(1.0, "km"), (1000.0, "m"), (1.009, "km"), (1e5, "cm")])
def test_spacings_agree_in_any_units_of_length(other: tuple[float, str]) -> None:
    found = compare_spacing(KILOMETRE, columns(*other))
    assert (found.differences, found.doubts) == ([], [])


@pytest.mark.parametrize(
    "other", [(2.0, "km"), (1.02, "km"), (1.0, "m"), (1.0, "degrees_east"), (1.0, None), (1.0, "?")]
)
def test_other_spacings_or_units_differ_in_the_columns_alone(other: tuple[float, str | None]) -> None:
    found = compare_spacing(KILOMETRE, columns(*other))
    assert found.differences == [f"grid spacing of the columns: {columns(*other)[1]} there, 1 km here"]
    assert found.doubts == []


def test_units_that_nobody_understands_agree_where_they_are_the_same() -> None:
    one = columns(1.0, "cells of the camera")
    assert compare_spacing(one, one).differences == []


def test_what_cannot_be_compared_is_said() -> None:
    unknown = compare_spacing(KILOMETRE, columns(None, None, regular=False))
    assert unknown.differences == []
    assert unknown.doubts == ["the spacing of the columns (unknown there, 1 km here) could not be compared"]
    uneven = compare_spacing(KILOMETRE, columns(1.0, "km", regular=False))
    assert uneven.differences == []
    assert uneven.doubts == ["the spacing of the columns varies: only its median (1 km there, 1 km here) agrees"]


@pytest.mark.parametrize(
    ("there", "units", "elsewhere"),
    [
        ((0.0, 9.0), "km", False),
        ((0.0, 9000.0), "m", False),
        ((0.005, 9.0), "km", False),
        ((0.0, 10.0), "km", True),
        ((0.0, 9.0), "m", True),
        ((0.0, 9.0), "degrees", True),
        ((0.0, 9.0), "cells of the camera", True),
    ],
)
def test_an_axis_lies_elsewhere_if_an_end_does(there: Ends, units: str, elsewhere: bool) -> None:
    other = Spacing("x", 1.0, units, regular=True)
    assert is_elsewhere(KILOMETRE[1], other, (0.0, 9.0), there) == elsewhere


def test_the_place_of_a_grid_is_told_by_its_coordinates() -> None:
    field = advected_field(1, 3, 5, flow=Uniform(0.0, 0.0))
    assert place_of(field) == [(0.0, 2000.0), (0.0, 4000.0)]
    assert place_of(Field(field.dataset.drop_vars("y"))) == [None, (0.0, 4000.0)]


def test_a_projection_is_known_by_its_name() -> None:
    field = advected_field(1, 3, 5, flow=Uniform(0.0, 0.0))
    assert mapping_of(field) is None
    mapped = field.dataset.assign_coords(crs=((), 0, {"grid_mapping_name": "mercator"}))
    mapped["rate"].encoding["grid_mapping"] = "crs"
    assert mapping_of(Field(mapped)) == "mercator"
    assert mapping_of(Field(mapped.assign_coords(crs=((), 0, {})))) is None
