"""The condition of the store of runs: its database, and runs that nobody works on any more. Nothing is changed."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from physicnet.migrations import folder_of, revisions
from physicnet.sqlite import revision
from physicnet.tracking.executions import is_running
from physicnet.tracking.store import Store


@dataclass(frozen=True)
class Schema:
    """The revision of a database, the one that the installed MLflow works with, and whether MLflow knows the first."""

    found: str | None
    wanted: str
    is_known: bool


@dataclass(frozen=True)
class OpenRun:
    """A run that is said to go on: whether its process does; None: it is of another machine, `host`."""

    run_id: str
    name: str
    host: str
    process: str
    goes_on: bool | None


def schema_of(database: Path) -> Schema:
    """Compare the schema of a database with the migrations of the installed MLflow, which is not imported for it.

    Raises:
        sqlite3.Error: if the database cannot be read.
    """
    wanted, known = revisions(folder_of("mlflow") / "store" / "db_migrations")
    found = revision(database)
    return Schema(found, wanted, found is None or found in known)


def open_runs(store: Store) -> Iterator[OpenRun]:
    """The runs whose status is RUNNING."""
    here = socket.gethostname()
    for run in store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'"):
        tags = run.data.tags
        host, process = tags.get("physicnet.host", ""), tags.get("physicnet.process", "")
        goes_on = is_running(run) if host == here and process else None
        yield OpenRun(str(run.info.run_id), str(run.info.run_name), host, process.partition("@")[0], goes_on)
