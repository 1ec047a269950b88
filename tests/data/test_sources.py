import hashlib
import os
import re
from pathlib import Path

import pytest

from physicnet.data.sources import Source, check_file, find_sources, sha256_of, stamp_of
from physicnet.fields import DataError


def source(path: Path) -> Source:
    return Source(path.name, path, path.parent)


def test_files_come_in_the_order_of_their_numbers(raw: Path) -> None:
    for name in ("v10.nc", "v9.nc", "a.nc", "v9b.nc", "other.txt"):
        (raw / name).touch()
    (raw / "folder.nc").mkdir()
    found = find_sources(raw, "*.nc")
    assert [one.name for one in found] == ["a.nc", "v9.nc", "v9b.nc", "v10.nc"]
    assert found[0] == Source("a.nc", raw / "a.nc", raw)


def test_names_of_files_in_folders_hold_the_folder(raw: Path) -> None:
    (raw / "2020").mkdir()
    (raw / "2020" / "a.nc").touch()
    assert [one.name for one in find_sources(raw, "**/*.nc")] == ["2020/a.nc"]


def test_a_link_to_nothing_is_found_too(raw: Path) -> None:
    (raw / "a.nc").symlink_to("gone.nc")
    assert [one.name for one in find_sources(raw, "*.nc")] == ["a.nc"]


def test_an_empty_folder_is_named(raw: Path) -> None:
    with pytest.raises(DataError, match=r"no file in .*raw matches '\*\.nc'; add files or correct ingest\.pattern"):
        find_sources(raw, "*.nc")


def test_a_folder_that_cannot_be_listed_is_named(raw: Path) -> None:
    (raw / "file").touch()
    with pytest.raises(DataError, match=r"raw/file cannot be listed \(Not a directory\)"):
        find_sources(raw / "file", "*.nc")


def test_a_file_in_the_folder_is_in_order_also_behind_a_link_inside(raw: Path) -> None:
    (raw / "a.nc").touch()
    (raw / "b.nc").symlink_to("a.nc")
    check_file(source(raw / "a.nc"))
    check_file(source(raw / "b.nc"))


def test_a_link_out_of_the_folder_is_named(raw: Path) -> None:
    (raw.parent / "elsewhere.nc").touch()
    (raw / "a.nc").symlink_to("../elsewhere.nc")
    with pytest.raises(DataError, match=r"link to .*/elsewhere\.nc, outside of the folder; copy the file"):
        check_file(source(raw / "a.nc"))


def test_a_link_to_nothing_is_named(raw: Path) -> None:
    (raw / "a.nc").symlink_to("gone.nc")
    with pytest.raises(DataError, match="there is no such file, or it is a link to nothing"):
        check_file(source(raw / "a.nc"))


def test_a_pipe_is_named_and_not_waited_for(raw: Path) -> None:
    os.mkfifo(raw / "a.nc")
    with pytest.raises(DataError, match=r"no regular file \(a folder, pipe or device\)"):
        check_file(source(raw / "a.nc"))


def test_a_stamp_changes_with_the_file(raw: Path) -> None:
    path = raw / "a.nc"
    path.write_bytes(b"one")
    before = stamp_of(path)
    path.write_bytes(b"three")
    assert stamp_of(path) != before
    assert sha256_of(path) == hashlib.sha256(b"three").hexdigest()


@pytest.mark.parametrize("pattern", ["", ".", "/abs/*", "../raw/*.nc", "a/../*.nc"])
def test_a_pattern_that_leads_out_of_the_folder_is_named(raw: Path, pattern: str) -> None:
    with pytest.raises(
        DataError, match=rf"ingest\.pattern '{re.escape(pattern)}' names no file in .*raw; write one such"
    ):
        find_sources(raw, pattern)


def test_a_pattern_that_cannot_be_understood_is_named(raw: Path) -> None:
    with pytest.raises(
        DataError, match=r"ingest\.pattern 'a\*\*/b\.nc' cannot be understood \(.*\); write one such as"
    ):
        find_sources(raw, "a**/b.nc")
