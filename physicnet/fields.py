"""A gridded field with its times, units and coordinates: the one currency between the stages."""

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from jaxtyping import Float32, Int64, Shaped

from physicnet.clock import EPOCH, calendar_of, canonical, format_time, is_clock

# Large enough that a long record is few files, small enough that an appended frame rewrites little.
SHARD_BYTES = 32 * 2**20

# Cells on a side of a chunk, at most. A view of 128 cells then costs two or three chunks a frame instead of the frame;
# smaller chunks cost more in zarr's handling of each than they save (benchmarks/README.md).
CHUNK_CELLS = 256

# Read at once where frames are read one after the other, 32 MiB.
READ_VALUES = 2**23

# Coordinates along time of a record of separate sequences: the number of each frame's sequence, and its part if given.
SEQUENCE, PART = "sequence", "part"
PARTS = ("train", "validation", "test")

# Zarr's codecs in Rust, for reading: twice as fast as those in Python (benchmarks/README.md).
READING = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}


class DataError(ValueError):
    """The data cannot be used as they are; the message names the file, the variable, the value and the remedy."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write a file or folder to; it becomes `path` only if the block succeeds.

    What an earlier, killed run left under that name is removed first; a block that raises leaves nothing behind. `path`
    is at any moment the old content, the new content or (while a folder is exchanged) absent, never a part of either.
    """
    partial, old = (path.with_name(f".{path.name}{suffix}.partial") for suffix in ("", ".old"))
    _remove(partial)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        if path.is_dir():  # a folder cannot be renamed over one that holds something
            _remove(old)
            path.replace(old)
        partial.replace(path)
    finally:
        _remove(partial)
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


Segments = list[list[int]]  # half-open ranges of frames, each free of time gaps


class Part(NamedTuple):
    """What one shard holds: its file in the folder of a variable, its frames and its rows; all columns."""

    file: str
    frames: slice
    rows: slice


