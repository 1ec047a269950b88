import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import dvc_folder
import psutil
import pytest
from waiting import pid_in, wait_until

from flows import process as module
from flows.process import ProcessGroups

STAGE = """
import os, sys, time
from pathlib import Path
from physicnet.process import end_cleanly_on_sigterm, end_with_dvc
end_cleanly_on_sigterm()
end_with_dvc()
Path("started").write_text(str(os.getpid()))
time.sleep(60)
"""
FLOW = """  # as Prefect does: the command is run by a thread, the signals reach the main thread
import signal, sys
from threading import Thread
from flows.process import ProcessGroups
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what it puts in the background without it
with ProcessGroups() as groups:
    thread = Thread(target=groups.run, args=([sys.executable, "-m", "dvc", "repro"], {}, print))
    thread.start()
    thread.join()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(f"stages: {{sleep: {{cmd: '{sys.executable} stage.py && true'}}}}")
    dvc_folder.init(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_death_of_the_flow_ends_dvc_and_its_stage(project: Path, number: signal.Signals) -> None:
    flow = subprocess.Popen([sys.executable, "-c", FLOW], cwd=project, stderr=subprocess.DEVNULL)
    stage = pid_in(project / "started")
    below = psutil.Process(flow.pid).children(recursive=True)
    flow.send_signal(number)
    flow.wait(30)
    assert wait_until(lambda: not psutil.pid_exists(stage))
    assert wait_until(lambda: not any(process.is_running() for process in below))


def test_lines_are_handed_on_and_the_status_comes_back() -> None:
    lines: list[str] = []
    program = "import os, sys; print('a'); print(os.environ['NAME'], file=sys.stderr); sys.exit(3)"
    with ProcessGroups() as groups:
        assert groups.run([sys.executable, "-c", program], {"NAME": "b"}, lines.append) == 3
    assert sorted(lines) == ["a", "b"]


def test_leaving_the_block_ends_what_runs_in_threads(tmp_path: Path) -> None:
    statuses: list[int] = []
    command = ["sh", "-c", f"echo $$ > {tmp_path / 'started'}; sleep 60; true"]
    with ProcessGroups() as groups:
        thread = Thread(target=lambda: statuses.append(groups.run(command, {}, print)))
        thread.start()
        pid_in(tmp_path / "started")
    thread.join(10)
    assert statuses == [-signal.SIGINT]


def test_what_ignores_the_gentle_signals_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", ((signal.SIGINT, 0.2), (signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0)))
    program = (
        "import os, signal, time; [signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)];"
        f"open(r'{tmp_path / 'started'}', 'w').write(str(os.getpid())); time.sleep(60)"
    )
    with ProcessGroups() as groups:
        thread = Thread(target=lambda: groups.run([sys.executable, "-c", program], {}, print))
        thread.start()
        pid = pid_in(tmp_path / "started")
    thread.join(10)
    assert not psutil.pid_exists(pid)


def test_nothing_starts_after_the_block() -> None:
    with ProcessGroups() as groups:
        pass
    with pytest.raises(InterruptedError, match="the flow has ended"):
        groups.run(["true"], {}, print)


def test_waiting_ends_with_the_block() -> None:
    with ProcessGroups() as groups:
        groups.pause(0.0)
    with pytest.raises(InterruptedError, match="the flow has ended"):
        groups.pause(60.0)


def test_a_command_whose_flow_is_gone_does_nothing() -> None:
    command = [sys.executable, "-m", "flows.process", "1", "echo", "started"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the flow ended before its command began" in done.stderr


def test_what_a_command_leaves_behind_is_ended_and_not_waited_for() -> None:
    said: list[str] = []
    with ProcessGroups() as groups:
        assert (
            groups.run(["sh", "-c", "sleep 600 & echo $!; kill -9 $$"], {}, said.append, seconds=60) == -signal.SIGKILL
        )
    assert wait_until(lambda: not psutil.pid_exists(int(said[0])), seconds=60)
