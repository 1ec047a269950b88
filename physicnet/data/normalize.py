"""Stage 2: a chronological split, and the record transformed and standardised by its training part."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr
from safetensors.numpy import save

from physicnet.config import ClipConfig, NormalizeConfig
from physicnet.data.statistics import BLOCK_BYTES, fit
from physicnet.fields import DataError, Field, frames_per_block, time_differences, written_whole
from physicnet.normalization import Normalizer

Segments = list[list[int]]  # half-open ranges of frames, each free of time gaps


def normalize(
    config: NormalizeConfig, clip: ClipConfig, *, fields: Path, normalized: Path, statistics: Path, maps: Path
) -> None:
    """Split the record, fit the normalisation on the training part and write everything before the test part.

    Training cannot read test values: they are not in `normalized`. `maps` holds what has a value per cell; if nothing
    has, it is a file without an array.

    Raises:
        DataError: if a part of the split cannot hold one clip, a variable cannot be standardised, or a value is not of
            the domain of its transforms.
    """
    field = Field.open(fields)
    splits = split(field, config, clip)
    try:
        normalizer = fit(field, splits["train"], config)
        _check_clock(field, normalizer)
        with written_whole(normalized) as store, written_whole(statistics) as table, written_whole(maps) as arrays:
            table.write_text(
                json.dumps(_described(field, splits, normalizer), indent=2, sort_keys=True) + "\n", "utf-8"
            )
            arrays.write_bytes(save(normalizer.maps()))
            standardized(field.isel(0, splits["test"][0][0]), normalizer).save(store)
    except DataError as error:
        raise DataError(f"{fields}: {error}") from None


def _described(field: Field, splits: dict[str, Segments], normalizer: Normalizer) -> dict[str, object]:
    seconds = float(field.step / np.timedelta64(1, "s"))
    return {"splits": splits, "step_seconds": seconds, "variables": normalizer.to_dict()}


def _check_clock(field: Field, normalizer: Normalizer) -> None:
    """Ask for the cycles at the times of the whole record, now and not when the test part is scored."""
    for channel in normalizer.channels:
        if channel.cycles is not None:
            channel.cycles.check(field.times)


def split(field: Field, config: NormalizeConfig, clip: ClipConfig) -> dict[str, Segments]:
    """Return the frames of the train, validation and test part: chronological, `config.gap` frames between them.

    The fractions count the frames that the two gaps leave. A part is a list of ranges, because no range runs across a
    gap in time.

    Raises:
        DataError: if a part has no range that holds a clip.
    """
    frames = field.shape[0]
    usable = max(0, frames - 2 * config.gap)
    train = round(usable * config.train_fraction)
    validation = round(usable * (config.train_fraction + config.validation_fraction)) - train
    test = usable - train - validation
    first = {"train": 0, "validation": train + config.gap, "test": train + validation + 2 * config.gap}
    sizes = {"train": train, "validation": validation, "test": test}
    splits = {part: without_gaps(field, first[part], first[part] + sizes[part]) for part in sizes}
    for part, segments in splits.items():
        longest = max((stop - start for start, stop in segments), default=0)
        if longest < clip.frames:
            raise DataError(
                f"of {frames} frames the {part} part gets {sizes[part]}, at most {longest} of them without a gap in "
                f"time, but one clip needs {clip.frames}: add data, change normalize.train_fraction or "
                "normalize.validation_fraction, or lower normalize.gap, clip.frames_in or clip.frames_out"
            )
    return splits


def without_gaps(field: Field, start: int, stop: int) -> Segments:
    """Cut the frames `start` to `stop` wherever more than one time step passes between two frames."""
    if stop <= start:
        return []
    jumps = np.flatnonzero(time_differences(field.times[start:stop]) > field.step) + start + 1
    bounds = [start, *jumps.tolist(), stop]
    return [list(pair) for pair in pairwise(bounds)]


def standardized(field: Field, normalizer: Normalizer) -> Field:
    """Return the field in standardised values, of units 1, still lazy."""
    size = frames_per_block(8 * field.shape[2] * field.shape[3], BLOCK_BYTES)
    lazy = field.dataset.chunk({field.time_dim: size})

    def of_block(block: xr.Dataset) -> xr.Dataset:
        times, arrays = block[field.time_dim].values, {}
        for channel in normalizer.channels:
            array = block[channel.variable]
            channel.check(array.values, times)
            arrays[channel.variable] = array.copy(data=channel.normalize(array.values, times))
        return block.assign(arrays)

    result = xr.map_blocks(of_block, lazy, template=lazy)
    for name in field.variables:
        result[name].attrs = {"units": "1"}
        result[name].encoding = field.dataset[name].encoding
    return Field(result)
