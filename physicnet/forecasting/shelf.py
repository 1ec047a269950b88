"""Where forecasts are put and found: a folder of files, or one Zarr store. The name of a path tells which."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import xarray as xr

from physicnet.clock import Time, calendar_of, format_time, to_milliseconds
from physicnet.data.recent import moment
from physicnet.fields import DataError
from physicnet.forecasting import cf, store
from physicnet.forecasting.folder import Folder
from physicnet.forecasting.series import Series
from physicnet.forecasting.store import Store

KEPT = ".observations"


@runtime_checkable
class Shelf(Protocol):
    """Where the forecasts of a series are put, one at a time."""

    def holds(self, origin: Time) -> bool:
        """Whether the forecast from a time is there, as a whole.

        Raises:
            DataError: if it is of another series.
        """
        ...

    def add(self, forecast: xr.Dataset) -> None:
        """Put a forecast there: whoever is interrupted meanwhile, however, does not hold it."""
        ...


def begun(path: Path, series: Series) -> Shelf:
    """Return the shelf at a path for the forecasts of a series; errors as of `Store`."""
    return Store(path, series) if is_store(path) else Folder(path, series)


def kept(path: Path) -> Path:
    """Return the folder for what is known of the observations: in that of the forecasts, or beside a store."""
    return path.with_name(f".{path.name}{KEPT}") if is_store(path) else path / KEPT


def is_store(path: Path) -> bool:
    """Whether a path is that of a Zarr store of forecasts."""
    return path.suffix == ".zarr"


def each(path: Path) -> Iterator[xr.Dataset]:
    """Open a file of one forecast, or a store, and give its forecasts; values are read where they are asked for.

    Each is open until the next is asked for; errors as of `cf.opened` and `store.opened`.
    """
    if is_store(path):
        yield from store.each(path)
    else:
        with cf.opened(path) as forecast:
            yield forecast


def chosen(path: Path, at: str | None) -> Time:
    """Return the time of the forecast at a path that starts from `at` (ISO 8601), or of the last one.

    Raises:
        DataError: if there is none, `at` is no time, or no forecast starts from it; also as of `each`.
    """
    origins = store.origins(path) if is_store(path) else np.array([cf.origin(forecast) for forecast in each(path)])
    if not origins.size:
        raise DataError(f"{path} holds no forecast yet; `physicnet hindcast` makes them")
    if at is None:
        return origins[-1]
    (found,) = np.nonzero(to_milliseconds(origins) == moment(at, calendar_of(origins)))
    if not found.size:
        told = " to ".join(dict.fromkeys(format_time(time) for time in (origins[0], origins[-1])))
        raise DataError(f"{path} has no forecast from {at}, but from {told}; ask for one that it has (--at)")
    return origins[found[0]]


def read(path: Path, origin: Time) -> xr.Dataset:
    """Read the forecast from a time, which `each` has given for a path, into memory."""
    return store.read(path, origin) if is_store(path) else cf.read(path)
