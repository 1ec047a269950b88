from pathlib import Path
from typing import Any

import cftime
import numpy as np
import pytest
import xarray as xr

from physicnet.clock import format_time
from physicnet.data import times
from physicnet.fields import DataError

FILE = Path("radar_202006010510.nc")
HOURS = "hours since 2020-06-01 00:00"


def clock(values: Any, units: str = HOURS, name: str = "time", **attributes: str) -> xr.DataArray:
    dims = () if np.ndim(values) == 0 else (name,)
    return xr.DataArray(values, dims=dims, name=name, attrs={"units": units} | attributes)


def decoded(values: Any, units: str = HOURS, **attributes: str) -> list[str]:
    return [format_time(time) for time in times.decode(FILE, clock(values, units, **attributes))]


def coordinates(*clocks: xr.DataArray, shape: dict[str, int]) -> xr.DataArray:
    coords = xr.Coordinates({str(coord.name): coord.variable for coord in clocks}, indexes={})
    return xr.DataArray(np.zeros(tuple(shape.values())), coords, tuple(shape), name="rate")


@pytest.mark.parametrize(
    ("units", "value"),
    [
        ("seconds since 2020-06-01", 18600),
        ("msec since 2020-06-01", 18600_000),
        ("us since 2020-06-01", 18600_000_000),
        ("Minutes Since 2020-06-01T00:00:00Z", 310),
        ("Hour since 2020-06-01T00:00:00Z", 5 + 1 / 6),
        ("hours since 1900-01-01 00:00:0.0", 1_055_549 + 1 / 6),
        ("days since 1800-1-1 0:0", 80_505 + 31 / 144),
        ("weeks since 2020-05-25", 1 + 31 / 144 / 7),
        ("minutes since 2020-06-01 00:00:00 UTC", 310),
        ("minutes since 2020-06-01 00:00 GMT", 310),
        ("minutes since 2020-06-01 02:00:00 +02:00", 310),
        ("minutes since 2020-06-01 02:00:00 +2", 310),
        ("minutes since 2020-05-31 18:30:00 -5:30", 310),
        ("minutes since 2020-05-31T18:30:00.0-0530", 310),
        ("  minutes   since  2020-06-01   00:00 ", 310),
    ],
)
def test_times_in_units_of_any_spelling_are_utc(units: str, value: float) -> None:
    assert decoded([value], units) == ["2020-06-01T05:10:00"]


@pytest.mark.parametrize("dtype", ["i2", "i8", "f4", "f8"])
def test_times_of_any_type_are_exact_to_the_millisecond(dtype: str) -> None:
    assert decoded(np.array([0, 14], dtype), "days since 2020-06-01") == ["2020-06-01T00:00:00", "2020-06-15T00:00:00"]


def test_floating_point_times_that_miss_the_second_are_rounded() -> None:
    fives = np.datetime64("2020-06-01", "ns") + np.timedelta64(5, "m") * np.arange(288)
    days = (fives - np.datetime64("1900-01-01")) / np.timedelta64(1, "D")
    np.testing.assert_array_equal(times.decode(FILE, clock(days, "days since 1900-01-01")), fives)


@pytest.mark.parametrize(
    ("calendar", "expected"),
    [
        ("standard", "2000-03-01T00:00:00"),
        ("gregorian", "2000-03-01T00:00:00"),
        ("proleptic_gregorian", "2000-03-01T00:00:00"),
        ("noleap", "2000-03-02T00:00:00 (noleap)"),
        ("365_day", "2000-03-02T00:00:00 (noleap)"),
        ("360_day", "2000-03-01T00:00:00 (360_day)"),
        ("all_leap", "2000-03-01T00:00:00 (all_leap)"),
        ("366_day", "2000-03-01T00:00:00 (all_leap)"),
        ("julian", "2000-03-01T00:00:00 (julian)"),
        ("360_DAY", "2000-03-01T00:00:00 (360_day)"),
    ],
)
def test_days_are_counted_in_the_calendar_of_the_file(calendar: str, expected: str) -> None:
    assert decoded([60], "days since 2000-01-01", calendar=calendar) == [expected]


def test_months_have_a_length_where_each_has_thirty_days() -> None:
    assert decoded([1, 1.5], "months since 2000-01-30", calendar="360_day") == [
        "2000-02-30T00:00:00 (360_day)",
        "2000-03-15T00:00:00 (360_day)",
    ]
    with pytest.raises(DataError, match=r"the times time are counted in 'months', of no fixed length; write 'hours si"):
        decoded([1], "months since 2000-01-01")


