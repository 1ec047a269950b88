import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspaces import HISTORY, write_record, write_results

from physicnet import delivery
from physicnet import mirror as module
from physicnet.config import ClipConfig, MachineConfig
from physicnet.delivery import Queue
from physicnet.execution import mirrored_execution
from physicnet.lineage import md5_of
from physicnet.mirror import mirrored
from physicnet.story import results_summary
from physicnet.tracking import executions
from physicnet.tracking.executions import OWNER_VARIABLE
from physicnet.tracking.holdings import NOTE, RULE
from physicnet.tracking.store import Store

CLIP = ClipConfig(frames_in=4, frames_out=12)
MACHINE = MachineConfig(device="cpu", precision="float32", num_threads=3, cache_mib=1, tile_cells=100)


@pytest.fixture
def store(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store of MLflow in the current folder, outside DVC and outside any flow."""
    for name in ("MLFLOW_TRACKING_URI", OWNER_VARIABLE, "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(repository)
    return Store(repository)


def test_a_stage_leaves_a_child_run_with_parameters_epochs_and_outputs(store: Store, tmp_path: Path) -> None:
    paths = files(tmp_path)
    with mirrored("train", paths, clip=CLIP) as mirror:
        mirror.report(1, {"loss": 0.5})
        mirror.report(2, {"loss": 0.25})
        mirror.show()
    run = store.client.get_run(mirror.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == run.data.tags["dvc.stage"] == "train"
    assert run.data.params == {"clip.frames_in": "4", "clip.frames_out": "12"}
    assert run.data.tags["mlflow.parentRunId"] == mirror.parent_id
    assert [point.step for point in store.client.get_metric_history(mirror.run_id, "loss")] == [1, 2]
    assert [file.path for file in store.client.list_artifacts(mirror.run_id)] == ["checkpoint", "history.csv"]


@pytest.mark.parametrize(
    ("error", "status"), [(OSError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")]
)
def test_a_run_ends_as_its_stage_ends(store: Store, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), mirrored("crops", {}, clip=CLIP) as mirror:
        raise error
    assert store.client.get_run(mirror.run_id).info.status == status


def test_one_of_many_processes_of_a_stage_has_a_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with mirrored("train", {}, clip=CLIP) as mirror:
        mirror.report(1, {"loss": 0.5})
    assert store.find(mirror.identity) is None


def test_a_stage_below_dvc_is_known_by_its_key(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("params.yaml", "dvc.lock"):
        (tmp_path / name).write_text(Path(name).read_text())
    (tmp_path / "dvc.yaml").write_text("stages: {crops: {cmd: physicnet crops, deps: [data, a.py], params: [clip]}}")
    (tmp_path / "data").write_bytes(b"abc")
    monkeypatch.setenv("DVC_STAGE", "crops")
    mirror = module.StageMirror("crops", tmp_path, {}, {"clip": CLIP})
    mirror.store = store
    mirror.begin()
    tags = store.client.get_run(mirror.run_id).data.tags
    assert mirror.entry is not None
    assert tags["dvc.key"] == mirror.entry.key
    assert tags["dvc.dep.data"] == "900150983cd24fb0d6963f7d28e17f72"
    assert "dvc.dep.a.py" not in tags


TRAINING = """
from physicnet.config import ClipConfig
from physicnet.mirror import mirrored
with mirrored("crops", {}, clip=ClipConfig(frames_in=4, frames_out=12)) as mirror:
    for epoch in range(1, 41):
        mirror.report(epoch, {"loss": 1 / epoch, "validation_loss": 2 / epoch})
print(mirror.run_id)
"""


def test_two_trainings_that_write_to_one_store_at_once_do_not_fail_each_other(store: Store) -> None:
    command = [sys.executable, "-c", TRAINING]
    together = [
        subprocess.Popen(command, cwd=store.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate() for process in together]
    assert [errors for _, errors in said if "Not mirrored" in errors] == []
    for run_id, _ in said:
        points = store.client.get_metric_history(run_id.strip(), "validation_loss")
        assert [point.step for point in points] == [*range(1, 41)]


@pytest.mark.parametrize("first", ["flow", "stage"])
def test_a_flow_and_its_stages_have_one_execution_whoever_opens_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    with mirrored_execution(store.root, "flow", {"prefect.flow_run": first}) as execution:
        if first == "flow":
            execution.open()
        for name, value in execution.owner.environment.items():
            monkeypatch.setenv(name, value)
        with mirrored("crops", {}, clip=CLIP) as mirror:
            pass
        execution.open()
        assert execution.run_id == mirror.parent_id
        assert store.client.get_run(mirror.parent_id).info.status == "RUNNING"
    run = store.client.get_run(mirror.parent_id)
    assert (run.info.run_name, run.info.status) == ("flow", "FINISHED")
    assert run.data.tags["prefect.flow_run"] == first
    assert run.data.params["clip.frames_in"] == "4"
    assert [child.info.run_id for child in store.children(mirror.parent_id)] == [mirror.run_id]


@pytest.mark.parametrize(("error", "status"), [(OSError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_an_execution_ends_as_its_flow_ends(store: Store, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), mirrored_execution(store.root, "flow", {"prefect.flow_run": status}) as execution:
        raise error
    assert execution.run_id is not None
    assert store.client.get_run(execution.run_id).info.status == status


def test_an_execution_that_cannot_be_kept_is_said_and_nothing_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody listens there
    with mirrored_execution(store.root, "flow", {}) as execution:
        execution.open()
    assert execution.run_id is None
    said = capsys.readouterr().err
    assert "Not mirrored to MLflow at http://127.0.0.1:1: the execution as one run" in said
    assert "the end of the execution" in said


def files(folder: Path) -> dict[str, Path]:
    """What a training and its evaluation read and write, in small."""
    names = ("normalized", "fields", "statistics.json", "checkpoint", "history.csv", "metrics.json", "results")
    paths = {name.partition(".")[0]: folder / name for name in names}
    write_record(paths["fields"], paths["statistics"])
    write_record(paths["normalized"], paths["statistics"])
    paths["checkpoint"].write_bytes(b"weights" + str(folder).encode())
    paths["history"].write_text(HISTORY)
    paths["metrics"].write_text(json.dumps({"ours": {"rain": {"rmse": 0.375}}}))
    write_results(paths["results"])
    return paths


def test_test_scores_reach_the_training_run_that_made_the_checkpoint(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physicnet.served.offer", lambda *_, **__: True)
    paths = files(tmp_path)
    with mirrored("train", paths, clip=CLIP) as training:
        training.show()
    with mirrored("evaluate", paths, clip=CLIP, machine=MACHINE) as evaluation:
        evaluation.show()
    for run_id in (training.run_id, evaluation.run_id):
        points = store.client.get_metric_history(run_id, "test by lead/ours/rain/rmse")
        assert [(point.step, point.value) for point in points] == [(5, 0.25), (10, 0.5)]
        kept = {file.path for file in store.client.list_artifacts(run_id)}
        assert kept >= {"figures", "images", "scores.csv", "origins.csv"}
    assert "test by lead/persistence/rain/rmse" in store.client.get_run(evaluation.run_id).data.metrics
    assert "test by lead/persistence/rain/rmse" not in store.client.get_run(training.run_id).data.metrics
    execution = store.client.get_run(evaluation.parent_id)
    assert execution.data.metrics["test/ours/rain/rmse"] == 0.375
    assert execution.info.status == "FINISHED"
    table = results_summary(paths["results"])
    assert execution.data.tags[NOTE] == store.client.get_run(evaluation.run_id).data.tags[NOTE] == table
    assert store.client.get_run(training.run_id).data.tags[NOTE] == (
        "Epoch 2 of 2 validates best: loss 0.125; 100% of the codes in use, perplexity 2." + RULE + table
    )


def test_a_model_is_offered_on_the_run_that_trained_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, offered = files(tmp_path), []
    monkeypatch.setattr("physicnet.served.offer", lambda _, *args, **named: offered.append((*args, named)) or True)
    with mirrored("evaluate", paths, machine=MACHINE) as unknown:
        unknown.show()
    assert offered == []
    with mirrored("train", paths, clip=CLIP) as training:
        training.show()
    with mirrored("evaluate", paths, machine=MACHINE) as evaluation:
        evaluation.show()
    ((run_id, checkpoint, record, machine, named),) = offered
    assert (run_id, checkpoint, machine) == (training.run_id, paths["checkpoint"], MACHINE)
    assert record.shape == (4, 1, 5, 7)
    assert named == {"is_challenger": True}


def test_a_run_says_what_it_read_and_where_it_ran(store: Store, tmp_path: Path) -> None:
    paths = files(tmp_path)
    with mirrored("codebook", paths, machine=MACHINE) as mirror:
        mirror.report(1, {"loss": 0.5})
    run = store.client.get_run(mirror.run_id)
    assert f"3 threads of {os.cpu_count()}" in run.data.tags["physicnet.device"]
    found = {given.tags[0].value: given.dataset for given in run.inputs.dataset_inputs}
    assert found.keys() == {"train", "validation"}
    assert found["train"].digest == md5_of(paths["normalized"])
    assert json.loads(found["train"].profile)["frames"] == 2
    assert json.loads(found["validation"].profile)["part"] == "validation"
    assert "5, 7" in found["train"].schema
    assert run.data.metrics["system/process_memory_megabytes"] > 10
    assert 0 <= run.data.metrics["system/cpu_utilization_percentage"] <= 100


def test_a_run_is_linked_to_the_run_that_made_its_input(store: Store, tmp_path: Path) -> None:
    (tmp_path / "codebook").write_bytes(b"codes")
    with mirrored("normalize", {"statistics": tmp_path / "codebook"}, clip=CLIP) as made:
        made.show()
    run_id = store.find_or_create({"physicnet.child": "uses"}, "train", {})
    path = str(tmp_path / "codebook")
    executions.link_inputs(store, run_id, {path: md5_of(tmp_path / "codebook"), "unknown": "0"})
    tags = store.client.get_run(run_id).data.tags
    assert tags[f"dvc.dep.{path}.run"] == made.run_id
    assert "dvc.dep.unknown.run" not in tags


class FailingServer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(params=["unreachable", "failing", "silent"])
def broken_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that is not there, answers 500, or takes connections and never answers."""
    if request.param == "failing":
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), FailingServer) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if request.param == "unreachable":
            listener.close()
        yield address


