"""Separate sequences in one file, laid on one clock: each behind the one before it, a frame left out between them.

A file has them along a dimension `sequence`, whose coordinate numbers them through the archive; its axis of time counts
from the beginning of each. The number alone decides where on the clock of the record a sequence lies, so that files can
come in any order and at any time. A gap parts them, and nothing that runs over consecutive frames runs across it.
"""

from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Int64

from physicnet.clock import calendar_of, from_milliseconds, to_milliseconds
from physicnet.fields import PART, PARTS, SEQUENCE, DataError

NUMBERED = "write a coordinate of whole numbers that no other sequence of the archive has"


def one_of(array: xr.DataArray) -> xr.DataArray:
    """Return the first of the sequences, or what has none as it is."""
    return array.isel({SEQUENCE: 0}) if SEQUENCE in array.dims else array


def laid(
    path: Path, frames: xr.DataArray, stored: xr.DataArray, time: str | None, moments: np.ndarray
) -> tuple[xr.DataArray, np.ndarray]:
    """Lay sequences one behind the other; return the frames, still lazy, and their times.

    Args:
        path: of the file, for messages.
        frames: `(sequence, time, row, column)` in any order; without `sequence` when returned, of which, and of `part`
            if the file tells it, coordinates along time remain.
        stored: the variable with its coordinates.
        time: the dimension of time.
        moments: the times of the frames of each sequence.

    Raises:
        DataError: if the sequences are not numbered, one has a single frame, or the parts cannot be understood.
    """
    if time is None or len(moments) < 2:
        raise DataError(f"{path}: a sequence needs two frames, each at a time of its own; move the file away")
    numbers, since = _numbers(path, stored), to_milliseconds(moments)
    steps = np.diff(since)
    if steps.min() <= 0:
        raise DataError(f"{path}: the times of a sequence must increase from frame to frame; correct {time}")
    period = since[-1] - since[0] + 2 * steps.min()
    ordered = frames.transpose(SEQUENCE, time, ...)
    flat = ordered.data.reshape(-1, *ordered.shape[2:])
    told = {SEQUENCE: numbers} | ({PART: _parts(path, stored)} if PART in stored.coords else {})
    of_frames = {name: (time, np.repeat(values, len(since))) for name, values in told.items()}
    array = xr.DataArray(flat, dims=(time, *ordered.dims[2:]), name=frames.name)
    clock = from_milliseconds((numbers[:, None] * period + since).ravel(), calendar_of(moments))
    return array.assign_coords(dict(ordered.coords) | of_frames), clock


def _numbers(path: Path, stored: xr.DataArray) -> Int64[np.ndarray, "n"]:
    if SEQUENCE not in stored.coords:
        raise DataError(f"{path}: the dimension {SEQUENCE} has no coordinate; {NUMBERED}")
    values = stored.coords[SEQUENCE].values
    if (values != np.rint(values)).any() or values.min() < 0 or len(np.unique(values)) < len(values):
        raise DataError(f"{path}: the coordinate {SEQUENCE} does not number the sequences from 0 on; {NUMBERED}")
    return values.astype(np.int64)


def _parts(path: Path, stored: xr.DataArray) -> Int64[np.ndarray, "n"]:
    """Return the places in `PARTS`."""
    coord = stored.coords[PART]
    meanings = str(coord.attrs.get("flag_meanings", "")).split()
    names = dict(zip(np.atleast_1d(coord.attrs.get("flag_values", [])).tolist(), meanings, strict=False))
    odd = [value for value in np.unique(coord.values).tolist() if names.get(value) not in PARTS]
    if odd or coord.dims != (SEQUENCE,):
        told = f"{odd[0]:g}, which its flag_meanings call {names.get(odd[0])!r}" if odd else f"dimensions {coord.dims}"
        raise DataError(
            f"{path}: the coordinate {PART} has {told}; write one value for each sequence, whose flag_values and "
            f"flag_meanings are of {', '.join(PARTS)}"
        )
    return np.array([PARTS.index(names[value]) for value in coord.values.tolist()])
