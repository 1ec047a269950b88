"""Values of a file that are read a block at a time, when they are needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from cf_units import Unit
from jaxtyping import Float64, Shaped

from physicnet.data.opening import errors_named
from physicnet.data.packing import Packing
from physicnet.fields import DataError


@dataclass(frozen=True, eq=False)
class Decoding:
    """From stored numbers to values in double precision, NaN where missing."""

    packing: Packing
    units: tuple[Unit, Unit] | None = None  # those of the unpacked values and those asked for, if they differ

    @classmethod
    def of(cls, path: Path, name: str, stored: xr.Variable, units: tuple[Unit, Unit] | None = None) -> "Decoding":
        """Read how a variable is packed.

        Raises:
            DataError: if the attributes cannot be understood.
        """
        try:
            return cls(Packing.of(stored.dtype, stored.attrs), units)
        except ValueError as error:
            raise DataError(f"{path}: variable {name} has {error}; correct this attribute in the file") from None

    def __call__(self, stored: Shaped[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Unpack and convert."""
        values = self.packing.unpack(stored)
        if self.units is None:
            return values
        source, target = self.units
        return np.asarray(source.convert(values, target), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Blocks:
    """An array for dask: each block is read and decoded when it is asked for, and what fails names the file."""

    path: Path
    stored: xr.Variable
    decoding: Decoding
    dtype = np.dtype(np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the stored variable."""
        return self.stored.shape

    @property
    def ndim(self) -> int:
        """The number of its dimensions."""
        return self.stored.ndim

    def __getitem__(self, key: Any) -> Float64[np.ndarray, "..."]:
        """Read and decode a block."""
        with errors_named(self.path):
            return self.decoding(np.asarray(self.stored[key].values))

    def lazy(self, chunks: dict[str, int]) -> xr.Variable:
        """Return the variable in lazy blocks of at most `chunks` elements; dimensions not named stay whole."""
        sizes = tuple(chunks.get(str(dim), -1) for dim in self.stored.dims)
        meta = np.empty((0,) * self.ndim)
        array = da.from_array(  # type: ignore[no-untyped-call]
            self, sizes, name=False, fancy=False, asarray=False, meta=meta
        )
        return xr.Variable(self.stored.dims, array)
