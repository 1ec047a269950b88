import cftime
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physicnet.clock import GREGORIAN, calendar_of, from_milliseconds, is_clock, to_milliseconds, written

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


def test_times_are_written_in_milliseconds_only_where_one_needs_them() -> None:
    assert written(np.array([0, 1000]), GREGORIAN).tolist() == ["1970-01-01T00:00:00", "1970-01-01T00:00:01"]
    assert written(np.array([0, 1]), GREGORIAN).tolist() == ["1970-01-01T00:00:00.000", "1970-01-01T00:00:00.001"]


@pytest.mark.parametrize("values", [np.arange(3), np.array(["2020"], object), np.array([], object)])
def test_numbers_and_texts_are_no_clock(values: np.ndarray) -> None:
    assert not is_clock(values)
