"""The states of flows that end well without having done what they are for."""

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed


def ended(name: str, reason: str) -> State:
    """Return a completed state of that name, and tell the reason in the log of the run, too."""
    get_run_logger().info("%s: %s", name.lower(), reason)
    return Completed(name=name, message=reason)


def skipped(reason: str) -> State:
    """Return the state of a run that did nothing, for a reason that is no failure."""
    return ended("Skipped", reason)
