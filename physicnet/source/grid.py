"""Counts of a table on a grid: one long series `(time, y, x)`, with the cells masked that never report."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float64, Int64

from physicnet.data import writing
from physicnet.fields import DataError
from physicnet.source.table import PLACES, Counts, Place, Table

MAX_CELLS = 2**27  # of all frames: 1 GiB as double precision
EDGE = 1e-6  # of a cell: a place so near to the edge lies on it, whatever rounding made of it
DAY = 86_400  # seconds
LEVEL = 4  # of zlib


@dataclass(frozen=True)
class Bins:
    """Equal bins along one dimension: bin `k`, from `first` on, begins at `origin + k * width`."""

    origin: float
    width: float
    first: int
    num: int

    @classmethod
    def over(cls, values: Float64[np.ndarray, "n"], origin: float, width: float) -> "Bins":
        """Return the bins that hold all values."""
        first, last = (int(np.floor((value - origin) / width + EDGE)) for value in (values.min(), values.max()))
        return cls(origin, width, first, last - first + 1)

    @classmethod
    def between(cls, lowest: float, highest: float, width: float) -> "Bins":
        """Return the bins from one edge to another."""
        return cls(lowest, width, 0, round((highest - lowest) / width))

    def of(self, values: Float64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """Return the bin of each value, counted from the first; it is no bin of these if the value lies beyond them."""
        return np.floor((values - self.origin) / self.width + EDGE).astype(np.int64) - self.first

    def beginnings(self) -> Float64[np.ndarray, "m"]:
        """Return where the bins begin."""
        return self.origin + self.width * np.arange(self.first, self.first + self.num)

    def middles(self) -> Float64[np.ndarray, "m"]:
        """Return the middles of the bins."""
        return self.beginnings() + self.width / 2


@dataclass(frozen=True)
class Box:
    """What a grid spans, in the units of the places; the edges of cells are counted from its south-western corner."""

    south: float
    west: float
    north: float
    east: float


@dataclass(frozen=True)
class Gridding:
    """How rows of a table become cells and frames.

    Cells have sides of `spacing`, in the units of the places, and frames a length of `step` seconds, counted from
    midnight (UTC) of the first day. The grid spans the `box`, or all places, and then has its edges at whole multiples
    of the spacing. If `absent_is_zero`, what is not in the table at a time when other cells report is zero, not
    missing.
    """

    place: Place
    spacing: float
    step: int
    box: Box | None
    absent_is_zero: bool

    @classmethod
    def of(
        cls,
        places: str,
        spacing: float,
        step: str,
        box: tuple[float, float, float, float] | None,
        *,
        absent_is_zero: bool,
    ) -> "Gridding":
        """Read what a user says: one of `PLACES`, a step such as `30min` or `7D`, south, west, north and east.

        Raises:
            DataError: if a step or spacing is none.
        """
        try:
            seconds = pd.Timedelta(step).total_seconds()
        except ValueError as error:
            raise DataError(f"{step!r} is no time step ({error}); write 30min, 1h, 1D or 7D") from error
        if not (spacing > 0 and seconds >= 1 and seconds == int(seconds)):
            raise DataError(
                f"the spacing is {spacing:g} and the step {step}; neither may be 0, and the step is of whole seconds"
            )
        return cls(PLACES[places], spacing, int(seconds), Box(*box) if box else None, absent_is_zero)

    def grid(self, table: Table, counts: Counts) -> xr.DataArray:
        """Add up the counts of each cell and frame.

        Cells that never report are missing (NaN), and frames in which none does are left out.

        Raises:
            DataError: if a place is outside of the box, or the grid would be too large.
        """
        seconds = counts.times.astype(np.int64).astype(np.float64)
        time = Bins.over(seconds, float(seconds.min() // DAY * DAY), float(self.step))
        y, x = self._cells(counts)
        shape = (time.num, y.num, x.num)
        _check_size(table.path, shape)
        self._check_box(table, counts, (y, x))
        where = np.ravel_multi_index((time.of(seconds), y.of(counts.y), x.of(counts.x)), shape)
        total = np.bincount(where, counts.counts, prod(shape)).reshape(shape)
        reported = np.bincount(where, minlength=prod(shape)).reshape(shape) > 0
        there = reported.any(axis=0) if self.absent_is_zero else reported
        grid = xr.DataArray(np.where(there, total, np.nan), self._coordinates(time, y, x), ("time", *self.place.dims))
        return grid.isel(time=np.flatnonzero(reported.any(axis=(1, 2))))

    def _cells(self, counts: Counts) -> tuple[Bins, Bins]:
        if self.box is None:
            y, x = (Bins.over(values, -self.place.shift, self.spacing) for values in (counts.y, counts.x))
            return y, x
        south_to_north = Bins.between(self.box.south, self.box.north, self.spacing)
        return south_to_north, Bins.between(self.box.west, self.box.east, self.spacing)

    def _check_box(self, table: Table, counts: Counts, cells: tuple[Bins, Bins]) -> None:
        for name, values, bins in zip(self.place.columns, (counts.y, counts.x), cells, strict=True):
            found, end = bins.of(values), bins.origin + bins.num * bins.width
            reason = (
                f"{name} is {{}}, outside of the box from {bins.origin:g} to {end:g}; leave it out, or widen the box"
            )
            table.refuse((found < 0) | (found >= bins.num), reason, values)

    def _coordinates(self, time: Bins, y: Bins, x: Bins) -> dict[str, xr.Variable]:
        moments = time.beginnings().astype(np.int64).astype("datetime64[s]").astype("datetime64[ns]")
        return {"time": xr.Variable("time", moments)} | {
            dim: xr.Variable(dim, bins.middles(), attributes)
            for dim, bins, attributes in zip(self.place.dims, (y, x), self.place.attributes, strict=True)
        }


def _check_size(path: Path, shape: tuple[int, int, int]) -> None:
    if min(shape) < 1 or prod(shape) > MAX_CELLS:
        raise DataError(
            f"{path} would become {shape[0]} frames of {shape[1]} x {shape[2]} cells, none or too many; choose other "
            "steps, spacing or box, or look for places and times that are far off"
        )


def convert(
    path: Path,
    output: Path,
    gridding: Gridding,
    names: Mapping[str, str],
    *,
    width: int | None,
    is_events: bool,
    name: str,
) -> tuple[int, ...]:
    """Read a table and write it as a series of the variable `name`, with the comments at its head as title and source.

    Returns the number of frames, rows and columns.

    Raises:
        DataError: if a row makes no sense; see `Table.counts`.
    """
    table = Table.open(path, names)
    grid = gridding.grid(table, table.counts(gridding.place, width=width, is_events=is_events))
    title, *source = table.comments or [f"{name} on a grid, from {path.name}"]
    write(output, grid, name, {"title": title, "source": "; ".join(source) or path.name})
    return grid.shape


def write(path: Path, grid: xr.DataArray, name: str, attributes: Mapping[str, str]) -> None:
    """Write a series as CF NetCDF; `attributes` are those of the file."""
    told = {"units": "1", "long_name": f"number of {name} in a cell and step", "cell_methods": "time: sum area: sum"}
    dataset = grid.astype(np.float32).assign_attrs(told).to_dataset(name=name)
    dataset["time"].attrs |= {"standard_name": "time", "axis": "T", "long_name": "beginning of the step"}
    layout = {"zlib": True, "complevel": LEVEL, "shuffle": True, "chunksizes": (1, *grid.shape[1:])}
    encoding: dict[Hashable, dict[str, Any]] = {dim: {"_FillValue": None} for dim in grid.dims[1:]}
    encoding |= {"time": {"units": "seconds since 1970-01-01 00:00:00", "dtype": "int64"}, name: layout}
    writing.write(dataset.assign_attrs({"Conventions": "CF-1.8"} | dict(attributes)), path, encoding)
