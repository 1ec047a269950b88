"""Forecasts in files: CF NetCDF, one forecast origin a file; docs/data-formats.md has the layout."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from physicnet.clock import Time, calendar_of, canonical, is_clock, to_milliseconds, written
from physicnet.data import writing
from physicnet.data.opening import errors_named
from physicnet.fields import DataError
from physicnet.forecasting.described import REFERENCE

LEVEL = 4  # of zlib: more takes longer and saves little


def file_name(origin: Time) -> str:
    """Return the name of the file of a forecast from a time: 2010-08-26T050000Z.nc."""
    times = np.array([origin])
    (told,) = written(to_milliseconds(times), calendar_of(times))
    return f"{told.replace(':', '')}Z.nc"


def write(path: Path, dataset: xr.Dataset) -> None:
    """Write a forecast, whole or not at all: values packed by zlib, a lead a chunk, NaN where missing."""
    flat = linked(dataset)
    for array in flat.variables.values():
        array.encoding |= _encoding(array)
    writing.write(flat, path, {})


def linked(dataset: xr.Dataset) -> xr.Dataset:
    """Return a copy in which variables name their grid mapping in an attribute, as they do when stored."""
    mapped = {name: array.encoding["grid_mapping"] for name, array in dataset.data_vars.items() if _is_mapped(array)}
    # A grid mapping that stayed a coordinate would be listed among the coordinates of the variables, too.
    flat = dataset.copy().reset_coords(sorted(set(mapped.values()) & set(dataset.coords)))
    for name, array in flat.variables.items():
        array.encoding = {}
        if name in mapped:
            array.attrs["grid_mapping"] = mapped[name]
        elif name in flat.data_vars and not array.ndim:
            array.encoding["coordinates"] = None  # a grid mapping has no place and no time
    return flat


def read(path: Path) -> xr.Dataset:
    """Read a file of this layout, into memory, whoever made it; errors as of `opened`."""
    with opened(path) as lazy, errors_named(path):
        return lazy.load()


@contextmanager
def opened(path: Path) -> Iterator[xr.Dataset]:
    """Open a file of this layout for as long as the block lasts; its values are read where they are asked for.

    Raises:
        DataError: if it cannot be read, or has no single forecast reference time, or no axis `time` of valid times.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file; name a forecast")
    with errors_named(path):
        dataset = xr.open_dataset(path, engine="netcdf4", decode_coords="all")
    with dataset as lazy:
        origins = _origins(lazy)
        if len(origins) != 1 or origins[0].ndim:
            raise DataError(
                f"{path} is no forecast from one time: it has {len(origins)} coordinates with the standard_name "
                "forecast_reference_time, of which one is needed, a single value; docs/data-formats.md has the layout"
            )
        if "time" not in lazy.coords or not is_clock(lazy["time"].values):
            raise DataError(f"{path} has no axis time of valid times; docs/data-formats.md has the layout")
        yield lazy


def origin(forecast: xr.Dataset) -> Time:
    """Return the time of the last frame that a forecast starts from."""
    (time,) = canonical(_origins(forecast)[0].values[None])
    return time


def _origins(forecast: xr.Dataset) -> list[xr.DataArray]:
    return [coord for coord in forecast.coords.values() if coord.attrs.get("standard_name") == REFERENCE]


def _is_mapped(array: xr.DataArray) -> bool:
    return "grid_mapping" in array.encoding


def _encoding(array: xr.Variable) -> dict[str, Any]:
    """How a variable is stored."""
    if is_clock(np.atleast_1d(array.values)):
        return _of_times(np.atleast_1d(array.values))
    if array.ndim < 2:
        return {"_FillValue": None} if array.dtype.kind == "f" else {}
    packed = {
        "zlib": True,
        "complevel": LEVEL,
        "shuffle": True,
        "chunksizes": (1,) * (array.ndim - 2) + array.shape[-2:],
    }
    return packed | {"_FillValue": array.dtype.type(np.nan) if array.dtype.kind == "f" else None}


def _of_times(times: np.ndarray) -> dict[str, Any]:
    since = to_milliseconds(times)
    unit = "seconds" if (since % 1000 == 0).all() else "milliseconds"
    return {
        "units": f"{unit} since 1970-01-01 00:00:00",
        "calendar": calendar_of(times),
        "dtype": np.int64,
        "_FillValue": None,
    }
