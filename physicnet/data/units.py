"""The units of a variable in a file, and the way from them to those asked for."""

from pathlib import Path

import xarray as xr
from cf_units import Unit

from physicnet.config import VariableConfig
from physicnet.fields import DataError


def conversion(path: Path, array: xr.DataArray, config: VariableConfig) -> tuple[Unit, Unit] | None:
    """Return the units that the values are in and those asked for; nothing if these are the same.

    The attribute `units` counts. Where it is absent or cannot be understood, `config.file_units` stand for it; they
    never stand against it.

    Raises:
        DataError: if there are no units, they cannot be understood, or one cannot be converted into the other.
    """
    asked = understood(config.units)
    if asked is None:
        raise DataError(
            f"ingest.variables: {config.channel} is asked for in {config.units!r}, which cannot be understood as "
            "units; write units such as 'mm h-1' or 'K'"
        )
    found = _units_in(path, array, config)
    if found == asked:
        return None
    if not found.is_convertible(asked):
        raise DataError(
            f"{path}: variable {config.name} has units {str(found)!r}, which cannot be converted to {config.units!r}; "
            "correct the units in the file or in ingest.variables"
        )
    return found, asked


def understood(text: object) -> Unit | None:
    """Return the units that a text means, if it means any."""
    try:
        unit = Unit(str(text))
    except ValueError:
        return None
    return None if unit.is_unknown() or unit.is_no_unit() else unit


def _units_in(path: Path, array: xr.DataArray, config: VariableConfig) -> Unit:
    told = array.attrs.get("units")
    own = None if told is None else understood(told)
    stated = None if config.file_units is None else understood(config.file_units)
    if config.file_units is not None and stated is None:
        raise DataError(
            f"ingest.variables: file_units of {config.channel}, {config.file_units!r}, cannot be understood as units; "
            "write units such as 'mm h-1' or 'K'"
        )
    if own is not None and stated is not None and own != stated:
        raise DataError(
            f"{path}: variable {config.name} has units {told!r}, but ingest.variables says that the file's are "
            f"{config.file_units!r}; take file_units out, or correct the attribute units in the file"
        )
    unit = own if own is not None else stated
    if unit is None:
        raise DataError(f"{path}: variable {config.name} {_trouble(array, told)}")
    return unit


def _trouble(array: xr.DataArray, told: object) -> str:
    alike = {name: text for name, text in array.attrs.items() if "unit" in name.lower() and name != "units"}
    also = "".join(f", but {name} = {text!r}" for name, text in alike.items())
    found = f"has no attribute units{also}" if told is None else f"has units {told!r}, which cannot be understood{also}"
    return f"{found}; if you know them, write them as its file_units in ingest.variables"
