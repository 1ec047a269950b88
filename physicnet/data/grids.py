"""The grid of a file: its two spatial axes, and every coordinate that does not depend on time."""

from dataclasses import dataclass
from numbers import Number

import numpy as np
import xarray as xr

# Part of a cell's size by which coordinates of the same grid may differ between files: rounding, not resolution.
TOLERANCE = 1e-3
# Part of their value by which the numbers of a grid mapping may differ.
MAPPING_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Grid:
    """Names and sizes of (row, column), and the coordinates, the grid mapping among them."""

    dims: tuple[str, str]
    coordinates: xr.Dataset

    @classmethod
    def of(cls, dataset: xr.Dataset) -> "Grid":
        """Take the grid of what `open_netcdf` returned; its coordinates are read into memory."""
        time, row, column = next(iter(dataset.data_vars.values())).dims
        steady = [name for name, array in dataset.coords.items() if time not in array.dims]
        sized = dataset[steady].assign_attrs({"sizes": (dataset.sizes[row], dataset.sizes[column])})
        return cls((str(row), str(column)), sized.load())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.coordinates.attrs["sizes"]
        return height, width

    def difference(self, other: "Grid") -> str | None:
        """Say in what another grid differs from this one; None if they are the same.

        Axes must agree; other coordinates only where both grids have them, because some files of a series lack them.
        """
        if (self.dims, self.shape) != (other.dims, other.shape):
            return f"its grid is {_sizes(other)}, that of most frames {_sizes(self)}"
        for dim in self.dims:
            if (dim in self.coordinates) != (dim in other.coordinates):
                return f"it {'lacks' if dim in self.coordinates else 'has'} the coordinate {dim}, unlike most frames"
        for name in self.coordinates.coords:
            if name in other.coordinates.coords and (how := _differs(self.coordinates[name], other.coordinates[name])):
                return how
        return None


class Grids:
    """Grids, of which equal ones are held once: in two dimensions, the coordinates of one take megabytes."""

    def __init__(self) -> None:
        self._held: list[Grid] = []

    def shared(self, grid: Grid) -> Grid:
        """Return the grid held that equals this one to the bit; hold this one if there is none."""
        for held in self._held:
            if _identical(held, grid):
                return held
        self._held.append(grid)
        return grid


def _identical(one: Grid, other: Grid) -> bool:
    if one.dims != other.dims or list(one.coordinates.coords) != list(other.coordinates.coords):
        return False
    if not one.coordinates.identical(other.coordinates):
        return False
    # Neither the types nor the sign of a zero are compared so far.
    pairs = [(array.values, other.coordinates[name].values) for name, array in one.coordinates.coords.items()]
    return all(a.dtype == b.dtype and (a.dtype == object or a.tobytes() == b.tobytes()) for a, b in pairs)


def _sizes(grid: Grid) -> str:
    return " x ".join(f"{size} {dim}" for dim, size in zip(grid.dims, grid.shape, strict=True))


def _differs(mine: xr.DataArray, other: xr.DataArray) -> str | None:
    if "grid_mapping_name" in mine.attrs or "grid_mapping_name" in other.attrs:
        return _mapping_differs(mine, other)
    if mine.dtype.kind not in "iuf" or other.dtype.kind not in "iuf":
        return None
    if mine.dims == other.dims and np.allclose(mine, other, rtol=0, atol=_tolerance(mine), equal_nan=True):
        return None
    return f"it has other values of {mine.name} than most frames"


def _tolerance(axis: xr.DataArray) -> float:
    values = axis.values.astype(np.float64)
    spacings = [np.abs(np.diff(values, axis=direction)).ravel() for direction in range(values.ndim)]
    spacing = np.concatenate([*spacings, np.zeros(0)])
    return TOLERANCE * float(spacing[spacing > 0].min(initial=np.inf)) if (spacing > 0).any() else 0.0


def _mapping_differs(mine: xr.DataArray, other: xr.DataArray) -> str | None:
    for key in mine.attrs.keys() & other.attrs.keys():
        ours, theirs = mine.attrs[key], other.attrs[key]
        numbers = isinstance(ours, Number | np.ndarray) and isinstance(theirs, Number | np.ndarray)
        if numbers and not (np.shape(ours) == np.shape(theirs) and np.allclose(ours, theirs, rtol=MAPPING_TOLERANCE)):
            return f"its grid mapping {mine.name} has {key} = {theirs}, that of most frames {ours}"
        if key == "grid_mapping_name" and ours != theirs:
            return f"its grid mapping {mine.name} is {theirs}, that of most frames {ours}"
    return None
