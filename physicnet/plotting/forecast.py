"""A forecast as it is drawn: what each variable holds, lead by lead, in the units in which it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from physicnet.clock import Time, canonical, format_time, to_milliseconds
from physicnet.data.axes import horizontal
from physicnet.fields import DataError, Field
from physicnet.forecasting import cf, shelf
from physicnet.forecasting.described import BEYOND, EXCEEDANCE, FLOW, GATE, SHARP, THRESHOLD
from physicnet.plotting.units import Shown

MINUTE = 60_000  # milliseconds


class Exceedance(NamedTuple):
    """How probable it is, in percent, that a variable is above a threshold, in the units shown."""

    threshold: float
    percent: Float[np.ndarray, "k h w"]


class Flow(NamedTuple):
    """A motion to the right and upwards on a map, in `units`; NaN where it is not known."""

    vectors: Float[np.ndarray, "2 h w"]
    units: str


@dataclass(frozen=True, eq=False)
class Forecast:
    """The leads of a forecast that come after its origin.

    `field` has the forecast variables, as they are in the file or store, `rest` all else that is in it.
    """

    path: Path
    origin: Time
    field: Field
    rest: xr.Dataset

    @classmethod
    def read(cls, path: Path, at: str | None = None) -> "Forecast":
        """Read a file of the layout of docs/data-formats.md, or a forecast of a store, whoever made it.

        Of a store, that which starts from the time `at` (ISO 8601) is read, or the last one.

        Raises:
            DataError: if it is no forecast, starts from another time, has no lead after its origin, or no variable on a
                grid.
        """
        origin = shelf.chosen(path, at)
        dataset = shelf.read(path, origin)
        times = canonical(dataset["time"].values)
        dataset = dataset.assign_coords(time=("time", times, dataset["time"].attrs))
        later = to_milliseconds(times) > to_milliseconds(np.array([origin]))[0]
        if not later.any():
            raise DataError(f"{path} has no lead after {format_time(origin)}, from which it starts; name another")
        dataset = dataset.isel(time=later)
        names = _variables(dataset)
        if not names:
            raise DataError(
                f"{path} has no forecast to draw: none of {', '.join(map(str, dataset.data_vars)) or 'no variables'} "
                "is a floating point variable of time, rows and columns; docs/data-formats.md has the layout"
            )
        try:
            field = Field(dataset[names].transpose("time", *_grid_dims(dataset[names[0]])))
        except DataError as error:
            raise DataError(f"{path}: {error}; docs/data-formats.md has the layout") from None
        return cls(path, origin, field, dataset.drop_vars(names))

    @property
    def stem(self) -> str:
        """What files of it are called: as its own file, or as its store and the time that it starts from."""
        if not shelf.is_store(self.path):
            return self.path.stem
        return f"{self.path.stem}_{Path(cf.file_name(self.origin)).stem}"

    @property
    def minutes(self) -> Float[np.ndarray, "k"]:
        """Minutes from the origin to each lead."""
        start = to_milliseconds(np.array([self.origin]))[0]
        return (to_milliseconds(self.field.times) - start) / MINUTE

    @property
    def is_beyond(self) -> list[bool]:
        """Whether each lead lies beyond those that the model was trained for, as far as the file tells."""
        told = self.rest.get(BEYOND)
        return [False] * len(self.field.times) if told is None else [bool(flag) for flag in told.values]

    def shown(self, name: str) -> Shown:
        """How a variable is shown."""
        return Shown.of(self.field.dataset[name])

    def values(self, name: str) -> Float[np.ndarray, "k h w"]:
        """Return a variable in the units shown."""
        return self.shown(name).converted(self.field.dataset[name].values)

    def sharp(self, name: str) -> Float[np.ndarray, "k h w"] | None:
        """Return the variant with the values of the last observed frame, if the file has it, in the units shown."""
        variant = self.rest.get(name + SHARP)
        return None if variant is None else self.shown(name).converted(self._on_the_grid(variant, "time"))

    def exceedance(self, name: str) -> list[Exceedance]:
        """Return the probabilities of exceeding thresholds that the file has of a variable; none if it has none.

        They are the variable `<name>_exceedance` of thresholds, time, rows and columns, in % or as shares, and the
        coordinate `<name>_threshold`, in the units of the variable.

        Raises:
            DataError: if they have other dimensions, or no such coordinate.
        """
        array, told = self.rest.get(name + EXCEEDANCE), self.rest.variables.get(name + THRESHOLD)
        if array is None:
            return []
        if told is None or told.ndim != 1:
            raise DataError(
                f"{self.path}: variable {array.name} has no thresholds, a coordinate {name + THRESHOLD} of one "
                f"dimension; add it, in {self.field.units[name]}"
            )
        share = self._on_the_grid(array, str(told.dims[0]), "time")
        percent = share if array.attrs.get("units") == "%" else 100 * share
        thresholds = self.shown(name).converted(np.asarray(told.values, np.float64))
        return [Exceedance(*each) for each in zip(thresholds.tolist(), percent, strict=True)]

    def flow(self) -> Flow | None:
        """Return the motion that the file tells, if it does: in m s-1, or in cells per step.

        Raises:
            DataError: if it has other dimensions than rows and columns.
        """
        if not set(FLOW) <= set(self.rest.data_vars):
            return None
        units = str(self.rest[FLOW[0]].attrs.get("units", "1"))
        x, y = (self._on_the_grid(self.rest[name]) for name in FLOW)
        by_index = units == "1"  # then towards increasing index, else towards increasing coordinate
        right, up = (1.0, self._rises) if by_index else (self.runs, 1.0)
        return Flow(np.stack([right * x, up * y]), "cells per step" if by_index else units)

    @property
    def _rises(self) -> float:
        """Whether the next row lies above (1) or below (-1) the one before on a map."""
        row = self.field.dataset[self.field.spatial_dims[0]]
        return 1.0 if row.name in self.field.dataset.coords and row[-1] > row[0] else -1.0

    @property
    def runs(self) -> float:
        """Whether columns run towards increasing (1) or decreasing (-1) coordinates."""
        column = self.field.dataset[self.field.spatial_dims[1]]
        return -1.0 if column.size > 1 and column[-1] < column[0] else 1.0

    def pairs(self) -> list[tuple[str, str]]:
        """Return the variables that are the components of a vector, to the right and upwards."""
        names, found = self.field.variables, []
        for right in names:
            for up in names:
                if self.field.units[right] == self.field.units[up] and self._is_pair(right, up):
                    found.append((right, up))
        return found

    def _is_pair(self, right: str, up: str) -> bool:
        told = [str(self.field.dataset[name].attrs.get("standard_name", "")) for name in (right, up)]
        if all(told):
            return any(
                told[0].startswith(one) and told[1] == other + told[0].removeprefix(one) for one, other in PREFIXES
            )
        return right[0].lower() == "u" and up == ("v" if right[0] == "u" else "V") + right[1:]

    def _on_the_grid(self, array: xr.DataArray, *first: str) -> np.ndarray:
        dims = (*first, *self.field.spatial_dims)
        if set(array.dims) != set(dims):
            raise DataError(
                f"{self.path}: variable {array.name} has the dimensions {array.dims}, not {dims}; "
                "docs/data-formats.md has the layout"
            )
        return np.asarray(array.transpose(*dims).values)


PREFIXES = (("eastward_", "northward_"), ("grid_eastward_", "grid_northward_"), ("x_", "y_"))


def _variables(dataset: xr.Dataset) -> list[str]:
    """Return the names of what is forecast: not of its variants, nor of what the model tells of itself."""
    names = [str(name) for name, array in dataset.data_vars.items() if _is_frames(array)]
    variants = {name + suffix for name in names for suffix in (SHARP, EXCEEDANCE)}
    return [name for name in names if name not in variants and name != GATE]


def _is_frames(array: xr.DataArray) -> bool:
    return array.ndim == 3 and "time" in array.dims and array.dtype.kind == "f"


def _grid_dims(array: xr.DataArray) -> Sequence[str]:
    row, column = (str(dim) for dim in array.dims if dim != "time")
    kinds = [horizontal(dim, array.coords[dim].attrs if dim in array.coords else {}) for dim in (row, column)]
    return (column, row) if kinds[0] == "X" or kinds[1] == "Y" else (row, column)
