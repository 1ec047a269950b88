"""What one file holds: its hash, grid, times, and the statistics and content of each frame; or why it is refused."""

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float64, Int64

from physicnet.clock import calendar_of, to_milliseconds
from physicnet.config import IngestConfig, VariableConfig
from physicnet.data.budget import Budget
from physicnet.data.grids import Grid
from physicnet.data.netcdf import time_dimension
from physicnet.data.reading import blocks, opened, read, settings_of
from physicnet.data.sources import Source, Stamp, check_file, sha256_of, stamp_of
from physicnet.data.state import State
from physicnet.fields import PART, SEQUENCE, DataError

# Parameters that change nothing in what one file holds.
NOT_OF_A_FILE = ("pattern", "coarsen", "on_conflict", "max_invalid", "max_quarantined", "memory_limit", "cluster")
NONE = -1  # the sequence of a frame that is of none, and the part of one whose file tells none
# Errors of the machine: it lacks disk, open files or memory, and would for every other file too.
OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True, eq=False)
class Header:
    """The names and attributes that a file gives: of itself, its times and each variable, in the parameters' order."""

    time_dim: str
    attributes: dict
    time_attributes: dict
    variables: dict[str, dict]
    grid_mappings: dict[str, str]

    @classmethod
    def of(cls, dataset: xr.Dataset) -> "Header":
        """Take them from what `open_netcdf` returned."""
        time = time_dimension(dataset)
        arrays = {str(name): array for name, array in dataset.data_vars.items()}
        return cls(
            time,
            dict(dataset.attrs),
            dict(dataset[time].attrs),
            {name: dict(array.attrs) for name, array in arrays.items()},
            {
                name: array.encoding["grid_mapping"]
                for name, array in arrays.items()
                if "grid_mapping" in array.encoding
            },
        )


@dataclass(frozen=True, eq=False)
class Survey:
    """A file that was understood.

    `frames` has a row per frame and variable: `frame`, `time` (milliseconds of `calendar`), `sequence` and `part` (its
    place in `PARTS`), -1 where the file has none, `variable`, the numbers of `observed` cells and of those `invalid`,
    `min` and `max` of the others, and the `digest` of their values as float32. `key` is that of `frames` in the state.
    """

    source: Source
    sha256: str
    stamp: Stamp
    calendar: str
    grid: Grid
    header: Header
    frames: pd.DataFrame
    key: str


@dataclass(frozen=True)
class Refusal:
    """A file that is quarantined as a whole, and why."""

    source: Source
    reason: str
    sha256: str = ""


def survey(source: Source, *, config: IngestConfig, budget: Budget, state: State | None) -> Survey | Refusal:
    """Read a file once from beginning to end; what was known of the same content under the same settings is reused.

    Whatever goes wrong with one file is a reason to refuse it and no reason to stop: files raise any error there is.

    Raises:
        OSError: if the state cannot be read or written, or the machine lacks disk or open files.
        MemoryError: if memory does not suffice.
    """
    try:
        check_file(source)
        stamp, sha256 = stamp_of(source.path), sha256_of(source.path)
    except Exception as error:
        return refusal_of(source, error)
    key = state.key("frames", sha256, config.model_dump(exclude=set(NOT_OF_A_FILE))) if state else ""
    known = state.table(key) if state else None
    try:
        with opened(source, config) as dataset:
            statistics = _statistics(dataset, config, budget) if known is None else known
            found = Survey(
                source,
                sha256,
                stamp,
                calendar_of(dataset[time_dimension(dataset)].values),
                Grid.of(dataset),
                Header.of(dataset),
                _timed(statistics, dataset),
                key,
            )
        check_unchanged(source, stamp)
    except Exception as error:
        return refusal_of(source, error, sha256)
    if state and known is None:
        state.keep_table(key, statistics)
    return found


def check_unchanged(source: Source, stamp: Stamp) -> None:
    """Check that a file is still what it was when `stamp` was taken.

    Raises:
        DataError: if it is gone or was written to.
    """
    try:
        now = stamp_of(source.path)
    except FileNotFoundError:
        raise DataError("it vanished while it was read; bring it back or run again") from None
    if now != stamp:
        raise DataError("it changed while it was read; run again when it is complete")


