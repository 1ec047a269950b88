import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from physicnet.lineage import StageEntry
from physicnet.tracking import RULE, HistoryError, Store, flatten, process_tags


@pytest.fixture(scope="module")
def store(repository: Path) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Store(repository)


def test_processes_that_start_together_share_one_store_and_one_execution(repository: Path) -> None:
    executions = (repository / "executions.txt").read_text().split()
    assert len(executions) == 4
    assert len(set(executions)) == 1


def test_the_default_store_lies_in_the_repository_folder(store: Store, repository: Path) -> None:
    assert store.experiment_id == "1"
    assert (repository / "mlflow" / "mlflow.db").exists()
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.name == "physicnet"
    assert experiment.artifact_location == (repository / "mlflow/artifacts").as_uri()


def test_an_experiment_in_a_copy_of_the_repository_uses_the_store_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert Store(tmp_path / ".dvc/tmp/exps/copy").uri == Store(tmp_path).uri


def test_the_usual_variable_names_another_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@localhost:5001")
    store = Store(tmp_path)
    assert store.uri == "http://ada:secret@localhost:5001"
    assert store.place == "http://localhost:5001"


def test_an_execution_holds_parameters_and_pipeline_once(store: Store) -> None:
    run_id = store.open_execution(psutil.Process())
    assert store.open_execution(psutil.Process(), "again") == run_id
    run = store.client.get_run(run_id)
    assert run.info.run_name == "tests"
    assert run.data.params["train.losses.prediction"] == "1.0"
    assert {file.path for file in store.client.list_artifacts(run_id)} >= {
        "dvc.yaml.txt",
        "params.yaml.txt",
        "environment.txt",
    }


def test_an_execution_is_named_by_its_commit_and_by_the_settings_that_were_changed(
    tmp_path: Path, store: Store
) -> None:
    params = (store.root / "params.yaml").read_text()
    changed = params.replace("num_codes: 128", "num_codes: 64").replace("mirror: true", "mirror: false")
    (tmp_path / "params.yaml").write_text(params)
    named = Store(tmp_path)._execution_name
    assert named("") == "pipeline"
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert named("0123456789") == "pipeline 0123456"
    (tmp_path / "params.yaml").write_text(changed)
    assert named("0123456789") == "pipeline 0123456: model.num_codes=64, train.mirror=False"
    (tmp_path / "params.yaml").write_text(changed.replace("[persistence,", "[anvil, s_prog, eof_var, persistence,"))
    assert len(named("0123456789")) == 100
    assert named("0123456789").endswith("…")


def test_a_run_is_found_by_its_tags_before_it_is_created(store: Store) -> None:
    assert store.find({"physicnet.child": "unknown"}) is None
    created = store.find_or_create({"physicnet.child": "a"}, "ingest", {"dvc.stage": "ingest"})
    assert store.find_or_create({"physicnet.child": "a"}, "ingest", {}) == created
    assert store.find_or_create({"physicnet.child": "b"}, "ingest", {}) != created


def test_nothing_is_logged_twice_when_a_request_is_repeated(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "metrics"}, "train", {})
    for _ in range(2):
        store.log_metrics(run_id, [("loss", 0.5, 1), ("loss", 0.25, 2)], 1000)
    assert [(point.step, point.value) for point in store.client.get_metric_history(run_id, "loss")] == [
        (1, 0.5),
        (2, 0.25),
    ]


def test_more_values_than_the_server_takes_in_one_request_are_logged(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "many"}, "evaluate", {})
    store.log_metrics(run_id, [("loss", float(step), step) for step in range(1001)], 1000)
    store.log_params(run_id, {f"name{index}": index for index in range(101)})
    assert len(store.client.get_metric_history(run_id, "loss")) == 1001
    assert len(store.client.get_run(run_id).data.params) == 101


def test_outputs_are_kept_and_a_file_is_known_by_its_hash(store: Store, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "flow.png").write_bytes(b"png")
    (tmp_path / "model").write_bytes(b"abc")
    run_id = store.find_or_create({"physicnet.child": "outputs"}, "train", {})
    store.keep(run_id, tmp_path / "figures")
    store.keep(run_id, tmp_path / "model")
    assert {file.path for file in store.client.list_artifacts(run_id)} == {"figures", "model"}
    assert f"dvc.out.{tmp_path / 'figures'}" in store.client.get_run(run_id).data.tags
    made = store.find({f"dvc.out.{tmp_path / 'model'}": "900150983cd24fb0d6963f7d28e17f72"})
    assert made is not None
    assert made.info.run_id == run_id


