"""What a real server does by itself: failures are told to a webhook, events wake the deployments of their project."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.objects import State
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed
from waiting import wait_until

from flows.automations import AutomationError, no_sign_of_life, renew, renew_all
from flows.events import ACCEPTED
from flows.project import project_resource

ROOT = Path(__file__).parents[2]


@dataclass
class Receiver:
    """A webhook on this machine, and what was posted to it."""

    address: str
    messages: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        told = Receiver(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()


@pytest.fixture
def address(_server: None) -> Iterator[str]:
    """Where the server is, which Prefect is told of by its environment."""
    with get_client(sync_client=True) as client:
        found = str(client.api_url).removesuffix("/")
    with temporary_settings({PREFECT_API_URL: found}):
        yield found


@flow(name="inner")
def inner(how: str) -> None:
    if how == "Failed":
        raise ValueError("the sky is missing")


@flow(name="outer")
def outer(how: str) -> State:
    inner(how)
    return Completed(name=how)


def run_deployed(name: str, how: str) -> str:
    """Run a flow as of a deployment of this name; return the name of its run."""
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(outer), name, parameters={"how": how})
        run = client.create_flow_run_from_deployment(deployment)
    state = run_flow(outer, flow_run=run, parameters={"how": how}, return_type="state")
    assert isinstance(state, State)
    assert state.name == how
    return run.name


def test_a_failure_of_this_project_is_told_once_and_nothing_else_is(
    receiver: Receiver, project: Path, address: str
) -> None:
    block = CustomWebhookNotificationBlock(
        name="ops", url=receiver.address, json_data={"subject": "{{subject}}", "body": "{{body}}"}
    )
    block.save("ops", overwrite=True)
    asyncio.run(renew_all("custom-webhook/ops"))
    asyncio.run(renew_all("custom-webhook/ops"))  # in place of the first
    run_deployed(project.name, "Skipped")
    run_deployed("another project", "Failed")
    outer("Failed", return_state=True)  # by hand, of no deployment
    name = run_deployed(project.name, "Failed")
    assert wait_until(lambda: receiver.messages != [])
    (message,) = receiver.messages
    assert message["subject"] == f"outer of {project.name}: Failed"
    told, link = message["body"].splitlines()
    assert told.startswith(f"The run {name} of outer ended as Failed: ")
    assert "the sky is missing" in told
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(link.removeprefix(f"{address.removesuffix('/api')}/runs/flow-run/")))
    assert run.name == name


@pytest.mark.usefixtures("address")
def test_a_block_that_is_not_there_or_cannot_notify_is_refused() -> None:
    with pytest.raises(AutomationError, match=r"the server has no block 'slack-webhook/nobody': make one on the page"):
        asyncio.run(renew_all("slack-webhook/nobody"))
    Secret(value="quiet").save("quiet", overwrite=True)
    with pytest.raises(AutomationError, match="the block 'secret/quiet' cannot notify"):
        asyncio.run(renew_all("secret/quiet"))


def test_without_a_server_there_is_nothing_to_automate() -> None:
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(AutomationError, match="set PREFECT_API_URL to the address of one"),
    ):
        asyncio.run(renew_all(None))


def test_new_observations_wake_the_retrain_of_their_project_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="physicnet", type="process"), overwrite=True)
        deploy(ours, address)
        deployments = client.read_deployments(deployment_filter=DeploymentFilter(name={"any_": ["ours"]}))
        (retrain,) = [each.id for each in deployments if each.entrypoint == "flows/retrain.py:retrain"]

        def times_woken() -> int:
            runs = client.read_flow_runs(deployment_filter=DeploymentFilter(id={"any_": [retrain]}))
            return sum(run.created_by is not None and run.created_by.type == "AUTOMATION" for run in runs)

        for folder in (theirs, ours):
            monkeypatch.chdir(folder)
            asyncio.run(announce())
        assert wait_until(lambda: times_woken() > 0)
        assert times_woken() == 1


def deploy(folder: Path, address: str) -> None:
    """Make the deployments of prefect.yaml, as of a project in this folder."""
    folder.mkdir()
    for name in ("flows", "physicnet"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "prefect.yaml", folder)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = os.environ | {"PREFECT_API_URL": address, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


async def announce() -> None:
    """Tell that observations of the project in the current folder were accepted."""
    async with get_events_client() as events:
        await events.emit(Event(event=ACCEPTED, resource=Resource({"prefect.resource.id": project_resource()})))


@pytest.mark.usefixtures("address")
def test_the_automation_that_counts_the_silence_of_runs_is_made_once_and_renewed_when_it_differs() -> None:
    def made() -> list[UUID]:
        with get_client(sync_client=True) as client:
            return [each.id for each in client.read_automations_by_name(no_sign_of_life().name)]

    asyncio.run(renew_all(None))
    (first,) = made()
    asyncio.run(renew_all(None))
    assert made() == [first]
    other = no_sign_of_life()
    other.trigger.within *= 2
    asyncio.run(renew(other))
    (second,) = made()
    assert second != first
    asyncio.run(renew_all(None))
    assert len(made()) == 1
    assert made() != [second]
