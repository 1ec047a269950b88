import cftime
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physicnet.clock import (
    GREGORIAN,
    REFORM,
    Time,
    calendar_of,
    canonical,
    day_and_minute,
    format_minute,
    format_time,
    from_milliseconds,
    is_clock,
    parse_time,
    settled,
    to_milliseconds,
    written,
)

CALENDARS = [GREGORIAN, "360_day", "noleap", "standard"]


@pytest.mark.parametrize("calendar", CALENDARS)
@given(since=st.lists(st.integers(-(10**13), 10**13), min_size=1, max_size=4))
def test_milliseconds_come_back_in_every_calendar(calendar: str, since: list[int]) -> None:
    times = from_milliseconds(np.array(since), calendar)
    assert is_clock(times)
    assert calendar_of(times) == calendar
    assert to_milliseconds(times).tolist() == since


def test_a_year_of_360_days_has_360_days() -> None:
    times = np.array([cftime.Datetime360Day(1990, 2, 30), cftime.Datetime360Day(1991, 2, 30)])
    assert np.diff(to_milliseconds(times)) == 360 * 86_400_000
    assert written(to_milliseconds(times), "360_day").tolist() == ["1990-02-30T00:00:00", "1991-02-30T00:00:00"]


@given(since=st.integers(REFORM, 10**14), before=st.integers(1, 10**14))
def test_the_standard_calendar_is_the_proleptic_gregorian_one_from_the_reform_on(since: int, before: int) -> None:
    later, earlier = np.array([since]), np.array([REFORM - before])
    assert written(later, "standard") == written(later, GREGORIAN)
    assert (settled("standard", later), settled("standard", earlier)) == (GREGORIAN, "standard")
    assert settled("standard", np.concatenate([later, earlier])) == "standard"
    assert settled("noleap", later) == "noleap"
    same = canonical(from_milliseconds(later, "standard"))
    assert same.tolist() == from_milliseconds(later, GREGORIAN).tolist()


@given(since=st.integers(-(10**14), 10**14), unit=st.sampled_from(["ms", "us", "ns", "cftime"]))
def test_there_is_one_form_of_a_time(since: int, unit: str) -> None:
    """Nanoseconds reach from 1677-09-21 to 2262-04-11; a number of them that overflows is some other time."""
    reached = -(2**63) < since * 10**6 < 2**63
    milliseconds = np.array([since], "datetime64[ms]")
    if unit == "cftime" or (unit == "ns" and not reached):
        times = canonical(np.asarray(cftime.num2date([since], "milliseconds since 1970-01-01", GREGORIAN)))
    else:
        times = canonical(milliseconds.astype(f"datetime64[{unit}]"))
    assert times.dtype == ("datetime64[ns]" if reached else object)
    assert to_milliseconds(times).tolist() == [since]
    assert format_time(times[0]) == str(milliseconds[0]).removesuffix(".000")


def test_what_lies_below_a_millisecond_stays() -> None:
    assert canonical(np.array(["2020-01-01T00:00:00.000000001"], "datetime64[ns]"))[0].astype(np.int64) % 10 == 1


def test_times_are_written_in_milliseconds_only_where_one_needs_them() -> None:
    assert written(np.array([0, 1000]), GREGORIAN).tolist() == ["1970-01-01T00:00:00", "1970-01-01T00:00:01"]
    assert written(np.array([0, 1]), GREGORIAN).tolist() == ["1970-01-01T00:00:00.000", "1970-01-01T00:00:00.001"]


@pytest.mark.parametrize("values", [np.arange(3), np.array(["2020"], object), np.array([], object)])
def test_numbers_and_texts_are_no_clock(values: np.ndarray) -> None:
    assert not is_clock(values)


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (np.datetime64("2020-01-01T05:10", "ns"), "2020-01-01T05:10:00"),
        (np.datetime64("2020-01-01T05:10:00.250", "ns"), "2020-01-01T05:10:00.250"),
        (cftime.datetime(2000, 2, 30, 6, calendar="360_day"), "2000-02-30T06:00:00 (360_day)"),
        (cftime.datetime(850, 2, 3, 6, 0, 0, 250000, calendar="standard"), "0850-02-03T06:00:00.250 (standard)"),
        (cftime.datetime(2600, 2, 3, 6, calendar=GREGORIAN), "2600-02-03T06:00:00"),
    ],
)
def test_a_time_is_told_to_the_second_with_its_calendar(time: Time, text: str) -> None:
    assert format_time(time) == text


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (np.datetime64("2010-08-26T04:05", "ns"), "2010-08-26 04:05 UTC"),
        (cftime.datetime(2262, 8, 26, 4, 5, 59, calendar=GREGORIAN), "2262-08-26 04:05 UTC"),
        (cftime.datetime(2000, 2, 30, 6, calendar="360_day"), "2000-02-30 06:00 (360_day)"),
    ],
)
def test_a_time_is_told_to_the_minute_with_what_its_clock_follows(time: Time, text: str) -> None:
    assert format_minute(time) == text
    assert " ".join(day_and_minute(time)) == text[:16]


@pytest.mark.parametrize(
    ("text", "calendar", "expected"),
    [
        ("1970-01-01T00:00:01", GREGORIAN, 1000),
        ("1970-01-01", GREGORIAN, 0),
        ("1970-01-01T02:00+01:00", GREGORIAN, 3_600_000),
        ("1970-01-01T00:00Z", GREGORIAN, 0),
        ("1970-02-30", "360_day", 59 * 86_400_000),
        ("1970-01-01T01:00", "noleap", 3_600_000),
        ("1970-01-01T01:00:01", "360_day", 3_601_000),
    ],
)
def test_times_are_understood_in_their_calendar(text: str, calendar: str, expected: int) -> None:
    assert parse_time(text, calendar) == expected


@pytest.mark.parametrize(("text", "calendar"), [("noon", GREGORIAN), ("1970-02-30", GREGORIAN), ("noon", "360_day")])
def test_what_is_no_time_is_not_understood(text: str, calendar: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text, calendar)
