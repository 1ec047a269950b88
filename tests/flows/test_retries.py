"""A retry helps where a server or a disk may be back the next time; bad data are as bad then."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect import Flow, Task, flow

from flows import backfill, collect, pipeline, retrain
from flows import forecast as forecasting
from flows import verify as verification
from flows.pipeline import StageFailedError
from flows.process import ProcessGroups

SERVED = {"push"}  # tasks that send something to a server, and do nothing else


def test_what_may_fail_for_bad_data_is_not_tried_again() -> None:
    modules = (backfill, collect, forecasting, pipeline, retrain, verification)
    known = [value for module in modules for _, value in inspect.getmembers(module)]
    tasks = {each.name: each.retries for each in known if isinstance(each, Task)}
    assert {"run_stage", "fetch", "push", "judge", "make", "score"} <= tasks.keys()
    assert {name for name, retries in tasks.items() if retries} == SERVED
    flows = {each.name: each.retries for each in known if isinstance(each, Flow)}
    assert {"physicnet", "retrain", "collect", "forecast", "verify", "backfill"} <= flows.keys()
    assert not any(flows.values())


@pytest.mark.usefixtures("_server")
def test_a_stage_that_its_data_let_fail_runs_once(project: Path) -> None:
    stages = {"bad": {"cmd": "echo again >> tries; exit 1", "deps": ["raw"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(StageFailedError, match="not up to date: bad"):
        pipeline.pipeline()
    assert (project / "tries").read_text() == "again\n"


@pytest.mark.usefixtures("_server")
def test_a_remote_that_is_back_gets_what_is_to_be_pushed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], check=True)
    (project / "remote").write_text("no folder: it is away")
    subprocess.run([sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "there", project / "remote"], check=True)
    tries: list[int] = []

    def must(groups: ProcessGroups, *command: str) -> None:
        tries.append(1)
        if len(tries) == 2:
            (project / "remote").unlink()
        original(groups, *command)

    original = retrain._must
    monkeypatch.setattr(retrain, "_must", must)

    @flow
    def send() -> None:
        with ProcessGroups() as groups:
            retrain.push.with_options(retry_delay_seconds=0)(groups)

    send()
    assert len(tries) == 2
    assert b"\n" in {path.read_bytes() for path in (project / "remote" / "files").rglob("*") if path.is_file()}