def test_a_stage_succeeds_without_a_server_and_says_what_is_missing(
    broken_server: str, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", broken_server)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(delivery, "LAST_TRY", 2.0)
    assert store.client  # the import of mlflow is not what is timed
    begin = time.monotonic()
    with mirrored("ingest", {"catalogue": tmp_path / "catalogue"}, clip=CLIP) as mirror:
        for epoch in range(50):
            mirror.report(epoch, {"loss": 0.5})
        mirror.show()
    assert time.monotonic() - begin < 10
    message = capsys.readouterr().err
    assert (
        f"Not mirrored to MLflow at {broken_server}: the run, an epoch (50 times), {tmp_path / 'catalogue'}, "
        in message
    )
    assert "Reason: " in message
    assert "All files are complete" in message


def test_a_server_that_comes_back_gets_everything_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "RETRY_INTERVAL", 0.05)
    queue, seen, is_down = Queue(), [], True

    def request(name: str) -> None:
        if is_down:
            raise ConnectionError("down\nfor good")
        seen.append(name)

    queue.add("first", lambda: request("first"))
    queue.add("second", lambda: request("second"))
    assert queue.reason == "ConnectionError: down for good"
    is_down = False
    time.sleep(0.1)
    queue.add("third", lambda: request("third"))
    assert seen == ["first", "second", "third"]
    assert queue.waiting == []


def test_one_request_that_can_never_succeed_does_not_hold_back_the_others() -> None:
    queue, seen = Queue(), []
    queue.add("bad", lambda: 1 / 0)
    queue.add("good", lambda: seen.append("good"))
    queue.finish()
    assert seen == ["good"]
    assert [what for what, _ in queue.waiting] == ["bad"]


def test_the_last_tries_take_seconds_however_many_requests_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "LAST_TRY", 0.05)
    queue = Queue([("slow", lambda: time.sleep(0.1) or 1 / 0)] * 100)
    queue.finish()
    assert len(queue.waiting) == 100
