"""Opens one NetCDF file lazily: the variables asked for, on one grid and one clock, in the units asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import xarray as xr

from physicnet.config import IngestConfig, VariableConfig
from physicnet.data import axes, sequences, times
from physicnet.data.blocks import Blocks, Decoding
from physicnet.data.budget import SMALLEST
from physicnet.data.coordinates import belonging, mapping_names, travelling, with_coordinates
from physicnet.data.opening import Declarations, Declared, check_frame, check_size, declarations
from physicnet.data.packing import own_attributes
from physicnet.data.units import conversion
from physicnet.fields import SEQUENCE, DataError, block_shape


def open_netcdf(path: Path, config: IngestConfig) -> xr.Dataset:
    """Open those of the configured variables that a file holds, as blocks `(time, row, column)` of double precision.

    They come in the order of the configuration, under the names of their channels, in the units asked for, NaN where
    missing; infinite values stay. Frames come in the file's order, which need not be that of time. Rows and columns
    keep the file's names and directions, and come with their coordinates, latitude and longitude, and grid mappings.
    Only times and coordinates are read here; reading values raises `DataError`, too.

    Raises:
        DataError: if the file holds none of the variables, or something about them cannot be understood.
    """
    declared = declarations(path)
    wanted = _wanted(declared.variables, config)
    if not wanted:
        raise DataError(f"{path} {_nothing_wanted(declared.variables, config)}")
    arrays = [_open_variable(path, declared, variable, config.time_from_name) for variable in wanted]
    return _on_one_grid(path, arrays).assign_attrs(declared.attributes)


def time_dimension(dataset: xr.Dataset) -> str:
    """Return the time dimension of what `open_netcdf` returned."""
    return str(next(iter(dataset.data_vars.values())).dims[0])


def _wanted(declared: Mapping[str, Declared], config: IngestConfig) -> list[VariableConfig]:
    """Return the variables asked for that are there, but for those that are mere coordinates of another one here."""
    there = [variable for variable in config.variables if variable.name.strip("/") in declared]
    around = (other for one in there for other in belonging(declared, declared[one.name.strip("/")]))
    mere = {other.path for other in around if sum(size > 1 for size in other.sizes) < 2}
    return [variable for variable in there if variable.name.strip("/") not in mere]


def _nothing_wanted(declared: Mapping[str, Declared], config: IngestConfig) -> str:
    names = " or ".join(repr(variable.name) for variable in config.variables)
    there = sorted(name for name, variable in declared.items() if len(variable.dims) > 1) or sorted(declared)
    return f"has no variable {names}; it has {there}: correct ingest.variables, or move the file away"


def _open_variable(
    path: Path, declared: Declarations, config: VariableConfig, time_from_name: str | None
) -> xr.DataArray:
    variable = declared.variables[config.name.strip("/")]
    _check_content(path, variable)
    check_size(path, variable, declared.size)
    stored = axes.select(path, with_coordinates(path, declared.variables, variable), config)
    one = sequences.one_of(stored)
    clock = times.locate(path, one)
    moments = times.of_frames(path, one, clock, time_from_name)
    time = str(clock.dims[0]) if clock is not None and clock.ndim else None
    grid = axes.grid_dims(path, one, config, time)
    flat = stored.isel({dim: 0 for dim in stored.dims if dim not in (SEQUENCE, time, *grid)})
    decoding = Decoding.of(path, config.name, stored.variable, conversion(path, stored, config))
    values = Blocks(path, flat.variable, decoding).lazy(_block(path, flat, time, grid))
    frames = xr.DataArray(values, travelling(path, flat, time, grid), name=config.channel)
    if SEQUENCE in frames.dims:
        frames, moments = sequences.laid(path, frames, stored, time, moments)
    array = _on_clock(frames, time, times.axis(clock, moments)).transpose(..., *grid)
    array.attrs = own_attributes(stored.attrs) | {"units": config.units}
    links = [name for name in mapping_names(stored.attrs) if name in array.coords]
    array.encoding = {"grid_mapping": links[0]} if links else {}
    return array


def _on_clock(frames: xr.DataArray, time: str | None, axis: xr.DataArray) -> xr.DataArray:
    """Name the time dimension, or the one frame there is, by its axis."""
    name = str(axis.dims[0])
    named = frames.expand_dims(name) if time is None else frames.rename({time: name} if time != name else {})
    return named.assign_coords({name: axis})


def _check_content(path: Path, variable: Declared) -> None:
    if variable.content != "numbers":
        raise DataError(
            f"{path}: variable {variable.path} holds {variable.content}, not real numbers; take it out of "
            "ingest.variables, or move the file away"
        )
    if 0 in variable.sizes:
        sizes = ", ".join(f"{dim} ({size})" for dim, size in zip(variable.dims, variable.sizes, strict=True))
        raise DataError(
            f"{path}: variable {variable.path} has no value: its dimensions are {sizes}; move the file away"
        )
    if len(set(variable.dims)) < len(variable.dims):
        raise DataError(
            f"{path}: variable {variable.path} has a dimension twice, {variable.dims}, and so is on no grid; take it "
            "out of ingest.variables, or move the file away"
        )


def _block(path: Path, array: xr.DataArray, time: str | None, grid: tuple[str, str]) -> dict[str, int]:
    rows, columns = (array.sizes[dim] for dim in grid)
    check_frame(path, array.name, rows, columns)
    frames, band = block_shape(rows, columns, SMALLEST)
    return {SEQUENCE: 1, grid[0]: band} | ({} if time is None else {time: frames})


def _on_one_grid(path: Path, arrays: Sequence[xr.DataArray]) -> xr.Dataset:
    """Join the variables of a file; those whose rows and columns are swapped are turned as the first's.

    Single coordinates on which they differ, such as the height, become attributes of each variable.
    """
    joined = [_turned(path, array, arrays[0]) for array in arrays]
    names = sorted({str(name) for array in joined for name in array.coords})
    for array in joined:
        if array.name in {*names, *array.dims}:
            raise DataError(
                f"{path}: the channel {array.name} has the name of a coordinate or dimension; set channel to another "
                "name in ingest.variables"
            )
    for name in names:
        joined = _agreeing(path, joined, name)
    return xr.Dataset({str(array.name): array for array in joined})


def _turned(path: Path, array: xr.DataArray, first: xr.DataArray) -> xr.DataArray:
    turned = array.rename({array.dims[0]: first.dims[0]} if array.dims[0] != first.dims[0] else {})
    if dict(turned.sizes) != dict(first.sizes):
        raise DataError(
            f"{path}: {array.name} has {axes.described(array)}, but {first.name} {axes.described(first)}; take one of "
            "them out of ingest.variables: all variables share one grid and the same times"
        )
    return turned.transpose(*first.dims)


def _agreeing(path: Path, arrays: list[xr.DataArray], name: str) -> list[xr.DataArray]:
    holders = [array for array in arrays if name in array.coords]
    expected = holders[0].coords[name]
    differing = [array for array in holders if not array.coords[name].variable.equals(expected.variable)]
    if not differing:
        return arrays
    if expected.ndim:
        raise DataError(
            f"{path}: {differing[0].name} has other values of {name} than {holders[0].name}; take one of them out of "
            "ingest.variables: all variables share one grid and the same times"
        )
    return [_with_attribute(array, name) if name in array.coords else array for array in arrays]


def _with_attribute(array: xr.DataArray, name: str) -> xr.DataArray:
    coord = array.coords[name]
    told = f"{coord.item():g} {coord.attrs.get('units', '')}".strip()
    return array.drop_vars(name).assign_attrs({name: told})
