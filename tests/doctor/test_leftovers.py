import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from physicnet.doctor.findings import Level
from physicnet.doctor.leftovers import at_work, check


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    (tmp_path / "data" / "fields.zarr").mkdir()
    return tmp_path


@pytest.fixture
def at_it(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process as DVC's: its program is called so."""
    program = folder / "dvc"
    program.write_text("import time\nopen('begun', 'w').close()\ntime.sleep(600)\n")
    process = subprocess.Popen([sys.executable, program], cwd=folder)
    assert wait_until((folder / "begun").exists)
    yield process
    process.kill()
    process.wait()


def test_where_nothing_is_left_over_all_is_well(folder: Path) -> None:
    (folder / "data" / "inbox" / "slow.partial").touch()  # its owner still copies
    (finding,) = check()
    assert finding.level is Level.OK


def test_what_killed_processes_have_left_is_named(folder: Path) -> None:
    half = folder / "data" / ".fields.zarr.partial"
    half.mkdir()
    (half / "inside.partial").touch()
    (folder / ".dvc" / "cache").mkdir(parents=True)
    (folder / ".dvc" / "cache" / ".Zm9v.tmp").touch()
    (finding,) = check()
    assert finding.level is Level.WARNING
    assert finding.seen == "2 left by processes that were killed: .dvc/cache/.Zm9v.tmp, data/.fields.zarr.partial"
    assert half.exists()


def test_what_a_process_works_on_is_not_left_over(folder: Path, at_it: subprocess.Popen[bytes]) -> None:
    (folder / "data" / ".model.safetensors.partial").touch()
    assert at_work(folder) == [at_it.pid]
    (finding,) = check()
    assert finding.level is Level.OK
    assert f"1, and process {at_it.pid} (python" in finding.seen


def test_processes_elsewhere_do_not_count(folder: Path, at_it: subprocess.Popen[bytes]) -> None:
    assert at_work(folder / "data") == []