@pytest.mark.parametrize(
    ("calendar", "year", "expected"),
    [
        ("standard", 850, "0850-02-01T00:00:00 (standard)"),
        ("proleptic_gregorian", 850, "0850-02-01T00:00:00"),
        ("gregorian", 1650, "1650-02-01T00:00:00"),
        ("proleptic_gregorian", 1650, "1650-02-01T00:00:00"),
        ("standard", 2600, "2600-02-01T00:00:00"),
    ],
)
def test_the_standard_calendar_far_away_is_counted_by_objects(calendar: str, year: int, expected: str) -> None:
    (time,) = times.decode(FILE, clock([31], f"days since {year}-01-01", calendar=calendar))
    assert isinstance(time, cftime.datetime)
    assert format_time(time) == expected


def test_times_of_today_counted_from_before_the_reform_are_the_same() -> None:
    """The Julian calendar of the year 1 is two days ahead of the Gregorian one."""
    days = (np.datetime64("2020-06-01") - np.datetime64("0001-01-01")).astype(int)
    assert decoded([days], "days since 1-1-1", calendar="proleptic_gregorian") == ["2020-06-01T00:00:00"]
    assert decoded([days + 2], "days since 1-1-1", calendar="standard") == ["2020-06-01T00:00:00"]


def test_the_day_after_the_fourth_of_october_1582_is_the_fifteenth() -> None:
    assert decoded([0, 1], "days since 1582-10-04", calendar="standard") == [
        "1582-10-04T00:00:00 (standard)",
        "1582-10-15T00:00:00 (standard)",
    ]


@pytest.mark.parametrize(
    "units",
    [
        "hours since 2020-06-01 00:00 CET",
        "hours since 2020-06-01 00:00 Europe/Amsterdam",
        "hours since yesterday",
        "hours since 20200601",
        "day as %Y%m%d.%f since 2020-01-01",
    ],
)
def test_units_with_a_zone_or_date_that_says_nothing_certain_are_named(units: str) -> None:
    with pytest.raises(DataError, match=r"radar_.*\.nc: the times time have units '.*', which cannot be understood"):
        decoded([1], units)


@pytest.mark.parametrize(
    ("values", "attributes"),
    [([0], {"calendar": "lunar"}), ([0], {"units": "days since 2021-02-29"}), ([1e300], {}), ([1e16], {})],
)
def test_calendars_and_dates_that_do_not_exist_are_named(values: list[float], attributes: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"the times time have units '.*' and calendar '.*', which cannot be unders"):
        decoded(values, **({"units": HOURS} | attributes))


def test_a_frame_without_a_time_is_named() -> None:
    with pytest.raises(DataError, match=r"the times time have no value for frame 1; mend the file"):
        decoded([0.0, np.nan])


@pytest.mark.parametrize(
    ("clocks", "expected"),
    [
        ([clock([0, 1, 2])], "time"),
        ([clock(4.0)], "time"),
        ([clock([4.0])], "time"),
        ([clock([0, 1, 2], name="record")], "record"),
        ([xr.DataArray([0, 1, 2], dims="time", name="xtime", attrs={"units": HOURS})], "xtime"),
        ([clock([0, 1, 2]), clock(4.0, name="run", standard_name="forecast_reference_time")], "time"),
        ([clock([0, 1, 2]), xr.DataArray([9, 9, 9], dims="time", name="made", attrs={"units": HOURS})], "time"),
        ([clock(1.0, name="start"), clock(4.0, name="valid", standard_name="time")], "valid"),
        ([clock([0, 1, 2], name="valid"), clock([4.0])], "valid"),
        ([clock([4.0], name="valid"), clock([0.0], axis="T")], "time"),
        ([clock(1.0, name="start")], None),
        ([clock([0, 1, 2], "1")], None),
    ],
)
def test_the_clock_is_found(clocks: list[xr.DataArray], expected: str | None) -> None:
    sizes = {dim: size for coord in clocks for dim, size in coord.sizes.items()}
    found = times.locate(FILE, coordinates(*clocks, shape={**sizes, "y": 2, "x": 3}))
    assert (None if found is None else found.name) == expected


