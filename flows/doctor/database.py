"""Prefect's databases on this machine: whether they are whole, and of the installed version."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from prefect.settings import get_current_settings

from flows import service
from physicnet.doctor.findings import Finding, error, not_checked, ok, warning
from physicnet.doctor.locks import unreadable
from physicnet.migrations import folder_of, revisions
from physicnet.sqlite import complaints, revision

SUBJECT = "database of Prefect"


def check() -> Iterator[Finding]:
    """Look at the database of `make serve`, and at that of Prefect's own home."""
    homes = [service.HOME, get_current_settings().home]
    found = dict.fromkeys((home / "prefect.db").resolve() for home in homes if (home / "prefect.db").is_file())
    yield from map(examine, found)
    if not found:
        yield not_checked(SUBJECT, "there is none on this machine")


def examine(database: Path) -> Finding:
    """Say of one what is wrong with it."""
    anew = f"make stop, then put a copy of before in its place; or mv {database} {database}.damaged: only the history "
    anew += "of flow runs is lost, make serve makes the rest anew"
    try:
        damages = complaints(database)
        if damages:
            return error(SUBJECT, f"{database} is damaged: {damages[0]}", anew)
        found = revision(database)
    except sqlite3.Error as failure:
        return unreadable(SUBJECT, database, failure, anew)
    latest, known = revisions(*_migrations())
    if found is not None and found not in known:
        return error(
            SUBJECT,
            f"{database} was written by a newer Prefect (schema {found}, installed: {latest})",
            "install the Prefect that wrote it: pip install -c constraints.txt -e .",
        )
    if found is None:
        return not_checked(SUBJECT, f"{database} has no schema yet: the next server that starts makes one")
    if found != latest:
        return warning(
            SUBJECT,
            f"{database} was written by an older Prefect (schema {found}, installed: {latest})",
            f"cp {database} {database}.before, then make stop and make serve: the server brings it up to date",
        )
    return ok(SUBJECT, f"{database} is whole, its schema is that of the installed Prefect")


def _migrations() -> tuple[Path, Path]:
    folder = folder_of("prefect") / "server" / "database" / "_migrations"
    return folder, folder / "versions" / "sqlite"
