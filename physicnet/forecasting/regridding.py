"""Observations of another grid spacing, brought to that of a model: by area means over whole cells, or linearly."""

import numpy as np
import xarray as xr

from physicnet.data.axes import horizontal, is_position
from physicnet.data.spacing import TOLERANCE, Spacing
from physicnet.data.units import understood
from physicnet.fields import DataError, Field

HALF_CIRCLE = 180  # degrees


def whole_cells(ours: list[Spacing], theirs: list[Spacing]) -> int:
    """Return how many cells along either axis make one of the other grid's; 1 where no whole number does."""
    ratios = [_in_units_of(own, other) / (own.distance or np.nan) for own, other in zip(ours, theirs, strict=True)]
    number = round(ratios[0]) if np.isfinite(ratios).all() else 1
    fits = all(abs(ratio - number) <= TOLERANCE * number for ratio in ratios)
    return number if fits else 1


def interpolated(field: Field, grid: list[Spacing]) -> tuple[Field, str]:
    """Interpolate linearly between cells to rows and columns that are as far apart as a model's; say so in words.

    The first row and column stay where they are. What has a missing neighbour is missing.

    Raises:
        DataError: if the axes cannot be compared, or longitudes of cells cross the seam.
    """
    _check_seam(field)
    axes = [_axis(field, dim, there) for dim, there in zip(field.spatial_dims, grid, strict=True)]
    fine = field.dataset.interp({axis.dims[0]: axis for axis in axes}, method="linear")
    dataset = fine.map(lambda array: array.astype(np.float32))
    for name in field.variables:
        dataset[name].attrs, dataset[name].encoding = field.dataset[name].attrs, field.dataset[name].encoding
    before = " x ".join(map(str, field.shape[2:]))
    after = " x ".join(str(axis.size) for axis in axes)
    return Field(dataset), f"observations interpolated linearly from {before} to {after} cells"


def _axis(field: Field, dim: str, there: Spacing) -> xr.Variable:
    coord = field.dataset[dim]
    own = Spacing(dim, 1.0, coord.attrs.get("units"), regular=True)
    step = _in_units_of(own, there)
    if not np.isfinite(step):
        raise DataError(
            f"{dim} is in {own.units}, the model's {there.axis} in {there.units}: one cannot be converted into the "
            "other, so the observations cannot be regridded here; bring them to the model's projection first"
        )
    values = coord.values.astype(np.float64)
    count = int(abs(values[-1] - values[0]) / step + TOLERANCE) + 1
    return xr.Variable(dim, values[0] + np.sign(values[-1] - values[0]) * step * np.arange(count), coord.attrs)


def _in_units_of(own: Spacing, other: Spacing) -> float:
    """Return the other grid's distance in our units; NaN where it cannot be told."""
    if own.distance is None or other.distance is None:
        return float("nan")
    if own.units == other.units:
        return other.distance
    ours, theirs = understood(own.units), understood(other.units)
    if ours is None or theirs is None or not theirs.is_convertible(ours):
        return float("nan")
    return float(theirs.convert(other.distance, ours))


def _check_seam(field: Field) -> None:
    for name, coord in field.dataset.coords.items():
        is_longitude = is_position(coord.attrs) and horizontal(name, coord.attrs) == "X"
        if is_longitude and np.abs(np.diff(coord.values)).max(initial=0) > HALF_CIRCLE:
            raise DataError(
                f"the longitudes {name} cross the seam of the circle, where nothing can be interpolated; regrid the "
                "observations with a tool for that, or give them longitudes that run on"
            )
