import numpy as np
import pytest

from physicnet.fields import DataError
from physicnet.forecasting.leads import num_steps, unit_of, written

STEP = np.timedelta64(300_000, "ms")


@pytest.mark.parametrize(
    ("lead", "steps"),
    [("2h", 24), ("90min", 18), ("1h30min", 18), ("300s", 1), ("12", 12), (12, 12), (np.timedelta64(1, "h"), 12)],
)
def test_a_lead_is_a_duration_or_a_number_of_steps(lead: str | int | np.timedelta64, steps: int) -> None:
    assert num_steps(lead, STEP) == steps


@pytest.mark.parametrize(
    ("lead", "nearest"), [("7min", "5min or 10min"), ("2min", "ask for 5min"), ("61min", "1h or 65min")]
)
def test_a_lead_between_two_steps_is_refused_with_the_nearest(lead: str, nearest: str) -> None:
    with pytest.raises(DataError, match=f"a lead of {lead} is no whole number of the model's steps of 5min.*{nearest}"):
        num_steps(lead, STEP)


@pytest.mark.parametrize("lead", ["0h", "-1h", "-5min"])
def test_a_lead_that_is_not_ahead_is_refused(lead: str) -> None:
    with pytest.raises(DataError, match=f"the lead is {lead}; ask for one step of the model at least: 5min"):
        num_steps(lead, STEP)


@pytest.mark.parametrize("lead", [0, "-3"])
def test_no_steps_are_refused(lead: str | int) -> None:
    with pytest.raises(DataError, match=rf"the lead is {lead} steps; ask for one step at least .5min."):
        num_steps(lead, STEP)


def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(DataError, match="the lead 'soon' is no duration .*write one such as 2h, 90min"):
        num_steps("soon", STEP)


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="the lead is no duration"):
        num_steps("NaT", STEP)


@pytest.mark.parametrize(
    ("milliseconds", "text", "unit"),
    [(300_000, "5min", "minutes"), (7_200_000, "2h", "hours"), (90_000, "90s", "seconds"), (2_500, "2.5s", "seconds")],
)
def test_durations_are_written_in_the_largest_unit_that_fits(milliseconds: int, text: str, unit: str) -> None:
    duration = np.timedelta64(milliseconds, "ms")
    assert written(duration) == text
    assert unit_of(duration) == unit