def refusal_of(source: Source, error: Exception, sha256: str = "") -> Refusal:
    """Refuse a file for an error that came while it was read.

    Raises:
        Exception: the error itself if it is the machine's: the file may be in order.
    """
    for cause in (error, error.__cause__):  # libraries' errors are the cause of ours
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in OF_THE_MACHINE):
            raise cause
    return Refusal(source, reason_of(source, error), sha256)


def reason_of(source: Source, error: Exception) -> str:
    """Put an error into words that are the same wherever the folder lies."""
    if isinstance(error, PermissionError):
        return "it may not be read (permission denied); change its permissions"
    if isinstance(error, FileNotFoundError):
        return "it vanished while it was read; bring it back or run again"
    text = " ".join(str(error).split()).removeprefix(f"{source.path}: ").replace(str(source.path), source.name)
    return text if isinstance(error, DataError) else f"it cannot be read ({type(error).__name__}: {text}); repair it"


def _statistics(dataset: xr.Dataset, config: IngestConfig, budget: Budget) -> pd.DataFrame:
    parts = [
        frame_statistics(array, settings_of(config, str(name)), budget).assign(variable=str(name))
        for name, array in dataset.data_vars.items()
    ]
    return pd.concat(parts).sort_values("frame", kind="stable", ignore_index=True)


def _timed(statistics: pd.DataFrame, dataset: xr.Dataset) -> pd.DataFrame:
    frames = statistics["frame"]
    table = statistics.assign(time=to_milliseconds(dataset[time_dimension(dataset)].values)[frames])
    for name in (SEQUENCE, PART):
        table[name] = dataset[name].values[frames] if name in dataset.coords else NONE
    return table


def frame_statistics(array: xr.DataArray, variable: VariableConfig, budget: Budget) -> pd.DataFrame:
    """Return a row per frame: numbers of observed and of invalid cells, range and digest of the valid ones.

    A frame without valid cells has the range NaN. Equal digests mean equal values as float32; neither the size of the
    blocks nor the sign of a zero or the bits of a NaN change them.
    """
    parts = [_statistics_of_span(array, span, bands, variable, budget) for span, bands in blocks(array, budget)]
    return pd.concat(parts, ignore_index=True)


def _statistics_of_span(
    array: xr.DataArray, span: slice, bands: list[slice], variable: VariableConfig, budget: Budget
) -> pd.DataFrame:
    count = span.stop - span.start
    table = pd.DataFrame({"frame": np.arange(span.start, span.stop)})
    table[["observed", "invalid"]] = 0
    table[["min", "max"]] = np.nan
    digests = [hashlib.blake2b(digest_size=16) for _ in range(count)]
    for rows in bands:
        block, invalid = read(array, span, rows, variable, budget)
        values = block.values
        valid = ~np.isnan(values)
        table["observed"] += _per_frame(valid) + _per_frame(invalid)
        table["invalid"] += _per_frame(invalid)
        table["min"] = np.fmin(table["min"], values.min(axis=(1, 2), where=valid, initial=np.inf))
        table["max"] = np.fmax(table["max"], values.max(axis=(1, 2), where=valid, initial=-np.inf))
        for digest, content in zip(digests, _canonical(values), strict=True):
            digest.update(content)
    table.loc[table["observed"] == table["invalid"], ["min", "max"]] = np.nan
    return table.assign(digest=[digest.hexdigest() for digest in digests])


def _per_frame(cells: Bool[np.ndarray, "t h w"]) -> Int64[np.ndarray, "t"]:
    return np.count_nonzero(cells, axis=(1, 2))


def _canonical(values: Float64[np.ndarray, "t h w"]) -> Iterator[bytes]:
    for frame in values:
        single = frame.astype(np.float32)
        single[np.isnan(single)] = np.nan
        yield (single + np.float32(0)).tobytes()