def test_a_picture_is_shown_once_by_its_step(store: Store, tmp_path: Path) -> None:
    run_id = store.find_or_create({"physicnet.child": "pictures"}, "evaluate", {})
    Image.new("RGB", (30, 20)).save(tmp_path / "lead.png")
    for _ in range(2):
        for step in (5, 55):
            store.show(run_id, "forecast/rain", step, tmp_path / "lead.png")
    kept = sorted(file.path for file in store.client.list_artifacts(run_id, "images") if file.path.endswith(".png"))
    assert [path.split("+timestamp")[0] for path in kept] == [
        "images/forecast~rain+step+5",
        "images/forecast~rain+step+55",
    ]


def test_a_description_keeps_its_first_half(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "described"}, "train", {})
    store.describe(run_id, "first")
    for text in ("old", "new"):
        store.add_description(run_id, text)
    assert store.client.get_run(run_id).data.tags["mlflow.note.content"] == f"first{RULE}new"
    assert store.describe(run_id, "begun")
    assert not store.describe(run_id, "begun")
    assert store.client.get_run(run_id).data.tags["mlflow.note.content"] == f"begun{RULE}new"


def test_values_that_a_run_has_are_not_added(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "values"}, "train", {})
    nan = float("nan")
    store.log_metrics(run_id, [("loss", 1 / 3, 1), ("skill", nan, 1)], 1000)
    assert not store.add_metrics(run_id, [("loss", 0.333333, 1), ("skill", nan, 1)], 2000)
    assert store.add_metrics(run_id, [("loss", 0.333333, 1), ("loss", 0.25, 2)], 2000)
    assert store.add_metrics(run_id, [("loss", 0.5, 1)], 3000)  # the last one counts
    points = store.client.get_metric_history(run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(1, 1 / 3), (2, 0.25), (1, 0.5)]


def test_the_maker_of_outputs_has_not_failed_and_keeps_no_others(store: Store) -> None:
    entry = StageEntry("train", "physicnet train", {"data": "maker"}, {}, {"model": "1"})
    assert store.maker(entry) is None
    tags = {"dvc.stage": "train", "dvc.key": entry.key}
    ids = [store.find_or_create({"physicnet.child": name}, name, tags) for name in ("this", "other", "failed")]
    store.end(ids[2], "FAILED")
    store.client.set_tag(ids[1], "dvc.out.model", "2")
    made = store.maker(entry)
    assert made is not None
    assert made.info.run_id == ids[0]


def test_a_run_that_keeps_another_content_is_known(store: Store, tmp_path: Path) -> None:
    (tmp_path / "origins.csv").write_text("a")
    run_id = store.find_or_create({"physicnet.child": "another"}, "train", {})
    assert not store.keeps_another(run_id, tmp_path / "origins.csv")
    assert store.keep(run_id, tmp_path / "origins.csv")
    assert not store.keep(run_id, tmp_path / "origins.csv")
    (tmp_path / "origins.csv").write_text("b")
    assert store.keeps_another(run_id, tmp_path / "origins.csv")


def test_an_execution_links_the_run_that_made_each_stage(store: Store) -> None:
    entry = StageEntry("crops", "physicnet crops", {"data/fields": "1"}, {"crops": {"seed": 7}})
    maker = store.find_or_create({"physicnet.child": "maker"}, "crops", {"dvc.stage": "crops", "dvc.key": entry.key})
    run_id = store.find_or_create({"physicnet.child": "later"}, "later", {})
    store.link_stages(run_id, {"crops": entry, "train": StageEntry("train", "physicnet train", {}, {})})
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
    store.close_abandoned()
    assert store.client.get_run(parent).info.status == "RUNNING"
    gone.communicate(b"\n")
    if stage_ended:
        store.end(child, stage_ended)
    store.close_abandoned()
    assert store.client.get_run(child).info.status == (stage_ended or "KILLED")
    assert store.client.get_run(parent).info.status == execution_ended


