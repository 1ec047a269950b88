"""Baselines that know the cycle of the day: what it was 24 hours ago, and an anomaly that fades."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from physicnet.clock import format_time
from physicnet.evaluation.baselines import BLOCK_BYTES, Climatology
from physicnet.evaluation.extrapolation import last_frame
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field, frames_per_block

Frame = Float32[np.ndarray, "c h w"]
Frames = Float32[np.ndarray, "k c h w"]
DAY = timedelta(days=1)


@dataclass(frozen=True, eq=False)
class DayAgo:
    """What was observed 24 hours before the time of each lead; of leads beyond a day, whole days before.

    A forecast's few past frames do not reach back that far, so it looks the frame up in the record, which by then had
    been observed: never one that comes after the last frame of `past`.
    """

    name = "day_ago"

    record: Field
    mean: Frame

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Return the frames of the day before.

        Raises:
            DataError: if the record has no frame at such a time.
        """
        now = past.times[-1]
        return np.stack([self._frame(time, now) for time in past.times_after(num_leads)])

    def _frame(self, time: Any, now: Any) -> Frame:
        """The latest frame that was observed by `now`, a whole number of days before `time`."""
        day = np.timedelta64(DAY) if self.record.times.dtype.kind == "M" else DAY
        before = time - day
        while before > now:
            before = before - day
        index = int(np.searchsorted(self.record.times, before))
        if index == len(self.record.times) or self.record.times[index] != before:
            raise DataError(
                f"day_ago needs the frame of {format_time(before)} to forecast {format_time(time)}, but the record, "
                f"which begins at {format_time(self.record.times[0])}, has none: take day_ago out of "
                "evaluate.baselines, or add data"
            )
        return last_frame(self.record.isel(index, index + 1), self.mean)


@dataclass(frozen=True, eq=False)
class DampedAnomaly:
    """The climatology of each lead, plus the last anomaly times a factor that training found for that lead."""

    name = "damped_anomaly"

    climatology: Climatology
    factors: Float64[np.ndarray, "k c"]  # between 0 and 1

    @classmethod
    def fit(cls, training: TrainingPart, climatology: Climatology) -> "DampedAnomaly":
        """Fit each lead's and variable's factor by least squares over all pairs of frames and their observed cells.

        Raises:
            DataError: if no two frames of the training part are as far apart as the last lead.
        """
        products, squares = np.zeros((2, training.clip.frames_out, training.record.shape[1]))
        for block in _anomalies(training, climatology):
            for total, part in zip((products, squares), _products(*block), strict=True):
                total += part
        if not (squares > 0).all():
            raise DataError(
                f"no pair of training frames is {training.clip.frames_out} steps apart and varies, so there is nothing "
                "to fit damped_anomaly to: add data, or take it out of evaluate.baselines"
            )
        return cls(climatology, np.clip(products / squares, 0.0, 1.0))

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Return the climatology plus the damped anomaly; beyond the leads of training it fades exponentially."""
        anomaly = last_frame(past, self.climatology.mean) - self.climatology.at(past.times[-1:])
        damped = continued(self.factors, num_leads)[:, :, None, None] * anomaly
        return (self.climatology.forecast(past, num_leads) + damped).astype(np.float32)


def continued(factors: Float64[np.ndarray, "n c"], num_leads: int) -> Float64[np.ndarray, "k c"]:
    """Return factors of damping for the leads asked for; beyond the known ones they fade exponentially."""
    known = len(factors)
    later = np.arange(known + 1, num_leads + 1)[:, None] / known
    return np.concatenate([factors[:num_leads], factors[-1:] ** later])


def _anomalies(
    training: TrainingPart, climatology: Climatology
) -> Iterator[tuple[Float32[np.ndarray, "t c h w"], int, int]]:
    """Give blocks of anomalies, how many of their frames are new ones, and the number of leads."""
    record, leads = training.record, training.clip.frames_out
    _, channels, height, width = record.shape
    size = frames_per_block(4 * channels * height * width, BLOCK_BYTES)
    for start, stop in training.segments:
        for first in range(start, stop, size):
            end = min(first + size + leads, stop)
            frames = record.frames(first, end) - climatology.at(record.times[first:end])
            yield frames, min(size, stop - first), leads


def _products(
    anomalies: Float32[np.ndarray, "t c h w"], new: int, leads: int
) -> tuple[Float64[np.ndarray, "k c"], Float64[np.ndarray, "k c"]]:
    """Return Σ a(t) a(t + lead) and Σ a(t)², over the cells that were observed at both times."""
    products, squares = np.zeros((2, leads, anomalies.shape[1]))
    for lead in range(1, leads + 1):
        now, then = anomalies[: min(new, max(0, len(anomalies) - lead))], anomalies[lead : lead + new]
        both = np.isfinite(now) & np.isfinite(then)
        now, then = (np.where(both, part, 0.0).astype(np.float64) for part in (now, then))
        products[lead - 1] = (now * then).sum(axis=(0, 2, 3))
        squares[lead - 1] = (now**2).sum(axis=(0, 2, 3))
    return products, squares
