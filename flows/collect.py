"""New observations as a flow: one round through the inbox; an event says what came into data/raw.

`python -m flows.collect` needs no server. A deployment runs it every few minutes; a round that another one, or a stage
that reads data/raw, is in the way of ends at once and leaves the files to the next.
"""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.events import ACCEPTED, announce
from flows.raw_data import paths_of_ingest, unread
from physicnet.config import load_params
from physicnet.data.arrivals import Collected
from physicnet.data.collect import CollectBusyError, collected
from physicnet.process import end_cleanly_on_sigterm

WORK = Path(".physicnet/collect")
SHOWN = 20  # files of a kind in the artifact


@flow(name="collect")
def collect() -> State:
    """Take what is complete in the inbox into data/raw or into quarantine; return what became of it, as `told` does.

    The state is named Collected if a file was taken, quarantined or dropped as a duplicate, Waiting if there are files
    but none could be, Nothing if there is none, and Busy if another collect is at work.
    """
    params, paths = load_params(Path("params.yaml")), paths_of_ingest()
    raw, resume = paths["raw"], paths["resume"]
    try:
        with collected(
            params.collect, params.ingest, raw=raw, work=WORK, resume=resume, unread=partial(unread, raw)
        ) as result:
            _announce(result)
    except CollectBusyError as error:
        return Completed(name="Busy", message=str(error), data=told(Collected()))
    return Completed(name=_name(result), message=in_words(result), data=told(result))


def told(result: Collected) -> dict[str, int | str | None]:
    """Return the numbers of files by their fate; of what was accepted also the frames, and the first and last time."""
    return {
        "accepted": len(result.accepted),
        "quarantined": len(result.quarantined),
        "duplicates": len(result.duplicates),
        "waiting": len(result.waiting),
        "frames": result.frames,
        "first": result.first,
        "last": result.last,
    }


def in_words(result: Collected) -> str:
    """Return the same as a sentence."""
    span = f" ({result.frames} frames, {result.first} to {result.last})" if result.accepted else ""
    return (
        f"{len(result.accepted)} files accepted{span}, {len(result.quarantined)} quarantined, "
        f"{len(result.duplicates)} duplicates, {len(result.waiting)} waiting"
    )


def in_markdown(result: Collected) -> str:
    """Return a table of the files, the first of each kind."""
    kinds: Mapping[str, Mapping[str, str]] = {
        "accepted": {
            arrival.origin: f"as {arrival.name}, {arrival.frames} frames, {arrival.first} to {arrival.last}"
            for arrival in result.accepted
        },
        "quarantined": result.quarantined,
        "duplicate": {name: f"of {other}" for name, other in result.duplicates.items()},
        "waiting": result.waiting,
    }
    lines = [in_words(result), "", "| file | fate | |", "|---|---|---|"]
    for kind, files in kinds.items():
        cells = [[name, kind, " ".join(text.split())] for name, text in list(files.items())[:SHOWN]]
        lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in cells]
        if len(files) > SHOWN:
            lines.append(f"| and {len(files) - SHOWN} more | {kind} | |")
    return "\n".join(lines)


def _announce(result: Collected) -> None:
    logger = get_run_logger()
    logger.info(in_words(result))
    for name, reason in result.quarantined.items():
        logger.warning("%s was quarantined: %s", name, reason)
    if result.accepted or result.quarantined or result.duplicates:
        create_markdown_artifact(in_markdown(result), key="observations", description="What came into the inbox")
    if result.accepted:
        # If that fails, the journal keeps what is to be announced, and the next round announces it.
        announce(ACCEPTED, told(result))


def _name(result: Collected) -> str:
    if result.accepted or result.quarantined or result.duplicates:
        return "Collected"
    return "Waiting" if result.waiting else "Nothing"


if __name__ == "__main__":
    end_cleanly_on_sigterm()  # else the temporary server of Prefect stays behind
    sys.exit(0 if collect(return_state=True).is_completed() else 1)
