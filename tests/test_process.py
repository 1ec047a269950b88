import os
import signal
import subprocess
import sys
from pathlib import Path

import dvc_folder
import psutil
import pytest
from waiting import pid_in, wait_until

from physicnet import process

STAGE = """
import sys, time
from pathlib import Path
from physicnet.process import end_cleanly_on_sigterm, end_with_dvc
end_cleanly_on_sigterm()
end_with_dvc()
try:
    Path("started").write_text(str(__import__("os").getpid()))
    time.sleep(60)
finally:
    Path("tidied").touch()
"""


LAUNCHER = """
import subprocess, sys
subprocess.run([sys.executable, "stage.py"], start_new_session=True)  # as torchrun starts its workers
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    dvc_folder.init(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "{python} stage.py",
        "true && {python} stage.py && true",
        "{python} launcher.py",
    ],
)
def test_killing_dvc_ends_its_stage_also_below_a_shell(toy: Path, command: str) -> None:
    (toy / "dvc.yaml").write_text(f"stages: {{sleep: {{cmd: '{command.format(python=sys.executable)}'}}}}")
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], cwd=toy, start_new_session=True)
    stage = pid_in(toy / "started")
    dvc.kill()
    dvc.wait()
    assert wait_until(lambda: not psutil.pid_exists(stage))
    assert (toy / "tidied").exists()


def test_sigterm_lets_a_stage_tidy_up(toy: Path) -> None:
    stage = subprocess.Popen([sys.executable, "stage.py"], cwd=toy)
    pid_in(toy / "started")
    stage.terminate()
    assert stage.wait(10) == 128 + signal.SIGTERM
    assert (toy / "tidied").exists()


def test_a_stage_started_by_hand_watches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    assert process.dvc_process() is None
    process.end_with_dvc()


def test_dvc_is_the_nearest_ancestor_that_does_not_know_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "some stage")
    dvc = process.dvc_process()
    assert dvc is None or dvc.pid == os.getppid()


def test_a_stage_whose_dvc_is_gone_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "some stage")
    monkeypatch.setattr(process, "dvc_process", lambda: None)
    with pytest.raises(SystemExit, match="DVC ended before its stage began"):
        process.end_with_dvc()


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    handle = psutil.Process(child.pid)
    assert wait_until(lambda: handle.status() == psutil.STATUS_ZOMBIE)
    assert not process.is_alive(handle)
    child.wait()
    assert not process.is_alive(handle)
