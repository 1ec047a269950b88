"""Writes a NetCDF file whole, or not at all, also where it is told to end meanwhile."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from xarray.backends import NetCDF4DataStore

from physicnet.fields import written_whole


def write(dataset: xr.Dataset, path: Path, encoding: Mapping[Hashable, Mapping[str, Any]]) -> None:
    """Write a dataset of arrays in memory.

    No other thread may use the NetCDF library meanwhile: xarray's locks are left out. An exception that a signal raises
    while the library writes comes up as the lock is given back, which then is held for ever, and closing the file would
    wait for it.
    """
    with written_whole(path) as partial:
        store = NetCDF4DataStore.open(partial, mode="w", lock=False)  # type: ignore[no-untyped-call]
        try:
            dataset.dump_to_store(store, encoding=encoding)
        finally:
            store.close()
