from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from cf_units import Unit

from physicnet.data.blocks import Blocks, Decoding
from physicnet.fields import DataError

FILE = Path("odd.nc")
STORED = xr.Variable(("time", "y", "x"), np.arange(24, dtype=np.int16).reshape(4, 2, 3), {"scale_factor": 0.5})


def test_blocks_are_unpacked_and_converted() -> None:
    decoding = Decoding.of(FILE, "air", STORED, (Unit("degC"), Unit("K")))
    lazy = Blocks(FILE, STORED, decoding).lazy({"time": 3})
    assert lazy.chunks == ((3, 1), (2,), (3,))
    np.testing.assert_allclose(lazy, 0.5 * STORED.values + 273.15)
    assert lazy.dtype == np.float64


def test_missing_values_stay_missing_in_other_units() -> None:
    variable = xr.Variable(("x",), np.array([1, -9], np.int16), {"_FillValue": np.int16(-9)})
    decoding = Decoding.of(FILE, "air", variable, (Unit("km"), Unit("m")))
    np.testing.assert_array_equal(decoding(variable.values), [1000, np.nan])


def test_attributes_that_make_no_sense_are_named_with_file_and_variable() -> None:
    with pytest.raises(DataError, match=r"odd\.nc: variable air has add_offset = 'none' is not a number; correct this"):
        Decoding.of(FILE, "air", xr.Variable((), 0.0, {"add_offset": "none"}))
