import cftime
import numpy as np
import pytest

from physicnet.calendar import date_number, day_of_year, hour_of_day, month, year_fraction

NEW_YEAR = np.array(["2019-12-31T23:59", "2020-01-01T00:00", "2020-03-01T13:30"], "datetime64[ns]")


def dates(calendar: str, *parts: tuple[int, ...]) -> np.ndarray:
    return np.array([cftime.datetime(*each, calendar=calendar) for each in parts], dtype=object)


def test_the_clock_and_the_calendar_by_hand() -> None:
    assert hour_of_day(NEW_YEAR).tolist() == [23, 0, 13]
    assert day_of_year(NEW_YEAR).tolist() == [365, 1, 61]
    assert month(NEW_YEAR).tolist() == [12, 1, 3]
    minute = 1 / (365 * 24 * 60)
    np.testing.assert_allclose(year_fraction(NEW_YEAR), [1 - minute, 0, (60 + 13.5 / 24) / 366], atol=1e-9)


@pytest.mark.parametrize(
    ("calendar", "days", "march"), [("noleap", 365, 60), ("360_day", 360, 61), ("all_leap", 366, 61)]
)
def test_other_calendars_have_their_own_years(calendar: str, days: int, march: int) -> None:
    times = dates(calendar, (2000, 1, 1, 12), (2000, 3, 1, 5))
    assert hour_of_day(times).tolist() == [12, 5]
    assert day_of_year(times).tolist() == [1, march]
    np.testing.assert_allclose(year_fraction(times), [0.5 / days, (march - 1 + 5 / 24) / days], atol=1e-9)


def test_standard_dates_of_cftime_tell_what_numpy_tells() -> None:
    times = dates("standard", (2019, 12, 31, 23, 59), (2020, 1, 1), (2020, 3, 1, 13, 30))
    for function in (hour_of_day, day_of_year, month, date_number):
        np.testing.assert_array_equal(function(times), function(NEW_YEAR))
    np.testing.assert_allclose(year_fraction(times), year_fraction(NEW_YEAR), atol=1e-9)


def test_equal_dates_have_equal_numbers_and_no_others() -> None:
    times = np.array(["2019-12-31", "2020-12-31", "2020-12-31T23", "2021-01-01"], "datetime64[ns]")
    one, two, three, four = date_number(times)
    assert two == three
    assert len({one, two, four}) == 3