def test_several_axes_of_time_are_named() -> None:
    array = coordinates(clock([0, 1]), clock([0, 1, 2], name="run"), shape={"time": 2, "run": 3})
    with pytest.raises(
        DataError, match=r"rate has the dimensions time \(2\), run \(3\) and several axes of time: time, r"
    ):
        times.locate(FILE, array)


def test_several_clocks_are_named() -> None:
    clocks = [xr.DataArray([0, 1], dims="n", name=name, attrs={"units": HOURS}) for name in ("begin", "end")]
    with pytest.raises(DataError, match="several coordinates of time: begin, end; give one of them the standard_name"):
        times.locate(FILE, coordinates(*clocks, shape={"n": 2}))


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("radar_202006010510.nc", "radar_%Y%m%d%H%M.nc", "2020-06-01T05:10:00"),
        ("2020153.h5", "%Y%j.h5", "2020-06-01T00:00:00"),
        ("radar_230006010510.nc", "radar_%Y%m%d%H%M.nc", "2300-06-01T05:10:00"),
        ("radar_160006010510.nc", "radar_%Y%m%d%H%M.nc", "1600-06-01T05:10:00"),
        ("r_20200601T0510+0200.nc", "r_%Y%m%dT%H%M%z.nc", "2020-06-01T03:10:00"),
    ],
)
def test_the_name_tells_the_time_in_utc(name: str, pattern: str, expected: str) -> None:
    moments = times.time_in_name(Path("folder") / name, pattern)
    assert [format_time(time) for time in moments] == [expected]


def test_a_name_of_another_pattern_is_named() -> None:
    with pytest.raises(DataError, match=r"sat\.nc has not the name that ingest\.time_from_name says \(time data"):
        times.time_in_name(Path("sat.nc"), "radar_%Y%m%d.nc")


PATTERN = "radar_%Y%m%d%H%M.nc"
GRID = xr.DataArray(np.zeros((2, 3)), dims=("y", "x"), name="rate")


def test_without_a_clock_the_name_tells_the_time() -> None:
    assert list(map(format_time, times.of_frames(FILE, GRID, None, PATTERN))) == ["2020-06-01T05:10:00"]


def test_a_clock_that_agrees_with_the_name_is_fine() -> None:
    assert len(times.of_frames(FILE, GRID, clock(310.0, "minutes since 2020-06-01"), PATTERN)) == 1


def test_a_clock_of_another_calendar_that_agrees_with_the_name_is_fine() -> None:
    told = clock(310.0, "minutes since 2020-06-01", calendar="noleap")
    assert times.of_frames(FILE, GRID, told, PATTERN)[0].calendar == "noleap"
    with pytest.raises(DataError, match=r"05:10:00 by its name, but of 2020-06-01T05:11:00 \(noleap\) by what it"):
        times.of_frames(FILE, GRID, clock(311.0, "minutes since 2020-06-01", calendar="noleap"), PATTERN)


def test_a_clock_that_contradicts_the_name_is_named() -> None:
    with pytest.raises(
        DataError, match=r"is of 2020-06-01T05:10:00 by its name, but of 2020-06-01T04:00:00 by what it"
    ):
        times.of_frames(FILE, GRID, clock(4.0), PATTERN)


def test_many_frames_under_one_name_are_named() -> None:
    with pytest.raises(DataError, match=r"has 3 frames with times of their own; take ingest\.time_from_name out"):
        times.of_frames(FILE, GRID, clock([0, 1, 2]), PATTERN)


def test_no_time_at_all_is_named() -> None:
    with pytest.raises(
        DataError, match=r"variable rate has no axis of time: it has the dimensions y \(2\), x \(3\), and"
    ):
        times.of_frames(FILE, GRID, None, None)


def test_units_that_are_none_of_times_are_shown() -> None:
    array = coordinates(clock([0, 1], "day as %Y%m%d"), shape={"time": 2})
    with pytest.raises(DataError, match=r"no axis of time: .* \(time has units 'day as %Y%m%d'\)"):
        times.of_frames(FILE, array, None, None)


def test_the_axis_keeps_what_still_holds() -> None:
    axis = times.axis(clock([0], long_name="end of scan", calendar="standard", bounds="b"), np.array([0]))
    assert (axis.dims, axis.attrs) == (("time",), {"long_name": "end of scan"})
    assert times.axis(None, np.array([0])).attrs == {"standard_name": "time"}
