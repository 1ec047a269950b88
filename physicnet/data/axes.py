"""What the dimensions of a variable are: which is time, which are rows and columns, and what becomes of the others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from physicnet.config import VariableConfig
from physicnet.fields import DataError

# Names of axes that have no coordinate, or one without attributes that tell.
ROW_NAMES = {"y", "yc", "lat", "latitude", "rlat", "north", "northing", "row", "rows", "nj", "south_north"}
COLUMN_NAMES = {"x", "xc", "lon", "longitude", "rlon", "east", "easting", "column", "columns", "ni", "west_east"}
STANDARD_NAMES = {
    "latitude": "Y",
    "grid_latitude": "Y",
    "projection_y_coordinate": "Y",
    "longitude": "X",
    "grid_longitude": "X",
    "projection_x_coordinate": "X",
}
DEGREES = {
    **dict.fromkeys(("degrees_north", "degree_north", "degrees_N", "degree_N", "degreesN", "degreeN"), "Y"),
    **dict.fromkeys(("degrees_east", "degree_east", "degrees_E", "degree_E", "degreesE", "degreeE"), "X"),
}
SELECTION_TOLERANCE = 1e-6  # relative: a level written as single precision is still that level


def horizontal(name: object, attributes: Mapping[str, Any]) -> str | None:
    """Return `Y` for what runs along rows' or `X` for what runs along columns' places, by CF attributes or by name."""
    told = (
        STANDARD_NAMES.get(str(attributes.get("standard_name"))),
        DEGREES.get(str(attributes.get("units"))),
        attributes.get("axis") if attributes.get("axis") in ("X", "Y") else None,
    )
    names = "Y" if str(name).lower() in ROW_NAMES else "X" if str(name).lower() in COLUMN_NAMES else None
    return next((axis for axis in told if axis is not None), names)


def is_position(attributes: Mapping[str, Any]) -> bool:
    """Whether a coordinate is a latitude or longitude on the sphere."""
    standard = attributes.get("standard_name") in ("latitude", "longitude")
    return standard or str(attributes.get("units")) in DEGREES


def select(path: Path, array: xr.DataArray, config: VariableConfig) -> xr.DataArray:
    """Take the one value of each dimension that `config.select` names; what was taken is told by an attribute.

    A dimension without a coordinate is counted from 0.

    Raises:
        DataError: if there is no such dimension or value.
    """
    taken: list[str] = []
    for dim, value in config.select.items():
        if dim not in array.dims:
            raise DataError(
                f"{path}: variable {config.name} has no dimension {dim!r}, only {described(array)}; correct its select "
                "in ingest.variables"
            )
        values = _values_along(array, dim)
        near = np.flatnonzero(np.isclose(values, value, rtol=SELECTION_TOLERANCE, atol=0))
        if near.size != 1:
            raise DataError(
                f"{path}: variable {config.name} has no single {dim} {value:g}, it has {_listed(values)}; correct its "
                "select in ingest.variables"
            )
        units = array.coords[dim].attrs.get("units", "") if dim in array.coords else ""
        taken.append(f"{dim} = {value:g} {units}".strip())
        array = array.isel({dim: int(near[0])}).drop_vars(dim, errors="ignore")
    return array.assign_attrs(selection=", ".join(taken)) if taken else array


def grid_dims(path: Path, array: xr.DataArray, config: VariableConfig, time: str | None) -> tuple[str, str]:
    """Return the names of the row and the column dimension, beside the time dimension, if there is one.

    Known y and x axes are rows and columns, wherever they stand; otherwise the file's order counts. Other dimensions
    may have one element only.

    Raises:
        DataError: if the variable is not on a grid of two dimensions, or has a further dimension.
    """
    others = [str(dim) for dim in array.dims if dim != time]
    axes = {dim: horizontal(dim, array.coords[dim].attrs if dim in array.coords else {}) for dim in others}
    _check_no_list_of_places(path, array, config, others)
    rows, columns = ([dim for dim in others if axes[dim] == axis] for axis in ("Y", "X"))
    if len(rows) == len(columns) == 1:
        chosen = [*rows, *columns]
    else:
        chosen = [dim for dim in others if array.sizes[dim] > 1 or axes[dim]]
    further = [dim for dim in others if dim not in chosen and array.sizes[dim] > 1]
    if further or len(chosen) > 2:
        further = further or sorted(chosen, key=lambda dim: axes[dim] is not None)
        raise DataError(f"{path}: variable {config.name} {_too_many(array, further)}")
    if len(chosen) < 2:
        raise DataError(f"{path}: variable {config.name} {_too_few(array, chosen)}")
    row, column = chosen if axes[chosen[0]] != "X" and axes[chosen[1]] != "Y" else reversed(chosen)
    return row, column


def _check_no_list_of_places(path: Path, array: xr.DataArray, config: VariableConfig, dims: list[str]) -> None:
    for dim in dims:
        along = [coord.attrs for coord in array.coords.values() if coord.dims == (dim,)]
        both = {horizontal("", attributes) for attributes in along if is_position(attributes)} == {"Y", "X"}
        if array.attrs.get("mesh") or (both and array.sizes[dim] > 1):
            kind = "an unstructured mesh" if array.attrs.get("mesh") else "a list of places or an unstructured mesh"
            raise DataError(
                f"{path}: variable {config.name} is on {kind}: it has {described(array)}; only grids with rows and "
                "columns are read: regrid it or move the file away"
            )


def _values_along(array: xr.DataArray, dim: str) -> np.ndarray:
    own = dim in array.coords and array.coords[dim].dims == (dim,)
    return np.asarray(array.coords[dim].values if own else np.arange(array.sizes[dim]))


def _too_many(array: xr.DataArray, dims: list[str]) -> str:
    dim = dims[0]
    values = _values_along(array, dim)
    return (
        f"has {described(array)}: more than time and two of space. Take one value of {dim}, which has "
        f"{_listed(values)}: write for it in ingest.variables, for example, select: {{{dim}: {values[0]:g}}}"
    )


def _too_few(array: xr.DataArray, dims: list[str]) -> str:
    if not dims:
        return f"is a series without a grid: it has {described(array)}; move the file away"
    return (
        f"has {described(array)}: one dimension of space, as stations, profiles and unstructured meshes have; only "
        "grids with rows and columns are read: regrid it or move the file away"
    )


def described(array: xr.DataArray) -> str:
    """Return the dimensions for people."""
    sizes = ", ".join(f"{dim} ({size})" for dim, size in array.sizes.items())
    return f"the dimensions {sizes}" if sizes else "no dimension"


def _listed(values: np.ndarray) -> str:
    shown = [f"{value:g}" for value in values[:12]]
    return ", ".join(shown + ["..."] * (len(values) > 12))
