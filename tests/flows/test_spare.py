import subprocess
import sys
from pathlib import Path
from threading import Thread

import dvc_folder
import psutil
import pytest
from waiting import wait_until

from flows.process import ProcessGroups
from flows.spare import SpareDvc

FLOW = """
import time
from flows.process import ProcessGroups
from flows.spare import SpareDvc
with ProcessGroups() as groups, SpareDvc(groups):
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stages that say what they were told."""
    monkeypatch.chdir(tmp_path)
    stages = "".join(f"  {name}: {{cmd: 'echo {name} $TOLD; cat'}}\n" for name in ("a", "b", "c"))
    (tmp_path / "dvc.yaml").write_text(f"stages:\n{stages}")
    dvc_folder.init(tmp_path)
    return tmp_path


def waiting() -> list[psutil.Process]:
    """The DVCs below this process that wait or work."""
    return [child for child in psutil.Process().children() if {"flows.process", "flows.spare"} & words_of(child)]


def words_of(process: psutil.Process) -> set[str]:
    """Its command; one that has only just begun has none for a moment, one that has ended none any more."""
    try:
        assert wait_until(lambda: bool(process.cmdline()), seconds=10)
        return set(process.cmdline())
    except psutil.NoSuchProcess:  # a zombie, too
        return set()


@pytest.mark.usefixtures("project")
def test_each_run_has_its_own_arguments_and_environment_and_one_more_waits() -> None:
    said: list[str] = []
    with ProcessGroups() as groups, SpareDvc(groups) as spare:
        spare.expect(2)
        (first,) = waiting()
        for name in ("a", "b", "c"):  # more than was announced: a retry, say
            arguments = ["repro", "--single-item", name]
            assert spare.run(arguments, {"TOLD": f"told {name}"}, said.append) == 0
            assert f"{name} told {name}" in said
            assert not first.is_running()
        assert waiting() == []
    assert [line for line in said if "arguments" in line] == []  # a stage does not read what its DVC was told


@pytest.mark.usefixtures("project")
def test_runs_at_once_do_not_take_each_others_dvc() -> None:
    said: list[str] = []
    with ProcessGroups() as groups, SpareDvc(groups) as spare:
        spare.expect(2)
        threads = [Thread(target=spare.run, args=(["params", "--help"], {}, said.append)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(line.startswith("usage: dvc params") for line in said) == 2


@pytest.mark.usefixtures("project")
def test_one_that_was_not_needed_is_ended_with_the_block() -> None:
    with ProcessGroups() as groups, SpareDvc(groups):
        (process,) = waiting()
    assert not process.is_running()


def test_one_that_waits_ends_with_its_flow(project: Path) -> None:
    flow = subprocess.Popen([sys.executable, "-c", FLOW], cwd=project)
    assert wait_until(lambda: psutil.Process(flow.pid).children(), seconds=60)
    (process,) = psutil.Process(flow.pid).children()
    flow.kill()
    flow.wait(30)
    assert wait_until(lambda: not process.is_running(), seconds=60)
