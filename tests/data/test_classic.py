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
    with pytest.raises(EOFError, match="ends within its header"):
        expected_size(tmp_path / "a.nc")


def test_a_stream_has_as_many_records_as_there_are(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.nc", "NETCDF3_CLASSIC", num_records=2, variables={"a": ("f4", ("time", "x"))})
    (tmp_path / "a.nc").write_bytes(whole[:4] + b"\xff" * 4 + whole[8:])
    assert expected_size(tmp_path / "a.nc") == 0
