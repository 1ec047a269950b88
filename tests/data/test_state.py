import errno
import os
from pathlib import Path

import pandas as pd
import pytest

from physicnet.data.state import State, link_or_copy, made_by


def test_a_table_comes_back(tmp_path: Path) -> None:
    state, table = State(tmp_path), pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    assert state.table("key") is None
    state.keep_table("key", table)
    pd.testing.assert_frame_equal(state.table("key"), table)  # type: ignore[arg-type]


def test_a_file_is_lent_as_it_was_or_not_at_all(tmp_path: Path) -> None:
    state, path = State(tmp_path / "state"), tmp_path / "shard"
    path.write_bytes(b"values")
    state.keep_file("key", path)
    state.keep_file("key", path)
    assert state.lend("key", tmp_path / "a" / "lent")
    assert (tmp_path / "a" / "lent").read_bytes() == b"values"
    path.write_bytes(b"VALUES")  # the same file
    assert not state.lend("key", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_keys_differ_by_each_part_and_by_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path)
    keys = {state.key("a", 1), state.key("a", 2), state.key("b", 1)}
    monkeypatch.setattr("physicnet.data.state.made_by", lambda: ["zarr 99"])
    assert len(keys | {state.key("a", 1)}) == 4


def test_the_pieces_depend_on_packages_and_on_our_code() -> None:
    assert any(part.startswith("zarr ") for part in made_by())
    assert len(made_by()) > 15


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_where_no_link_can_be_made_there_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("text")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "text"


def test_other_failures_of_a_link_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "gone", tmp_path / "b")
