"""What normalisation needs to know of the training part, in one pass over it, in bounded memory.

The pass reads a block of frames at a time and adds it to sums per cell. From these alone follow the cycles and mean and
deviation of what the cycles leave: nothing is read twice. Only where the sums of all cells would not fit `SUMS_BYTES`,
the frames are passed over in bands of rows.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32, Float64
from scipy import ndimage

from physicnet.calendar import Times, date_number, hour_of_day, month
from physicnet.config import AnomalyConfig, NormalizeConfig
from physicnet.cycles import DAYS_FOR_HOURS, HOURS, Cycles, groups
from physicnet.data.moments import PerCell, Sums, sizes, solve
from physicnet.fields import DataError, Field, frames_per_block
from physicnet.normalization import VALID, Normalizer, Standardization, check_domain
from physicnet.transforms import Transform, transform_from_dict

BLOCK_BYTES = 32 * 2**20  # values in memory at once, as double precision
SUMS_BYTES = 256 * 2**20  # of sums in memory at once
# A cell that hardly varies in training may vary later: its deviation counts as at least this share of the typical one.
SMALLEST_SHARE = 0.1
Segments = Sequence[Sequence[int]]  # half-open ranges of frames


def fit(field: Field, segments: Segments, config: NormalizeConfig) -> Normalizer:
    """Fit the normalisation of each variable over the frames of `segments`; missing values are left out.

    Raises:
        DataError: if a variable is constant, wholly missing or not finite there, holds values that its transforms do
            not take, or the frames are too few for the cycles asked for.
    """
    return Normalizer(tuple(_fit_variable(field, name, segments, config) for name in field.variables))


def _fit_variable(field: Field, name: str, segments: Segments, config: NormalizeConfig) -> Standardization:
    steps, grid = config.transforms[name], field.shape[2:]
    transforms = tuple(transform_from_dict(step.model_dump()) for step in steps if not isinstance(step, AnomalyConfig))
    anomaly = next((step for step in steps if isinstance(step, AnomalyConfig)), None)
    times = np.concatenate([field.times[start:stop] for start, stop in segments])
    if anomaly:
        _check_cycles(name, times, anomaly)
    found = _over_bands(field, name, segments, transforms, anomaly)
    if np.isnan(found.count).all():
        where = " in all twelve months" if anomaly and anomaly.harmonics else ""
        raise DataError(
            f"variable {name}: no cell was observed{where} in the training part; add data, or raise "
            "normalize.train_fraction"
        )
    cycles = _cycles(found, grid, times) if anomaly else None
    mean, std = _per_cell(found, grid) if config.standardize[name] == "per_cell" else _pooled(found)
    valid = {bound: field.dataset[name].attrs[bound] for bound in VALID if bound in field.dataset[name].attrs}
    return Standardization(name, transforms, mean, std, cycles, **valid)


def _cycles(found: PerCell, grid: tuple[int, int], times: Times) -> Cycles:
    hourly, yearly = _completed(found.hourly, grid), _completed(found.yearly, grid)
    return Cycles(hourly, yearly, np.isin(np.arange(len(hourly)), groups(times, len(hourly))))


def _check_cycles(name: str, times: Times, anomaly: AnomalyConfig) -> None:
    """Check that the training part knows the day and the year that it shall tell of."""
    if anomaly.hour_of_day:
        seen = np.unique(np.stack([hour_of_day(times), date_number(times)]), axis=1)[0]
        hours, days = np.unique(seen, return_counts=True)
        if days.min() < DAYS_FOR_HOURS:
            raise DataError(
                f"variable {name}: the training part has the hour {hours[days.argmin()]} UTC on {days.min()} days, but "
                f"an anomaly against the hour of the day needs {DAYS_FOR_HOURS}: add data, raise "
                "normalize.train_fraction, or set hour_of_day: false in normalize.transforms"
            )
    absent = sorted(set(range(1, 13)) - set(month(times).tolist()))
    if anomaly.harmonics and absent:
        raise DataError(
            f"variable {name}: the training part has no frame in the months {absent}, but an anomaly against the day "
            "of the year needs all twelve: add data, raise normalize.train_fraction, or set harmonics: 0 in "
            "normalize.transforms"
        )


def _over_bands(
    field: Field,
    name: str,
    segments: Segments,
    transforms: tuple[Transform, ...],
    anomaly: AnomalyConfig | None,
) -> PerCell:
    """Pass over the frames, a band of rows at a time, and put the bands' results together."""
    height, width = field.shape[2:]
    num_groups = HOURS if anomaly and anomaly.hour_of_day else 1
    num_harmonics = anomaly.harmonics if anomaly else 0
    rows = max(1, SUMS_BYTES // (8 * width * sum(sizes(num_groups, num_harmonics))))
    bands = []
    for first in range(0, height, rows):
        band = slice(first, min(first + rows, height))
        sums = Sums.none((band.stop - first) * width, num_groups, num_harmonics)
        for times, values in _blocks(field, name, segments, band):
            check_domain(name, transforms, values, times, first_row=first)
            for transform in transforms:
                values = transform.forward(values)
            sums.add(values.reshape(len(times), -1), times)
        bands.append(solve(sums, cycles=anomaly is not None))
    return PerCell(
        *(np.concatenate(parts, axis=-1) for parts in zip(*(vars(band).values() for band in bands), strict=True))
    )


def _blocks(
    field: Field, name: str, segments: Segments, rows: slice
) -> Iterator[tuple[Times, Float64[np.ndarray, "t h w"]]]:
    """Read rows of the frames of `segments`, a block at a time, in double precision."""
    array = field.dataset[name].isel({field.spatial_dims[0]: rows})
    size = frames_per_block(8 * array[0].size, BLOCK_BYTES)
    for start, stop in segments:
        for first in range(start, stop, size):
            frames = slice(first, min(first + size, stop))
            yield field.times[frames], array.isel({field.time_dim: frames}).values.astype(np.float64)


def _pooled(found: PerCell) -> tuple[float, float]:
    """Return mean and deviation over all cells."""
    number = np.nansum(found.count)
    mean = np.nansum(found.count * found.mean) / number
    variance = np.nansum(found.count * (found.variance + (found.mean - mean) ** 2)) / number
    return float(mean), float(np.sqrt(variance))


def _per_cell(found: PerCell, grid: tuple[int, int]) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Return mean and deviation of every cell; see `SMALLEST_SHARE`."""
    typical = np.sqrt(np.nansum(found.count * found.variance) / np.nansum(found.count))
    std = np.maximum(np.sqrt(found.variance), SMALLEST_SHARE * typical)
    return _completed(found.mean[None], grid)[0], _completed(std[None], grid)[0]


def _completed(cells: Float64[np.ndarray, "m n"], grid: tuple[int, int]) -> Float32[np.ndarray, "m h w"]:
    """Lay values out on the grid; a cell that is not known has those of the nearest known one."""
    maps = cells.reshape(len(cells), *grid)
    unknown = np.isnan(maps).any(axis=0)
    rows, columns = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return maps[:, rows, columns].astype(np.float32)
