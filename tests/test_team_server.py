"""A tracking server as a team runs it: PostgreSQL behind it, artifacts on an S3 store, all on this machine."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import KEYS, client_of, object_store
from rich.console import Console
from serving import answers
from waiting import wait_until
from workspaces import write_workspace

from physicnet import replay
from physicnet.ports import free_port
from physicnet.tracking.executions import OWNER_VARIABLE
from physicnet.tracking.store import Store

BINARIES = next(
    (
        folder
        for folder in (*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *map(Path, os.get_exec_path()))
        if all((folder / name).is_file() for name in ("initdb", "postgres", "pg_isready"))
    ),
    None,
)
BUCKET = "runs"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of an empty database of a PostgreSQL that this test starts and stops."""
    if BINARIES is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    # PostgreSQL refuses to run as root, and its user cannot enter pytest's folders.
    owner = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    name = owner.get("user") or pwd.getpwuid(os.geteuid()).pw_name
    folder, port = Path(tempfile.mkdtemp()), free_port()
    if owner:
        shutil.chown(folder, **owner)
    data = str(folder / "data")
    initdb = [BINARIES / "initdb", "-D", data, "-A", "trust", "-U", name]
    subprocess.run(initdb, cwd=folder, check=True, stdout=subprocess.DEVNULL, **owner)  # type: ignore[call-overload]
    options = ["-D", data, "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([BINARIES / "postgres", *options], cwd=folder, stderr=log, stdout=log, **owner)  # type: ignore[call-overload]
    try:
        ready = [BINARIES / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
        assert wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 60), (folder / "log").read_text()
        yield f"postgresql://{name}@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()  # waits for no client
        process.wait(60)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def objects() -> Iterator[str]:
    """The address of an S3 store with an empty bucket."""
    with object_store(BUCKET) as address:
        yield address


@pytest.fixture(scope="module")
def server(database: str, objects: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's server above both."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    stores = ["--backend-store-uri", database, "--artifacts-destination", f"s3://{BUCKET}/physicnet"]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    settings = {"MLFLOW_S3_ENDPOINT_URL": objects, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **KEYS}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *stores, *where],
            cwd=folder,
            env=os.environ | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: answers(address, "/health") or process.poll() is not None, 180)
        assert process.poll() is None, (folder / "log").read_text()
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)


def test_the_runs_of_a_folder_go_to_the_database_and_their_files_to_the_objects_once(
    server: str, objects: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def replayed() -> dict[str, str]:
        replay.replay(tmp_path, Console(width=20))
        lines = capsys.readouterr().out.splitlines()
        return {line.split()[-1]: line[11:28].strip() for line in lines}

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    for name in (OWNER_VARIABLE, "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    write_workspace(tmp_path)
    monkeypatch.setattr("physicnet.served.log", lambda *_: None)  # its files are no model
    first = replayed()
    assert set(first.values()) == {"replayed"}
    assert replayed() == dict.fromkeys(first, "complete already")
    store = Store(tmp_path)
    run = store.find({"dvc.stage": "train"})
    assert run is not None
    assert run.info.run_id in first
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")
    assert [point.step for point in store.client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    kept = client_of(objects).list_objects_v2(Bucket=BUCKET, Prefix="physicnet/")["Contents"]
    names = {"/".join(entry["Key"].split("/")[-3:]) for entry in kept}
    assert f"{run.info.run_id}/artifacts/model.safetensors" in names
    assert store.run(run.info.run_id[:8]).info.run_id == run.info.run_id  # its first characters, in this database too
