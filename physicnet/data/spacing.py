"""How far apart the cells of a grid lie: what a model learned holds for cells of that size.

Rows are compared with rows and columns with columns, by the median distance of neighbours along the coordinate of the
axis. Distances in units that can be converted into each other (m and km) are; those in degrees are compared as degrees,
so that columns of one spacing in longitude count as alike at any latitude. An axis without a coordinate of one
dimension (a grid told by latitudes and longitudes of each cell alone) has no spacing and cannot be compared.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from physicnet.data.units import understood
from physicnet.fields import Field

Ends: TypeAlias = tuple[float, float]  # the first and the last coordinate of an axis
TOLERANCE = 0.01  # share by which spacings of one grid may differ: rounding, and a stretched axis seen elsewhere


@dataclass(frozen=True)
class Spacing:
    """The distance from a cell to the next along an axis, null where no coordinate tells it."""

    axis: str  # the dimension's name
    distance: float | None  # the median over the axis, in `units`
    units: str | None
    regular: bool  # whether all neighbours lie that far apart, but for `TOLERANCE`

    def __str__(self) -> str:
        """Say it for a message."""
        return "unknown" if self.distance is None else f"{self.distance:g} {self.units or '(no units)'}"


@dataclass(frozen=True)
class Comparison:
    """In what two grids differ, and what could not be settled; a line each."""

    differences: list[str]
    doubts: list[str]


def spacing_of(field: Field) -> list[Spacing]:
    """Return the spacing of the rows and of the columns."""
    return [_along(field, dim) for dim in field.spatial_dims]


def place_of(field: Field) -> list[Ends | None]:
    """Return the first and the last coordinate of the rows and of the columns; None where no coordinate tells them."""
    own = zip(field.spatial_dims, spacing_of(field), strict=True)
    return [None if axis.distance is None else _ends(field.dataset[dim].values) for dim, axis in own]


def _ends(coordinate: np.ndarray) -> Ends:
    return float(coordinate[0]), float(coordinate[-1])


def is_elsewhere(ours: Spacing, theirs: Spacing, here: Ends, there: Ends) -> bool:
    """Whether an axis with a coordinate lies elsewhere than another, by more than `TOLERANCE` of its cells."""
    assert ours.distance is not None
    if ours.units != theirs.units:
        own_units, their_units = understood(ours.units), understood(theirs.units)
        if own_units is None or their_units is None or not their_units.is_convertible(own_units):
            return True
        there = float(their_units.convert(there[0], own_units)), float(their_units.convert(there[1], own_units))
    return any(abs(own - other) > TOLERANCE * ours.distance for own, other in zip(here, there, strict=True))


def mapping_of(field: Field) -> str | None:
    """Return the CF name of the projection that the grid lies in (`grid_mapping_name`); None if it is not told."""
    link = field.dataset[field.variables[0]].encoding.get("grid_mapping")
    told = field.dataset[link].attrs.get("grid_mapping_name") if link in field.dataset.coords else None
    return None if told is None else str(told)


def _along(field: Field, dim: str) -> Spacing:
    axis = field.dataset[dim]  # without a coordinate, xarray counts the cells
    if dim not in field.dataset.coords or axis.dtype.kind not in "iuf" or axis.size < 2:
        return Spacing(dim, None, None, regular=False)
    distances = np.abs(np.diff(axis.values.astype(np.float64)))
    median = float(np.median(distances))
    regular = bool((np.abs(distances - median) <= TOLERANCE * median).all())
    units = axis.attrs.get("units")
    return Spacing(dim, median, None if units is None else str(units), regular)


def compare_spacing(ours: list[Spacing], theirs: list[Spacing]) -> Comparison:
    """Compare the grid at hand with another, axis by axis."""
    found = Comparison([], [])
    for what, own, other in zip(("rows", "columns"), ours, theirs, strict=True):
        if own.distance is None or other.distance is None:
            found.doubts.append(f"the spacing of the {what} ({other} there, {own} here) could not be compared")
        elif not _agree(own.distance, own.units, other.distance, other.units):
            found.differences.append(f"grid spacing of the {what}: {other} there, {own} here")
        elif not (own.regular and other.regular):
            found.doubts.append(f"the spacing of the {what} varies: only its median ({other} there, {own} here) agrees")
    return found


def _agree(own: float, own_units: str | None, other: float, other_units: str | None) -> bool:
    if own_units != other_units:
        ours, theirs = understood(own_units), understood(other_units)
        if ours is None or theirs is None or not theirs.is_convertible(ours):
            return False
        other = float(theirs.convert(other, ours))
    return abs(own - other) <= TOLERANCE * own