@dataclass(frozen=True, eq=False)
class Field:
    """One or more variables `(time, row, column)` on one grid and one clock; NaN means missing.

    The order of the variables is the order of the channels. The dataset may be lazy: nothing here reads more frames
    than it is asked for. Grid mappings and other coordinates travel along.

    Raises:
        DataError: when built from variables that do not share `(time, row, column)`, are not floating point, have no
            units, or when the times do not increase.
    """

    dataset: xr.Dataset

    def __post_init__(self) -> None:
        if not self.variables:
            raise DataError("a field needs at least one variable")
        first = self.dataset[self.variables[0]]
        for name, array in self.dataset.data_vars.items():
            if len(array.dims) != 3 or array.dims != first.dims:
                raise DataError(f"variable {name} has dimensions {array.dims}, not (time, row, column) as {first.name}")
            if array.dtype.kind != "f":
                raise DataError(f"variable {name} holds {array.dtype}, not floating point numbers")
            if "units" not in array.attrs:
                raise DataError(f"variable {name} has no attribute units")
        self._check_times()

    def _check_times(self) -> None:
        if self.time_dim not in self.dataset.coords or not is_clock(self.dataset[self.time_dim].values):
            raise DataError(f"the first dimension, {self.time_dim}, has no coordinate of times")
        missing = self.dataset[self.time_dim].isnull().values
        if missing.any():
            raise DataError(f"frame {int(np.argmax(missing))} has no time, {self.time_dim} is missing; leave it out")
        differences = time_differences(self.times)
        if (differences <= np.timedelta64(0)).any():
            where = format_time(self.times[int(np.argmax(differences <= np.timedelta64(0))) + 1])
            raise DataError(f"times must increase from frame to frame; {where} does not come after the frame before it")

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables, in the order of the channels."""
        return tuple(str(name) for name in self.dataset.data_vars)

    @property
    def units(self) -> dict[str, str]:
        """Units of each variable."""
        return {name: str(self.dataset[name].attrs["units"]) for name in self.variables}

    @property
    def sequences(self) -> Int64[np.ndarray, "t"] | None:
        """The number of the sequence that each frame is of; None for one long record."""
        return self.dataset[SEQUENCE].values.astype(np.int64) if SEQUENCE in self.dataset.coords else None

    @property
    def time_dim(self) -> str:
        """Name of the time dimension."""
        return str(self.dataset[self.variables[0]].dims[0])

    @property
    def spatial_dims(self) -> tuple[str, str]:
        """Names of the row and the column dimension."""
        _, row, column = self.dataset[self.variables[0]].dims
        return str(row), str(column)

    @cached_property
    def times(self) -> np.ndarray:
        """UTC times of the frames: `datetime64[ns]`, or `cftime` objects of years or calendars that it does not know.

        They are of the calendar `proleptic_gregorian` where a year alone is the reason.
        """
        return canonical(self.dataset[self.time_dim].values)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Frames, variables, rows, columns."""
        time, row, column = self.dataset[self.variables[0]].shape
        return time, len(self.variables), row, column

    @cached_property
    def step(self) -> np.timedelta64:
        """The most frequent difference between frames (the smallest of them, if several are).

        Raises:
            DataError: if there is only one frame, or a difference is not a whole multiple of the step.
        """
        differences = time_differences(self.times)
        if not differences.size:
            raise DataError("a single frame has no time step; add files")
        values, counts = np.unique(differences, return_counts=True)
        step = values[np.argmax(counts)]
        off_beat = differences % step != np.timedelta64(0)
        if off_beat.any():
            index = int(np.argmax(off_beat))
            where = format_time(self.times[index + 1])
            raise DataError(
                f"{where} comes {_seconds(differences[index])} s after the frame before it, "
                f"which is no whole multiple of the time step, {_seconds(step)} s; keep files of one clock"
            )
        return np.timedelta64(step)

    def times_after(self, num: int) -> np.ndarray:
        """Return the times of the `num` frames that follow the last one, a step apart."""
        last, leads = self.times[-1], range(1, num + 1)
        if isinstance(last, np.datetime64):
            return canonical(last.astype("datetime64[us]") + self.step * np.asarray(leads))
        step = self.step.astype("timedelta64[us]").item()
        return canonical(np.array([last + lead * step for lead in leads]))

    def isel(self, start: int, stop: int) -> "Field":
        """Return the frames `start` to `stop` (half open)."""
        return Field(self.dataset.isel({self.time_dim: slice(start, stop)}))

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """Rows and columns of the chunks in which a store holds each frame; of the frame, if this is no store."""
        first = self.dataset[self.variables[0]]
        _, row, column = first.encoding.get("chunks") or first.shape
        return int(row), int(column)

    def frames(
        self, start: int, stop: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Float32[np.ndarray, "t c h w"]:
        """Read the frames `start` to `stop` (half open), or a window of them, into memory; NaN where missing."""
        cut = dict(zip(self.spatial_dims, (rows, columns), strict=True))
        block = self.dataset.isel({self.time_dim: slice(start, stop), **cut})
        return np.stack([block[name].values for name in self.variables], axis=1).astype(np.float32, copy=False)

    def each_frame(self, start: int, stop: int) -> Iterator[Float32[np.ndarray, "c h w"]]:
        """Read the frames `start` to `stop` one after the other, many at once: a read costs more than a small frame."""
        at_once = max(1, READ_VALUES // int(np.prod(self.shape[1:])))
        for first in range(start, stop, at_once):
            yield from self.frames(first, min(first + at_once, stop))

    @classmethod
    def open(cls, path: Path) -> "Field":
        """Open a store that `save` wrote, without reading its values.

        Raises:
            DataError: if there is no such store.
        """
        if not path.is_dir():
            raise DataError(f"{path} does not exist; run the stage that writes it (dvc repro)")
        with zarr.config.set(READING), warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)  # that it resorts to cftime, which is meant
            dataset = xr.open_dataset(path, engine="zarr", consolidated=False, decode_coords="all", cache=False)
        return cls(dataset[dataset.attrs["channels"]])  # Zarr keeps no order of its members

    def save(self, path: Path) -> None:
        """Write a Zarr v3 store, float32, many chunks to a shard; equal fields give equal bytes.

        A frame is one chunk, or several of at most `CHUNK_CELLS` cells a side; a shard holds many frames. The store
        appears under `path` complete or not at all.
        """
        with written_whole(path) as partial:
            self._write(partial, values=True)

    def create(self, path: Path) -> None:
        """Write the store that `save` would write, coordinates and attributes included, but for the values."""
        self._write(path, values=False)

    def shards(self) -> Iterator[Part]:
        """Give the shards of a variable, in chronological order."""
        frames, _, height, width = self.shape
        _, (num_frames, num_rows, _) = layout(height, width)
        for i, start in enumerate(range(0, frames, num_frames)):
            for j, top in enumerate(range(0, height, num_rows)):
                ends = min(start + num_frames, frames), min(top + num_rows, height)
                yield Part(f"c/{i}/{j}/0", slice(start, ends[0]), slice(top, ends[1]))

    def _write(self, path: Path, *, values: bool) -> None:
        _, _, height, width = self.shape
        _, (num_frames, num_rows, _) = layout(height, width)
        blocks = {self.time_dim: num_frames, self.spatial_dims[0]: num_rows, self.spatial_dims[1]: -1}
        dataset = self.dataset.map(lambda array: array.astype(np.float32).chunk(blocks))
        dataset = dataset.assign_coords({self.time_dim: self.dataset[self.time_dim].copy(data=self.times)})
        dataset = dataset.assign_attrs(channels=list(self.variables)).drop_encoding()
        # The metadata first: without it, a part could not be written alone.
        writing = dataset.to_zarr(
            path, mode="w", zarr_format=3, consolidated=False, encoding=self._encoding(), compute=False
        )
        if values:
            writing.compute()  # type: ignore[no-untyped-call]

    def _encoding(self) -> dict[str, dict[str, Any]]:
        _, _, height, width = self.shape
        chunks, shards = layout(height, width)
        values = {"chunks": chunks, "shards": shards, "_FillValue": np.float32("nan")}
        clock = {"units": EPOCH, "calendar": calendar_of(self.times), "dtype": "int64"}
        mappings = {name: self.dataset[name].encoding.get("grid_mapping") for name in self.variables}
        links = {
            name: {"grid_mapping": mapping} for name, mapping in mappings.items() if mapping in self.dataset.coords
        }
        return {self.time_dim: clock} | {name: values | links.get(name, {}) for name in self.variables}


def layout(height: int, width: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the (frames, rows, columns) of a chunk and of a shard for frames of `height` x `width` cells.

    A frame is cut into equal chunks of at most `CHUNK_CELLS` a side; a shard holds as many whole frames as fit into
    `SHARD_BYTES`, or a band of one frame. Neither depends on the number of frames, so that a longer record has the same
    shards.
    """
    rows, columns = (-(-size // -(-size // CHUNK_CELLS)) for size in (height, width))
    across, down = -(-width // columns) * columns, -(-height // rows)
    frames = SHARD_BYTES // (4 * down * rows * across)
    bands = down if frames else max(1, SHARD_BYTES // (4 * rows * across))
    return (1, rows, columns), (max(1, frames), bands * rows, across)


def time_differences(times: Shaped[np.ndarray, "t"]) -> Shaped[np.ndarray, "t-1"]:
    """Return the time from frame to frame as `timedelta64[us]`, in any calendar: nanoseconds end at 292 years."""
    return np.diff(times.astype("datetime64[us]") if times.dtype.kind == "M" else times).astype("timedelta64[us]")


def frames_per_block(frame_bytes: int, budget: int) -> int:
    """Return how many frames of `frame_bytes` fit into `budget` bytes, at least one."""
    return max(1, budget // frame_bytes)


def block_shape(height: int, width: int, budget: int) -> tuple[int, int]:
    """Return how many frames of double precision fit into `budget` bytes; if none does, how many rows of one."""
    frames = budget // (8 * height * width)
    return max(1, frames), height if frames else max(1, budget // (8 * width))


def _seconds(difference: np.timedelta64) -> float:
    return float(difference / np.timedelta64(1, "s"))
