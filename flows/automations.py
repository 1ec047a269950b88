"""What the server does by itself: a run without a sign of life is marked crashed, and a failure is told.

A worker or a machine that dies cannot say so, and its run would hold the only place for ever. `python -m
flows.automations` makes or renews the automations on the server of PREFECT_API_URL; with `--notify` also the one that
tells of failures, which stays there until it is deleted.
"""

import asyncio
import sys
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, Posture
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings

from flows.project import project_name

SILENCE = timedelta(seconds=90)  # three heartbeats
QUIET = timedelta(hours=1)  # between two messages on one deployment: collect may fail every five minutes
RUN = "prefect.flow-run.*"


class AutomationError(ValueError):
    """There is no server, or no such block to notify by; the message says what to do."""


def no_sign_of_life() -> Automation:
    """Marks a run crashed when, after a heartbeat, neither another one nor an end has come."""
    return Automation(
        name="a run without a sign of life has crashed",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={RUN},
            match={"prefect.resource.id": [RUN]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                force=False,
                message=f"no sign of life for {SILENCE.seconds} seconds: its worker or its machine has died",
            )
        ],
    )


def failures_told(project: str, block: UUID, page: str) -> Automation:
    """Tells by a notification block that a run of one of the project's deployments has failed or crashed.

    `page` is the address of the server's pages, as those know it who are told.
    A flow within a flow has no deployment, so a failure is told once. What goes on failing is told once in `QUIET`.
    """
    return Automation(
        name=f"a failed run of {project} is told",
        trigger=EventTrigger(
            expect={RUN},
            match={
                "prefect.resource.id": [RUN],
                "prefect.state-type": [StateType.FAILED.value, StateType.CRASHED.value],
            },
            match_related={"prefect.resource.role": "deployment", "prefect.resource.name": project},
            for_each={"related:deployment:prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=QUIET,
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="{{ flow.name }} of {{ deployment.name }}: {{ flow_run.state.name }}",
                body="The run {{ flow_run.name }} of {{ flow.name }} ended as {{ flow_run.state.name }}: "
                f"{{{{ flow_run.state.message }}}}\n{page}/runs/flow-run/{{{{ flow_run.id }}}}",
            )
        ],
    )


async def find_block(slug: str) -> UUID:
    """The notification block that Prefect's commands name so, TYPE/NAME.

    Raises:
        AutomationError: if there is none, or if it cannot notify.
    """
    kind, _, name = slug.partition("/")
    how = (
        "make one on the page Blocks of the server, e.g. of type Slack Webhook with the name ops, and give "
        "slack-webhook/ops; `prefect block ls` lists those that are there"
    )
    async with get_client() as client:
        try:
            block = await client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            raise AutomationError(f"the server has no block {slug!r}: {how}") from None
    if block.block_schema is None or "notify" not in block.block_schema.capabilities:
        raise AutomationError(f"the block {slug!r} cannot notify: {how}")
    return block.id


async def renew(automation: Automation) -> None:
    """Make an automation, in place of those of the same name; one that is there already is left alone.

    The server counts the silence of runs for each automation: a new one knows nothing of a run that died before it.
    """
    async with get_client() as client:
        former = await client.read_automations_by_name(automation.name)
        if [_told(each) for each in former] == [_told(automation)]:
            return
        for each in former:
            await client.delete_automation(each.id)
    await automation.acreate()


def _told(automation: AutomationCore) -> dict[str, Any]:
    """What an automation does, without what tells it from another that does the same."""
    return automation.model_dump(mode="json", include=set(AutomationCore.model_fields))


async def renew_all(notify: str | None) -> None:
    """Make or renew what the server does by itself; tell of failures by the block `notify`, if one is named.

    Raises:
        AutomationError: if there is no such block, or no server.
    """
    page = get_current_settings().ui_url
    if page is None:
        raise AutomationError("there is no server: set PREFECT_API_URL to the address of one, as make serve prints it")
    automations = [no_sign_of_life()]
    if notify is not None:
        automations.append(failures_told(project_name(), await find_block(notify), page))
    for automation in automations:
        await renew(automation)


def main(
    notify: Annotated[str | None, typer.Option(help="block by which failures are told, TYPE/NAME")] = None,
) -> None:
    """Make or renew the automations on the server of PREFECT_API_URL."""
    try:
        asyncio.run(renew_all(notify))
    except AutomationError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    typer.run(main)
