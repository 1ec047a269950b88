"""The forecasts to beat that ask for nothing: persistence, climatology, their anomalies and optical-flow advection.

All obey the model's interface. What was not observed is completed by one rule for all of them (`last_frame`), so that
every one says something wherever the truth can be scored. The settings of the advection are those that came out best
on the training and validation frames of the bundled radar sample; `benchmarks/README.md` has the numbers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64

from physicnet.calendar import Times, date_number, hour_of_day
from physicnet.cycles import DAYS_FOR_HOURS, HOURS
from physicnet.evaluation.extrapolation import (
    carry,
    flow_between,
    flow_images,
    last_frame,
    nearest_observed,
    trajectories,
)
from physicnet.fields import DataError, Field, frames_per_block
from physicnet.normalization import Normalizer

Frame = Float32[np.ndarray, "c h w"]
Frames = Float32[np.ndarray, "k c h w"]

BLOCK_BYTES = 32 * 2**20  # of frames in memory while the climatology is fitted


@dataclass(frozen=True, eq=False)
class Climatology:
    """The mean of the training part, per cell; per hour of the day (UTC) if the training part is long enough."""

    name = "climatology"

    hourly: Float32[np.ndarray, "n c h w"]  # n is 24, or 1 where hours are not told apart
    mean: Frame

    @classmethod
    def fit(cls, record: Field, segments: Iterable[Sequence[int]]) -> "Climatology":
        """Average the frames of the half-open ranges `segments`, a block at a time.

        Cells that were never observed take the mean of the nearest cell that was; hours in which a cell was never
        observed take its mean over all hours.

        Raises:
            DataError: if a variable was never observed.
        """
        ranges = [(start, stop) for start, stop in segments]
        sums, counts = _hourly_sums(record, ranges)
        mean = _divide(sums.sum(axis=0), counts.sum(axis=0))
        for variable, cells in zip(record.variables, mean, strict=True):
            if np.isnan(cells).all():
                raise DataError(f"variable {variable} has no observed value in the training part {ranges}; add data")
        mean = np.stack([nearest_observed(cells) for cells in mean])
        hourly = _divide(sums, counts)
        hourly = np.where(np.isnan(hourly), mean, hourly)
        return cls(hourly.astype(np.float32), mean.astype(np.float32))

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Return the mean of the hour of each lead."""
        return self.at(past.times_after(num_leads))

    def at(self, times: Times) -> Frames:
        """Return the mean of the hour of each time."""
        return np.asarray(self.hourly[hour_of_day(times) % len(self.hourly)])


def _hourly_sums(
    record: Field, ranges: Sequence[tuple[int, int]]
) -> tuple[Float64[np.ndarray, "n c h w"], Int64[np.ndarray, "n c h w"]]:
    days = np.unique(np.concatenate([date_number(record.times[start:stop]) for start, stop in ranges]))
    sums = np.zeros((HOURS if len(days) >= DAYS_FOR_HOURS else 1, *record.shape[1:]))
    counts = np.zeros(sums.shape, np.int64)
    for start, stop in _blocks(record, ranges):
        frames, hours = record.frames(start, stop), hour_of_day(record.times[start:stop]) % len(sums)
        np.add.at(sums, hours, np.where(np.isnan(frames), 0.0, frames))
        np.add.at(counts, hours, ~np.isnan(frames))
    return sums, counts


def _blocks(record: Field, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    _, channels, height, width = record.shape
    size = frames_per_block(4 * channels * height * width, BLOCK_BYTES)
    for start, stop in ranges:
        for first in range(start, stop, size):
            yield first, min(first + size, stop)


def _divide(sums: Float[np.ndarray, "*n"], counts: Int[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    quotient = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=quotient, where=counts > 0)
    return quotient


@dataclass(frozen=True, eq=False)
class Persistence:
    """The last observed frame stays as it is."""

    name = "persistence"

    mean: Frame

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Return the last frame once per lead."""
        return np.repeat(last_frame(past, self.mean)[None], num_leads, axis=0)


@dataclass(frozen=True, eq=False)
class PersistentAnomaly:
    """What the last observed frame had more or less than the climatology of its hour stays as it is.

    The rival to beat where the day has a strong cycle. Where hours are not told apart it is persistence.
    """

    name = "persistent_anomaly"

    climatology: Climatology

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Return the climatology of each lead's hour, plus the last anomaly."""
        now = self.climatology.at(past.times[-1:])
        return self.climatology.forecast(past, num_leads) + (last_frame(past, self.climatology.mean) - now)


@dataclass(frozen=True, eq=False)
class Advection:
    """The last frame carried along the flow between the last two, which stays as it is.

    Flow: TV-L1 (Zach, Pock and Bischof 2007) of scikit-image. The last pair alone does better than the mean over all
    pairs, since the flow turns. Extrapolation: backward semi-Lagrangian (Germann and Zawadzki 2002) with one
    interpolation per lead, so that values do not blur more and more. Each variable has its own flow.
    """

    name = "advection"

    normalizer: Normalizer
    mean: Frame

    def forecast(self, past: Field, num_leads: int) -> Frames:
        """Extrapolate the last frame."""
        before, after = flow_images(past, self.normalizer)[-2:]
        channels = []
        for frame, pair in zip(last_frame(past, self.mean), zip(before, after, strict=True), strict=True):
            displacements = trajectories(flow_between(*pair), num_leads)
            channels.append(np.stack([carry(frame, displacement) for displacement in displacements]))
        return np.stack(channels, axis=1).astype(np.float32)
