import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from workspaces import pipeline_of_nothing

from physicnet.lineage import StageEntry
from physicnet.tracking import executions
from physicnet.tracking.executions import Owner, process_tags
from physicnet.tracking.store import Store


def test_processes_that_start_together_make_one_store_and_one_execution(tmp_path: Path) -> None:
    pipeline_of_nothing(tmp_path)
    program = (
        "import psutil, pathlib; from physicnet.tracking import executions, store;"
        f"owner = executions.Owner(executions.process_tags(psutil.Process({os.getpid()})), 'tests');"
        "print(executions.open_execution(store.Store(pathlib.Path.cwd()), owner))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", program]
    together = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    ids = "".join(process.communicate()[0] for process in together).split()
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_an_execution_holds_parameters_and_pipeline_once(store: Store) -> None:
    run_id = executions.open_execution(store, Owner(process_tags(psutil.Process())))
    assert executions.open_execution(store, Owner(process_tags(psutil.Process()), "again")) == run_id
    run = store.client.get_run(run_id)
    assert run.info.run_name == "tests"
    assert run.data.params["train.losses.prediction"] == "1.0"
    assert {file.path for file in store.client.list_artifacts(run_id)} >= {
        "dvc.yaml.txt",
        "params.yaml.txt",
        "environment.txt",
    }


def test_an_execution_that_was_lost_among_its_parameters_gets_the_rest(store: Store) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(other.pid)
    identity = {"physicnet.execution": process_tags(process)["physicnet.process"]}
    begun = store.find_or_create(identity, "begun", process_tags(process))
    store.client.log_param(begun, "clip.frames_in", "4")
    assert executions.open_execution(store, Owner(process_tags(process))) == begun
    assert "train.epochs" in store.client.get_run(begun).data.params
    other.communicate(b"\n")


def test_an_execution_is_named_by_its_commit_and_by_the_settings_that_were_changed(
    tmp_path: Path, store: Store
) -> None:
    params = (store.root / "params.yaml").read_text()
    changed = params.replace("num_codes: 128", "num_codes: 64").replace("mirror: true", "mirror: false")
    (tmp_path / "params.yaml").write_text(params)
    assert executions._execution_name(tmp_path, "") == "pipeline"
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert executions._execution_name(tmp_path, "0123456789") == "pipeline 0123456"
    (tmp_path / "params.yaml").write_text(changed)
    assert (
        executions._execution_name(tmp_path, "0123456789") == "pipeline 0123456: model.num_codes=64, train.mirror=False"
    )
    (tmp_path / "params.yaml").write_text(changed.replace("[persistence,", "[anvil, s_prog, eof_var, persistence,"))
    assert len(executions._execution_name(tmp_path, "0123456789")) == 100
    assert executions._execution_name(tmp_path, "0123456789").endswith("…")


def test_the_maker_of_outputs_has_not_failed_and_keeps_no_others(store: Store) -> None:
    entry = StageEntry("train", "physicnet train", {"data": "maker"}, {}, {"model": "1"})
    assert executions.maker(store, entry) is None
    tags = {"dvc.stage": "train", "dvc.key": entry.key}
    ids = [store.find_or_create({"physicnet.child": name}, name, tags) for name in ("this", "other", "failed")]
    store.end(ids[2], "FAILED")
    store.client.set_tag(ids[1], "dvc.out.model", "2")
    made = executions.maker(store, entry)
    assert made is not None
    assert made.info.run_id == ids[0]


def test_an_execution_links_the_run_that_made_each_stage(store: Store) -> None:
    entry = StageEntry("crops", "physicnet crops", {"data/fields": "1"}, {"crops": {"seed": 7}})
    maker = store.find_or_create({"physicnet.child": "maker"}, "crops", {"dvc.stage": "crops", "dvc.key": entry.key})
    run_id = store.find_or_create({"physicnet.child": "later"}, "later", {})
    executions.link_stages(store, run_id, {"crops": entry, "train": StageEntry("train", "physicnet train", {}, {})})
    tags = store.client.get_run(run_id).data.tags
    assert tags["dvc.crops.key"] == entry.key
    assert tags["dvc.crops.run"] == maker
    assert "dvc.train.run" not in tags
    assert [file.path for file in store.client.list_artifacts(run_id)] == ["dvc.lock.txt"]


@pytest.mark.parametrize(("stage_ended", "execution_ended"), [("FINISHED", "FINISHED"), (None, "FAILED")])
def test_runs_of_processes_that_are_gone_are_closed(
    store: Store, stage_ended: str | None, execution_ended: str
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tags = process_tags(psutil.Process(gone.pid))
    parent = store.find_or_create({"physicnet.child": f"parent {stage_ended}"}, "parent", tags)
    child = store.find_or_create({"physicnet.child": f"{parent}"}, "train", {**tags, "mlflow.parentRunId": parent})
    executions.close_abandoned(store)
    assert store.client.get_run(parent).info.status == "RUNNING"
    gone.communicate(b"\n")
    if stage_ended:
        store.end(child, stage_ended)
    executions.close_abandoned(store)
    assert store.client.get_run(child).info.status == (stage_ended or "KILLED")
    assert store.client.get_run(parent).info.status == execution_ended
