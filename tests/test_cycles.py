from math import tau

import numpy as np
import pytest

from physicnet.cycles import Cycles, groups, harmonics
from physicnet.fields import DataError

HOURS = np.arange(24)
DAY = np.datetime64("2019-03-01", "ns") + HOURS * np.timedelta64(1, "h")
YEAR = np.datetime64("2019-01-01", "ns") + np.arange(365) * np.timedelta64(1, "D")


def cycles(*, num_harmonics: int = 0, seen: int = 24) -> Cycles:
    """Hour plus row in every cell; each harmonic has the amplitude of its column."""
    hourly = HOURS[:, None, None] + np.arange(3.0)[:, None] + np.zeros(4)
    yearly = np.ones((2 * num_harmonics, 3, 1)) * np.arange(4.0)
    return Cycles(hourly.astype(np.float32), yearly.astype(np.float32), seen > HOURS)


def test_an_hour_has_its_value_on_every_day() -> None:
    later = DAY + np.timedelta64(400, "D") + np.timedelta64(59, "m")
    np.testing.assert_array_equal(cycles().at(DAY), cycles().hourly)
    np.testing.assert_array_equal(cycles().at(later[::-1]), cycles().hourly[::-1])


def test_harmonics_by_hand() -> None:
    quarter = np.array(["2019-04-02T06:00"], "datetime64[ns]")  # 91.25 of 365 days
    np.testing.assert_allclose(harmonics(quarter, 2), [[0, 1, -1, 0]], atol=1e-9)
    np.testing.assert_allclose(harmonics(YEAR, 1)[:, 1], np.sin(tau * np.arange(365) / 365), atol=1e-9)
    assert harmonics(YEAR, 0).shape == (365, 0)


def test_both_cycles_add_up() -> None:
    found = cycles(num_harmonics=1).at(DAY[7:8])[0]
    cosine, sine = harmonics(DAY[7:8], 1)[0]
    np.testing.assert_allclose(found, 7 + np.arange(3)[:, None] + np.arange(4) * (cosine + sine))


def test_without_hours_every_hour_is_of_one_group() -> None:
    assert groups(DAY, 1).tolist() == [0] * 24
    assert groups(DAY, 24).tolist() == HOURS.tolist()


def test_bounds_are_the_outermost_values_of_day_and_year() -> None:
    low, high = cycles(num_harmonics=1, seen=20).bounds()
    swing = np.sqrt(2) * np.arange(4)
    np.testing.assert_allclose(low, np.arange(3)[:, None] - swing, atol=1e-3)
    np.testing.assert_allclose(high, 19 + np.arange(3)[:, None] + swing, atol=1e-3)


def test_an_hour_that_training_never_saw_is_refused() -> None:
    partial = cycles(seen=5)
    partial.check(DAY[:5])
    with pytest.raises(DataError, match=r"2019-03-01T05:00.* never occurs in the training part.*hour_of_day: false"):
        partial.at(DAY[4:7])
