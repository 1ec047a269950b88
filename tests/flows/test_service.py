"""A real server and a real worker, with a password, on a pipeline of one slow stage."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import dvc_folder
import psutil
import pytest
import yaml
from waiting import pid_in, wait_until

from physicnet.ports import free_port

ROOT = Path(__file__).parents[2]
PASSWORD = "physicist:secret"
BUSY_TRIES = 60  # a second apart: while its database is written to, the server says 503, or nothing for a time
PATIENCE = 600  # seconds: Prefect gives the slot of a run whose start was lost to such a server free after 300
POLL = 0.5  # seconds: the server that is asked has the work to do that is waited for
CRASHED_WITHIN = 120  # seconds after its worker has died
NIGHT = f"{(datetime.now(UTC).hour + 12) % 24:02}:00"  # when `retrain` is scheduled: far from the tests' own time
STAGES = {
    "ingest": {
        "cmd": "cp raw fields; if [ -s raw ]; then echo $$ > begun; sleep 600; fi",
        "deps": ["raw"],
        "outs": ["fields"],
    }
}


class Operation:
    """A folder whose deployments are served."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = environment | {
            "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
            "PYTHONPATH": str(folder),
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",  # nobody listens there
        }

    def service(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.service", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    @property
    def processes(self) -> dict[str, psutil.Process]:
        told = json.loads((self.folder / ".prefect" / "service.json").read_text())
        return {each["name"]: psutil.Process(each["pid"]) for each in told}

    def ask(self, path: str, content: object = None, *, password: str = PASSWORD) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api{path}")
        request.add_header("Authorization", f"Basic {base64.b64encode(password.encode()).decode()}")
        if content is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(content).encode()
        for _ in range(BUSY_TRIES):
            try:
                with suppress(TimeoutError), urllib.request.urlopen(request, timeout=30) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as failure:
                if failure.code != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            time.sleep(1)
        raise AssertionError(f"the server was busy each of {BUSY_TRIES} times")

    def runs(self) -> list[dict[str, Any]]:
        """The runs of `retrain` that are not of the future, the latest first."""
        found = self.ask(
            "/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "flows": {"name": {"any_": ["retrain"]}}}
        )
        return [
            run for run in found if run["state_type"] != "SCHEDULED" or run["state_name"] == "AwaitingConcurrencySlot"
        ]

    @property
    def address(self) -> dict[str, str]:
        """The environment of a command that asks the server."""
        known = {"PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api", "PREFECT_API_AUTH_STRING": PASSWORD}
        return self.environment | known

    def announce(self) -> None:
        """Tell that observations were accepted."""
        program = (
            "from prefect.events import emit_event\n"
            "from flows.project import project_resource\n"
            "emit_event('physicnet.observations.accepted', resource={'prefect.resource.id': project_resource()})"
        )
        subprocess.run([sys.executable, "-c", program], cwd=self.folder, check=True, env=self.address)

    def workers(self) -> set[str]:
        """Those that ask for work."""
        found = self.ask("/work_pools/physicnet/workers/filter", {})
        return {worker["name"] for worker in found if worker["status"] == "ONLINE"}

    def retrain(self) -> None:
        (deployment,) = self.ask("/deployments/filter", {"flows": {"name": {"any_": ["retrain"]}}})
        asked = {"state": {"type": "SCHEDULED"}, "idempotency_key": uuid4().hex}  # one run, however often it is asked
        self.ask(f"/deployments/{deployment['id']}/create_flow_run", asked)


eventually = partial(wait_until, seconds=PATIENCE, every=POLL)


def kill(process: psutil.Process) -> None:
    """Kill a process and all below it; some of these end with it, as a DVC that waits does with its flow."""
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            each.kill()


@pytest.fixture(scope="module")
def operation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operation]:
    folder = tmp_path_factory.mktemp("operation")
    for name in ("flows", "physicnet"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("params.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    deployments = (ROOT / "prefect.yaml").read_text()
    assert '"0 2 * * *"' in deployments
    (folder / "prefect.yaml").write_text(deployments.replace('"0 2 * * *"', f'"0 {int(NIGHT[:2])} * * *"'))
    (folder / "raw").write_text("")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    dvc_folder.init(folder)
    subprocess.run([sys.executable, "-m", "dvc", "repro", "--quiet"], cwd=folder, check=True)
    served = Operation(folder, free_port())
    started = served.service("start", "--port", str(served.port))
    assert started.returncode == 0, started.stderr
    yield served
    served.service("stop")


def test_the_server_listens_on_this_machine_alone_and_to_those_who_know_the_password(operation: Operation) -> None:
    server = operation.processes["server"]
    family = [server, *server.children(recursive=True)]
    addresses = {each.laddr for one in family for each in one.net_connections() if each.status == "LISTEN"}
    assert {address.ip for address in addresses} == {"127.0.0.1"}
    assert operation.port in {address.port for address in addresses}
    assert operation.ask("/flows/count", {}) >= 1
    with pytest.raises(urllib.error.HTTPError, match="401"):
        operation.ask("/flows/count", {}, password="physicist:guess")


def test_the_next_nights_and_minutes_are_scheduled(operation: Operation) -> None:
    def scheduled(name: str) -> list[str]:
        chosen = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "flows": {"name": {"any_": [name]}}}
        return [run["expected_start_time"][11:16] for run in operation.ask("/flow_runs/filter", chosen)]

    assert eventually(lambda: len(scheduled("retrain")) > 0)
    assert set(scheduled("retrain")) == {NIGHT}
    assert len(set(scheduled("collect"))) > 1


def test_the_doctor_finds_the_service_well(operation: Operation) -> None:
    def said() -> str:
        command = [sys.executable, "-m", "flows.doctor"]
        told = subprocess.run(command, cwd=operation.folder, env=operation.environment, capture_output=True, text=True)
        return told.stdout

    assert wait_until(
        lambda: f"the next run of retrain/{operation.folder.name} is scheduled for" in said(), seconds=300
    )
    lines = said()
    assert "ok           service (Prefect): worker here asks the pool physicnet for work" in lines
    assert "ok           database of Prefect" in lines
    assert "error" not in lines


def test_accepted_observations_ask_for_a_retrain_which_says_why_it_does_nothing(operation: Operation) -> None:
    operation.announce()
    assert eventually(lambda: any(run["state_name"] == "Skipped" for run in operation.runs()))
    (run,) = [run for run in operation.runs() if run["created_by"]["type"] == "AUTOMATION"]
    assert run["state"]["message"] == "nothing is new: all stages are up to date"


def test_a_second_start_is_refused(operation: Operation) -> None:
    refused = operation.service("start", "--port", str(free_port()))
    assert refused.returncode == 1
    assert "running already: server (process" in refused.stderr
    assert all(process.is_running() for process in operation.processes.values())


def test_of_two_workers_one_runs_a_retrain_and_the_other_waits(operation: Operation) -> None:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "physicnet", "--name", "second"]
    second = subprocess.Popen(command, cwd=operation.folder, env=operation.address, start_new_session=True)
    try:
        assert eventually(lambda: {"here", "second"} <= operation.workers())
        before = {run["id"] for run in operation.runs()}

        def states() -> dict[str, str]:
            return {run["id"]: run["state_name"] for run in operation.runs() if run["id"] not in before}

        (operation.folder / "raw").write_text("new")
        operation.retrain()
        operation.announce()
        assert eventually(lambda: set(states().values()) == {"Running", "AwaitingConcurrencySlot"})
        assert eventually(lambda: (operation.folder / "begun").exists())  # Running is said before
        stage = pid_in(operation.folder / "begun")
        (operation.folder / "raw").write_text("")
        os.kill(stage, signal.SIGKILL)
        assert eventually(lambda: sorted(states().values()) == ["Failed", "Skipped"])
    finally:
        kill(psutil.Process(second.pid))
        second.wait()
        (operation.folder / "begun").unlink(missing_ok=True)


