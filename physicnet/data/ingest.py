"""Stage 1: all raw files become one record on one grid, one clock and one unit per variable."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from physicnet.config import IngestConfig
from physicnet.data.netcdf import open_netcdf, time_dimension
from physicnet.fields import DataError, Field, written_whole

# Part of a cell's size by which coordinates of the same grid may differ between files: rounding, not resolution.
GRID_TOLERANCE = 1e-3
KEEP_ONE_GRID = "keep the files of one grid and move the others away"


def ingest(config: IngestConfig, *, raw: Path, fields: Path, catalogue: Path) -> None:
    """Read the files of the folder `raw` that match `config.pattern` into one Zarr store and a catalogue of the files.

    Frames are sorted in time; exact repetitions are dropped. Memory is bounded by the size of a block of frames, not by
    the size of the files.

    Raises:
        DataError: if there is no file, a file cannot be understood, or the files do not fit together.
    """
    paths = sorted(path for path in raw.glob(config.pattern) if path.is_file())
    if not paths:
        raise DataError(f"no file in {raw} matches {config.pattern!r}; add files or correct ingest.pattern")
    files = [open_netcdf(path, config) for path in paths]
    check_grids(paths, files)
    record, repeated = merge(paths, files)
    field = Field(coarsen(record, config.coarsen))
    check_clock(raw, field)
    with written_whole(fields) as store, written_whole(catalogue) as table:
        rows = [describe(raw, path, file, count) for path, file, count in zip(paths, files, repeated, strict=True)]
        pd.DataFrame(rows).to_csv(table, index=False, lineterminator="\n")
        field.save(store)


def check_grids(paths: Sequence[Path], files: Sequence[xr.Dataset]) -> None:
    """Check that all files have the first one's dimensions and coordinates.

    Raises:
        DataError: naming the file that differs and in what.
    """
    first = next(iter(files[0].data_vars.values()))
    for path, file in zip(paths, files, strict=True):
        array = next(iter(file.data_vars.values()))
        if array.dims != first.dims or array.shape[1:] != first.shape[1:]:
            found, expected = dict(array.sizes), dict(first.sizes)
            raise DataError(f"{path} has the grid {found}, but {paths[0]} {expected}; {KEEP_ONE_GRID}")
        for dim in first.dims[1:]:
            if dim in first.coords and not _same_axis(array.coords.get(dim), first.coords[dim]):
                raise DataError(f"{path} has other values of {dim} than {paths[0]}; {KEEP_ONE_GRID}")


def _same_axis(axis: xr.DataArray | None, expected: xr.DataArray) -> bool:
    if axis is None:
        return False
    spacing = np.abs(np.diff(expected.values)).min(initial=np.inf)
    tolerance = GRID_TOLERANCE * spacing if np.isfinite(spacing) else 0.0
    return np.allclose(axis.values, expected.values, rtol=0, atol=tolerance)


def merge(paths: Sequence[Path], files: Sequence[xr.Dataset]) -> tuple[xr.Dataset, list[int]]:
    """Join files along time in chronological order, without repetitions; the first file's coordinates stand for all.

    Returns the record and how many frames of each file were dropped because an equal frame was there already.

    Raises:
        DataError: if two frames have the same time and different values.
    """
    time = time_dimension(files[0])
    joined = xr.concat(
        files,
        dim=time,
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="override",
    )
    origins = np.repeat(np.arange(len(files)), [file.sizes[time] for file in files])
    order = np.argsort(joined[time].values, kind="stable")
    times = joined[time].values[order]
    repeats = np.flatnonzero(times[1:] == times[:-1]) + 1
    for later in repeats:
        pair = order[[later - 1, later]]
        if not joined.isel({time: pair[:1]}).equals(joined.isel({time: pair[1:]})):
            first, second = (paths[origins[index]] for index in pair)
            raise DataError(f"{first} and {second} hold different values at {times[later]}; keep one of them")
    dropped = np.bincount(origins[order[repeats]], minlength=len(files))
    return joined.isel({time: np.delete(order, repeats)}), dropped.tolist()


def coarsen(dataset: xr.Dataset, factor: int) -> xr.Dataset:
    """Average `factor` x `factor` cells into one; it is missing where fewer than half of them are valid.

    Odd rows and columns at the end are cut off. Coordinates are averaged too.
    """
    if factor == 1:
        return dataset
    _, row, column = next(iter(dataset.data_vars.values())).dims
    blocks = dataset.coarsen({row: factor, column: factor}, boundary="trim")
    means = blocks.mean().where(2 * blocks.count() >= factor**2)
    for name, array in dataset.data_vars.items():
        means[name].encoding = array.encoding
    return means


def check_clock(raw: Path, field: Field) -> None:
    """Check that the record has a time step, of which all differences are whole multiples.

    Raises:
        DataError: naming the frame that is off the beat.
    """
    try:
        _ = field.step
    except DataError as error:
        raise DataError(f"{raw}: {error}") from None


def describe(raw: Path, path: Path, file: xr.Dataset, repeated: int) -> dict[str, object]:
    """Return a file's row of the catalogue; values are in our units, before coarsening.

    Columns with one value per variable join them by `;`, in the order of `variables`.
    """
    time = time_dimension(file)
    # One computation, so that the file is read once.
    reductions = xr.concat([file.isnull().mean(), file.min(), file.max()], dim="reduction").compute()
    missing, low, high = (_joined(reductions.isel(reduction=index)) for index in range(3))
    return {
        "path": path.relative_to(raw).as_posix(),
        "sha256": _sha256(path),
        "variables": ";".join(map(str, file.data_vars)),
        "shape": "x".join(str(size) for size in next(iter(file.data_vars.values())).shape),
        "first": str(file[time].values.min()),
        "last": str(file[time].values.max()),
        "frames": file.sizes[time],
        "missing": missing,
        "min": low,
        "max": high,
        "status": "accepted",
        "reason": f"{repeated} frames repeat earlier ones" if repeated else "",
    }


def _joined(values: xr.Dataset) -> str:
    return ";".join(f"{array.item():.6g}" for array in values.data_vars.values())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
