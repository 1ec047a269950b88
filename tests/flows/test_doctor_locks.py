import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import pid_in, wait_until

from flows.doctor.locks import check, paths_in_use
from flows.retrain import alone
from physicnet.doctor.findings import Level

SLOW = "stages: {slow: {cmd: 'echo $$ > begun; sleep 600', deps: [raw], outs: [fields]}}"


@pytest.fixture
def in_use(project: Path) -> Path:
    return project / ".dvc" / "tmp" / "rwlock"


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def write(path: Path, pid: int) -> None:
    info = {"pid": pid, "cmd": "dvc repro -s train"}
    path.write_text(json.dumps({"write": {"/data/model": info}, "read": {"/data/fields": [info]}}))


def test_where_nothing_is_locked_all_is_well(project: Path) -> None:
    (finding,) = check()
    assert finding.level is Level.OK


def test_what_a_killed_dvc_has_left_is_named_and_the_next_one_drops_it(project: Path, in_use: Path) -> None:
    (project / "dvc.yaml").write_text(SLOW)
    killed = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "slow"], start_new_session=True)
    pid_in(project / "begun")
    (working,) = check()
    assert working.level is Level.OK
    assert f"process {killed.pid} (python" in working.seen
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = in_use.read_bytes()
    (finding,) = check()
    assert finding.level is Level.WARNING
    assert f"paths for process {killed.pid} (" in finding.seen
    assert in_use.read_bytes() == before
    (project / "dvc.yaml").write_text(SLOW.replace("sleep 600", "cp raw fields"))
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet", "slow"], check=True)
    (finding,) = check()
    assert finding.level is Level.OK
    assert finding.seen.endswith("which read them and was killed; that is in nobody's way")


def test_a_number_that_was_given_to_another_process_is_an_error(project: Path, in_use: Path) -> None:
    write(in_use, os.getpid())
    os.utime(in_use, (0, 0))
    (finding,) = check()
    assert finding.level is Level.ERROR
    assert f"its number is now that of process {os.getpid()}" in finding.seen
    assert finding.remedy.endswith(f"rm {in_use}")
    assert in_use.exists()


def test_a_process_that_lives_is_at_work(in_use: Path) -> None:
    write(in_use, os.getpid())
    (finding,) = paths_in_use(in_use)
    assert finding.level is Level.OK


def test_a_list_that_cannot_be_read_is_an_error(in_use: Path, gone: int) -> None:
    write(in_use, gone)
    whole = in_use.read_text()
    for content in (whole[:-9], "[]", whole.replace('"pid"', '"id"')):
        in_use.write_text(content)
        (finding,) = paths_in_use(in_use)
        assert finding.level is Level.ERROR
        assert "was cut off, as by a full disk, and every dvc command stops at it" in finding.seen


def test_the_locks_of_dvc_and_of_a_retrain_name_who_holds_them(project: Path) -> None:
    program = "from dvc.repo import Repo\nimport os, time\n"
    program += "with Repo('.').lock:\n    open('held', 'w').write(str(os.getpid()))\n    time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", program])
    assert pid_in(project / "held") == holder.pid
    with alone():
        retrain, dvc = check()
    holder.kill()
    holder.wait()
    assert (retrain.level, dvc.level) == (Level.OK, Level.OK)
    assert f"process {os.getpid()} " in retrain.seen
    assert f"process {holder.pid} " in dvc.seen
    assert wait_until(
        lambda: [each.seen for each in check()] == ["nothing is locked, no killed process has left any behind"]
    )


def test_a_lock_that_is_a_file_is_told_of(project: Path) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "config", "core.hardlink_lock", "true"], check=True)
    (project / ".dvc" / "tmp" / "lock").unlink(missing_ok=True)
    assert [each.level for each in check()] == [Level.OK]
    (project / ".dvc" / "tmp" / "lock").touch()
    (finding,) = check()
    assert finding.level is Level.WARNING
    assert "with core.hardlink_lock DVC takes this for another DVC at work" in finding.seen
