"""A collector that is killed at whatever moment and run again has taken every file exactly once."""

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from archives import contents
from collecting import Collector, announcements
from samples import ingest_config, raw_dataset

FILES = {f"{n}.nc": n for n in range(2)}


@pytest.fixture
def collector() -> Iterator[Collector]:
    started = Collector(ingest_config().model_dump_json())
    yield started
    started.close()


def fill(root: Path) -> dict[str, bytes]:
    """Two files that are in order, one of them twice, and one broken; return what each folder must hold in the end."""
    inbox = root / "inbox"
    inbox.mkdir(parents=True)
    for name, n in FILES.items():
        raw_dataset(2, first=2 * n, seed=n).to_netcdf(inbox / name)
    shutil.copy(inbox / "1.nc", inbox / "again.nc")
    (inbox / "bad.nc").write_text("no")
    return {f"raw/{name}": (inbox / name).read_bytes() for name in FILES} | {"quarantine/bad.nc": b"no"}


def outcome(root: Path) -> dict[str, bytes]:
    found = contents(root)
    assert b"cannot be read as NetCDF" in found.pop("quarantine/bad.nc.reason.txt")
    return {name: content for name, content in found.items() if not name.startswith(("work/", "state/"))}


def announced(root: Path) -> list[str]:
    return sorted(announcements(root).read_text().split())


def test_killed_at_every_moment(tmp_path: Path, collector: Collector) -> None:
    """Those before every change of the file system, and amid the writing of every file."""
    expected = fill(tmp_path / "new")
    shutil.copytree(tmp_path / "new", tmp_path / "whole")
    assert collector(tmp_path / "whole") == 0
    assert outcome(tmp_path / "whole") == expected
    assert announced(tmp_path / "whole") == list(FILES)
    moments = json.loads((tmp_path / "whole.moments").read_text())
    assert sum(moment.startswith("os.rename") and "/inbox/" in moment for moment in moments) == len(FILES) + 1

    chosen = [n for n, moment in enumerate(moments, 1) if "/state/" not in moment]  # the tables of ingest
    for moment in chosen:
        root = tmp_path / f"killed{moment}"
        shutil.copytree(tmp_path / "new", root)
        assert collector(root, moment=moment) == -signal.SIGKILL, moments[moment - 1]
        left = contents(root)
        for name in expected.keys() & left.keys():
            assert left[name] == expected[name], "half a file"
        assert collector(root) == 0, moments[moment - 1]
        assert outcome(root) == expected, moments[moment - 1]
        assert set(announced(root)) == set(FILES), moments[moment - 1]


def test_killed_from_outside_again_and_again(tmp_path: Path, collector: Collector) -> None:
    root = tmp_path / "killed"
    expected = fill(root)
    for name in ("first", "timed"):  # the first one also waits until all is imported
        shutil.copytree(root, tmp_path / name)
        begin = time.monotonic()
        assert collector(tmp_path / name) == 0
    whole = time.monotonic() - begin
    shares = sorted(np.random.default_rng(0).uniform(0.1, 0.9, size=8))  # the first is early, however long it took
    assert -signal.SIGKILL in [collector(root, patience=share * whole) for share in shares]
    assert collector(root) == 0
    assert outcome(root) == expected
    assert set(announced(root)) == set(FILES)
    again = announced(root)
    assert collector(root) == 0
    assert announced(root) == again
