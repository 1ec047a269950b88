"""Forecasts in files as a forecaster: what it says of a time was written down then.

The files are those of `physicnet forecast`, or anybody's of the same layout, and Zarr stores of many forecasts as
`physicnet hindcast` writes them (docs/data-formats.md).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float32

from physicnet.clock import canonical, format_time
from physicnet.data.units import understood
from physicnet.fields import DataError, Field
from physicnet.forecasting import cf, shelf
from physicnet.forecasting.described import MODEL

LEARNED = "physicnet_data_end"  # attribute of a file: until when its model learned
NEAR = 0.01  # of a cell: coordinates that differ by less are the same


class Entry(NamedTuple):
    """A file or store, and of a forecast in it: number of leads, SHA-256 of the model, until when that learned.

    The last two are empty if not told.
    """

    path: Path
    num_leads: int
    checkpoint: str
    learned_until: str


@dataclass(eq=False)
class Filed:
    """Forecasts of one model, by the time of the last frame that they start from."""

    name: str
    files: Mapping[np.datetime64, Entry]

    @classmethod
    def of(cls, name: str, paths: Iterable[Path]) -> "Filed":
        """Look through files and stores.

        Raises:
            DataError: if one holds no forecast, or two start from the same time.
        """
        files: dict[np.datetime64, Entry] = {}
        for path in paths:
            for told in shelf.each(path):
                origin = cf.origin(told)
                if origin in files:
                    raise DataError(
                        f"{files[origin].path} and {path} are both forecasts from {format_time(origin)}; keep those of "
                        "one model in a folder of their own"
                    )
                num_leads = int((canonical(told["time"].values) > origin).sum())
                files[origin] = Entry(path, num_leads, str(told.attrs.get(MODEL, "")), str(told.attrs.get(LEARNED, "")))
        return cls(name, files)

    @property
    def origins(self) -> list[np.datetime64]:
        """The times that they start from, in order."""
        return sorted(self.files)

    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Read what was forecast from the last frame of `past`; see `Forecaster`.

        Raises:
            DataError: if there is no forecast from then, or it lacks a lead or a variable, or is on another grid.
        """
        origin = past.times[-1]
        if origin not in self.files:
            raise DataError(f"there is no forecast of {self.name} from {format_time(origin)}; verify from other times")
        path = self.files[origin].path
        forecast = shelf.read(path, origin)
        forecast = _on_the_grid_of(path, _at(path, forecast, past.times_after(num_leads)), past)
        frames = [_values(path, forecast, name, past.units[name]) for name in past.variables]
        return np.stack(frames, axis=1).astype(np.float32, copy=False)


def _at(path: Path, forecast: xr.Dataset, times: np.ndarray) -> xr.Dataset:
    """Take the times that were asked for out of a forecast, after checking that they are there."""
    told = canonical(forecast["time"].values)
    missing = [time for time in times if time not in told]
    if missing:
        raise DataError(
            f"{path} does not forecast {format_time(missing[0])}, one of {len(times)} times up to "
            f"{format_time(times[-1])} that were asked for; verify fewer leads, or forecasts of this time step"
        )
    return forecast.assign_coords(time=told).sel(time=times)


def _on_the_grid_of(path: Path, forecast: xr.Dataset, past: Field) -> xr.Dataset:
    """Turn rows and columns the way that those of `past` run, after checking that they are the same."""
    for dim in past.spatial_dims:
        ours = past.dataset[dim].values
        if dim not in forecast.dims or forecast.sizes[dim] != ours.size:
            raise DataError(
                f"{path} has the grid {dict(forecast.sizes)}, the observations have {ours.size} along {dim}; verify a "
                "forecast with observations on its own grid"
            )
        theirs = forecast[dim].values
        if dim not in past.dataset.coords or dim not in forecast.coords:
            continue
        if _same(theirs[::-1], ours):
            forecast = forecast.isel({dim: slice(None, None, -1)})
        elif not _same(theirs, ours):
            raise DataError(
                f"{path}: {dim} runs from {theirs[0]:g} to {theirs[-1]:g}, in the observations from {ours[0]:g} to "
                f"{ours[-1]:g}; verify a forecast with observations on its own grid, in the same units"
            )
    return forecast.transpose("time", *past.spatial_dims, ...)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    cell = np.abs(np.diff(other)).min() if other.size > 1 else 1.0
    return bool((np.abs(one - other) <= NEAR * cell).all())


def _values(path: Path, forecast: xr.Dataset, name: str, units: str) -> Float32[np.ndarray, "k h w"]:
    if name not in forecast:
        raise DataError(f"{path} has no variable {name}, only {', '.join(map(str, forecast.data_vars))}; rename it")
    array = forecast[name]
    if array.ndim != 3:
        raise DataError(f"{path}: variable {name} has the dimensions {array.dims}; give one value for a time and cell")
    told, asked = understood(array.attrs.get("units")), understood(units)
    if told is None or asked is None or not told.is_convertible(asked):
        raise DataError(
            f"{path}: variable {name} has units {array.attrs.get('units')!r}, the observations have {units!r}, and one "
            "cannot be converted into the other; correct the attribute units"
        )
    return np.asarray(array.values if told == asked else told.convert(array.values, asked))
