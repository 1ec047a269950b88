"""When the frames of a file are: from its axis of time, a single time beside them, or the file's name.

The libraries read past what they do not know: cftime takes `00:00 CET`, `00:00 +2` and `00:00 -5:30` for UTC. So the
units of a time are taken apart here, and only what is left to count from a date is left to them.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cftime
import numpy as np
import xarray as xr
from jaxtyping import Int64

from physicnet.clock import calendar_of, canonical, format_time, from_milliseconds, settled, to_milliseconds, written
from physicnet.data.axes import described
from physicnet.data.packing import own_attributes
from physicnet.fields import DataError

UNITS = re.compile(
    r"(?P<unit>[a-z]+) since (?P<date>-?\d{1,4}-\d{1,2}-\d{1,2})"
    r"(?:[t ] ?(?P<clock>\d{1,2}(?::\d{1,2}(?::\d{1,2}(?:\.\d*)?)?)?))?"
    r" ?(?P<zone>z|utc|gmt|[+-]\d{1,2}(?::?\d{2})?)?"
)
ZONE = re.compile(r"([+-])(\d{1,2}):?(\d{2})?")
MILLISECONDS = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-6),
    **dict.fromkeys(("us", "microsec", "microsecs", "microsecond", "microseconds"), 1e-3),
    **dict.fromkeys(("ms", "msec", "msecs", "millisec", "millisecs", "millisecond", "milliseconds"), 1.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1e3),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), 6e4),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3.6e6),
    **dict.fromkeys(("d", "day", "days"), 8.64e7),
    **dict.fromkeys(("week", "weeks"), 7 * 8.64e7),
}
FARTHEST = 1e17  # milliseconds: three million years
EXAMPLE = "'hours since 2020-01-01 00:00' (UTC, or with an offset such as +01:00)"


def locate(path: Path, array: xr.DataArray) -> xr.DataArray | None:
    """Return the coordinate that tells the frames' times: along one dimension, or a single one.

    Nothing is returned where there is none. A forecast's reference time is none.

    Raises:
        DataError: if several could be meant.
    """
    counted = [coord for coord in array.coords.values() if coord.ndim < 2 and _is_of_frames(coord)]
    axes = [coord for coord in counted if coord.size > 1]
    if len({coord.dims for coord in axes}) > 1:
        names = ", ".join(str(coord.name) for coord in axes)
        raise DataError(
            f"{path}: variable {array.name} has {described(array)} and several axes of time: {names}; take one value "
            "of all but one with select in ingest.variables"
        )
    candidates = axes or [coord for coord in counted if coord.ndim == 1 or _is_called_time(coord)]
    called = [coord for coord in candidates if _is_called_time(coord)]
    named = [coord for coord in called or candidates if coord.dims == (coord.name,)]
    best = named or called or candidates
    if len(best) > 1:
        names = ", ".join(str(coord.name) for coord in best)
        raise DataError(
            f"{path}: variable {array.name} has several coordinates of time: {names}; give one of them the "
            "standard_name time"
        )
    return best[0] if best else None


def is_time(attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes are those of a coordinate of times, be it a forecast's reference time."""
    return " since " in str(attributes.get("units", "")).lower()


def _is_of_frames(coord: xr.DataArray) -> bool:
    return is_time(coord.attrs) and coord.attrs.get("standard_name") != "forecast_reference_time"


def _is_called_time(coord: xr.DataArray) -> bool:
    told = coord.attrs.get("standard_name") == "time" or coord.attrs.get("axis") == "T"
    return told or str(coord.name).lower() == "time"


def decode(path: Path, coord: xr.DataArray) -> np.ndarray:
    """Return a coordinate's times in UTC, to the millisecond, in the form that `physicnet.clock` gives all times.

    Rounding is needed because files that count in hours or days as floating point numbers miss the full second.

    Raises:
        DataError: if units or calendar cannot be understood, or a time is missing.
    """
    where = f"{path}: the times {coord.name}"
    values, calendar = np.atleast_1d(coord.values), str(coord.attrs.get("calendar", "standard")).lower()
    if not np.isfinite(values).all():
        raise DataError(f"{where} have no value for frame {int(np.argmax(~np.isfinite(values)))}; mend the file")
    start, millisecond, ahead = _taken_apart(where, str(coord.attrs["units"]), calendar)
    counts = np.round(values.astype(np.float64) * millisecond)  # exact to a microsecond for 140 years
    try:
        if np.abs(counts).max(initial=0) > FARTHEST:
            raise ValueError(f"{counts[np.abs(counts).argmax()]:g} ms lie beyond any calendar")
        return _counted(counts.astype(np.int64) - ahead, start, calendar)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{where} have units {coord.attrs['units']!r} and calendar {calendar!r}, which cannot be understood "
            f"({error}); write {EXAMPLE} and a CF calendar into the file"
        ) from None


