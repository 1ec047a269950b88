from pathlib import Path

import netCDF4
import numpy as np
import pytest

from physicnet.data.classic import expected_size

CLASSIC = ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"]


def write(path: Path, kind: str, *, num_records: int, variables: dict[str, tuple[str, tuple[str, ...]]]) -> bytes:
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.setncatts({"title": "odd", "numbers": np.arange(3, dtype=np.int16), "empty": ""})
        file.createDimension("time", None)
        file.createDimension("x", 3)
        for name, (dtype, dims) in variables.items():
            variable = file.createVariable(name, dtype, dims)
            variable.units = "K"
            variable[:] = np.ones((num_records if "time" in dims else 3, 3)[-len(dims) :] if dims else ())
    return path.read_bytes()


@pytest.mark.parametrize("kind", CLASSIC)
@pytest.mark.parametrize("num_records", [0, 1, 5])
@pytest.mark.parametrize(
    "variables",
    [
        {"a": ("i2", ("x",)), "b": ("f8", ())},
        {"a": ("i2", ("time", "x"))},
        {"a": ("i2", ("time", "x")), "b": ("f8", ("x",)), "c": ("i1", ("time", "x"))},
        {},
    ],
)
def test_a_file_has_the_size_that_its_header_says_but_for_padding(
    kind: str, num_records: int, variables: dict[str, tuple[str, tuple[str, ...]]], tmp_path: Path
) -> None:
    size = len(write(tmp_path / "a.nc", kind, num_records=num_records, variables=variables))
    padding = size - expected_size(tmp_path / "a.nc")
    assert 0 <= padding < 4 if variables and (num_records or "x" in variables["a"][1][0]) else padding >= 0


def test_other_formats_have_no_expected_size(tmp_path: Path) -> None:
    write(tmp_path / "a.nc", "NETCDF4", num_records=2, variables={"a": ("f4", ("time", "x"))})
    assert expected_size(tmp_path / "a.nc") == 0


def test_a_header_that_breaks_off_is_noticed(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.nc", "NETCDF3_CLASSIC", num_records=2, variables={"a": ("f4", ("time", "x"))})
    (tmp_path / "a.nc").write_bytes(whole[:50])
    with pytest.raises(ValueError, match="the header is damaged: it has no end before byte 50"):
        expected_size(tmp_path / "a.nc")


def header(*words: int, name: bytes = b"time") -> bytes:
    """Return a CDF-1 header of words of four bytes; -1 stands for a name and its length."""
    parts = [len(name).to_bytes(4, "big") + name if word == -1 else word.to_bytes(4, "big") for word in words]
    return b"CDF\1" + b"".join(parts)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (header(0, 11, 1), "a list of kind 11 and length 1"),
        (header(0, 0, 3), "a list of kind 0 and length 3"),
        (header(0, 10, 1, -1, 3, 12, 1, -1, 9, 1), "a type 9"),
        (header(0, 10, 1, 0), "a name of 0 bytes"),
        (header(0, 10, 1, 2**31), "a name of 2147483648 bytes"),
        (header(0, 10, 1, -1, 3, 12, 1, -1, 6, 2**31), "no end"),
        (header(0, 10, 2, -1, 0, -1, 0), "two dimensions of records"),
        (header(0, 10, 1, -1, 3, 0, 0, 11, 1, -1, 1, 1), r"the dimensions \[1\] of 1"),
        (header(0, 10, 1, -1, 3, 0, 0, 11, 1, -1, 2**31), "a variable of 2147483648 dimensions"),
        (header(0, 10, 2, -1, 0, -1, 3, 0, 0, 11, 1, -1, 2, 1, 0), "records within records"),
        (header(0, 10, 1, -1, 3, 0, 0, 11, 1, -1, 1, 0, 0, 0, 5, 12, 8), "values in the header"),
    ],
)
def test_a_damaged_header_is_told_by_what_makes_no_sense(content: bytes, found: str, tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(content)
    with pytest.raises(ValueError, match=f"the header is damaged: it has {found} before byte"):
        expected_size(tmp_path / "a.nc")


def test_a_stream_has_as_many_records_as_there_are(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.nc", "NETCDF3_CLASSIC", num_records=2, variables={"a": ("f4", ("time", "x"))})
    (tmp_path / "a.nc").write_bytes(whole[:4] + b"\xff" * 4 + whole[8:])
    assert expected_size(tmp_path / "a.nc") == 0
