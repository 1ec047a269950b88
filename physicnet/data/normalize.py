"""Stage 2: a split in time, or between sequences, and the record transformed and standardised by its training part."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from jaxtyping import Float32, Int64
from safetensors.numpy import save

from physicnet.clock import calendar_of, to_milliseconds, written
from physicnet.config import ClipConfig, IngestConfig, NormalizeConfig
from physicnet.data.budget import Budget
from physicnet.data.progress import followed
from physicnet.data.statistics import fit
from physicnet.data.workers import Workers, workers_at
from physicnet.fields import (
    PART,
    PARTS,
    DataError,
    Field,
    Part,
    Segments,
    block_shape,
    time_differences,
    written_whole,
)
from physicnet.normalization import Normalizer, Standardization


def normalize(
    config: NormalizeConfig,
    clip: ClipConfig,
    ingest: IngestConfig,
    *,
    fields: Path,
    normalized: Path,
    statistics: Path,
    maps: Path,
) -> None:
    """Split the record, fit the normalisation on the training part and write everything before the test part.

    Training cannot read test values: they are not in `normalized`. `maps` holds what has a value per cell; if nothing
    has, it is a file without an array. It is done within the memory, and by the workers, of ingest; neither changes the
    result.

    Raises:
        DataError: if a part of the split cannot hold one clip, a variable cannot be standardised, a value is not of the
            domain of its transforms, or the memory is too little.
    """
    field = Field.open(fields.resolve())
    splits = split(field, config, clip)
    try:
        with workers_at(ingest.cluster) as workers:
            budget = workers.budget(ingest.memory_bytes, write_shard)
            normalizer = fit(field, splits["train"], config, budget=budget, workers=workers)
            _check_clock(field, normalizer)
            with written_whole(normalized) as store, written_whole(statistics) as table, written_whole(maps) as arrays:
                described = describe(field, splits, normalizer, ingest)
                table.write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", "utf-8")
                arrays.write_bytes(save(normalizer.maps()))
                write_standardized(field.isel(0, splits["test"][0][0]), normalizer, store, budget, workers)
    except DataError as error:
        raise DataError(f"{fields}: {error}") from None


def describe(
    field: Field, splits: dict[str, Segments], normalizer: Normalizer, ingest: IngestConfig
) -> dict[str, object]:
    """Return what `statistics.json` tells; docs/data-formats.md has the keys."""
    return {
        "splits": splits,
        "step_seconds": float(field.step / np.timedelta64(1, "s")),
        "variables": normalizer.to_dict(),
        "ingest": ingest.rules(),
        "span": _span(field, splits["train"]),
    }


def _span(field: Field, part: Segments) -> dict[str, str]:
    times, calendar = field.times[[part[0][0], part[-1][1] - 1]], calendar_of(field.times)
    start, end = written(to_milliseconds(times), calendar)
    return {"start": start, "end": end, "calendar": calendar}


def _check_clock(field: Field, normalizer: Normalizer) -> None:
    """Ask for the cycles at the times of the whole record, now and not when the test part is scored."""
    for channel in normalizer.channels:
        if channel.cycles is not None:
            channel.cycles.check(field.times)


def split(field: Field, config: NormalizeConfig, clip: ClipConfig) -> dict[str, Segments]:
    """Return the frames of the train, validation and test part, in this order.

    Of one long record, `config.gap` frames lie between the parts, and the fractions count the frames that the two gaps
    leave. Separate sequences are each in one part, in the order of their numbers: in the part that their files tell,
    or, if they tell none, as the fractions count sequences. A part is a list of ranges, because no range runs across a
    gap in time.

    Raises:
        DataError: if a part has no range that holds a clip, or the parts that files tell are not one after the other.
    """
    numbers = field.sequences
    ranges = _chronological(field, config) if numbers is None else _of_sequences(field, numbers, config)
    splits = {part: without_gaps(field, start, stop) for part, (start, stop) in zip(PARTS, ranges, strict=True)}
    for part, (start, stop) in zip(PARTS, ranges, strict=True):
        longest = max((end - first for first, end in splits[part]), default=0)
        if longest < clip.frames:
            raise DataError(
                f"of {field.shape[0]} frames the {part} part gets {stop - start}, at most {longest} of them without a "
                f"gap in time, but one clip needs {clip.frames}: add data, change normalize.train_fraction or "
                "normalize.validation_fraction, or lower normalize.gap, clip.frames_in or clip.frames_out"
            )
    return splits


def _chronological(field: Field, config: NormalizeConfig) -> list[tuple[int, int]]:
    usable = max(0, field.shape[0] - 2 * config.gap)
    train, both = (round(usable * share) for share in _shares(config))
    starts, stops = (0, train + config.gap, both + 2 * config.gap), (train, both + config.gap, usable + 2 * config.gap)
    return list(zip(starts, stops, strict=True))


def _of_sequences(field: Field, numbers: Int64[np.ndarray, "t"], config: NormalizeConfig) -> list[tuple[int, int]]:
    """Cut the record between sequences; the two next to a cut have nothing in common, and need no gap."""
    firsts = np.unique(numbers, return_index=True)[1]
    bounds = [*firsts.tolist(), field.shape[0]]
    if PART in field.dataset.coords:
        cuts = np.searchsorted(_told_parts(field, numbers)[firsts], [1, 2]).tolist()
    else:
        cuts = [round(len(firsts) * share) for share in _shares(config)]
    return [(bounds[start], bounds[stop]) for start, stop in pairwise([0, *cuts, len(firsts)])]


def _told_parts(field: Field, numbers: Int64[np.ndarray, "t"]) -> Int64[np.ndarray, "t"]:
    parts = field.dataset[PART].values.astype(np.int64)
    backwards = np.flatnonzero(np.diff(parts) < 0)
    if parts.min() < 0 or backwards.size:
        frame = int(backwards[0]) + 1 if backwards.size else int(np.argmin(parts))
        raise DataError(
            f"the sequences are not numbered in the order of their parts, {', '.join(PARTS)}: sequence "
            f"{numbers[frame]} is of {PARTS[parts[frame]] if parts[frame] >= 0 else 'none'}, after one of "
            f"{PARTS[parts[frame - 1]]}; number them in this order, or write no coordinate {PART}"
        )
    return parts


def _shares(config: NormalizeConfig) -> tuple[float, float]:
    """The shares of the training part, and of the training and the validation part together."""
    return config.train_fraction, config.train_fraction + config.validation_fraction


def without_gaps(field: Field, start: int, stop: int) -> Segments:
    """Cut the frames `start` to `stop` wherever more than one time step passes between two frames."""
    if stop <= start:
        return []
    jumps = np.flatnonzero(time_differences(field.times[start:stop]) > field.step) + start + 1
    bounds = [start, *jumps.tolist(), stop]
    return [list(pair) for pair in pairwise(bounds)]


def write_standardized(field: Field, normalizer: Normalizer, store: Path, budget: Budget, workers: Workers) -> None:
    """Write the standardised values of all frames to a store, shard by shard.

    Raises:
        DataError: if a value is not of the domain of its transforms.
    """
    template(field).create(store)
    shards = list(field.shards())
    write = partial(write_shard, field=field, normalizer=normalizer, store=store.resolve(), budget=budget)
    for _ in followed(workers.each(write, shards), len(shards), "writing standardised values"):
        pass


def template(field: Field) -> Field:
    """Return the field of standardised values, of units 1, without the values."""
    arrays = {}
    for name in field.variables:
        array = field.dataset[name]
        nothing = da.zeros(array.shape, dtype=np.float32, chunks=-1)  # never computed
        arrays[name] = xr.DataArray(nothing, dims=array.dims, attrs={"units": "1"})
        arrays[name].encoding = array.encoding
    return Field(field.dataset.assign(arrays))


def write_shard(part: Part, *, field: Field, normalizer: Normalizer, store: Path, budget: Budget) -> None:
    """Standardise one shard of each variable and write it into the store.

    Raises:
        DataError: if a value is not of the domain of its transforms.
    """
    for channel in normalizer.channels:
        values = np.empty([side.stop - side.start for side in (part.frames, part.rows)] + [field.shape[3]], np.float32)
        for frames, rows in _blocks(part, field.shape[3], budget):
            values[_within(frames, part.frames), _within(rows, part.rows)] = _standardized(field, channel, frames, rows)
        zarr.open_array(store / channel.variable, mode="r+")[part.frames, part.rows] = values


def _blocks(part: Part, width: int, budget: Budget) -> Iterator[tuple[slice, slice]]:
    num_frames, num_rows = block_shape(part.rows.stop - part.rows.start, width, budget.block)
    for frames in _cut(part.frames, num_frames):
        for rows in _cut(part.rows, num_rows):
            yield frames, rows


def _cut(whole: slice, size: int) -> Iterator[slice]:
    for first in range(whole.start, whole.stop, size):
        yield slice(first, min(first + size, whole.stop))


def _within(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)


def _standardized(field: Field, channel: Standardization, frames: slice, rows: slice) -> Float32[np.ndarray, "t h w"]:
    block = field.dataset[channel.variable].isel({field.time_dim: frames, field.spatial_dims[0]: rows}).values
    times = field.times[frames]
    channel.check(block, times, first_row=rows.start)
    return np.asarray(channel.rows(rows).normalize(block, times), dtype=np.float32)
