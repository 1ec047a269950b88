"""Opens one NetCDF file lazily and checks that it holds what is asked for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from cf_units import Unit

from physicnet.config import VariableConfig
from physicnet.fields import DataError, block_shape

# Raw values in memory at once, as double precision; several copies exist while they are converted.
BLOCK_BYTES = 16 * 2**20


def open_netcdf(path: Path, variables: Sequence[VariableConfig]) -> xr.Dataset:
    """Open the variables of a file as lazy blocks `(time, row, column)` of double precision in the units asked for.

    Packed values are unpacked and fill values become NaN. Times are rounded to milliseconds, because files that count
    in hours or days as floating point numbers miss the full second by less. Row and column keep the file's names and
    order; coordinates and grid mapping stay attached.

    Raises:
        DataError: if the file is not NetCDF, lacks a variable, has other dimensions than one of time and two of space,
            or has units that cannot be converted.
    """
    dataset = _open(path)
    names = [variable.name for variable in variables]
    for name in names:
        if name not in dataset.data_vars:
            raise DataError(
                f"{path} has no variable {name!r}; it has {sorted(map(str, dataset.data_vars))}: "
                "correct ingest.variables, or move the file away"
            )
    dataset = dataset[names]
    time, row, column = _dimensions(path, dataset)
    frames, rows = block_shape(dataset.sizes[row], dataset.sizes[column], BLOCK_BYTES)
    dataset = dataset.assign_coords({time: dataset[time].copy(data=_whole_milliseconds(dataset[time].values))})
    dataset = dataset.transpose(time, row, column, ...).chunk({time: frames, row: rows, column: -1})
    return dataset.assign({variable.name: _converted(path, dataset[variable.name], variable) for variable in variables})


def time_dimension(dataset: xr.Dataset) -> str:
    """Return the time dimension of what `open_netcdf` returned."""
    return str(next(iter(dataset.data_vars.values())).dims[0])


def _open(path: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine="netcdf4", decode_coords="all", cache=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as NetCDF ({error}); repair it or move it away") from error


def _dimensions(path: Path, dataset: xr.Dataset) -> tuple[str, str, str]:
    """Return the names of the time, row and column dimension that all variables share."""
    first = next(iter(dataset.data_vars.values()))
    for name, array in dataset.data_vars.items():
        times = [dim for dim in array.dims if dim in array.coords and array.coords[dim].dtype.kind == "M"]
        if len(times) != 1 or array.ndim != 3 or set(array.dims) != set(first.dims):
            raise DataError(
                f"{path}: variable {name} has dimensions {_described(array)}; each variable needs the same three: one "
                "with a coordinate of UTC times and two of space"
            )
    row, column = (dim for dim in first.dims if dim != times[0])
    return str(times[0]), str(row), str(column)


def _described(array: xr.DataArray) -> str:
    kinds = (f"{dim} ({array.coords[dim].dtype if dim in array.coords else 'no coordinate'})" for dim in array.dims)
    return ", ".join(kinds) or "none"


def _whole_milliseconds(times: np.ndarray) -> np.ndarray:
    half = np.timedelta64(500, "us")
    return (times.astype("datetime64[ns]") + half).astype("datetime64[ms]").astype("datetime64[ns]")


def _converted(path: Path, array: xr.DataArray, variable: VariableConfig) -> xr.DataArray:
    found = array.attrs.get("units")
    values = array.astype(np.float64)
    if found != variable.units:
        source, target = _unit(path, variable, found), _unit(path, variable, variable.units)
        if not source.is_convertible(target):
            raise DataError(
                f"{path}: variable {variable.name} has units {found!r}, which cannot be converted to "
                f"{variable.units!r}; correct the units in the file or in ingest.variables"
            )
        values = xr.apply_ufunc(
            source.convert, values, target, dask="parallelized", output_dtypes=[np.float64], keep_attrs=True
        )
    values = values.assign_attrs(array.attrs | {"units": variable.units})
    values.encoding = {key: array.encoding[key] for key in ("grid_mapping",) if key in array.encoding}
    return values


def _unit(path: Path, variable: VariableConfig, text: object) -> Unit:
    try:
        if text is None:
            raise ValueError("there are none")
        return Unit(str(text))
    except ValueError as error:
        raise DataError(
            f"{path}: variable {variable.name}: {text!r} cannot be understood as units ({error}); write units such as "
            f"'{variable.units}' or 'K' into the file and into ingest.variables"
        ) from None
