"""What the server does by itself: a run without a sign of life is marked crashed, which lets the next one begin.

A worker or a machine that dies cannot say so, and its run would hold the only place for ever. `python -m
flows.automations` makes or renews the automations on the server of PREFECT_API_URL.
"""

import asyncio
from datetime import timedelta

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Posture

SILENCE = timedelta(seconds=90)  # three heartbeats
RUN = "prefect.flow-run.*"


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


async def renew(automation: Automation) -> None:
    """Make an automation, in place of those of the same name."""
    async with get_client() as client:
        for former in await client.read_automations_by_name(automation.name):
            await client.delete_automation(former.id)
    await automation.acreate()


if __name__ == "__main__":
    asyncio.run(renew(no_sign_of_life()))
