"""What may be observed in place of a forecast: quantiles, and probabilities of thresholds, as files have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from physicnet.calibration import Calibration
from physicnet.fields import Field

LEVELS = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])  # the ends of intervals of 50, 80 and 90 %, and the median
DROPPED = 11  # of 23 bits after the point: values are exact to 1/8192, and files half as large


@dataclass(frozen=True, eq=False)
class Chances:
    """The distribution of one variable; NaN at leads, and in cells, of which no forecast was ever compared."""

    quantiles: Float32[np.ndarray, "q k h w"]  # at `LEVELS`, physical units
    thresholds: Float64[np.ndarray, "n"]  # physical units
    exceedance: Float32[np.ndarray, "n k h w"]  # probability of value >= threshold


def chances_of(
    past: Field,
    frames: Float32[np.ndarray, "k c h w"],
    calibrations: Mapping[str, Calibration],
    thresholds: Mapping[str, Sequence[float]],
) -> dict[str, Chances]:
    """Return, by variable, what may be observed in place of the frames that were forecast from `past`.

    It is missing beyond the leads of the calibrations, and in cells that no frame of `past` observed: what is forecast
    there is a guess, and errors are known of observed cells alone.
    """
    times, seen = past.times_after(len(frames)), np.isfinite(past.frames(0, past.shape[0])).any(axis=0)
    found = {}
    for channel, variable in enumerate(past.variables):
        own, asked = calibrations[variable], thresholds[variable]
        shape = (len(frames), *frames.shape[2:])
        quantiles, exceedance = (np.full((num, *shape), np.nan, np.float32) for num in (len(LEVELS), len(asked)))
        for lead in range(min(len(frames), own.num_leads)):
            frame = np.where(seen[channel], frames[lead, channel], np.float32("nan"))
            place = (lead + 1, frame, times[lead : lead + 1])
            quantiles[:, lead] = rounded(own.quantiles(*place, LEVELS))
            for index, threshold in enumerate(asked):
                exceedance[index, lead] = rounded(own.exceedance(*place, threshold))
        found[variable] = Chances(quantiles, np.array(asked, np.float64), exceedance)
    return found


def rounded(values: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """Return values to the nearest that has zeros in the last `DROPPED` bits; order, zero and NaN stay."""
    bits = values.view(np.int32) + np.int32(1 << (DROPPED - 1))
    return np.where(np.isnan(values), values, (bits & np.int32(-1 << DROPPED)).view(np.float32))