def test_the_view_is_served_on_this_machine_alone(store: Store) -> None:
    command = store.server_command(5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"
    assert store.page == "/#/experiments/1/runs?compareRunsMode=CHART&workflowType=machine_learning"


def test_a_run_is_known_by_the_beginning_of_its_id(store: Store) -> None:
    run_id = store.find_or_create({"physicnet.child": "known"}, "train", {})
    assert store.run(run_id).info.run_id == run_id
    assert store.run(run_id[:12]).info.run_id == run_id


@pytest.mark.parametrize("reference", ["abc", "train", "0123%", "ABCDEF"])
def test_what_cannot_be_an_id_is_refused(store: Store, reference: str) -> None:
    with pytest.raises(HistoryError, match=f"'{reference}' is not the id of a run: give the id, or the 4 or more "):
        store.run(reference)


def test_an_unknown_run_is_refused(store: Store) -> None:
    with pytest.raises(
        HistoryError, match=r"No run at sqlite:.* has an id that begins with 0000000; physicnet ui shows"
    ):
        store.run("0000000")


def test_a_beginning_of_several_ids_is_refused_with_all_of_them(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [store.find_or_create({"physicnet.child": name}, name, {}) for name in ("one", "two")]
    found = [store.client.get_run(run_id) for run_id in ids]
    monkeypatch.setattr(store.client, "search_runs", lambda *_, **__: found)
    with pytest.raises(
        HistoryError, match=rf"abcd begins .* several runs: {ids[0]} \(one\), {ids[1]} \(two\)\. Give more"
    ):
        store.run("abcd")


def test_a_folder_without_runs_is_named_and_gets_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(HistoryError, match=r"mlflow holds no runs: change to the folder of params\.yaml"):
        Store(tmp_path).run("abcd")
    assert list(tmp_path.iterdir()) == []


def test_the_stages_of_an_execution_are_its_children_oldest_first(store: Store) -> None:
    parent = store.find_or_create({"physicnet.child": "parent of two"}, "parent", {})
    tags = {"mlflow.parentRunId": parent}
    ids = [store.find_or_create({"physicnet.child": f"{parent} {name}"}, name, tags) for name in ("b", "a")]
    assert [child.info.run_id for child in store.children(parent)] == ids


def test_the_text_of_an_artifact_is_read_and_none_if_there_is_no_such(store: Store, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("lead\n1\n")
    run_id = store.find_or_create({"physicnet.child": "text"}, "evaluate", {})
    store.keep(run_id, tmp_path / "scores.csv")
    run = store.run(run_id)
    assert store.read_text(run, "scores.csv") == "lead\n1\n"
    assert store.read_text(run, "origins.csv") is None


def test_an_artifact_that_cannot_be_read_is_named_with_its_place(store: Store, tmp_path: Path) -> None:
    (tmp_path / "origins.csv").write_bytes(b"\xff\xfe\x00")
    run_id = store.find_or_create({"physicnet.child": "unreadable"}, "evaluate", {})
    store.keep(run_id, tmp_path / "origins.csv")
    with pytest.raises(
        HistoryError, match=rf"origins\.csv of run {run_id} cannot be read from file:.*{run_id}.*decode"
    ):
        store.read_text(store.run(run_id), "origins.csv")


def test_a_store_of_an_older_mlflow_is_refused_with_the_command_that_upgrades_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow").mkdir()
    database = tmp_path / "mlflow" / "mlflow.db"
    shutil.copy(repository / "mlflow" / "mlflow.db", database)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.close()
    message = f"written by an older MLflow. Make a copy of its database, then: mlflow db upgrade sqlite:///{database}"
    with pytest.raises(HistoryError, match=message):
        Store(tmp_path).run("abcd")


def test_the_command_that_upgrades_a_store_shows_no_password(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(repository / "mlflow" / "mlflow.db", tmp_path / "runs.db")
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    connection.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    with pytest.raises(HistoryError, match=r'mlflow db upgrade "\$MLFLOW_TRACKING_URI"$'):
        Store(tmp_path).run("abcd")


def test_a_server_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(
        HistoryError, match=r"runs at http://127\.0\.0\.1:1 cannot be opened; is MLFLOW_TRACKING_URI right"
    ):
        Store(tmp_path).run("abcd")


def test_nested_names_become_paths() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [1, 2]}, "e": "f"}, ".") == {"a.b.c": 1, "a.d": [1, 2], "e": "f"}
