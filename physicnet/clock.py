"""Times as whole milliseconds since 1970-01-01 of their calendar, so that all calendars are compared and sorted alike.

The proleptic Gregorian calendar is counted in `datetime64[ns]` where that reaches, from 1677 to 2262, and beyond in
objects of `cftime`, as every other calendar is (360-day, noleap, ...). The standard calendar is the proleptic Gregorian
one but for times before the Gregorian reform, which alone are told apart. Texts never go through nanoseconds.
"""

from contextlib import suppress
from datetime import UTC, datetime
from typing import TypeAlias

import cftime
import numpy as np
from jaxtyping import Int64

EPOCH = "milliseconds since 1970-01-01"
GREGORIAN = "proleptic_gregorian"
STANDARD = "standard"
REFORM = -12_219_292_800_000  # 1582-10-15 in milliseconds, the same in both calendars
NANOSECONDS_REACH = (2**63 - 1) // 10**6  # milliseconds, to either side

Time: TypeAlias = np.datetime64 | cftime.datetime


def calendar_of(times: np.ndarray) -> str:
    """Return the calendar's name in the CF conventions."""
    return GREGORIAN if times.dtype.kind == "M" else str(times.flat[0].calendar)


def settled(calendar: str, since: Int64[np.ndarray, "t"]) -> str:
    """Return the calendar that times in milliseconds are told in: the standard one only if it is needed."""
    return GREGORIAN if calendar == STANDARD and (since >= REFORM).all() else calendar


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
    """Return `datetime64[ns]`, or `cftime` objects of a calendar or of years that it does not know."""
    if calendar == GREGORIAN and (np.abs(since) <= NANOSECONDS_REACH).all():
        return since.astype("datetime64[ms]").astype("datetime64[ns]")
    return np.asarray(cftime.num2date(since, EPOCH, calendar))


def canonical(times: np.ndarray) -> np.ndarray:
    """Return times of any resolution and calendar in the one form that each has here: see the top of this file."""
    since = to_milliseconds(times)
    if times.dtype.kind == "M" and (np.abs(since) <= NANOSECONDS_REACH).all():
        return times.astype("datetime64[ns]")  # what lies below the millisecond stays
    return from_milliseconds(since, settled(calendar_of(times), since))


def written(since: Int64[np.ndarray, "t"], calendar: str) -> np.ndarray:
    """Return the times as ISO 8601 text, in seconds, or in milliseconds where one of them needs it."""
    unit = "seconds" if (since % 1000 == 0).all() else "milliseconds"
    if calendar == GREGORIAN:
        times = since.astype("datetime64[ms]")
        return np.datetime_as_string(times.astype("datetime64[s]") if unit == "seconds" else times).astype(object)
    return np.array([time.isoformat(timespec=unit) for time in from_milliseconds(since, calendar)], dtype=object)


def format_time(time: Time) -> str:
    """Return a time to the second, or to the millisecond where there are any, with the calendar if it is not ours."""
    text, calendar = _told(time)
    return text if calendar == GREGORIAN else f"{text} ({calendar})"


def parse_time(text: str, calendar: str) -> int:
    """Return the time that ISO 8601 text tells, in milliseconds of a calendar; UTC unless an offset is written.

    Raises:
        ValueError: if it tells none.
    """
    if calendar == GREGORIAN:
        time = datetime.fromisoformat(text)
        utc = time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
        return int(to_milliseconds(np.array([utc], "datetime64[us]"))[0])
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"):
        with suppress(ValueError):
            return int(to_milliseconds(np.array([cftime.datetime.strptime(text, form, calendar=calendar)]))[0])
    raise ValueError(f"{text!r} is no time of the calendar {calendar}")


def day_and_minute(time: Time) -> tuple[str, str]:
    """Return the date of a time, and its clock to the minute."""
    day, _, clock = _told(time)[0].partition("T")
    return day, clock[:5]


def format_minute(time: Time) -> str:
    """Return a time to the minute, with what its clock follows: UTC or a calendar that is not ours."""
    calendar = calendar_of(np.array([time]))
    return f"{' '.join(day_and_minute(time))} {'UTC' if calendar == GREGORIAN else f'({calendar})'}"


def _told(time: Time) -> tuple[str, str]:
    times = np.array([time])
    return str(written(to_milliseconds(times), calendar_of(times))[0]), calendar_of(times)
