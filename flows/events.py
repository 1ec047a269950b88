"""What flows tell each other through Prefect: deployments with a trigger on such an event begin."""

import asyncio
from collections.abc import Mapping

from prefect.events import Event, Resource
from prefect.events.clients import get_events_client

from flows.project import project_resource

ACCEPTED = "physicnet.observations.accepted"
DRIFTED = "physicnet.observations.drifted"
PATIENCE = 60.0  # seconds for an event to be sent


def announce(event: str, payload: Mapping[str, object]) -> None:
    """Send an event about the project in this folder, or fail."""
    resource = Resource({"prefect.resource.id": project_resource()})
    asyncio.run(_send(Event(event=event, resource=resource, payload=dict(payload))))


async def _send(event: Event) -> None:
    async with asyncio.timeout(PATIENCE), get_events_client() as client:
        await client.emit(event)
