"""A forecast as an `xarray.Dataset` that says what it is, in the words of the CF conventions.

docs/data-formats.md has the layout. Coordinates, grid mapping and the words for a variable are those of the
observations.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float32

from physicnet.clock import GREGORIAN, STANDARD, calendar_of, format_time, to_milliseconds, written
from physicnet.data.axes import horizontal
from physicnet.data.spacing import mapping_of
from physicnet.data.units import understood
from physicnet.fields import DataError, Field
from physicnet.forecasting.chances import LEVELS, Chances
from physicnet.forecasting.leads import UNITS, unit_of

CONVENTIONS = "CF-1.11"
REFERENCES = "arXiv:2402.05970"
TIME, REFERENCE, PERIOD, BEYOND = "time", "forecast_reference_time", "forecast_period", "beyond_trained_leads"
MODEL = "physicnet_model_sha256"  # attribute of a file: the SHA-256 of the checkpoint that made it
OBSERVATIONS = "physicnet_observations"  # attribute of a file: times of the frames that were used
MADE = "made"  # in a store of many: when each was made
SHARP, FLOW, GATE = "_sharp", ("flow_x", "flow_y"), "gate"
QUANTILE, EXCEEDANCE, THRESHOLD = "_quantile", "_exceedance", "_threshold"


@dataclass(frozen=True)
class Provenance:
    """What a forecast was made by and of."""

    sha256: str  # of the checkpoint
    start: str  # of the training part, ISO 8601
    end: str
    trained_leads: int
    notes: tuple[str, ...] = ()  # what was done to the observations


@dataclass(frozen=True, eq=False)
class Made:
    """The arrays of a forecast: the frames, and what else was asked for."""

    frames: Float32[np.ndarray, "k c h w"]
    sharp: Float32[np.ndarray, "k c h w"] | None = None
    parts: dict[str, np.ndarray] = field(default_factory=dict)  # as of `ModelForecaster.explain`
    chances: dict[str, Chances] = field(default_factory=dict)  # by variable


def describe(past: Field, made: Made, provenance: Provenance) -> xr.Dataset:
    """Return the forecast that was made from `past`, with everything that a program or a reader needs to know of it."""
    num_leads = len(made.frames)
    dims = (TIME, *past.spatial_dims)
    arrays: dict[str, Any] = {}
    for index, name in enumerate(past.variables):
        attributes = past.dataset[name].attrs | {"ancillary_variables": BEYOND}
        arrays[name] = (dims, made.frames[:, index], attributes)
        if made.sharp is not None:
            title = f"{_title(past, name)}, with the values of the last observed frame"
            arrays[name + SHARP] = (dims, made.sharp[:, index], attributes | {"long_name": title})
        if name in made.chances:
            arrays |= _chances(past, name, made.chances[name])
    extra = _parts(past, made.parts) | {BEYOND: (TIME, _beyond(num_leads, provenance.trained_leads), BEYOND_ATTRIBUTES)}
    coordinates = _coordinates(past, num_leads) | _levels(past, made.chances)
    _check_names(past, {*extra, TIME, REFERENCE, PERIOD, MADE, *coordinates} - set(past.dataset.coords))
    arrays |= extra
    dataset = xr.Dataset(arrays, coordinates, _attributes(past, provenance))
    return _mapped(dataset, past)


def _check_names(past: Field, taken: set[str]) -> None:
    """Check that nothing that belongs to a forecast is called as a channel."""
    own = {name + suffix for name in past.variables for suffix in (SHARP, QUANTILE, EXCEEDANCE)}
    twice = set(past.variables) & (taken | own)
    if twice:
        raise DataError(
            f"{', '.join(sorted(twice))} would be two things in a forecast; give the variable another channel in "
            "ingest.variables, and train again"
        )


def _mapped(dataset: xr.Dataset, past: Field) -> xr.Dataset:
    """Link what lies on the grid to the grid mapping; one that is none by CF (it has no name) stays, but unlinked."""
    name = past.dataset[past.variables[0]].encoding.get("grid_mapping")
    if name not in dataset.coords:
        return dataset
    if mapping_of(past) is None:
        return dataset.reset_coords(name)
    for array in dataset.data_vars.values():
        if set(past.spatial_dims) <= set(array.dims):
            array.encoding["grid_mapping"] = name
    return dataset


BEYOND_ATTRIBUTES = {
    "standard_name": "status_flag",
    "long_name": "whether the lead lies beyond those that the model was trained for",
    "flag_values": np.array([0, 1], np.int8),
    "flag_meanings": "trained_lead beyond_trained_leads",
}


def _beyond(num_leads: int, trained: int) -> np.ndarray:
    return (np.arange(1, num_leads + 1) > trained).astype(np.int8)


def _coordinates(past: Field, num_leads: int) -> dict[str, Any]:
    times, unit = past.times_after(num_leads), unit_of(past.step)
    length = UNITS.get(unit, np.timedelta64(1, "s"))
    periods = np.arange(1, num_leads + 1) * (past.step / length)
    whole = periods.astype(np.int32) if (periods % 1 == 0).all() else periods
    words = {"standard_name": "forecast_period", "long_name": "time since the last observed frame", "units": unit}
    steady = {
        str(name): _on_its_axis(coord) for name, coord in past.dataset.coords.items() if past.time_dim not in coord.dims
    }
    return {
        **steady,
        TIME: (TIME, times, _of_time("time", "time that the forecast is for", times) | {"axis": "T"}),
        REFERENCE: ((), past.times[-1], _of_time(REFERENCE, "time of the last observed frame", times)),
        PERIOD: (TIME, whole, words),
    }


def _on_its_axis(coord: xr.DataArray) -> xr.Variable:
    """Say of an axis of rows or columns that it is one, as programs that look for nothing else want it."""
    kind = horizontal(coord.name, coord.attrs)
    variable = coord.variable.copy(deep=False)
    if coord.dims == (coord.name,) and kind:
        variable.attrs["axis"] = kind
    return variable


def _of_time(standard_name: str, long_name: str, times: np.ndarray) -> dict[str, str]:
    words = {"standard_name": standard_name, "long_name": long_name}
    return words | ({"units_metadata": "leap_seconds: none"} if calendar_of(times) in (GREGORIAN, STANDARD) else {})


def _parts(past: Field, parts: dict[str, np.ndarray]) -> dict[str, Any]:
    """Describe flow and gate, if they were asked for."""
    if not parts:
        return {}
    arrays: dict[str, Any] = {}
    row, column = past.spatial_dims
    for name, axis, pixels in zip(FLOW, (column, row), parts["flow"], strict=True):
        metres = _metres(past, axis)
        speed = None if metres is None else metres / (past.step / np.timedelta64(1, "s"))
        way = f"of {axis}" if speed is not None else f"of the index along {axis}"
        unit = {"units": "1", "comment": "cells per time step"} if speed is None else {"units": "m s-1"}
        words = {"long_name": f"displacement of the field, towards increasing values {way}"}
        arrays[name] = ((row, column), np.float32(pixels * (1.0 if speed is None else speed)), words | unit)
    words = {"long_name": "share of the local level in what grows and decays", "units": "1"}
    arrays[GATE] = ((TIME, row, column), parts["gate"], words)
    return arrays


def _chances(past: Field, name: str, chances: Chances) -> dict[str, Any]:
    """Describe quantiles and probabilities of a variable."""
    title, dims, attributes = _title(past, name), (TIME, *past.spatial_dims), past.dataset[name].attrs
    words = {"ancillary_variables": BEYOND, "comment": LEARNED}
    arrays: dict[str, Any] = {
        name + QUANTILE: (
            (QUANTILE[1:], *dims),
            chances.quantiles,
            attributes | words | {"long_name": f"quantiles of {title}"},
        )
    }
    if len(chances.thresholds):
        told = {"long_name": f"probability that {title} is not below the threshold", "units": "1"}
        arrays[name + EXCEEDANCE] = ((name + THRESHOLD, *dims), chances.exceedance, words | told)
    return arrays


LEARNED = (
    "by what was observed, in the validation part of the record, where about such a value was forecast at that lead; "
    "missing beyond the trained leads, and in cells that none of the frames used has observed"
)


def _levels(past: Field, chances: dict[str, Chances]) -> dict[str, Any]:
    """The coordinates of quantiles and probabilities."""
    if not chances:
        return {}
    coordinates: dict[str, Any] = {
        QUANTILE[1:]: (QUANTILE[1:], LEVELS, {"long_name": "probability of a value that is lower", "units": "1"})
    }
    for name, own in chances.items():
        if len(own.thresholds):
            words = {"long_name": f"threshold of {_title(past, name)}", "units": past.units[name]}
            coordinates[name + THRESHOLD] = (name + THRESHOLD, own.thresholds, words)
    return coordinates


def _metres(past: Field, axis: str) -> float | None:
    """The signed distance from a cell to the next, where the coordinate is a length."""
    coord = past.dataset[axis]
    unit = understood(coord.attrs.get("units")) if axis in past.dataset.coords else None
    if unit is None or not unit.is_convertible("m") or coord.size < 2:
        return None
    return float(unit.convert(float(np.median(np.diff(coord.values.astype(np.float64)))), "m"))


def _title(past: Field, name: str) -> str:
    attributes = past.dataset[name].attrs
    return str(attributes.get("long_name", attributes.get("standard_name", name)))


def _attributes(past: Field, provenance: Provenance) -> dict[str, str]:
    """The attributes of the file as a whole."""
    made_by = f"physicnet {version('physicnet')}"
    used = written(to_milliseconds(past.times), calendar_of(past.times))
    notes = "".join(f"; {note}" for note in provenance.notes)
    return {
        "Conventions": CONVENTIONS,
        "title": f"Forecast of {', '.join(past.variables)} from {format_time(past.times[-1])}",
        "source": f"{made_by}, model SHA-256 {provenance.sha256}",
        "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: forecast by {made_by}{notes}",
        "references": REFERENCES,
        MODEL: provenance.sha256,
        "physicnet_data_start": provenance.start,
        "physicnet_data_end": provenance.end,
        OBSERVATIONS: ", ".join(used),
    }
