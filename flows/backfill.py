"""A deployment's flow for times gone by: once for each, in their order, as if it ran then.

    python -m flows.backfill forecast --start 2026-05-01 --end 2026-05-31

It needs no server. The flow of the deployment must take the time as its parameter `at`. What has ended well is noted in
`.physicnet/backfill/`, and is not done again when the same is asked for again; what has failed, or was cut short, is.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from prefect import Flow, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Completed
from rich.console import Console

from physicnet.process import end_cleanly_on_sigterm

DEPLOYMENTS = Path("prefect.yaml")
NOTES = Path(".physicnet") / "backfill"
PARAMETER = "at"
SKIPPED = "Skipped"  # the state of a run that could not do what it is for: the next try may

app = typer.Typer(add_completion=False)


class BackfillError(ValueError):
    """What is asked for cannot be done; the message says why."""


class BackfillFailedError(RuntimeError):
    """Some times have failed; the others were done."""


@dataclass(frozen=True)
class Notes:
    """What became of each time, in a file: of those that have ended well."""

    path: Path

    def read(self) -> dict[str, dict[str, str]]:
        """The state and its message by time, as ISO 8601 text."""
        if not self.path.is_file():
            return {}
        known: dict[str, dict[str, str]] = json.loads(self.path.read_text(encoding="utf-8"))
        return known

    def add(self, time: str, told: Mapping[str, str]) -> None:
        """Note one more."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({**self.read(), time: dict(told)}, indent=1), encoding="utf-8")
        partial.replace(self.path)


@flow(name="backfill", validate_parameters=False)
def backfill(deployment: str, start: datetime, end: datetime, hours: int = 24) -> State:
    """Run the flow of a deployment for `start`, and every so many hours later up to and with `end`, times in UTC.

    The artifact `backfill` is a table of all times with the state of each.

    Raises:
        BackfillError: if there is no such deployment, its flow takes no time, or there is no time in the range.
        BackfillFailedError: if some have failed; all others were done.
    """
    chosen, notes = flow_of(deployment), Notes(NOTES / f"{deployment}.json")
    asked = list(times(start, end, hours))
    done = notes.read()
    rows = []
    for time in asked:
        name = time.isoformat()
        told = done.get(name)
        rows.append(
            {"time": name, "done": "before", **told} if told else {"time": name, "done": "now", **_run(chosen, time)}
        )
        if not told and rows[-1]["kind"] == "COMPLETED" and rows[-1]["state"] != SKIPPED:
            notes.add(name, {key: rows[-1][key] for key in ("kind", "state", "message")})
    create_table_artifact(
        rows, key="backfill", description=f"{deployment}, {asked[0]:%Y-%m-%d} to {asked[-1]:%Y-%m-%d}"
    )
    failed = [row["time"] for row in rows if row["kind"] != "COMPLETED"]
    if failed:
        raise BackfillFailedError(f"{len(failed)} of {len(rows)} failed, the same command tries them again: {failed}")
    before = sum(row["done"] == "before" for row in rows)
    return Completed(message=f"{len(rows)} times of {deployment}: {len(rows) - before} done now, {before} before")


def flow_of(deployment: str) -> Flow[..., Any]:
    """The flow of a deployment of prefect.yaml.

    Raises:
        BackfillError: if there is none of that name, or it cannot be told a time.
    """
    entries = [each["entrypoint"] for each in yaml.safe_load(DEPLOYMENTS.read_text(encoding="utf-8"))["deployments"]]
    entrypoints = {entrypoint.rpartition(":")[2]: entrypoint for entrypoint in entries}
    if deployment not in entrypoints:
        known = ", ".join(sorted(entrypoints))
        raise BackfillError(f"{DEPLOYMENTS} has no deployment of the flow {deployment!r}; it has those of {known}")
    found: Flow[..., Any] = load_flow_from_entrypoint(entrypoints[deployment])
    if PARAMETER not in signature(found.fn).parameters:
        raise BackfillError(
            f"the flow of deployment {deployment!r} ({entrypoints[deployment]}) has no parameter {PARAMETER!r}: it "
            "always works on what is there now, so it cannot be run for times gone by"
        )
    return found


def times(start: datetime, end: datetime, hours: int) -> Iterator[datetime]:
    """The times from start to end, both taken to be UTC where they have no zone.

    Raises:
        BackfillError: if the end is before the start, or the step is not positive.
    """
    first, last = (time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC) for time in (start, end))
    if hours <= 0:
        raise BackfillError(f"a step of {hours} hours never reaches the end; give a positive one")
    if last < first:
        raise BackfillError(f"the end, {last:%Y-%m-%d %H:%M}, is before the start, {first:%Y-%m-%d %H:%M}")
    for number in range((last - first) // timedelta(hours=hours) + 1):
        yield first + number * timedelta(hours=hours)


def _run(chosen: Flow[..., Any], time: datetime) -> dict[str, str]:
    named = chosen.with_options(flow_run_name=f"{chosen.name} {time:%Y-%m-%d %H:%M}")
    state: Any = named(**{PARAMETER: time}, return_state=True)
    get_run_logger().info("%s: %s %s", time.isoformat(), state.name, state.message or "")
    return {"kind": state.type.value, "state": state.name or "", "message": state.message or ""}


@app.command(help=__doc__)
def main(
    deployment: Annotated[str, typer.Argument(help="a flow of prefect.yaml")],
    start: Annotated[datetime, typer.Option(help="first time, UTC")],
    end: Annotated[datetime, typer.Option(help="last time, UTC")],
    hours: Annotated[int, typer.Option(help="from one time to the next")] = 24,
) -> None:
    """Do it once."""
    flow_of(deployment)  # what is refused needs no server
    list(times(start, end, hours))
    state = backfill(deployment, start, end, hours, return_state=True)
    if not state.is_completed():
        raise typer.Exit(1)


if __name__ == "__main__":
    end_cleanly_on_sigterm()
    try:
        app()
    except BackfillError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", soft_wrap=True)
        sys.exit(1)
