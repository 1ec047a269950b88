"""Times as whole milliseconds since 1970-01-01 of their calendar, so that all calendars are compared and sorted alike.

`datetime64` has the proleptic Gregorian calendar; every other one (360-day, noleap, ...) comes as `cftime` objects.
"""

import cftime
import numpy as np
from jaxtyping import Int64

EPOCH = "milliseconds since 1970-01-01"
GREGORIAN = "proleptic_gregorian"


def calendar_of(times: np.ndarray) -> str:
    """Return the calendar's name in the CF conventions."""
    return GREGORIAN if times.dtype.kind == "M" else str(times.flat[0].calendar)


def is_clock(times: np.ndarray) -> bool:
    """Whether an array holds times at all, of any calendar."""
    return times.dtype.kind == "M" or bool(
        times.dtype == object and times.size and isinstance(times.flat[0], cftime.datetime)
    )


def to_milliseconds(times: np.ndarray) -> Int64[np.ndarray, "t"]:
    """Return the time since 1970-01-01 of the times' own calendar."""
    if times.dtype.kind == "M":
        return times.astype("datetime64[ms]").astype(np.int64)
    return np.rint(cftime.date2num(times, EPOCH, calendar_of(times))).astype(np.int64)


def from_milliseconds(since: Int64[np.ndarray, "t"], calendar: str) -> np.ndarray:
    """Return `datetime64[ms]`, or `cftime` objects of a calendar that it does not know."""
    if calendar == GREGORIAN:
        return since.astype("datetime64[ms]")
    return np.asarray(cftime.num2date(since, EPOCH, calendar))


def written(since: Int64[np.ndarray, "t"], calendar: str) -> np.ndarray:
    """Return the times as ISO 8601 text, in seconds, or in milliseconds where one of them needs it."""
    unit = "seconds" if (since % 1000 == 0).all() else "milliseconds"
    times = from_milliseconds(since, calendar)
    if calendar == GREGORIAN:
        return np.datetime_as_string(times.astype("datetime64[s]" if unit == "seconds" else times.dtype)).astype(object)
    return np.array([time.isoformat(timespec=unit) for time in times], dtype=object)
