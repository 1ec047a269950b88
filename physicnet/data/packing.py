"""How a variable's numbers lie in a file: which of them mean missing, and how the others are unpacked.

The conventions are CF-1.11, sections 2.5.1 and 8.1, and the netCDF user guide's, appendix A. xarray follows the first
only in part: it knows neither the fill values that the library writes by default nor valid ranges, and it unpacks into
single precision.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import netCDF4
import numpy as np
from jaxtyping import Float64, Shaped

# What is said of the stored numbers, or of other variables, and no longer holds for decoded values on their own.
OF_THE_FILE = {
    "_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "valid_min", "valid_max", "valid_range",
    "actual_range", "Unit", "Units", "unit", "coordinates", "grid_mapping", "bounds", "ancillary_variables",
    "cell_measures", "_ChunkSizes",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Packing:
    """What the attributes of a variable say about its stored numbers."""

    dtype: np.dtype  # as which the stored numbers are read: unsigned where the file says so
    missing: np.ndarray  # stored numbers that mean missing
    stored_range: tuple[float, float]  # others are missing, too
    unpacked_range: tuple[float, float]
    scale: float
    offset: float

    @classmethod
    def of(cls, dtype: np.dtype, attributes: Mapping[str, Any]) -> "Packing":
        """Read the attributes of a variable that is stored as `dtype`.

        `_FillValue` and `missing_value` both count, whatever they hold. Without `_FillValue` the number that the
        library writes into cells that nobody wrote is missing, too, unless it is a single byte.

        Raises:
            ValueError: if an attribute is not a number.
        """
        dtype = _signed_as_told(dtype, attributes)
        limits = _limits(attributes)
        # The user guide: a range of the unpacked values' type is one of unpacked values.
        unpacked = (
            "scale_factor" in attributes and any(limit.dtype.kind == "f" for limit in limits) and dtype.kind != "f"
        )
        bounds = _bounds(limits, np.dtype(np.float64) if unpacked else dtype)
        everything = (-np.inf, np.inf)
        return cls(
            dtype,
            _missing(dtype, attributes),
            everything if unpacked else bounds,
            bounds if unpacked else everything,
            float(_number(attributes, "scale_factor", 1.0)),
            float(_number(attributes, "add_offset", 0.0)),
        )

    @property
    def is_scaled(self) -> bool:
        """Whether values differ from the stored numbers."""
        return (self.scale, self.offset) != (1, 0)

    def unpack(self, stored: Shaped[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Return values in double precision, NaN where missing. Infinite values stay."""
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False).view(self.dtype)
        absent = np.isin(stored, self.missing) | (stored < self.stored_range[0]) | (stored > self.stored_range[1])
        values = stored.astype(np.float64) * self.scale + self.offset
        absent |= (values < self.unpacked_range[0]) | (values > self.unpacked_range[1])
        return np.where(absent, np.nan, values)


def own_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that still hold when values are decoded and stand on their own."""
    return {name: value for name, value in attributes.items() if name not in OF_THE_FILE}


def _signed_as_told(dtype: np.dtype, attributes: Mapping[str, Any]) -> np.dtype:
    """Follow `_Unsigned`: the classic formats have no unsigned integers, some servers no signed bytes."""
    told = str(attributes.get("_Unsigned", "")).lower()
    kinds = {"true": "u", "false": "i"}
    integer = dtype.kind in "iu"
    return np.dtype(f"{kinds[told]}{dtype.itemsize}") if integer and told in kinds else dtype.newbyteorder("=")


def _missing(dtype: np.dtype, attributes: Mapping[str, Any]) -> np.ndarray:
    markers = [_numbers(attributes, name) for name in ("_FillValue", "missing_value") if name in attributes]
    if "_FillValue" not in attributes and dtype.itemsize > 1:
        markers.append(np.ravel(netCDF4.default_fillvals[dtype.str[1:]]))
    found = [_as_stored(marker, dtype) for marker in markers]
    return np.unique(np.concatenate([np.empty(0, dtype), *found]))


def _as_stored(markers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return those markers that a stored number can equal, as stored numbers."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return markers.astype(dtype)
    if markers.dtype.kind in "iu":
        signed = markers.dtype.kind == "i" and dtype.kind == "u" and markers.dtype.itemsize == dtype.itemsize
        markers = markers.view(dtype) if signed else markers
    whole = np.array([int(marker) for marker in markers if np.isfinite(marker) and marker == int(marker)], dtype=object)
    info = np.iinfo(dtype)
    return np.array([marker for marker in whole if info.min <= marker <= info.max], dtype)


def _limits(attributes: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    if "valid_range" in attributes:
        limits = _numbers(attributes, "valid_range")
        if limits.size != 2:
            raise ValueError(f"valid_range = {attributes['valid_range']!r} is not two numbers")
        return limits[:1], limits[1:]
    low, high = (
        _numbers(attributes, name) if name in attributes else np.empty(0, np.int8)
        for name in ("valid_min", "valid_max")
    )
    return low, high


def _bounds(limits: tuple[np.ndarray, np.ndarray], dtype: np.dtype) -> tuple[float, float]:
    low, high = (_as_stored(limit, dtype) for limit in limits)
    return float(low[0]) if low.size else -np.inf, float(high[0]) if high.size else np.inf


def _number(attributes: Mapping[str, Any], name: str, default: float) -> float:
    numbers = _numbers(attributes, name) if name in attributes else np.array([default])
    if numbers.size != 1:
        raise ValueError(f"{name} = {attributes[name]!r} is not one number")
    return float(numbers[0])


def _numbers(attributes: Mapping[str, Any], name: str) -> np.ndarray:
    found = np.ravel(attributes[name])
    try:
        return found if found.dtype.kind in "iuf" else found.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {attributes[name]!r} is not a number") from None
