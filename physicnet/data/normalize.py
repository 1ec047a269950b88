"""Stage 2: a chronological split, and the record transformed and standardised by its training part."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from physicnet.config import ClipConfig, NormalizeConfig
from physicnet.fields import DataError, Field, frames_per_block, time_differences, written_whole
from physicnet.normalization import Normalizer, Standardization, Transform, transform_from_dict

Segments = list[list[int]]  # half-open ranges of frames, each free of time gaps

# Values in memory at once while statistics are taken, as double precision.
BLOCK_BYTES = 32 * 2**20


def normalize(config: NormalizeConfig, clip: ClipConfig, *, fields: Path, normalized: Path, statistics: Path) -> None:
    """Split the record, fit the normalisation on the training part and write everything before the test part.

    Training cannot read test values: they are not in `normalized`.

    Raises:
        DataError: if a part of the split cannot hold one clip, or a variable cannot be standardised.
    """
    field = Field.open(fields)
    splits = split(field, config, clip)
    field = Field(
        field.dataset.chunk({field.time_dim: frames_per_block(8 * field.shape[2] * field.shape[3], BLOCK_BYTES)})
    )
    transforms = {name: transform_from_dict(entry.model_dump()) for name, entry in config.transforms.items()}
    normalizer = fit(field, splits["train"], transforms)
    content = {
        "splits": splits,
        "step_seconds": float(field.step / np.timedelta64(1, "s")),
        "variables": normalizer.to_dict(),
    }
    with written_whole(normalized) as store, written_whole(statistics) as table:
        table.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        standardized(field.isel(0, splits["test"][0][0]), normalizer).save(store)


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


def fit(field: Field, segments: Segments, transforms: dict[str, Transform]) -> Normalizer:
    """Fit mean and standard deviation of each transformed variable over the frames of `segments`.

    Missing values are left out. Sums run over blocks of frames in double precision.

    Raises:
        DataError: if a variable is constant, wholly missing or not finite there.
    """
    frames = np.concatenate([np.arange(start, stop) for start, stop in segments])
    training = field.dataset.isel({field.time_dim: frames})
    transformed = xr.Dataset(
        {name: _apply(transforms[name].forward, training[name].astype(np.float64)) for name in field.variables}
    )
    moments = xr.concat([transformed.mean(), transformed.std()], dim="moment").compute()
    return Normalizer(
        tuple(
            Standardization(name, transforms[name], *(float(value) for value in moments[name]))
            for name in field.variables
        )
    )


def standardized(field: Field, normalizer: Normalizer) -> Field:
    """Return the field in standardised values, of units 1, still lazy."""
    arrays = {}
    for channel in normalizer.channels:
        array = field.dataset[channel.variable]
        arrays[channel.variable] = _apply(channel.normalize, array).assign_attrs(units="1")
        arrays[channel.variable].encoding = array.encoding
    return Field(field.dataset.assign(arrays))


def _apply(function: Any, array: xr.DataArray) -> xr.DataArray:
    """Apply a pointwise function block by block; attributes, which may no longer hold, are dropped."""
    result: xr.DataArray = xr.apply_ufunc(
        function, array, dask="parallelized", output_dtypes=[array.dtype], keep_attrs=False
    )
    return result
