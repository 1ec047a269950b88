"""The flow around the collector: its states, its event, and that a stage which reads data/raw sees no change."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dvc_folder
import netCDF4
import numpy as np
import pytest
import yaml
from dvc.lock import LockError
from dvc.repo import Repo
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from waiting import wait_until

from flows.collect import collect, in_markdown
from flows.events import ACCEPTED
from flows.pipeline import pipeline
from flows.raw_data import paths_of_ingest, unread
from physicnet.data.arrivals import Collected
from physicnet.data.collect import CollectBusyError, RawBusyError

PARAMS = Path(__file__).parents[2] / "params.yaml"
# Reads data/raw slowly: what it saw at the beginning, and again when the test lets it go on.
STAGE = """\
import os, time, sys
seen = sorted(os.listdir("data/raw"))
open("begun", "w").close()
while not os.path.exists("go_on"): time.sleep(0.05)
assert seen == sorted(os.listdir("data/raw"))
open("listed", "w").write(" ".join(seen))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project in the current folder, one stage of which reads data/raw, which has a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")  # nobody listens there
    params = yaml.safe_load(PARAMS.read_text())
    params["ingest"]["memory_limit"] = "64 GiB"  # what other tests have left in this process counts
    params["collect"] |= {"settled": 0, "stalled": 0}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "stage.py").write_text(STAGE)
    command = f"{sys.executable} stage.py --raw data/raw --resume .physicnet/ingest"
    stage = {"cmd": command, "deps": ["data/raw"], "outs": ["listed"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"ingest": stage}}))
    for name in ("raw", "inbox"):
        (tmp_path / "data" / name).mkdir(parents=True)
    put(0, tmp_path / "data/raw")
    dvc_folder.init(tmp_path)
    return tmp_path


def put(number: int, folder: Path = Path("data/inbox")) -> None:
    """Write two frames of rain, five minutes apart, as ingest expects them."""
    with netCDF4.Dataset(folder / f"radar_{number}.nc", "w") as file:
        axes = {"time": 10 * number + 5 * np.arange(2), "y": np.arange(4.0), "x": np.arange(6.0)}
        units = {"time": "minutes since 2020-06-01 00:00", "y": "km", "x": "km"}
        for name, values in axes.items():
            file.createDimension(name, len(values))
            file.createVariable(name, "f8", (name,))[:] = values
            file[name].units = units[name]
        rain = file.createVariable("rain_rate", "f4", ("time", "y", "x"))
        rain.units = "mm h-1"
        rain[:] = np.random.default_rng(number).gamma(1.0, 2.0, (2, 4, 6))


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def ran() -> State[dict[str, Any]]:
    state = collect(return_state=True)
    assert state.is_completed(), state.message
    return state


def events(name: str) -> list[dict[str, Any]]:
    """What the server has of an event."""
    now = datetime.now(UTC)
    occurred = {"since": str(now - timedelta(hours=1)), "until": str(now + timedelta(hours=1))}
    with get_client(sync_client=True) as client:
        answer = client._client.post(
            "/events/filter", json={"filter": {"event": {"name": [name]}, "occurred": occurred}}
        )
    return answer.raise_for_status().json()["events"]


def repro() -> subprocess.Popen[bytes]:
    started = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "--quiet"])
    assert wait_until(lambda: Path("begun").exists(), 60)
    return started


def status() -> dict[str, Any]:
    with Repo(".") as repo:
        return repo.status()


@pytest.mark.usefixtures("_server")
def test_what_came_is_told_in_the_state_an_artifact_and_an_event(project: Path) -> None:
    assert ran().name == "Nothing"
    for number in (1, 2):
        put(number)
    (project / "data/inbox/radar_3.nc").write_text("no")
    state = ran()
    told = {"accepted": 2, "quarantined": 1, "duplicates": 0, "waiting": 0, "frames": 4}
    told |= {"first": "2020-06-01T00:10:00", "last": "2020-06-01T00:25:00"}
    assert (state.name, state.result()) == ("Collected", told)
    assert names("data/raw") == ["radar_0.nc", "radar_1.nc", "radar_2.nc"]
    assert "cannot be read as NetCDF" in Path("data/quarantine/radar_3.nc.reason.txt").read_text()
    artifact = Artifact.get("observations")
    assert artifact is not None
    assert "| radar_2.nc | accepted | as radar_2.nc, 2 frames, 2020-06-01T00:20:00 to" in str(artifact.data)

    def ours() -> list[dict[str, Any]]:
        resource = f"physicnet.project.{project.name}"
        return [event for event in events(ACCEPTED) if event["resource"]["prefect.resource.id"] == resource]

    assert wait_until(lambda: len(ours()) == 1)
    assert ours()[0]["payload"] == told
    (project / "data/inbox/radar_3.nc").write_text("no")
    assert ran().name == "Collected"
    assert len(ours()) == 1  # nothing was accepted


@pytest.mark.usefixtures("_server")
def test_a_stage_that_reads_the_raw_data_sees_and_records_nothing_that_comes_meanwhile(project: Path) -> None:
    running = repro()
    put(1)
    state = ran()
    assert (state.name, state.result()["waiting"]) == ("Waiting", 1)
    assert names("data/inbox") == ["radar_1.nc"]
    Path("go_on").touch()
    assert running.wait(60) == 0
    assert Path("listed").read_text() == "radar_0.nc"
    assert status() == {}
    assert ran().name == "Collected"
    assert status() != {}, "what was collected is new to DVC"
    assert pipeline() == {"ingest": "Ran"}
    assert Path("listed").read_text() == "radar_0.nc radar_1.nc"


@pytest.mark.usefixtures("_server")
def test_another_collect_at_work_is_a_state_of_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> None:
        raise CollectBusyError("another process collects")

    monkeypatch.setattr("flows.collect.collected", busy)
    state = ran()
    assert (state.name, state.message) == ("Busy", "another process collects")


def test_while_raw_data_are_kept_unread_dvc_waits(project: Path) -> None:
    with unread(Path("data/raw")):
        done = subprocess.run([sys.executable, "-m", "dvc", "repro"], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "Unable to acquire lock" in done.stderr
        assert not Path("begun").exists()
    Path("go_on").touch()
    assert repro().wait(60) == 0


def test_a_path_that_is_read_is_not_given(project: Path) -> None:
    running = repro()
    try:
        with pytest.raises(RawBusyError, match="DVC is at work on data/raw; the next collect takes it") as caught:
            unread(Path("data/raw")).__enter__()
        assert isinstance(caught.value.__cause__, LockError)
        with unread(Path("data/elsewhere")):
            pass
    finally:
        Path("go_on").touch()
        running.wait(60)


def test_the_paths_are_those_of_dvc_yaml(project: Path) -> None:
    assert paths_of_ingest() == {"raw": Path("data/raw"), "resume": Path(".physicnet/ingest")}


def test_a_long_list_is_cut_and_a_reason_stays_within_its_cell() -> None:
    table = in_markdown(Collected(quarantined={f"{n}.nc": "a|b\nc" for n in range(30)}))
    assert table.count("| quarantined |") == 21
    assert "| 0.nc | quarantined | a\\|b c |" in table
    assert "| and 10 more | quarantined | |" in table
