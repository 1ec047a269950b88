"""Coastlines of Natural Earth, where cartopy is installed and the file tells where on Earth its cells are."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr

from physicnet.data.axes import is_position
from physicnet.data.units import understood
from physicnet.fields import Field
from physicnet.plotting.maps import Line

SCALE = "50m"  # of Natural Earth: 1 to 50 million
HALF_CIRCLE, CIRCLE = 180.0, 360.0  # degrees


class NoCoastsError(Exception):
    """Coastlines cannot be drawn; the message says why."""


def coastlines(field: Field) -> list[Line]:
    """Return the coastlines on a grid: on each line, columns and rows counted in cells; NaN off the grid.

    Raises:
        NoCoastsError: if cartopy is not installed or cannot load its coastlines, or the place of the cells is not told.
    """
    if find_spec("cartopy") is None:
        raise NoCoastsError("cartopy is not installed")
    row, column = (field.dataset[dim] for dim in field.spatial_dims)
    if not {row.name, column.name} <= set(field.dataset.coords) or min(row.size, column.size) < 2:
        raise NoCoastsError("rows and columns have no coordinates")
    geographic = is_position(row.attrs) and is_position(column.attrs)
    projection = None if geographic else _projection(field)
    lengths = np.array([[_metres(column)], [_metres(row)]])
    found = []
    for line in _natural_earth():
        x, y = line.T if projection is None else projection.transform(*line.T) / lengths
        if geographic:  # as the grid counts: -180 to 180 or 0 to 360
            middle = float(column.mean())
            x = (x - middle + HALF_CIRCLE) % CIRCLE - HALF_CIRCLE + middle
            x = np.where(np.abs(np.diff(x, prepend=x[0])) > HALF_CIRCLE, np.nan, x)
        cells = np.stack([_cells(np.asarray(column.values, float), x), _cells(np.asarray(row.values, float), y)], -1)
        if np.isfinite(cells).all(axis=-1).any():
            found.append(cells)
    return found


def _cells(axis: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return where places lie along an axis, in cells; NaN more than a cell beyond its ends."""
    index = np.arange(axis.size, dtype=float)
    if axis[-1] < axis[0]:
        axis, index = axis[::-1], index[::-1]
    steps = axis[1] - axis[0], axis[-1] - axis[-2]
    signs = index[1] - index[0]
    axis = np.concatenate([[axis[0] - steps[0]], axis, [axis[-1] + steps[1]]])
    index = np.concatenate([[index[0] - signs], index, [index[-1] + signs]])
    return np.interp(places, axis, index, left=np.nan, right=np.nan)


def _metres(axis: xr.DataArray) -> float:
    """Return the metres in a unit of an axis; 1 for one of degrees, which projections of angles give as they are."""
    unit = understood(axis.attrs.get("units"))
    return float(unit.convert(1.0, "m")) if unit is not None and unit.is_convertible("m") else 1.0


def _projection(field: Field) -> Any:
    """Return what turns longitude and latitude into the coordinates of a projected grid."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    link = field.dataset[field.variables[0]].encoding.get("grid_mapping")
    if link not in field.dataset.coords:
        raise NoCoastsError("the file tells no projection")
    try:
        target = CRS.from_cf(field.dataset[link].attrs)
    except (CRSError, KeyError) as error:
        raise NoCoastsError(f"the projection {link} cannot be understood ({error})") from None
    return Transformer.from_crs("EPSG:4326", target, always_xy=True)


def _natural_earth() -> Iterator[np.ndarray]:
    """Give the coastlines, longitude and latitude; cartopy loads them once, from the network if it has to."""
    from cartopy.io import shapereader

    try:
        path = shapereader.natural_earth(resolution=SCALE, category="physical", name="coastline")
    except OSError as error:
        raise NoCoastsError(f"cartopy could not load them ({error})") from None
    for geometry in shapereader.Reader(path).geometries():
        for part in getattr(geometry, "geoms", [geometry]):
            yield np.asarray(part.coords)[:, :2]
