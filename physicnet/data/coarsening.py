"""Area means over square blocks of cells, which respect missing values."""

from typing import TypeVar

import xarray as xr

Gridded = TypeVar("Gridded", xr.Dataset, xr.DataArray)


def coarsen(values: Gridded, dims: tuple[str, str], factor: int) -> Gridded:
    """Average `factor` x `factor` cells into one; it is missing where fewer than half of them are valid.

    Odd rows and columns at the end are cut off. Coordinates are averaged too.
    """
    if factor == 1:
        return values
    blocks = values.coarsen(dict.fromkeys(dims, factor), boundary="trim")
    return blocks.mean().where(2 * blocks.count() >= factor**2)
