import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from samples import raw_dataset

from physicnet.data.coarsening import coarsen

PLANE = ("y", "x")


def naive(values: np.ndarray, factor: int) -> np.ndarray:
    """One cell after the other."""
    frames, height, width = values.shape
    result = np.full((frames, height // factor, width // factor), np.nan)
    for frame, row, column in np.ndindex(result.shape):
        block = values[frame, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        valid = [value for value in block.ravel().tolist() if value == value]
        if 2 * len(valid) >= factor**2:
            result[frame, row, column] = sum(valid) / len(valid)
    return result


@given(seed=st.integers(0, 99), factor=st.integers(1, 4), missing=st.floats(0, 1))
def test_coarsening_equals_the_naive_mean(seed: int, factor: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((2, 7, 9)) < missing, np.nan, rng.normal(size=(2, 7, 9)))
    coarse = coarsen(xr.DataArray(values, dims=("t", *PLANE)), PLANE, factor)
    expected = naive(values, factor) if factor > 1 else values
    np.testing.assert_allclose(coarse, expected, rtol=1e-12, atol=1e-12)


def test_half_of_the_cells_are_enough() -> None:
    nan = np.nan
    values = np.array([[[1, 2, nan, 4, 9], [3, 6, nan, 8, 9], [nan, nan, 1, nan, 9], [nan, 5, 2, 3, 9]]])
    grid = xr.Dataset({"rate": (("time", *PLANE), values)}, {"x": np.arange(5.0)})
    coarse = coarsen(grid, PLANE, 2)
    np.testing.assert_array_equal(coarse["rate"], [[[3, 6], [nan, 2]]])
    np.testing.assert_array_equal(coarse["x"], [0.5, 2.5])


@pytest.mark.parametrize("factor", [1, 3])
def test_what_is_left_over_is_cut_off_and_the_mean_stays(factor: int) -> None:
    grid = raw_dataset(2, 6, 10).drop_vars("projection").fillna(0)
    coarse = coarsen(grid, ("north", "east"), factor)["rate"]
    expected = grid["rate"].values[:, : 6 // factor * factor, : 10 // factor * factor].mean()
    np.testing.assert_allclose(coarse.mean(), expected, rtol=1e-6)
    assert coarse.shape == (2, 6 // factor, 10 // factor)


@pytest.mark.parametrize(
    ("longitudes", "expected"),
    [
        ([358.5, 359.5, 0.5, 1.5, 2.5, 3.5], [359, 1, 3]),
        ([357.5, 358.5, 359.5, 0.5, 1.5, 2.5], [358, 0, 2]),
        ([177, 178, 179, -179, -178, -177], [177.5, -180, -177.5]),
        ([0, 1, 2, 3, 4, 5], [0.5, 2.5, 4.5]),
        ([357, np.nan, 359, 1, np.nan, np.nan], [357, 0, np.nan]),
    ],
)
@pytest.mark.parametrize("attributes", [{"units": "degrees_east"}, {"standard_name": "longitude"}])
def test_longitudes_on_both_sides_of_the_seam_are_neighbours(
    longitudes: list[float], expected: list[float], attributes: dict[str, str]
) -> None:
    grid = xr.Dataset({"rate": (PLANE, np.zeros((4, 6)))})
    places = {"place": (PLANE, np.tile(longitudes, (4, 1)), attributes), "x": ("x", longitudes, attributes)}
    coarse = coarsen(grid.assign_coords(places), PLANE, 2)
    np.testing.assert_array_equal(coarse["x"], expected)
    np.testing.assert_array_equal(coarse["place"], [expected, expected])
    assert coarse["x"].attrs == attributes


def test_what_is_no_longitude_has_no_seam() -> None:
    grid = xr.Dataset({"rate": (PLANE, np.zeros((2, 2)))}, {"x": ("x", [359.0, 1.0], {"units": "km"})})
    assert coarsen(grid, PLANE, 2)["x"] == 180
