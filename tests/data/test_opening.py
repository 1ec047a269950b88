from pathlib import Path

import netCDF4
import numpy as np
import pytest
from dialects import VALUES, add, fill, write

from physicnet.data import opening
from physicnet.data.opening import check_size, declarations, errors_named, open_stored, visible
from physicnet.fields import DataError

COMPLEX = np.dtype([("r", "f4"), ("i", "f4")])


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """Write a variable two groups deep whose x is the inner group's and whose y and time are the root's."""
    with netCDF4.Dataset(tmp_path / "nested.nc", "w") as file:
        for name, size in (("time", 4), ("y", 3), ("x", 9)):
            file.createDimension(name, size)
            add(file, name, np.arange(size), (name,))
        inner = file.createGroup("dataset1/data1")
        inner.createDimension("x", 5)
        add(inner, "rate", VALUES, ("time", "y", "x"))
        add(inner, "y", np.arange(3) + 100, ("y",))
        add(file["dataset1"], "height", 2.0)
        add(file.createGroup("dataset2"), "rate", np.zeros(9), ("x",))
    return tmp_path / "nested.nc"


def test_variables_are_declared_with_their_groups(nested: Path) -> None:
    found = declarations(nested).variables
    assert set(found) == {
        *("time", "y", "x", "dataset1/height", "dataset1/data1/rate", "dataset1/data1/y", "dataset2/rate"),
    }
    rate = found["dataset1/data1/rate"]
    assert (rate.dims, rate.sizes, rate.homes) == (("time", "y", "x"), (4, 3, 5), ("/", "/", "/dataset1/data1"))


def test_from_a_group_the_nearest_variables_on_its_own_dimensions_are_seen(nested: Path) -> None:
    found = declarations(nested).variables
    seen = visible(found, found["dataset1/data1/rate"])
    assert {name: variable.group for name, variable in seen.items()} == {
        "y": "dataset1/data1",
        "height": "dataset1",
        "time": "",
    }


def test_stored_variables_are_read_from_several_groups(nested: Path) -> None:
    found = declarations(nested).variables
    stored = open_stored(nested, found, [found["dataset1/data1/rate"], found["time"]])
    np.testing.assert_array_equal(stored["rate"].values, VALUES)
    np.testing.assert_array_equal(stored["time"].values, np.arange(4))
    assert set(stored) == {"rate", "time"}


def test_what_is_not_made_of_real_numbers_is_known(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("x", 2)
        file.createVariable("number", "u8", ("x",))
        file.createVariable("letters", "S1", ("x",))
        file.createVariable("words", str, ("x",))
        file.createVariable("lists", file.createVLType(np.int32, "list"), ("x",))
        file.createVariable("wave", file.createCompoundType(COMPLEX, "complex"), ("x",))
        file.createVariable("kind", file.createEnumType(np.int8, "kinds", {"rain": 0, "snow": 1}), ("x",))
    assert {name: variable.content for name, variable in declarations(tmp_path / "a.nc").variables.items()} == {
        "number": "numbers",
        "letters": "text",
        "words": "text",
        "lists": "lists",
        "wave": "complex or other compound numbers",
        "kind": "names of categories",
    }


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html>404", "it is a web page or XML under a wrong name"),
        (b"\x1f\x8b\x08\x00", "compressed with gzip: unpack it"),
        (b"BZh9", "compressed with bzip2: unpack it"),
        (b"PK\x03\x04", "a ZIP archive: unpack it"),
        (b"GRIB\x00", "it is GRIB: convert it"),
        (b"no data", "Unknown file format"),
        (b"CDF\x01\x00\x00", "the header is damaged: it has no end before byte 6"),
    ],
)
def test_a_file_that_is_not_netcdf_is_named_with_what_it_is(start: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "odd.nc").write_bytes(start)
    with pytest.raises(
        DataError, match=rf"odd\.nc cannot be read as NetCDF \(.*{reason}.*\); repair it or move it away"
    ):
        declarations(tmp_path / "odd.nc")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read as NetCDF \(Is a directory\)"):
        declarations(tmp_path)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.nc cannot be read as NetCDF \(No such file"):
        declarations(tmp_path / "gone.nc")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "odd.nc")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(netCDF4, "Dataset", refuse)  # the tests may run as a user whom no permission binds
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"odd\.nc cannot be read as NetCDF \(Permission denied\)"):
        declarations(path)


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("lost", [1, 4, 100])
def test_a_truncated_classic_file_is_named(kind: str, lost: int, tmp_path: Path) -> None:
    path = write(tmp_path / "odd.nc", dtype="f8", kind=kind)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(DataError, match=r"odd\.nc is truncated: it has \d+ of \d+ bytes; get it again"):
        declarations(path)


