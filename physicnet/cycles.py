"""The regular cycles of a variable, the day's and the year's, cell by cell: what an anomaly is measured against.

| symbol | what |
|---|---|
| g | the hour of the day (UTC), 0 to 23; always 0 where hours are not told apart |
| e_g | the cell's value in that hour |
| φ_j | cos and sin of 2π n s, n = 1 … harmonics, s the share of the year that has passed |
| β_j | the cell's coefficients of them |

cycle at a time = e_g + Σ_j β_j φ_j

The two cycles add up: a day's cycle that differs from season to season is told by its mean. Within an hour nothing
changes. The year is a few harmonics and not 366 means, because every day of the year would have as few values as the
training part has years.
"""

from dataclasses import dataclass
from math import tau

import numpy as np
from jaxtyping import Bool, Float, Float64

from physicnet.calendar import Times, hour_of_day, year_fraction
from physicnet.clock import format_time
from physicnet.fields import DataError

HOURS = 24
DAYS_FOR_HOURS = 5  # with fewer days, an hour's mean says more about these days than about the hour


@dataclass(frozen=True, eq=False)
class Cycles:
    """The coefficients of the table above, and the hours that the training part had."""

    hourly: Float[np.ndarray, "g h w"]  # g is 24, or 1 where hours are not told apart
    yearly: Float[np.ndarray, "j h w"]  # two for each harmonic: cos, sin
    known: Bool[np.ndarray, " g"]  # hours that occurred in training

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.hourly.shape[1:]
        return height, width

    def rows(self, rows: slice) -> "Cycles":
        """Return the cycles of some rows of the grid."""
        return Cycles(self.hourly[:, rows], self.yearly[:, rows], self.known)

    def at(self, times: Times) -> Float64[np.ndarray, "t h w"]:
        """Return the cycles' values at each time; errors as of `check`."""
        self.check(times)
        season = np.tensordot(harmonics(times, len(self.yearly) // 2), self.yearly, axes=1)
        return self.hourly[groups(times, len(self.hourly))] + season

    def check(self, times: Times) -> None:
        """Check that the training part knew every hour.

        Raises:
            DataError: if a time's hour never occurred in training.
        """
        known = self.known[groups(times, len(self.known))]
        if not known.all():
            first = times[int(np.argmin(known))]
            raise DataError(
                f"{format_time(first)}: this hour of the day (UTC) never occurs in the training part, so there is "
                "nothing to measure an anomaly against: add data, or set hour_of_day: false in normalize.transforms"
            )

    def bounds(self) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
        """Return the lowest and the highest value of each cell, over the day and the year."""
        days = np.datetime64("2001-01-01") + np.arange(365)
        season = np.tensordot(harmonics(days, len(self.yearly) // 2), self.yearly, axes=1)
        hourly = self.hourly[self.known]
        return hourly.min(axis=0) + season.min(axis=0), hourly.max(axis=0) + season.max(axis=0)


def groups(times: Times, count: int) -> np.ndarray:
    """Return g of each time: its hour if `count` is 24, zero if it is 1."""
    return hour_of_day(times) % count


def harmonics(times: Times, count: int) -> Float64[np.ndarray, "t j"]:
    """Return φ of each time."""
    angles = tau * np.outer(year_fraction(times), np.arange(1, count + 1))
    return np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(len(times), 2 * count)
