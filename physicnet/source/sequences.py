"""Separate sequences in NetCDF: what every source writes, and ingest lays on one clock.

A file holds some sequences of equal length, `(sequence, time, y, x)`. Its axis `time` counts from the beginning of each
sequence; `sequence` is a number that no other sequence of the archive has, of the standard name `realization`. A source
that comes with parts of its own, such as the published test set of a benchmark, tells them by a coordinate `part`; one
that reads sequences from elsewhere tells by further coordinates which they are. docs/data-formats.md has the layout.
"""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float64, Shaped

from physicnet.data import writing
from physicnet.data.progress import followed
from physicnet.fields import PART, PARTS, SEQUENCE, DataError

SETTINGS = "physicnet_source"
BEGINNING = "2000-01-01 00:00:00"  # from which every sequence counts its time: any would do
LEVEL = 4  # of zlib: more takes longer and saves little

Make = Callable[[range], Mapping[str, Shaped[np.ndarray, "s t h w"]]]


@dataclass(frozen=True)
class Kind:
    """What the sequences of an archive have in common.

    `name` begins the names of the files. `variables` has the attributes of each variable, `units` among them.
    `settings` are all that decides the values, seed included: an archive is only gone on with under the same. `y` and
    `x` are the places of rows and columns, in `length_units`. `parts` has the number of sequences in each part, in
    their order; by default there are none, and the pipeline splits. `labels` are texts of each sequence, such as where
    it was read from. Where `is_packed`, values are whole numbers from 0 to 255, and kept as bytes; `missing` is the one
    of them that stands for no value, if any does. Other values are single precision, NaN where there is none.
    """

    name: str
    title: str
    references: str
    license: str
    variables: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, Any]
    num_frames: int
    step: float  # seconds
    y: Float64[np.ndarray, "n"]
    x: Float64[np.ndarray, "m"]
    length_units: str = "1"
    parts: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_packed: bool = False
    missing: int | None = None


@dataclass(frozen=True)
class Written:
    """How many files were made, and how many were there before."""

    made: int
    known: int


def write(folder: Path, kind: Kind, num_sequences: int, make: Make, *, per_file: int) -> Written:
    """Write sequences to files of `per_file` each, one after the other; what is there already is not made again.

    Args:
        folder: of the files `NAME_FIRST-LAST.nc`, numbers of their sequences; it is made if need be.
        kind: what they have in common.
        num_sequences: how many there are in all.
        make: gives the values of a range of sequences, each variable `(sequence, time, y, x)`. What it gives for one
            must not depend on the range: seed a generator for each sequence, `default_rng([seed, sequence])`.
        per_file: sequences of a file; all of them are in memory at once.

    Raises:
        DataError: if the folder holds files of this name that were made otherwise.
    """
    assert num_sequences > 0
    assert not kind.parts or sum(kind.parts.values()) == num_sequences
    ranges = [range(first, min(first + per_file, num_sequences)) for first in range(0, num_sequences, per_file)]
    paths = {folder / f"{kind.name}_{each[0]:06d}-{each[-1]:06d}.nc": each for each in ranges}
    _refuse_others(folder, kind, paths)
    missing = {path: numbers for path, numbers in paths.items() if not path.exists()}
    for path, numbers in followed(iter(missing.items()), len(missing), kind.name):
        writing.write(_dataset(kind, numbers, make(numbers)), path, _encoding(kind))
    return Written(len(missing), len(paths) - len(missing))


def by_part(parts: Mapping[str, int], numbers: range) -> Iterator[tuple[str, range]]:
    """Give the parts that a range of sequences reaches into, and which numbers they have within each part."""
    first = 0
    for part in PARTS:
        within = range(max(numbers.start - first, 0), min(numbers.stop - first, parts.get(part, 0)))
        if within:
            yield part, within
        first += parts.get(part, 0)


def _refuse_others(folder: Path, kind: Kind, paths: Mapping[Path, range]) -> None:
    for path in sorted(folder.glob(f"{kind.name}_*.nc")):
        if path not in paths:
            raise DataError(
                f"{path} is none of the files that are to be written ({next(iter(paths)).name} and so on): it is of "
                "another number of sequences, in all or in a file; name another folder, or remove it"
            )
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as there:
            told = json.loads(there.attrs.get(SETTINGS, "{}"))
        differing = [name for name in _told(kind) if told.get(name) != _told(kind)[name]]
        if differing:
            name = differing[0]
            raise DataError(
                f"{path} was made with {name} = {told.get(name)!r}, not {_told(kind)[name]!r}; name another folder, or "
                "remove the files of this one"
            )


def _told(kind: Kind) -> dict[str, Any]:
    """Return the settings, the parts among them, as they are read from a file again."""
    settings = dict(kind.settings) | ({"parts": dict(kind.parts)} if kind.parts else {})
    told: dict[str, Any] = json.loads(json.dumps(settings))
    return told


def _dataset(kind: Kind, numbers: range, values: Mapping[str, Shaped[np.ndarray, "s t h w"]]) -> xr.Dataset:
    dims = (SEQUENCE, "time", "y", "x")
    time = np.arange(kind.num_frames) * kind.step
    coordinates: dict[str, Any] = {
        SEQUENCE: (SEQUENCE, np.array(numbers, np.int64), {"standard_name": "realization", "long_name": "sequence"}),
        "time": ("time", time, {"units": f"seconds since {BEGINNING}", "standard_name": "time", "axis": "T"}),
        "y": ("y", kind.y, _place("y", kind.length_units)),
        "x": ("x", kind.x, _place("x", kind.length_units)),
    }
    if kind.parts:
        flags = {"flag_values": np.arange(len(PARTS), dtype=np.int8), "flag_meanings": " ".join(PARTS)}
        coordinates[PART] = (SEQUENCE, _parts(kind)[numbers.start : numbers.stop], {"long_name": "part"} | flags)
    for name, texts in kind.labels.items():
        coordinates[name] = (SEQUENCE, np.array(texts[numbers.start : numbers.stop], object), {"long_name": name})
    arrays = {name: (dims, values[name], dict(attributes)) for name, attributes in kind.variables.items()}
    attributes = {
        "Conventions": "CF-1.8",
        "title": kind.title,
        "references": kind.references,
        "license": kind.license,
        SETTINGS: json.dumps(_told(kind), sort_keys=True),
    }
    return xr.Dataset(arrays, coordinates, attributes)


def _place(axis: str, units: str) -> dict[str, str]:
    standard = {"standard_name": f"projection_{axis}_coordinate"} if units in ("m", "km") else {}
    return {"units": units, "axis": axis.upper()} | standard


def _parts(kind: Kind) -> Shaped[np.ndarray, "n"]:
    return np.repeat(np.arange(len(PARTS), dtype=np.int8), [kind.parts.get(part, 0) for part in PARTS])


def _encoding(kind: Kind) -> dict[Hashable, dict[str, Any]]:
    shape = (1, kind.num_frames, kind.y.size, kind.x.size)
    stored = {"dtype": np.uint8, "_FillValue": kind.missing} if kind.is_packed else {"dtype": np.float32}
    layout = {"zlib": True, "complevel": LEVEL, "shuffle": True, "chunksizes": shape}
    coordinates: dict[Hashable, dict[str, Any]] = {name: {"_FillValue": None} for name in ("time", "y", "x")}
    return coordinates | dict.fromkeys(kind.variables, stored | layout)