@pytest.mark.parametrize("kind", ["NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_a_header_with_changed_bytes_is_read_or_named_and_never_ends_the_process(kind: str, tmp_path: Path) -> None:
    whole = write(tmp_path / "odd.nc", kind=kind).read_bytes()
    rng = np.random.default_rng(0)
    refused = []
    for number in range(100):
        content = bytearray(whole)
        content[rng.integers(4, 500)] = rng.integers(256)
        path = tmp_path / f"{number}.nc"
        path.write_bytes(content)
        try:
            declarations(path)
        except DataError as error:
            refused.append(str(error).partition(" ")[0] == str(path))
    assert 30 < len(refused) < 100
    assert all(refused)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.99])
def test_a_truncated_file_is_named(kept: float, tmp_path: Path) -> None:
    path = write(tmp_path / "odd.nc", dtype="f8")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=r"odd\.nc cannot be read as NetCDF \(.*\); repair"):
        declarations(path)


def test_our_own_reasons_pass() -> None:
    def refuse() -> None:
        with errors_named(Path("odd.nc")):
            raise DataError("because")

    with pytest.raises(DataError, match="^because$"):
        refuse()


@pytest.mark.parametrize("sizes", [(1, 10**6, 10**6), (10**6, 10**3, 10**3), (10**12, 1, 1), (2**28 + 1, 1, 1)])
def test_a_claim_of_cells_that_the_file_cannot_hold_is_named(sizes: tuple[int, ...], tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "odd.nc", "w") as file:
        for name, size in zip("tyx", sizes, strict=True):
            file.createDimension(name, size)
        file.createVariable("rate", "f4", ("t", "y", "x"), chunksizes=[min(size, 100) for size in sizes])
    declared = declarations(tmp_path / "odd.nc")
    with pytest.raises(
        DataError, match=r"odd\.nc: variable rate claims \d+ x \d+ x \d+ = .* cells in a file of \d+ by"
    ):
        check_size(tmp_path / "odd.nc", declared.variables["rate"], declared.size)


def test_well_compressed_zeros_are_no_claim(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "dry.nc", "w") as file:
        for name, size in (("time", 24), ("y", 300), ("x", 300)):
            file.createDimension(name, size)
        file.createVariable("rate", "f4", ("time", "y", "x"), compression="zlib", complevel=9)[:] = np.zeros(1)
    declared = declarations(tmp_path / "dry.nc")
    check_size(tmp_path / "dry.nc", declared.variables["rate"], declared.size)
    assert declared.size < opening.MAX_CELLS_PER_BYTE


def test_a_file_that_vanishes_before_its_variables_are_opened_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.nc")
    found = declarations(path).variables
    path.unlink()
    with pytest.raises(DataError, match=r"odd\.nc cannot be read as NetCDF \(No such file"):
        open_stored(path, found, [found["rate"]])


def test_the_file_tells_of_itself(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        fill(file)
        file.institution = "KNMI"
    declared = declarations(tmp_path / "a.nc")
    assert (declared.attributes, declared.size) == ({"institution": "KNMI"}, (tmp_path / "a.nc").stat().st_size)
