"""The coordinates and grid mappings that belong to a variable, and what of them travels on with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from physicnet.data.axes import is_position
from physicnet.data.blocks import Blocks, Decoding
from physicnet.data.opening import Declared, errors_named, open_stored, visible
from physicnet.data.packing import own_attributes
from physicnet.data.times import is_time
from physicnet.fields import DataError


def with_coordinates(path: Path, declared: Mapping[str, Declared], variable: Declared) -> xr.DataArray:
    """Return a variable as it is stored, lazily, with the coordinates and grid mappings that belong to it.

    Coordinates are decoded, but for times. What the variable does not link to belongs to it if it is the coordinate of
    one of its dimensions, a latitude or longitude, a time or a grid mapping.

    Raises:
        DataError: if a coordinate cannot be decoded.
    """
    around = sorted(belonging(declared, variable), key=lambda other: other.name)
    stored = open_stored(path, declared, [variable, *around])
    mappings = [other.name for other in around if _is_mapping(variable, other)]
    coords = {
        other.name: _coordinate(path, other.name, stored[other.name]) for other in around if other.name not in mappings
    }
    coords |= {name: xr.Variable((), np.int32(0), stored[name].attrs) for name in mappings}
    return xr.DataArray(stored[variable.name], coords=xr.Coordinates(coords, indexes={}), name=variable.name)


def belonging(declared: Mapping[str, Declared], variable: Declared) -> list[Declared]:
    """Return the coordinates and grid mappings of a variable; see `with_coordinates`."""
    linked = _linked(variable.attributes.get("coordinates"))
    return [
        other
        for other in visible(declared, variable).values()
        if _is_mapping(variable, other) or (other.content == "numbers" and _is_coordinate(other, linked))
    ]


def _linked(text: object) -> set[str]:
    """Return the names that an attribute links to, without groups: the nearest of that name is meant."""
    return {name.rsplit("/", 1)[-1] for name in str(text or "").replace(":", " ").split()}


def _is_mapping(variable: Declared, other: Declared) -> bool:
    return "grid_mapping_name" in other.attributes or other.name in mapping_names(variable.attributes)


def mapping_names(attributes: Mapping[str, Any]) -> list[str]:
    """Return the names of the grid mappings that a variable links to, also in the form `crs: x y`."""
    words = str(attributes.get("grid_mapping", "")).split()
    named = [word.removesuffix(":") for word in words if word.endswith(":")] or words
    return [name.rsplit("/", 1)[-1] for name in named]


def _is_coordinate(other: Declared, linked: set[str]) -> bool:
    own = other.dims == (other.name,)
    return own or other.name in linked or is_position(other.attributes) or is_time(other.attributes)


def _coordinate(path: Path, name: str, stored: xr.Variable) -> xr.Variable:
    decoding = Decoding.of(path, name, stored)
    if stored.ndim > 1:
        variable = Blocks(path, stored, decoding).lazy({str(stored.dims[0]): 1} if stored.ndim > 2 else {})
        variable.encoding = {} if decoding.packing.is_scaled or stored.dtype.kind != "f" else {"dtype": stored.dtype}
    else:
        with errors_named(path):
            variable = xr.Variable(stored.dims, _exact(stored.values, decoding))
    variable.attrs = dict(stored.attrs)
    return variable


def _exact(stored: np.ndarray, decoding: Decoding) -> np.ndarray:
    """Decode, but leave numbers that mean what they are in their type."""
    values = decoding(stored)
    if decoding.packing.is_scaled or np.isnan(values).any():
        return values
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def travelling(path: Path, array: xr.DataArray, time: str | None, grid: tuple[str, str]) -> dict[str, xr.Variable]:
    """Return what travels on with a variable: what lies on rows and columns, single values and grid mappings.

    Other times than the frames' own, and the lead of a forecast, stay behind: they would be the first file's. A grid
    that is written for every frame travels on if it is the same in all.

    Raises:
        DataError: if the grid moves.
    """
    found = {}
    for name, coord in array.coords.items():
        if time is not None and time in coord.dims and coord.ndim == 3 and is_position(coord.attrs):
            coord = _standing(path, coord, time)
        if set(coord.dims) <= set(grid) and not is_time(coord.attrs) and not _is_lead(coord.attrs):
            dims = [dim for dim in grid if dim in coord.dims]
            values = coord.transpose(*dims).values.astype(coord.encoding.get("dtype", coord.dtype), copy=False)
            found[str(name)] = xr.Variable(dims, values, own_attributes(coord.attrs))
    return found


def _is_lead(attributes: Mapping[str, Any]) -> bool:
    return attributes.get("standard_name") == "forecast_period"


def _standing(path: Path, coord: xr.DataArray, time: str) -> xr.DataArray:
    first = coord.isel({time: 0}).compute()
    for frame in range(1, coord.sizes[time]):
        if not np.array_equal(coord.isel({time: frame}).values, first.values, equal_nan=True):
            raise DataError(
                f"{path}: the grid moves: {coord.name} of frame {frame} differs from the first; only grids that stand "
                "still are read: regrid it or move the file away"
            )
    return first
