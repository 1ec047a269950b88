import shutil
import sqlite3
from pathlib import Path

import pytest
from mounting import small_disk
from sqlalchemy.exc import OperationalError

from physicnet.tracking import holdings
from physicnet.tracking.store import HistoryError, Store, one_line


def test_the_default_store_lies_in_the_repository_folder(store: Store, repository: Path) -> None:
    assert store.experiment_id == "1"
    assert (repository / "mlflow" / "mlflow.db").exists()
    experiment = store.client.get_experiment(store.experiment_id)
    assert experiment.name == "physicnet"
    assert experiment.artifact_location == (repository / "mlflow/artifacts").as_uri()


def test_a_store_that_a_full_disk_leaves_half_made_is_made_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with small_disk(tmp_path / "disk", mib=4) as disk:
        (disk / "ballast").write_bytes(bytes(4 * 2**20 - 2**17))
        with pytest.raises(OperationalError):
            _ = Store(disk).client
        assert not (disk / "mlflow" / "mlflow.db").exists()
        (disk / "ballast").unlink()
        assert Store(disk).experiment_id == "1"
        assert [path.name for path in (disk / "mlflow").iterdir()] == ["mlflow.db"]


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


def test_messages_tell_no_password() -> None:
    said = one_line(ValueError("API request to http://ada:secret@localhost:5001/api\nfailed"))
    assert said == "API request to http://localhost:5001/api failed"


def test_a_run_is_found_by_its_tags_before_it_is_created(store: Store) -> None:
    assert store.find({"physicnet.child": "unknown"}) is None
    created = store.find_or_create({"physicnet.child": "a"}, "ingest", {"dvc.stage": "ingest"})
    assert store.find_or_create({"physicnet.child": "a"}, "ingest", {}) == created
    assert store.find_or_create({"physicnet.child": "b"}, "ingest", {}) != created


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
    holdings.keep(store, run_id, tmp_path / "scores.csv")
    run = store.run(run_id)
    assert store.read_text(run, "scores.csv") == "lead\n1\n"
    assert store.read_text(run, "origins.csv") is None


def test_an_artifact_that_cannot_be_read_is_named_with_its_place(store: Store, tmp_path: Path) -> None:
    (tmp_path / "origins.csv").write_bytes(b"\xff\xfe\x00")
    run_id = store.find_or_create({"physicnet.child": "unreadable"}, "evaluate", {})
    holdings.keep(store, run_id, tmp_path / "origins.csv")
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
