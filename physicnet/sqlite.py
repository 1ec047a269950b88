"""What can be said of a file of SQLite without changing it: whether it is whole, and how old its schema is."""

import sqlite3
from contextlib import closing
from pathlib import Path

PATIENCE = 20.0  # seconds to wait for another process that writes


def complaints(database: Path) -> list[str]:
    """What SQLite finds damaged in it; empty if it is whole.

    Raises:
        sqlite3.Error: if it cannot be read, for it is locked or no database at all.
    """
    try:
        found = [str(row[0]) for row in _ask(database, "PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:  # the rest of the code tells details
            raise
        return [str(error)]
    return [] if found == ["ok"] else found


def revision(database: Path) -> str | None:
    """The revision of its schema, as Alembic notes it there; None if there is none.

    Raises:
        sqlite3.Error: if it cannot be read.
    """
    if not _ask(database, "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"):
        return None
    rows = _ask(database, "SELECT version_num FROM alembic_version")
    return str(rows[0][0]) if rows else None


def _ask(database: Path, question: str) -> list[tuple]:
    uri = f"{database.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE)) as connection:
        return connection.execute(question).fetchall()
