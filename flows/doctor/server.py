"""Whether what prefect.yaml promises happens: runs are scheduled, a worker fetches them, those that run are alive."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import prefect
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows import service
from flows.automations import SILENCE, no_sign_of_life
from flows.project import project_name
from physicnet.doctor.findings import Finding, error, not_checked, ok, warning

SUBJECT = "service (Prefect)"
DEPLOYMENTS = Path("prefect.yaml")
DEPLOY = "prefect --no-prompt deploy --all"
RESTART = "make stop; make serve"


def check() -> Iterator[Finding]:
    """Ask the server, where there is one."""
    yield from _ended()
    address = PREFECT_API_URL.value() or service.address()
    if not address:
        yield not_checked(
            SUBJECT, "no server: make serve does not run here, and PREFECT_API_URL is not set", "make serve"
        )
        return
    with _client(address) as client:
        refusal = _refusal(client, address)
        if refusal is not None:
            yield refusal
            return
        declared = yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]
        for each in declared:
            yield from check_deployment(client, each)
        for pool in dict.fromkeys(each["work_pool"]["name"] for each in declared):
            yield from check_workers(client, pool)
        yield from check_runs(client, datetime.now(UTC))


def check_deployment(client: SyncPrefectClient, declared: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether a deployment of prefect.yaml is on the server, and will run."""
    name = f"{declared['entrypoint'].rpartition(':')[2]}/{project_name()}"
    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound:
        yield error(SUBJECT, f"deployment {name} is not on the server", DEPLOY)
        return
    if deployment.paused:
        yield warning(SUBJECT, f"deployment {name} is paused", "its page in Prefect has a switch; or: " + DEPLOY)
        return
    if declared.get("triggers") and not _is_triggered(client, deployment):
        yield error(SUBJECT, f"no event starts {name}: its automation is gone or switched off", DEPLOY)
    if declared.get("schedules"):
        yield _next_run(client, deployment, name)


def check_workers(client: SyncPrefectClient, pool: str) -> Iterator[Finding]:
    """Whether a worker fetches the runs of a work pool."""
    start = f"{RESTART}; or on the machine that shall work, in this folder: prefect worker start --pool {pool}"
    try:
        client.read_work_pool(pool)
    except ObjectNotFound:
        yield error(SUBJECT, f"there is no work pool {pool}", f"prefect work-pool create {pool} --type process")
        return
    online = [worker.name for worker in client.read_workers_for_work_pool(pool) if worker.status == WorkerStatus.ONLINE]
    late = client.count_flow_runs(
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Late"])))
    )
    waiting = f"; {late} runs wait beyond their time" if late else ""
    if not online:
        yield error(SUBJECT, f"no worker asks the pool {pool} for work: no run is started{waiting}", start)
    elif late:
        yield warning(SUBJECT, f"worker {', '.join(online)} asks the pool {pool} for work{waiting}", start)
    else:
        yield ok(SUBJECT, f"worker {', '.join(online)} asks the pool {pool} for work")


def check_runs(client: SyncPrefectClient, now: datetime) -> Iterator[Finding]:
    """Whether each run that is said to go on has given a sign of life; and whether somebody watches over it."""
    guard = client.read_automations_by_name(no_sign_of_life().name)
    if not any(automation.enabled for automation in guard):
        yield error(
            SUBJECT,
            "nothing ends the run of a worker that dies, which then keeps all others out",
            "python -m flows.automations",
        )
    running = client.read_flow_runs(flow_run_filter=_in_state(StateType.RUNNING))
    silent = [run for run in running if now - _last_sign(client, run) > SILENCE]
    for run in silent:
        yield error(
            SUBJECT,
            f"run {run.name} ({run.id}) is said to be running, and has given no sign of life since "
            f"{_last_sign(client, run):%Y-%m-%d %H:%M} UTC",
            f"if its process is gone: prefect flow-run delete {run.id}, or set it to Crashed on its page",
        )
    if not silent:
        yield ok(
            SUBJECT, f"{len(running)} runs are going on, all give signs of life" if running else "no run is going on"
        )


def _ended() -> Iterator[Finding]:
    for each in service.recorded():
        if each.process is None:
            yield error(
                SUBJECT,
                f"the {each.name} that make serve has started (process {each.pid}) has ended",
                f"{service.HOME}/{each.name}.log tells why; then: {RESTART}",
            )


@contextmanager
def _client(address: str) -> Iterator[SyncPrefectClient]:
    known = {PREFECT_API_URL: address}
    password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if password and not PREFECT_API_AUTH_STRING.value():
        known[PREFECT_API_AUTH_STRING] = password
    with temporary_settings(known), get_client(sync_client=True) as client:
        yield client


def _refusal(client: SyncPrefectClient, address: str) -> Finding | None:
    """Why the server cannot be asked; None if it can."""
    try:
        version = client.api_version()
        client.read_flow_runs(limit=1)
    except PrefectHTTPStatusError as failure:
        status = failure.response.status_code
        remedy = "export PREFECT_API_AUTH_STRING=user:password, as its server has it" if status == 401 else RESTART
        return error(SUBJECT, f"the server at {address} answers with status {status}", remedy)
    except httpx.HTTPError as failure:
        return error(SUBJECT, f"no server answers at {address}: {failure}", RESTART)
    if version != prefect.__version__:
        return error(
            SUBJECT,
            f"the server at {address} is Prefect {version}, the one installed here {prefect.__version__}",
            "install the same on both; the server of make serve: " + RESTART,
        )
    return None


def _next_run(client: SyncPrefectClient, deployment: DeploymentResponse, name: str) -> Finding:
    if not any(schedule.active for schedule in deployment.schedules):
        return warning(SUBJECT, f"no schedule of {name} is active", DEPLOY)
    after = FlowRunFilterExpectedStartTime.model_validate({"after_": datetime.now(UTC)})
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=_in_state(StateType.SCHEDULED).model_copy(update={"expected_start_time": after}),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=1,
    )
    if not runs:
        return error(
            SUBJECT,
            f"{name} has a schedule, but no run is scheduled: the server's scheduler does not work",
            f"a server takes a minute to begin; then look at its log ({service.HOME}/server.log), and at the packages "
            f"above; {RESTART}",
        )
    start = runs[0].expected_start_time
    return ok(SUBJECT, f"the next run of {name} is scheduled for {start:%Y-%m-%d %H:%M} UTC")


def _is_triggered(client: SyncPrefectClient, deployment: DeploymentResponse) -> bool:
    related = client.read_resource_related_automations(f"prefect.deployment.{deployment.id}")
    return any(automation.enabled for automation in related)


def _last_sign(client: SyncPrefectClient, run: FlowRun) -> datetime:
    """When a run was last heard of: its latest heartbeat, or its beginning."""
    about = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    events = client.read_events(about, limit=1).events
    begun = run.start_time or run.created or datetime.now(UTC)
    return max([begun, *(event.occurred for event in events)])


def _in_state(kind: StateType) -> FlowRunFilter:
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[kind])))
