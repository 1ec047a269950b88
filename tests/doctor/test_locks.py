import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import pid_in, wait_until

from physicnet.doctor import locks
from physicnet.doctor.findings import Level
from physicnet.doctor.locks import check_lock, describe, holders

HOLD = """
import fcntl, os, time
file = open("lock", "w")
fcntl.flock(file, fcntl.LOCK_EX)
open("held", "w").write(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD], cwd=tmp_path)
    assert pid_in(tmp_path / "held") == process.pid
    yield process
    process.kill()
    process.wait()


def test_the_process_that_holds_a_lock_is_named(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (finding,) = check_lock(tmp_path / "lock", "retrain")
    assert finding.level is Level.OK
    assert f"process {holder.pid} (python" in finding.seen
    assert finding.seen.endswith("it is at work, others wait to retrain")


def test_what_a_killed_process_leaves_locks_nothing(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    assert (tmp_path / "lock").exists()
    assert list(check_lock(tmp_path / "lock", "retrain")) == []
    assert list(check_lock(tmp_path / "never", "retrain")) == []


def test_a_suspended_process_is_an_error(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    assert wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_STOPPED)
    (finding,) = check_lock(tmp_path / "lock", "retrain")
    assert finding.level is Level.ERROR
    assert finding.remedy == f"kill -CONT {holder.pid}"


def test_one_who_waits_does_not_hold(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    waiter = subprocess.Popen(["flock", tmp_path / "lock", "true"])
    blocked = f"-> FLOCK ADVISORY WRITE {waiter.pid}"
    assert wait_until(lambda: blocked in " ".join(locks.LIST.read_text().split()))
    assert holders(tmp_path / "lock") == [holder.pid]
    waiter.kill()
    waiter.wait()


def test_where_the_system_keeps_no_list_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LIST", tmp_path / "none")
    (tmp_path / "lock").touch()
    (finding,) = check_lock(tmp_path / "lock", "retrain")
    assert finding.level is Level.NOT_CHECKED


def test_a_process_of_another_container_has_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").touch()
    monkeypatch.setattr(locks, "holders", lambda _: [-1])
    (finding,) = check_lock(tmp_path / "lock", "retrain")
    assert finding.seen.startswith("a process of another container holds")


def test_a_process_that_is_gone_is_described_by_its_number() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert describe(gone.pid) == f"process {gone.pid}"
