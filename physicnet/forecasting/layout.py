"""How forecasts lie in a Zarr store: by the time that they start from and the time since then.

docs/data-formats.md has the layout; that of one forecast is as in a file.
"""

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from jaxtyping import Int64
from zarr.codecs import BloscCodec

from physicnet.clock import EPOCH, GREGORIAN, calendar_of, from_milliseconds, to_milliseconds
from physicnet.forecasting import cf, leads
from physicnet.forecasting.described import MADE, OBSERVATIONS, PERIOD, REFERENCE, TIME

MADE_ATTRIBUTES = {"long_name": "time at which the forecast was made", "units_metadata": "leap_seconds: none"}
NOT_MADE = np.int64(np.iinfo(np.int64).min)

CODEC = BloscCodec(cname="zstd", clevel=5, shuffle="shuffle")  # docs/decisions/0026-forecasts-in-zarr.md
CHUNK_BYTES = 2 * 2**20  # of a chunk, at most: a few frames of a radar
CHUNK_TIMES = 1024  # reference times in a chunk of an array that has a number or a few for each


def one(dataset: xr.Dataset, index: int) -> xr.Dataset:
    """Return a forecast as it would be in a file; the attributes are those of all."""
    forecast = dataset.isel({REFERENCE: index}).drop_vars(MADE, errors="ignore").swap_dims({PERIOD: TIME})
    return forecast.assign_coords({TIME: forecast[TIME].assign_attrs(axis="T")})


def values(forecast: xr.Dataset) -> list[str]:
    """The variables that each forecast has its own values of."""
    return [str(name) for name, array in forecast.data_vars.items() if array.ndim > 2]


def laid_out(forecast: xr.Dataset, origins: np.ndarray) -> xr.Dataset:
    """Return the store of forecasts like this one from some times, none of them made, as it is to be written."""
    flat = cf.linked(forecast).swap_dims({TIME: PERIOD}).drop_vars([TIME, REFERENCE])
    for array in flat.variables.values():
        array.encoding |= {"_FillValue": None}  # which xarray gives every array of floats, and CF no coordinate
    calendar, valid = calendar_of(origins), to_milliseconds(origins)[:, None] + after(forecast)
    words = {name: value for name, value in forecast[TIME].attrs.items() if name != "axis"}  # it is no axis here
    clock = {"units": EPOCH, "calendar": calendar, "dtype": "int64"}
    made = {"units": EPOCH, "calendar": GREGORIAN, "dtype": "int64"} | _missing_as(NOT_MADE)
    single, all_leads = {"chunks": (CHUNK_TIMES,)}, {"chunks": (CHUNK_TIMES, valid.shape[1])}
    times = from_milliseconds(valid.ravel(), calendar).reshape(valid.shape)
    return flat.assign({name: _missing(flat[name].variable, len(origins)) for name in values(flat)}).assign_coords(
        {
            REFERENCE: xr.Variable(REFERENCE, origins, forecast[REFERENCE].attrs, clock | single),
            TIME: xr.Variable((REFERENCE, PERIOD), times, words, clock | all_leads),
            MADE: xr.Variable(REFERENCE, np.full(len(origins), "NaT", "M8[ns]"), MADE_ATTRIBUTES, made | single),
        }
    )


def _missing(array: xr.Variable, num: int) -> xr.Variable:
    """Return a variable of `num` forecasts, without values, and how it is stored: a forecast a shard."""
    *levels, num_leads, height, width = array.shape
    steps, rows = (_part(num_leads, 4 * height * width), _part(height, 4 * width))
    chunks = (1, *(1 for _ in levels), steps, rows, width)
    shards = (1, *levels, -(-num_leads // steps) * steps, -(-height // rows) * rows, width)
    how = {"chunks": chunks, "shards": shards, "compressors": (CODEC,)} | _missing_as(np.float32("nan"))
    values = da.full((num, *array.shape), np.nan, dtype=np.float32, chunks=-1)  # type: ignore[no-untyped-call]
    return xr.Variable((REFERENCE, *array.dims), values, array.attrs, how)


def _missing_as(value: np.generic) -> dict[str, Any]:
    """How a missing value is stored, for readers of CF and for Zarr, which stores no chunk that has no other."""
    return {"_FillValue": value, "fill_value": value}


def _part(size: int, size_bytes: int) -> int:
    """Return the size of equal parts that are no larger than a chunk may be, of `size` pieces of so many bytes."""
    most = max(1, CHUNK_BYTES // size_bytes)
    return -(-size // -(-size // most))


def after(forecast: xr.Dataset) -> Int64[np.ndarray, "k"]:
    """Return how long after its last observed frame the leads of a forecast are, in milliseconds."""
    return to_milliseconds(forecast[TIME].values) - to_milliseconds(np.array([cf.origin(forecast)]))


def of_all(forecast: xr.Dataset) -> dict[str, str]:
    """The attributes that a store has other values of than a forecast."""
    step = np.timedelta64(after(forecast)[0], "ms")
    frames = forecast.attrs[OBSERVATIONS].count(",") + 1
    names = [name for name in values(forecast) if forecast[name].ndim == 3]
    return {
        "title": f"Forecasts of {', '.join(names)}",
        OBSERVATIONS: f"{frames} frames {leads.written(step)} apart, up to {REFERENCE}",
    }


def is_alike(one: xr.Variable, other: xr.Variable) -> bool:
    """Whether two variables have the same size and units, and if they are steady the same values."""
    same = one.dims == other.dims and one.shape == other.shape and one.attrs.get("units") == other.attrs.get("units")
    return same and (one.ndim > 2 or bool(one.equals(other)))  # type: ignore[no-untyped-call]


def told(array: xr.Variable) -> str:
    """Tell what `is_alike` compares, of steady values the first and the last."""
    size = " x ".join(f"{size} {dim}" for dim, size in array.sizes.items()) or "one value"
    ends = "" if array.ndim > 2 else f" from {array.values.flat[0]} to {array.values.flat[-1]}"
    return f"({size}{ends}, units {array.attrs.get('units')})"
