"""Tiny records of rain, and the normalizer that belongs to them."""

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from moving import blob

from physicnet.fields import Field
from physicnet.normalization import Normalizer, Standardization
from physicnet.transforms import Decibel


@pytest.fixture(scope="session")
def normalizer() -> Normalizer:
    return Normalizer((Standardization("rain", (Decibel(0.1, -15.0),), -10.0, 6.0),))


@pytest.fixture(scope="session")
def field_of() -> Callable[..., Field]:
    def build(values: np.ndarray, minutes: int = 10, start: str = "2020-06-01T00:00") -> Field:
        """A field with the variable `rain` from values (t h w)."""
        times = np.datetime64(start, "ns") + np.arange(len(values)) * np.timedelta64(minutes, "m")
        rows, columns = (np.arange(size) * 2000.0 for size in values.shape[1:])
        variables = {"rain": (("time", "y", "x"), values.astype(np.float32), {"units": "mm h-1"})}
        coordinates = {"time": times, "y": ("y", -rows, {"units": "m"}), "x": ("x", columns, {"units": "m"})}
        return Field(xr.Dataset(variables, coords=coordinates))

    return build


@pytest.fixture(scope="session")
def moving_blob(field_of: Callable[..., Field]) -> Field:
    return field_of(blob(10))