def _taken_apart(where: str, units: str, calendar: str) -> tuple[str, float, int]:
    """Return the date that is counted from, the milliseconds of a unit and those by which its clock is ahead of UTC."""
    found = UNITS.fullmatch(" ".join(units.lower().split()))
    if found is None:
        raise DataError(f"{where} have units {units!r}, which cannot be understood; write {EXAMPLE} into the file")
    months = {"month": 30 * 8.64e7, "months": 30 * 8.64e7} if calendar == "360_day" else {}
    millisecond = (MILLISECONDS | months).get(found["unit"])
    if millisecond is None:
        raise DataError(f"{where} are counted in {found['unit']!r}, of no fixed length; write {EXAMPLE} into the file")
    return f"{found['date']} {found['clock'] or '00:00:00'}", millisecond, _ahead(found["zone"])


def _ahead(zone: str | None) -> int:
    offset = ZONE.fullmatch(zone or "")
    if offset is None:
        return 0
    sign, hours, minutes = offset.groups()
    return int(f"{sign}1") * (int(hours) * 60 + int(minutes or 0)) * 60_000


def _counted(counts: Int64[np.ndarray, "t"], start: str, calendar: str) -> np.ndarray:
    first = np.array([cftime.num2date(0, f"milliseconds since {start}", calendar)])
    since = counts + to_milliseconds(first)
    return from_milliseconds(since, settled(calendar_of(first), since))


def time_in_name(path: Path, pattern: str) -> np.ndarray:
    """Return the time that a file's name tells, in UTC unless the pattern has a `%z`; an array of one.

    Raises:
        DataError: if the name is not of the pattern.
    """
    try:
        time = datetime.strptime(path.name, pattern)
    except ValueError as error:
        raise DataError(f"{path} has not the name that ingest.time_from_name says ({error}); rename it") from None
    utc = time.astimezone(UTC) if time.tzinfo else time
    return canonical(np.array([utc.replace(tzinfo=None)], "datetime64[us]"))


def of_frames(path: Path, array: xr.DataArray, clock: xr.DataArray | None, pattern: str | None) -> np.ndarray:
    """Return the frames' times, from the coordinate `clock` or, where there is none, from the file's name.

    With a `pattern` every name is read. A file that tells its time as well must tell the same.

    Raises:
        DataError: if neither tells a time, one cannot be understood, or both contradict each other.
    """
    moments = None if clock is None else decode(path, clock)
    named = None if pattern is None else time_in_name(path, pattern)
    if moments is not None and named is not None:
        _check_against_name(path, moments, named)
    found = named if moments is None else moments
    if found is None:
        raise DataError(f"{path}: variable {array.name} {_none_found(array)}")
    return found


def axis(clock: xr.DataArray | None, moments: np.ndarray) -> xr.DataArray:
    """Return the times as a coordinate of their own dimension."""
    name = "time" if clock is None else str(clock.name)
    attributes = {"standard_name": "time"} if clock is None else clock.attrs
    kept = {key: value for key, value in own_attributes(attributes).items() if key not in ("units", "calendar")}
    return xr.DataArray(moments, dims=name, attrs=kept)


def _none_found(array: xr.DataArray) -> str:
    named = [coord for coord in array.coords.values() if _is_called_time(coord)]
    units = "".join(f" ({coord.name} has units {coord.attrs.get('units')!r})" for coord in named)
    return (
        f"has no axis of time: it has {described(array)}, and no coordinate with units such as {EXAMPLE}{units}; write "
        "one into the file, or ingest.time_from_name if its name tells the time"
    )


def _check_against_name(path: Path, times: np.ndarray, named: np.ndarray) -> None:
    if len(times) > 1:
        raise DataError(
            f"{path} has {len(times)} frames with times of their own; take ingest.time_from_name out, or move it away"
        )
    told, by_name = (written(to_milliseconds(moments), calendar_of(moments))[0] for moments in (times, named))
    if told != by_name:  # as text: the same date of another calendar is another count of days
        raise DataError(
            f"{path} is of {format_time(named[0])} by its name, but of {format_time(times[0])} by what it holds; "
            "take ingest.time_from_name out, or correct the file"
        )
