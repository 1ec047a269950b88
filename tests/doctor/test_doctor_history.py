import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from physicnet.doctor.findings import Finding, Level
from physicnet.doctor.history import check
from physicnet.migrations import folder_of, revisions
from physicnet.tracking.executions import process_tags
from physicnet.tracking.store import Store


@pytest.fixture
def folder(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a store of runs, all ended."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(repository / "mlflow", tmp_path / "mlflow")
    set_in(tmp_path, "UPDATE runs SET status = 'FINISHED'")
    return tmp_path


def set_in(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "mlflow" / "mlflow.db")) as connection, connection:
        connection.execute(statement)


def only() -> Finding:
    (finding,) = check()
    return finding


def test_a_whole_store_is_well_and_is_left_as_it_is(folder: Path) -> None:
    before = (folder / "mlflow" / "mlflow.db").read_bytes()
    assert [finding.level for finding in check()] == [Level.OK, Level.OK]
    assert (folder / "mlflow" / "mlflow.db").read_bytes() == before


def test_where_there_is_no_store_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert only().level is Level.NOT_CHECKED
    assert list(tmp_path.rglob("*.db")) == []


def test_an_older_schema_is_an_error_with_the_command_that_mends_it(folder: Path) -> None:
    latest, known = revisions(folder_of("mlflow") / "store" / "db_migrations")
    older = min(known - {latest})
    set_in(folder, f"UPDATE alembic_version SET version_num = '{older}'")
    finding = only()
    assert finding.level is Level.ERROR
    assert f"written by an older MLflow (schema {older}, installed: {latest})" in finding.seen
    assert f"mlflow db upgrade sqlite:///{folder}/mlflow/mlflow.db" in finding.remedy


def test_a_newer_schema_is_an_error(folder: Path) -> None:
    set_in(folder, "UPDATE alembic_version SET version_num = 'of the future'")
    assert "written by a newer MLflow (schema of the future" in only().seen


def test_a_store_that_was_half_made_is_an_error(folder: Path) -> None:
    set_in(folder, "DELETE FROM alembic_version")
    assert "only half made" in only().seen


def test_a_damaged_store_is_an_error(folder: Path) -> None:
    database = folder / "mlflow" / "mlflow.db"
    content = bytearray(database.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8192] = b"\xff" * 8192
    database.write_bytes(content)
    finding = only()
    assert finding.level is Level.ERROR
    assert "is damaged" in finding.seen
    database.write_text("no database " * 1000)
    assert "cannot be read: file is not a database" in only().seen


def test_a_store_that_another_process_keeps_is_not_taken_for_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physicnet.sqlite.PATIENCE", 0.1)
    program = (
        "import sqlite3, time\n"
        "kept = sqlite3.connect('mlflow/mlflow.db')\n"
        "kept.execute('BEGIN EXCLUSIVE')\n"
        "open('begun', 'w').close()\n"
        "time.sleep(600)"
    )
    keeper = subprocess.Popen([sys.executable, "-c", program], cwd=folder)
    assert wait_until((folder / "begun").exists)
    finding = only()
    keeper.kill()
    keeper.wait()
    assert finding.level is Level.ERROR
    assert "has been kept by another for" in finding.seen
    assert f"process {keeper.pid} (python" in finding.seen
    assert finding.remedy == f"wait for it; if it hangs, end it: kill {keeper.pid}"


def test_a_server_that_does_not_answer_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody listens there
    finding = only()
    assert finding.level is Level.WARNING
    assert "cannot be opened" in finding.seen


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_run_whose_process_is_gone_is_named_and_one_of_another_machine_is_not_judged(
    folder: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    store = Store(folder)
    here = process_tags(psutil.Process(sleeper.pid))
    store.client.create_run(store.experiment_id, tags=here, run_name="train")
    store.client.create_run(store.experiment_id, tags=here | {"physicnet.host": "ocean"}, run_name="train")
    whole, elsewhere, running = check()
    assert (whole.level, running.level) == (Level.OK, Level.OK)
    assert running.seen == "1 runs are going on here, and their processes are there"
    assert (elsewhere.level, elsewhere.seen) == (Level.NOT_CHECKED, "1 runs are going on at ocean")
    sleeper.kill()
    sleeper.wait()
    _, lost, _ = check()
    assert lost.level is Level.WARNING
    assert f"(train) is said to be running, but its process {sleeper.pid} is gone" in lost.seen