def test_the_run_of_a_dead_worker_crashes_and_lets_the_next_one_in(operation: Operation) -> None:
    (operation.folder / "raw").write_text("new")
    operation.retrain()
    assert eventually(lambda: (operation.folder / "begun").exists())
    stage = pid_in(operation.folder / "begun")
    operation.retrain()  # waits: one at a time
    worker = operation.processes["worker"]
    kill(worker)
    died = time.time()
    assert wait_until(lambda: not psutil.pid_exists(stage), seconds=60)
    assert eventually(lambda: "CRASHED" in {run["state_type"] for run in operation.runs()})
    (crashed,) = [run for run in operation.runs() if run["state_type"] == "CRASHED"]
    assert datetime.fromisoformat(crashed["state"]["timestamp"]).timestamp() - died < CRASHED_WITHIN
    assert crashed["state"]["message"].startswith("no sign of life for 90 seconds")
    (operation.folder / "raw").write_text("")
    assert operation.service("stop").returncode == 0
    assert operation.service("start", "--port", str(operation.port)).returncode == 0
    assert eventually(lambda: operation.runs()[0]["state_name"] == "Skipped")


def test_the_run_of_a_machine_that_has_died_crashes_when_its_server_is_back(operation: Operation) -> None:
    (operation.folder / "begun").unlink()
    (operation.folder / "raw").write_text("new")
    operation.retrain()
    stage = pid_in(operation.folder / "begun")
    (run,) = [run["id"] for run in operation.runs() if run["state_name"] == "Running"]
    for process in operation.processes.values():
        kill(process)
    assert wait_until(lambda: not psutil.pid_exists(stage), seconds=60)
    (operation.folder / "raw").write_text("")
    assert operation.service("start", "--port", str(operation.port)).returncode == 0
    returned = time.time()

    def state() -> dict[str, Any]:
        return {each["id"]: each["state"] for each in operation.runs()}[run]

    assert eventually(lambda: state()["type"] == "CRASHED")
    assert datetime.fromisoformat(state()["timestamp"]).timestamp() - returned < CRASHED_WITHIN
    operation.retrain()
    assert eventually(lambda: operation.runs()[0]["state_name"] == "Skipped")


def test_stop_ends_what_start_has_started_and_nothing_else(operation: Operation) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    processes = operation.processes
    below = [child for process in processes.values() for child in process.children(recursive=True)]
    stopped = operation.service("stop")
    assert "ended: server, worker" in stopped.stdout
    assert wait_until(lambda: not any(process.is_running() for process in [*processes.values(), *below]), seconds=60)
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    assert operation.service("stop").stdout.strip() == "nothing that was started here is running"
