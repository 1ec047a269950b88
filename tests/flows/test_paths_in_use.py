import subprocess
import sys
from pathlib import Path

import pytest
from dvc.lock import LockError
from waiting import wait_until

from flows.paths_in_use import mend
from flows.pipeline import pipeline
from flows.raw_data import unread


@pytest.fixture
def in_use(project: Path) -> Path:
    return project / ".dvc" / "tmp" / "rwlock"


def repro() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dvc", "repro"], capture_output=True, text=True)


def test_a_list_that_was_cut_off_stops_dvc_until_it_is_mended(in_use: Path) -> None:
    in_use.write_text('{"write": {"/data/model": {"pid": 1, "cm')
    assert "JSON structure is corrupted" in repro().stderr
    assert mend()
    assert in_use.read_text() == "{}"
    assert repro().returncode == 0


@pytest.mark.usefixtures("_server")
def test_the_flow_mends_it_and_does_its_work(in_use: Path) -> None:
    in_use.write_text("")
    assert pipeline() == {"make": "Ran", "side": "Ran", "score": "Ran"}


def test_the_raw_data_can_be_kept_from_being_read_after_that(in_use: Path, project: Path) -> None:
    in_use.write_text('{"write": 1}')
    with unread(project / "raw"):
        assert str(project / "raw") in in_use.read_text()


def test_a_list_that_can_be_read_is_left_to_dvc(in_use: Path) -> None:
    assert not mend()
    entry = '{"write": {"/data/model": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}'
    in_use.write_text(entry)
    assert not mend()
    assert in_use.read_text() == entry


def test_as_long_as_somebody_works_it_is_not_emptied(in_use: Path, project: Path) -> None:
    in_use.write_text("{")
    (project / "dvc").write_text("import time\nopen('begun', 'w').close()\ntime.sleep(600)\n")
    other = subprocess.Popen([sys.executable, project / "dvc"], cwd=project)
    assert wait_until((project / "begun").exists)
    try:
        with pytest.raises(LockError, match=rf"was cut off, .* when these have ended: process {other.pid} \("):
            mend()
    finally:
        other.kill()
        other.wait()
    assert in_use.read_text() == "{"
    assert mend()
