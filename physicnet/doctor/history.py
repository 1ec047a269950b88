"""The history of runs in MLflow: whether its database is whole and fits, and whether what runs there runs at all."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from physicnet.doctor.findings import Finding, Level, error, not_checked, ok, warning
from physicnet.doctor.locks import check_lock, unreadable
from physicnet.sqlite import complaints
from physicnet.tracking.condition import OpenRun, open_runs, schema_of
from physicnet.tracking.store import HistoryError, Store

SUBJECT = "history (MLflow)"


def check() -> Iterator[Finding]:
    """Look at the store of runs; where there is none yet, none is made."""
    store = Store(Path.cwd())
    yield from check_lock(store.home / ".physicnet" / "tracking.lock", "write to the history")
    database = store.database
    if database is not None and not database.is_file():
        yield not_checked(SUBJECT, f"there are no runs yet: {database} does not exist")
        return
    found = [_database(store, database)] if database is not None else []
    yield from found
    if all(each.level is Level.OK for each in found):
        yield from runs(store)


def runs(store: Store) -> Iterator[Finding]:
    """Whether the process of each run that is said to go on is there."""
    try:
        opened = list(open_runs(store))
    except HistoryError as failure:
        yield warning(SUBJECT, str(failure), "runs go on without it; physicnet mirror brings what is lacking later")
        return
    lost = [run for run in opened if run.goes_on is False]
    yield from map(_lost, lost)
    elsewhere = [run for run in opened if run.goes_on is None]
    if elsewhere:
        hosts = ", ".join(sorted({run.host or "an unknown machine" for run in elsewhere}))
        yield not_checked(SUBJECT, f"{len(elsewhere)} runs are going on at {hosts}", "physicnet doctor there")
    if not lost:
        here = len(opened) - len(elsewhere)
        yield ok(SUBJECT, f"{here} runs are going on here, and their processes are there" if here else "no run is open")


def _lost(run: OpenRun) -> Finding:
    return warning(
        SUBJECT,
        f"run {run.run_id[:8]} ({run.name}) is said to be running, but its process {run.process} is gone",
        "the next dvc repro or physicnet ui ends it; a stage that was killed goes on in it",
    )


def _database(store: Store, database: Path) -> Finding:
    try:
        damages = complaints(database)
        if damages:
            return error(SUBJECT, f"{database} is damaged: {damages[0]}", _anew(database))
        schema = schema_of(database)
    except sqlite3.Error as failure:
        return unreadable(SUBJECT, database, failure, _anew(database))
    if schema.found is None:
        return error(SUBJECT, f"{database} is not a database of MLflow's, or was only half made", _anew(database))
    if not schema.is_known:
        return error(
            SUBJECT,
            f"{database} was written by a newer MLflow (schema {schema.found}, installed: {schema.wanted})",
            "install the MLflow that wrote it: pip install -c constraints.txt -e .",
        )
    if schema.found != schema.wanted:
        uri = store.uri if store.is_default else '"$MLFLOW_TRACKING_URI"'
        return error(
            SUBJECT,
            f"{database} was written by an older MLflow (schema {schema.found}, installed: {schema.wanted})",
            f"cp {database} {database}.before && mlflow db upgrade {uri}",
        )
    return ok(SUBJECT, f"{database} is whole, its schema is that of the installed MLflow")


def _anew(database: Path) -> str:
    return f"put a copy of before in its place; or mv {database} {database}.damaged, and physicnet mirror makes it anew"
