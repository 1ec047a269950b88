"""Forecasts in one Zarr store, by the time that they start from and the time since then.

docs/data-formats.md has the layout. A store is laid out as a whole, all values missing, before the first forecast is
written into it. The metadata of all arrays are consolidated in one file, which Zarr exchanges at once, as it does every
other file: a store that is made longer is the shorter or the longer one at any moment. That a forecast is there is
written last.
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from jaxtyping import Bool, Int64

from physicnet.clock import Time, calendar_of, canonical, format_time, is_clock, to_milliseconds
from physicnet.data.opening import LIBRARY_ERRORS
from physicnet.fields import DataError, written_whole
from physicnet.forecasting import cf
from physicnet.forecasting.described import MADE, PERIOD, REFERENCE, TIME
from physicnet.forecasting.layout import after, is_alike, laid_out, of_all, one, told, values
from physicnet.forecasting.series import Series


class Store:
    """The forecasts of a series, in a Zarr store; see `Shelf`.

    One that is there is made longer if times are asked for that come after its last.

    Raises:
        DataError: if what is there is no such store, is of another series, or is not laid out for these times.
    """

    def __init__(self, path: Path, series: Series) -> None:
        self._path, self._series = path, series
        self._made: set[Time] = set()
        if path.exists():
            self._go_on()

    def holds(self, origin: Time) -> bool:
        """Whether the forecast from a time is there; see `Shelf`."""
        return origin in self._made

    def add(self, forecast: xr.Dataset) -> None:
        """Write a forecast; see `Shelf`.

        Raises:
            DataError: if the store is laid out for another grid or other variables.
        """
        if not self._path.exists():
            whole = laid_out(forecast, self._series.origins).assign_attrs(of_all(forecast))
            with written_whole(self._path) as partial, _consolidating():
                whole.to_zarr(partial, zarr_format=3, consolidated=True, compute=False)
            self._look()
        self._refuse_another_layout(forecast)
        origin = cf.origin(forecast)
        for name in values(forecast):
            self._put(name, origin, forecast[name].values)
        self._put(MADE, origin, time.time_ns() // 10**6)
        self._made.add(origin)

    def _put(self, name: str, origin: Time, content: np.ndarray | int) -> None:
        zarr.open_array(self._path / name, mode="r+")[self._index[origin]] = content

    def _go_on(self) -> None:
        """Go on with what is there, made longer where that is asked for."""
        known = opened(self._path)
        self._series.refuse_another(self._path, one(known, 0))
        later = self._later(canonical(known[REFERENCE].values))
        if later.size:
            self._extend(known, to_milliseconds(later))
        self._look()

    def _extend(self, known: xr.Dataset, origins: Int64[np.ndarray, "n"]) -> None:
        """Make it longer by reference times, in milliseconds; readers see it so once its metadata are consolidated."""
        start = known.sizes[REFERENCE]
        for name in [name for name, array in known.variables.items() if REFERENCE in array.dims]:
            array = zarr.open_array(self._path / str(name), mode="r+")
            array.resize((start + len(origins), *array.shape[1:]))
        for name, content in {REFERENCE: origins, TIME: origins[:, None] + after(one(known, 0))}.items():
            zarr.open_array(self._path / name, mode="r+")[start:] = content
        with _consolidating():
            zarr.consolidate_metadata(self._path)

    def _look(self) -> None:
        known = opened(self._path)
        times = canonical(known[REFERENCE].values)
        self._like = one(known, 0)
        self._index = {time: index for index, time in enumerate(times)}
        self._made = set(times[_is_made(known)])

    def _later(self, known: np.ndarray) -> np.ndarray:
        """Return the times asked for that come after those known, after checking that all others are known."""
        asked = self._series.origins
        since, there = to_milliseconds(asked), to_milliseconds(known)
        is_foreign = (since < there[-1]) & ~np.isin(since, there) | (calendar_of(asked) != calendar_of(known))
        if is_foreign.any():
            raise DataError(
                f"{self._path} has {len(known)} times from {format_time(known[0])} to {format_time(known[-1])}, among "
                f"which {format_time(asked[np.argmax(is_foreign)])} is not; ask for times of the store, or later ones "
                "(--start, --every), or name another output"
            )
        return asked[since > there[-1]]

    def _refuse_another_layout(self, forecast: xr.Dataset) -> None:
        ours, theirs = sorted(map(str, forecast.variables)), sorted(map(str, self._like.variables))
        if ours != theirs:
            raise DataError(
                f"{self._path} holds {', '.join(theirs)}; a forecast now has {', '.join(ours)}; ask for the same "
                "(--probabilities or --no-probabilities), or name another output"
            )
        for name in ours:
            here, there = forecast.variables[name], self._like.variables[name]
            if name not in (TIME, REFERENCE) and not is_alike(here, there):
                raise DataError(
                    f"{self._path} holds {name} {told(there)}; the forecast from {format_time(cf.origin(forecast))} "
                    f"has {told(here)}; give observations on the same grid, or name another output"
                )


def opened(path: Path) -> xr.Dataset:
    """Open a store of this layout, whoever made it; its values are read where they are asked for.

    Raises:
        DataError: if it cannot be read, or lacks the axes of forecasts.
    """
    with _errors_named(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)  # that it resorts to cftime, which is meant
        warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated")  # other people's may have none
        dataset = xr.open_zarr(path, chunks=None, decode_coords="all")
    for name, dims in {REFERENCE: (REFERENCE,), TIME: (REFERENCE, PERIOD)}.items():
        if name not in dataset.coords or dataset[name].dims != dims or not is_clock(dataset[name].values):
            raise DataError(
                f"{path} is no store of forecasts: it has no times {name}({', '.join(dims)}); docs/data-formats.md "
                "has the layout"
            )
    return dataset


def origins(path: Path) -> np.ndarray:
    """Return the times that the forecasts made start from, in order; errors as of `opened`."""
    dataset = opened(path)
    return canonical(dataset[REFERENCE].values)[_is_made(dataset)]


def each(path: Path) -> Iterator[xr.Dataset]:
    """Give the forecasts that were made, in order, each in the layout of a file; errors as of `opened`."""
    dataset = opened(path)
    for index in np.flatnonzero(_is_made(dataset)):
        yield one(dataset, int(index))


def read(path: Path, origin: Time) -> xr.Dataset:
    """Read the forecast from a time, which must be one of `each`, into memory; errors as of `opened`."""
    dataset = opened(path)
    (index,) = np.flatnonzero(canonical(dataset[REFERENCE].values) == origin)
    with _errors_named(path):
        return one(dataset, int(index)).load()


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise DataError(
            f"{path} cannot be read as a Zarr store of forecasts ({error}); repair it or move it away"
        ) from error


def _is_made(dataset: xr.Dataset) -> Bool[np.ndarray, "n"]:
    """Say of each time whether its forecast was made; a store that does not tell is taken for whole."""
    return dataset[MADE].notnull().values if MADE in dataset.coords else np.ones(dataset.sizes[REFERENCE], bool)


@contextmanager
def _consolidating() -> Iterator[None]:
    """Let metadata be consolidated. Zarr warns of it; readers that do not know it take those of each array."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", ".*partial is not recognized as a component")  # which a killed run has left
        yield
