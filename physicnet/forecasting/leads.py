"""How far ahead a forecast goes: a time that people write, as a number of the model's steps."""

import numpy as np
import pandas as pd

from physicnet.fields import DataError

UNITS = {"hours": np.timedelta64(1, "h"), "minutes": np.timedelta64(1, "m")}
SECOND = np.timedelta64(1, "s")


def num_steps(lead: str | int | np.timedelta64, step: np.timedelta64, what: str = "lead") -> int:
    """Return the number of steps that a lead takes: itself, a duration such as 2h, 90min or 1h30min, or a number.

    `what` it is called in errors, if it is another time than a lead.

    Raises:
        DataError: if it is none, not above zero, or no multiple of the step, with the two nearest.
    """
    if isinstance(lead, int) or (isinstance(lead, str) and lead.strip().lstrip("+-").isdecimal()):
        steps = int(lead)
        if steps < 1:
            raise DataError(f"the {what} is {steps} steps; ask for one step at least ({written(step)})")
        return steps
    duration = _duration(lead, what)
    count, rest = divmod(duration, step)
    steps = int(count)
    if steps < 0 or not duration:
        raise DataError(f"the {what} is {lead}; ask for one step of the model at least: {written(step)}")
    if rest:
        near = " or ".join(written(number * step) for number in (steps, steps + 1) if number)
        raise DataError(
            f"a {what} of {lead} is no whole number of the model's steps of {written(step)}; ask for {near}"
        )
    return steps


def _duration(lead: str | np.timedelta64, what: str) -> np.timedelta64:
    try:
        duration = pd.Timedelta(lead)
    except ValueError as error:
        raise DataError(
            f"the {what} {lead!r} is no duration ({error}); write one such as 2h, 90min or 1h30min"
        ) from None
    if pd.isna(duration):
        raise DataError(f"the {what} is no duration; write one such as 2h, 90min or 1h30min")
    return duration.to_timedelta64()


def written(duration: np.timedelta64) -> str:
    """Write a duration in the largest unit of which it is a whole number, as `num_steps` reads it."""
    names = {"hours": "h", "minutes": "min"}
    unit = unit_of(duration)
    return f"{duration / SECOND:g}s" if unit == "seconds" else f"{int(duration / UNITS[unit])}{names[unit]}"


def unit_of(duration: np.timedelta64) -> str:
    """Return the larger of hours and minutes of which a duration is a whole number, else seconds."""
    return next((unit for unit, length in UNITS.items() if duration % length == np.timedelta64(0)), "seconds")
