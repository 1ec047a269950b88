"""Area means over square blocks of cells, which respect missing values, and the seam of longitudes."""

from typing import TypeVar

import numpy as np
import xarray as xr

from physicnet.data.axes import horizontal, is_position

Gridded = TypeVar("Gridded", xr.Dataset, xr.DataArray)
CIRCLE = 360  # degrees


def coarsen(values: Gridded, dims: tuple[str, str], factor: int) -> Gridded:
    """Average `factor` x `factor` cells into one; it is missing where fewer than half of them are valid.

    Odd rows and columns at the end are cut off. Coordinates are averaged too, longitudes across the seam between 0 and
    360 or -180 and 180 degrees as neighbours.
    """
    if factor == 1:
        return values
    blocks = values.coarsen(dict.fromkeys(dims, factor), boundary="trim")
    coarse = blocks.mean().where(2 * blocks.count() >= factor**2)
    longitudes = {
        name: coarse[name].variable.copy(data=_across_the_seam(array, coarse[name], dims, factor).values)
        for name, array in values.coords.items()
        if _is_longitude(array) and set(dims) & set(array.dims)
    }
    return coarse.assign_coords(longitudes)


def _is_longitude(array: xr.DataArray) -> bool:
    return is_position(array.attrs) and horizontal(array.name, array.attrs) == "X"


def _across_the_seam(fine: xr.DataArray, coarse: xr.DataArray, dims: tuple[str, str], factor: int) -> xr.DataArray:
    """Correct the means of the blocks that span more than half of the circle: they lie on both sides of the seam.

    Block by block and not along an axis, because some grids have missing longitudes, or a pole inside.
    """
    window = {dim: factor for dim in dims if dim in fine.dims}
    bare = xr.DataArray(fine.values, dims=fine.dims)
    blocks = bare.coarsen(window, boundary="trim")
    span, middle = blocks.max() - blocks.min(), (bare.max() + bare.min()) / 2
    mean = bare.where(~(bare < middle), bare + CIRCLE).coarsen(window, boundary="trim").mean()
    mean = mean.where(~(mean > bare.max()), mean - CIRCLE)
    return coarse.copy(data=np.where(span <= CIRCLE / 2, coarse, mean))
