"""Files as scientists have them, written with the library itself: nothing that xarray would put right."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

TIMES = {"units": "minutes since 2020-06-01 05:00", "standard_name": "time"}
AXES = {"time": 5 * np.arange(4, dtype=np.int32), "lat": np.array([60.0, 59.0, 58.0]), "lon": np.arange(5.0)}
ATTRIBUTES = {"time": TIMES, "lat": {"units": "degrees_north"}, "lon": {"units": "degrees_east"}}
VALUES = np.arange(60.0).reshape(4, 3, 5)


def write(
    path: Path,
    values: np.ndarray = VALUES,
    dims: tuple[str, ...] = ("time", "lat", "lon"),
    *,
    dtype: Any = "f4",
    name: str = "rate",
    kind: str = "NETCDF4",
    axes: Mapping[str, np.ndarray] = AXES,
    **attributes: Any,
) -> Path:
    """Write one variable with the coordinates of its dimensions, as numbers that are stored just so."""
    with netCDF4.Dataset(path, "w", format=kind) as file:
        fill(file, values, dims, dtype=dtype, name=name, axes=axes, **attributes)
    return path


def fill(
    group: netCDF4.Dataset,
    values: np.ndarray = VALUES,
    dims: tuple[str, ...] = ("time", "lat", "lon"),
    *,
    dtype: Any = "f4",
    name: str = "rate",
    axes: Mapping[str, np.ndarray] = AXES,
    **attributes: Any,
) -> None:
    """Write a variable and what is missing of its dimensions and coordinates into an open file or group."""
    for dim, size in zip(dims, values.shape, strict=True):
        if dim not in group.dimensions:
            group.createDimension(dim, size)
        if dim in axes and dim not in group.variables:
            add(group, dim, axes[dim], (dim,), **ATTRIBUTES.get(dim, {}))
    add(group, name, values, dims, dtype=dtype, **({"units": "mm h-1"} | attributes))


def add(
    group: netCDF4.Dataset, name: str, values: Any, dims: tuple[str, ...] = (), *, dtype: Any = None, **attributes: Any
) -> None:
    """Write one variable as it is; an attribute `units=None` is left out."""
    values = np.asarray(values)
    variable = group.createVariable(name, dtype or values.dtype, dims, fill_value=attributes.pop("_FillValue", None))
    variable.set_auto_maskandscale(False)
    variable.setncatts({key: value for key, value in attributes.items() if value is not None})
    variable[...] = values.astype(dtype or values.dtype)
