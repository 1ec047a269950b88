from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physicnet.data.packing import Packing, own_attributes

FLOAT_FILL, SHORT_FILL = netCDF4.default_fillvals["f4"], netCDF4.default_fillvals["i2"]
SCALED = {"scale_factor": 0.5, "add_offset": 10.0}
NAN = np.nan


def unpacked(stored: list[float], dtype: str, **attributes: Any) -> np.ndarray:
    return Packing.of(np.dtype(dtype), attributes).unpack(np.array(stored, dtype))


@pytest.mark.parametrize(
    ("dtype", "stored", "attributes"),
    [
        ("i2", [1, 2, -999, SHORT_FILL], SCALED | {"_FillValue": np.int16(-999)}),
        ("i2", [1, 2, -999, SHORT_FILL], SCALED | {"missing_value": np.int16(-999)}),
        ("i2", [1, 2, -999, -1], {"_FillValue": np.int16(-1), "missing_value": np.int16(-999)}),
        ("i2", [1, 2, -999, -1], {"missing_value": np.array([-999, -1], np.int16)}),
        ("f4", [1, 2, FLOAT_FILL, np.nan], {}),
        ("f4", [1, 2, 1e20, np.nan], {"missing_value": np.float32(1e20)}),
        ("f8", [1, 2, 1e20, -5], {"_FillValue": np.float64(NAN), "missing_value": 1e20}),
        ("i1", [1, 2, -1, -128], {"_Unsigned": "true", "_FillValue": np.int8(-1), "scale_factor": 0.5}),
        ("i2", [0, 100, 101, -1], {"valid_min": np.int16(0), "valid_max": np.int16(100)}),
        ("f4", [0, 100, 101, -1], {"valid_range": np.array([0, 100], np.float32)}),
    ],
)  # fmt: skip
def test_values_are_those_that_the_library_itself_unpacks(
    dtype: str, stored: list[float], attributes: dict[str, Any], tmp_path: Path
) -> None:
    with netCDF4.Dataset(tmp_path / "packed.nc", "w") as file:
        file.createDimension("x", len(stored))
        variable = file.createVariable("v", dtype, ("x",), fill_value=attributes.get("_FillValue"))
        variable.setncatts({name: value for name, value in attributes.items() if name != "_FillValue"})
        variable.set_auto_maskandscale(False)
        variable[:] = np.array(stored, dtype)
    with netCDF4.Dataset(tmp_path / "packed.nc") as file:
        expected = np.ma.filled(file["v"][:].astype(np.float64), NAN)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(unpacked(stored, dtype, **attributes), expected, rtol=1e-12)


def test_the_fill_value_of_the_library_counts_only_where_none_is_told() -> None:
    np.testing.assert_array_equal(unpacked([1, SHORT_FILL], "i2"), [1, NAN])
    np.testing.assert_array_equal(unpacked([1, SHORT_FILL], "i2", _FillValue=np.int16(-999)), [1, SHORT_FILL])


@pytest.mark.parametrize(("dtype", "fill"), [("i1", -127), ("u1", 255)])
def test_of_single_bytes_every_value_counts_as_the_user_guide_says(dtype: str, fill: int) -> None:
    np.testing.assert_array_equal(unpacked([1, fill], dtype), [1, fill])


@pytest.mark.parametrize("marker", [np.float64(NAN), 1e20, -7.5, np.int32(-99999)])
def test_a_marker_that_no_stored_number_can_equal_marks_nothing(marker: Any) -> None:
    np.testing.assert_array_equal(unpacked([1, -7, 0], "i2", _FillValue=marker), [1, -7, 0])


@pytest.mark.parametrize("marker", ["-999", "-999.0", -999.0, np.int64(-999), np.array([-999.0])])
def test_a_marker_counts_whatever_its_type(marker: Any) -> None:
    np.testing.assert_array_equal(unpacked([1, -999], "i2", missing_value=marker), [1, NAN])


def test_signed_bytes_of_a_server_are_signed_again() -> None:
    np.testing.assert_array_equal(unpacked([1, 255], "u1", _Unsigned="false"), [1, -1])


def test_a_range_of_floating_point_numbers_beside_packed_integers_is_one_of_values() -> None:
    limits = {"valid_min": 10.0, "valid_max": 11.0}
    np.testing.assert_array_equal(unpacked([-1, 0, 2, 3], "i2", **SCALED, **limits), [NAN, 10, 11, NAN])


def test_infinite_values_stay() -> None:
    np.testing.assert_array_equal(unpacked([np.inf, -np.inf, 1], "f4", scale_factor=2.0), [np.inf, -np.inf, 2])


def test_bytes_in_the_order_of_the_classic_formats_are_read() -> None:
    np.testing.assert_array_equal(unpacked([1, -2, 300], ">i2", scale_factor=2.0), [2, -4, 600])


@given(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=20),
    st.floats(1e-3, 1e3),
    st.floats(-1e3, 1e3),
    st.integers(-32768, 32767),
)
def test_packing_what_was_unpacked_gives_the_stored_numbers(
    stored: list[int], scale: float, offset: float, fill: int
) -> None:
    values = unpacked(stored, "i2", scale_factor=scale, add_offset=offset, _FillValue=np.int16(fill))
    packed = np.where(np.isnan(values), fill, np.round((values - offset) / scale))
    np.testing.assert_array_equal(packed, stored)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"missing_value": "N/A"}, "missing_value = 'N/A' is not a number"),
        ({"scale_factor": np.array([1.0, 2.0])}, r"scale_factor = array\(\[1., 2.\]\) is not one number"),
        ({"valid_range": "0 to 100"}, "valid_range = '0 to 100' is not a number"),
        ({"valid_range": np.array([0.0, 1.0, 2.0])}, r"valid_range = array\(.*\) is not two numbers"),
    ],
)
def test_attributes_that_make_no_sense_are_named(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Packing.of(np.dtype("i2"), attributes)


def test_attributes_of_stored_numbers_and_of_other_variables_do_not_travel() -> None:
    attributes = {"long_name": "rain", "scale_factor": 0.1, "coordinates": "lat lon", "valid_min": 0}
    assert own_attributes(attributes) == {"long_name": "rain"}
