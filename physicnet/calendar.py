"""What the clock and the calendar say of times, in whatever calendar they are.

Times are numpy's `datetime64`, or arrays of objects of `cftime` for calendars such as noleap or 360_day. Both are read
as UTC.
"""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int64

Times = np.ndarray  # of one dimension; datetime64, or objects of cftime


def hour_of_day(times: Times) -> Int64[np.ndarray, "t"]:
    """Return the hour that has begun, 0 to 23."""
    return _clock(times).hour.values.astype(np.int64)


def day_of_year(times: Times) -> Int64[np.ndarray, "t"]:
    """Return the day of the year, from 1 on."""
    return _clock(times).dayofyear.values.astype(np.int64)


def month(times: Times) -> Int64[np.ndarray, "t"]:
    """Return the month, 1 to 12."""
    return _clock(times).month.values.astype(np.int64)


def year_fraction(times: Times) -> Float64[np.ndarray, "t"]:
    """Return the share of its year that has passed at each time, from 0 on and below 1, whatever the year's length."""
    return _clock(times).decimal_year.values % 1.0


def date_number(times: Times) -> Int64[np.ndarray, "t"]:
    """Return a number that is equal for the times of one day and differs from day to day."""
    return 1000 * _clock(times).year.values.astype(np.int64) + day_of_year(times)


def _clock(times: Times) -> Any:
    return xr.DataArray(times, dims="time").dt
