import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, get_current_settings, temporary_settings
from prefect.states import Running, Scheduled

from flows import service
from flows.automations import SILENCE, no_sign_of_life, renew
from flows.doctor import database, server
from flows.project import project_name
from physicnet.doctor.findings import Finding, Level
from physicnet.migrations import revisions

POOL = "fields"
NIGHTLY = {"entrypoint": "small.py:nightly", "work_pool": {"name": POOL}, "schedules": [{"cron": "0 2 * * *"}]}


def name(flow: str = "nightly") -> str:
    """What a deployment of this folder is called."""
    return f"{flow}/{project_name()}"


@flow(name="nightly")
def nightly() -> None:
    pass


@pytest.fixture
def client(_server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)
        for run in client.read_flow_runs():
            client.delete_flow_run(run.id)


def deploy(client: SyncPrefectClient, *, active: bool = True, paused: bool = False) -> object:
    schedule = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 2 * * *"), active=active)
    flow_id = client.create_flow(nightly)
    return client.create_deployment(flow_id, project_name(), schedules=[schedule], paused=paused)


def said(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_deployment_that_is_not_there_is_an_error(client: SyncPrefectClient) -> None:
    finding = said(server.check_deployment(client, NIGHTLY))
    assert finding.level is Level.ERROR
    assert finding.seen == f"deployment {name()} is not on the server"


def test_a_schedule_without_a_scheduled_run_is_an_error(client: SyncPrefectClient) -> None:
    deployment = deploy(client)
    finding = said(server.check_deployment(client, NIGHTLY))
    assert finding.level is Level.ERROR
    assert finding.seen == f"{name()} has a schedule, but no run is scheduled: the server's scheduler does not work"
    past = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(days=1))
    client.create_flow_run_from_deployment(deployment, state=past)
    assert said(server.check_deployment(client, NIGHTLY)).level is Level.ERROR
    client.create_flow_run_from_deployment(
        deployment, state=Scheduled(scheduled_time=datetime(2126, 1, 2, 3, 4, tzinfo=UTC))
    )
    finding = said(server.check_deployment(client, NIGHTLY))
    assert finding.level is Level.OK
    assert finding.seen == f"the next run of {name()} is scheduled for 2126-01-02 03:04 UTC"


def test_what_was_switched_off_is_a_warning(client: SyncPrefectClient) -> None:
    deploy(client, active=False)
    assert said(server.check_deployment(client, NIGHTLY)).seen == f"no schedule of {name()} is active"
    deploy(client, paused=True)
    paused = said(server.check_deployment(client, NIGHTLY))
    assert (paused.level, paused.seen) == (Level.WARNING, f"deployment {name()} is paused")


def test_an_event_that_starts_nothing_is_an_error(client: SyncPrefectClient) -> None:
    deploy(client)
    found = list(server.check_deployment(client, {**NIGHTLY, "schedules": [], "triggers": [{"type": "event"}]}))
    assert said(iter(found)).seen.startswith(f"no event starts {name()}")


def test_a_pool_that_nobody_asks_for_work_is_an_error(client: SyncPrefectClient) -> None:
    assert said(server.check_workers(client, POOL)).seen == f"there is no work pool {POOL}"
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    idle = said(server.check_workers(client, POOL))
    assert (idle.level, idle.seen) == (Level.ERROR, f"no worker asks the pool {POOL} for work: no run is started")
    client.request("POST", "/work_pools/{name}/workers/heartbeat", path_params={"name": POOL}, json={"name": "here"})
    assert said(server.check_workers(client, POOL)).level is Level.OK


def test_a_run_without_a_sign_of_life_is_named(client: SyncPrefectClient) -> None:
    asyncio.run(renew(no_sign_of_life()))
    assert said(server.check_runs(client, datetime.now(UTC))).seen == "no run is going on"
    run = client.create_flow_run(nightly, state=Running())
    assert run.state is not None
    assert run.state.type == StateType.RUNNING
    assert said(server.check_runs(client, datetime.now(UTC))).level is Level.OK
    silent = said(server.check_runs(client, datetime.now(UTC) + SILENCE * 2))
    assert silent.level is Level.ERROR
    assert f"({run.id}) is said to be running" in silent.seen


def test_that_nobody_watches_over_the_runs_is_an_error(client: SyncPrefectClient) -> None:
    for automation in client.read_automations_by_name(no_sign_of_life().name):
        client.request("DELETE", "/automations/{id}", path_params={"id": automation.id})
    unwatched, _ = server.check_runs(client, datetime.now(UTC))
    assert (unwatched.level, unwatched.remedy) == (Level.ERROR, "python -m flows.automations")


def test_all_deployments_and_pools_of_the_file_are_looked_at(
    client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.yaml").write_text(
        yaml.safe_dump({"deployments": [NIGHTLY, {**NIGHTLY, "entrypoint": "small.py:hourly"}]})
    )
    seen = [finding.seen for finding in server.check()]
    assert seen[:2] == [f"deployment {name(flow)} is not on the server" for flow in ("nightly", "hourly")]
    assert sum(f"pool {POOL}" in each for each in seen) == 1


def test_without_a_server_nothing_is_said_to_be_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert said(server.check()).level is Level.NOT_CHECKED


def test_a_server_that_does_not_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):  # nobody listens there
        finding = said(server.check())
    assert finding.level is Level.ERROR
    assert finding.seen.startswith("no server answers at http://127.0.0.1:1/api")


def test_what_was_started_and_has_ended_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "service.json").write_text('[{"name": "worker", "pid": 1, "born": 0}]')
    assert service.address() is None
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        ended, _ = server.check()
    assert ended.level is Level.ERROR
    assert ended.seen == "the worker that make serve has started (process 1) has ended"


@pytest.fixture
def of_server(_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a real server's database, in the place of that of `make serve`."""
    folder = tmp_path / ".prefect"
    folder.mkdir()
    url = get_current_settings().server.database.connection_url
    assert url is not None
    original = url.get_secret_value().removeprefix("sqlite+aiosqlite:///")
    copied = folder / "prefect.db"
    with closing(sqlite3.connect(original)) as before, closing(sqlite3.connect(copied)) as after:
        before.backup(after)
    monkeypatch.chdir(tmp_path)
    return copied


def test_the_database_of_a_server_is_well_unless_damaged_or_of_another_version(of_server: Path) -> None:
    latest, known = revisions(*database._migrations())
    assert database.examine(of_server).level is Level.OK
    told = {}
    for found in (min(known - {latest}), "later"):
        with closing(sqlite3.connect(of_server)) as connection, connection:
            connection.execute(f"UPDATE alembic_version SET version_num = '{found}'")
        finding = database.examine(of_server)
        told[finding.level] = finding.seen
    assert "written by an older Prefect" in told[Level.WARNING]
    assert "written by a newer Prefect (schema later" in told[Level.ERROR]
    of_server.write_text("no database" * 1000)
    assert "cannot be read" in database.examine(of_server).seen
    of_server.write_bytes(b"")  # what a server leaves that was killed at its first start
    assert database.examine(of_server).level is Level.NOT_CHECKED


def test_where_there_is_no_database_none_is_said_to_be_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with temporary_settings({PREFECT_HOME: tmp_path / "home"}):
        assert said(database.check()).level is Level.NOT_CHECKED
