"""Opens a NetCDF file: what it declares, and the variables as they are stored, without a value read.

Whatever the libraries raise becomes a `DataError` that names the file, now or when values are read.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import netCDF4
import xarray as xr

from physicnet.data.classic import expected_size
from physicnet.fields import DataError

LIBRARY_ERRORS = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, OverflowError)
# Longer axes and larger frames (2 GiB as double precision) cannot be held in memory a few times over.
MAX_FRAME_CELLS = 2**28
# A hundred times what the best compression makes of a constant: such cells were never written.
MAX_CELLS_PER_BYTE = 100_000
BEGINNINGS = {
    b"<": "it is a web page or XML under a wrong name, perhaps of a failed download",
    b"\x1f\x8b": "it is compressed with gzip: unpack it",
    b"BZh": "it is compressed with bzip2: unpack it",
    b"PK": "it is a ZIP archive: unpack it",
    b"GRIB": "it is GRIB: convert it",
}


@dataclass(frozen=True)
class Declared:
    """A variable as the file declares it."""

    group: str  # "" for the root, or such as "dataset1/data1"
    name: str
    dims: tuple[str, ...]
    sizes: tuple[int, ...]
    homes: tuple[str, ...]  # the groups in which the dimensions are defined
    attributes: Mapping[str, Any]
    content: str  # "numbers", or what else it holds

    @property
    def path(self) -> str:
        """The name with the groups."""
        return f"{self.group}/{self.name}" if self.group else self.name


@dataclass(frozen=True)
class Declarations:
    """What a file says about itself."""

    size: int  # bytes
    variables: Mapping[str, Declared]  # by their names with groups
    attributes: Mapping[str, Any]  # of the file as a whole


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn errors of the libraries into a `DataError` that names the file."""
    try:
        yield
    except DataError:
        raise
    except LIBRARY_ERRORS as error:
        raise DataError(
            f"{path} cannot be read as NetCDF ({_reason(path, error)}); repair it or move it away"
        ) from error


def _reason(path: Path, error: Exception) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(16).lstrip()
    except OSError as trouble:
        return str(trouble.strerror)
    if not start:
        return "it is empty"
    return next((reason for magic, reason in BEGINNINGS.items() if start.startswith(magic)), str(error))


def declarations(path: Path) -> Declarations:
    """Return what the file declares.

    Raises:
        DataError: if the file is not NetCDF, or is shorter than it says.
    """
    with errors_named(path):
        expected, size = expected_size(path), path.stat().st_size
        if size < expected:
            raise DataError(f"{path} is truncated: it has {size} of {expected} bytes; get it again or move it away")
        with netCDF4.Dataset(path) as file:
            variables = {variable.path: variable for variable in _walk(file)}
            attributes = {name: file.getncattr(name) for name in file.ncattrs()}
    return Declarations(size, variables, attributes)


def _walk(group: netCDF4.Dataset) -> Iterator[Declared]:
    for variable in group.variables.values():
        dims = variable.get_dims()
        yield Declared(
            group=group.path.strip("/"),
            name=variable.name,
            dims=variable.dimensions,
            sizes=tuple(len(dim) for dim in dims),
            homes=tuple(dim.group().path for dim in dims),
            attributes={name: variable.getncattr(name) for name in variable.ncattrs()},
            content=_content(variable),
        )
    for child in group.groups.values():
        yield from _walk(child)


def _content(variable: netCDF4.Variable) -> str:
    if variable.dtype is str or getattr(variable.dtype, "kind", "") in "SU":
        return "text"
    if isinstance(variable.datatype, netCDF4.CompoundType) or variable.dtype.kind == "c":
        return "complex or other compound numbers"
    if isinstance(variable.datatype, netCDF4.EnumType):
        return "names of categories"
    return "numbers" if variable.dtype.kind in "iuf" and not isinstance(variable.datatype, netCDF4.VLType) else "lists"


def check_size(path: Path, variable: Declared, size: int) -> None:
    """Check that what a variable claims to be can be real, in a file of `size` bytes.

    Raises:
        DataError: if it has far more cells than the file's bytes can stand for, or one axis beyond any memory.
    """
    cells = prod(variable.sizes)
    if cells > MAX_CELLS_PER_BYTE * size or max(variable.sizes, default=0) > MAX_FRAME_CELLS:
        raise DataError(
            f"{path}: variable {variable.path} claims {' x '.join(map(str, variable.sizes))} = {cells:.1e} cells in a "
            f"file of {size} bytes; nearly all of them cannot have been written: move the file away"
        )


def check_frame(path: Path, name: object, rows: int, columns: int) -> None:
    """Check that a frame can be held.

    Raises:
        DataError: if it has too many cells.
    """
    if rows * columns > MAX_FRAME_CELLS:
        raise DataError(
            f"{path}: a frame of {name} has {rows} x {columns} cells, more than the {MAX_FRAME_CELLS} that can be held "
            "in memory a few times over; cut the file into parts of the grid"
        )


def visible(declared: Mapping[str, Declared], variable: Declared) -> dict[str, Declared]:
    """Return the variables that the dimensions of `variable` span, as seen from its group: the nearest of each name."""
    homes = dict(zip(variable.dims, variable.homes, strict=True))
    found: dict[str, Declared] = {}
    for group in _outwards(variable.group):
        for other in declared.values():
            same = all(homes.get(dim) == home for dim, home in zip(other.dims, other.homes, strict=True))
            if other.group == group and same and other.name != variable.name:
                found.setdefault(other.name, other)
    return found


def _outwards(group: str) -> Iterator[str]:
    while group:
        yield group
        group = group.rpartition("/")[0]
    yield ""


def open_stored(path: Path, declared: Mapping[str, Declared], variables: Iterable[Declared]) -> dict[str, xr.Variable]:
    """Open some of the declared variables as they are stored, lazily; no two of them may have the same name.

    Raises:
        DataError: if the file cannot be read any more.
    """
    groups: dict[str, set[str]] = {}
    for variable in variables:
        groups.setdefault(variable.group, set()).add(variable.name)
    found: dict[str, xr.Variable] = {}
    with errors_named(path):
        for group, names in groups.items():
            others = {variable.name for variable in declared.values() if variable.group == group} - names
            found |= _open_group(path, group, others)
    return found


def _open_group(path: Path, group: str, unwanted: set[str]) -> dict[str, xr.Variable]:
    dataset = xr.open_dataset(
        path,
        engine="netcdf4",
        group=group or None,
        drop_variables=unwanted,
        decode_cf=False,
        cache=False,
        create_default_indexes=False,
    )
    return {str(name): dataset[name].variable for name in dataset.variables}
