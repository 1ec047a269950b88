"""Reads the values of one file block by block, in bounded memory, and checks them against their physical range."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from threading import Lock

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64

from physicnet.config import IngestConfig, VariableConfig
from physicnet.data.budget import Budget
from physicnet.data.netcdf import open_netcdf
from physicnet.data.sources import Source

# The NetCDF library must not open and close files in one thread while another reads: a worker of a cluster may have
# several threads. Within one file, xarray's own lock does.
LIBRARY = Lock()


@contextmanager
def opened(source: Source, config: IngestConfig) -> Iterator[xr.Dataset]:
    """Open a source for as long as the block lasts, as the only one in this process.

    Raises:
        DataError: if `open_netcdf` does.
    """
    with LIBRARY, xr.set_options(file_cache_maxsize=1):  # type: ignore[no-untyped-call]
        dataset = open_netcdf(source.path, config)
        yield dataset


def settings_of(config: IngestConfig, name: str) -> VariableConfig:
    """Return the section of a variable of an opened file."""
    return next(variable for variable in config.variables if variable.channel == name)


def spans(chunks: tuple[int, ...], largest: int) -> list[slice]:
    """Join neighbouring chunks as long as they stay within `largest`; a single one may be larger."""
    bounds = [0]
    end = 0
    for size in chunks:
        if end > bounds[-1] and end + size - bounds[-1] > largest:
            bounds.append(end)
        end += size
    bounds.append(end)
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def blocks(array: xr.DataArray, budget: Budget) -> Iterator[tuple[slice, list[slice]]]:
    """Give the ranges of frames, and for each the ranges of rows, in which to read an array within the budget."""
    frames, rows, _ = array.chunks or tuple((size,) for size in array.shape)
    _, height, width = array.shape
    for span in spans(frames, max(1, budget.block // (8 * height * width))):
        cells = (span.stop - span.start) * width
        yield span, spans(rows, max(1, budget.block // (8 * cells)))


def read(
    array: xr.DataArray, frames: slice, rows: slice, variable: VariableConfig, budget: Budget
) -> tuple[xr.DataArray, Bool[np.ndarray, "t h w"]]:
    """Read a block; return it with what is infinite or outside the physical range missing, and where that was."""
    lazy = array.isel({array.dims[0]: frames, array.dims[1]: rows})
    block = lazy.compute(scheduler="threads", num_workers=budget.threads)
    invalid = outside(block.values, variable)
    return block.copy(data=np.where(invalid, np.nan, block.values)), invalid


def outside(values: Float64[np.ndarray, "..."], variable: VariableConfig) -> Bool[np.ndarray, "..."]:
    """Whether a value is there but infinite or outside the variable's physical range."""
    invalid = np.isinf(values)
    if variable.valid_min is not None:
        invalid |= values < variable.valid_min
    if variable.valid_max is not None:
        invalid |= values > variable.valid_max
    return invalid
