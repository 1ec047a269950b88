import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.util import CommandError

from physicnet.migrations import folder_of, revisions
from physicnet.sqlite import complaints, revision


def make(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


def test_a_whole_database_has_no_complaints_and_is_left_as_it_is(tmp_path: Path) -> None:
    database = make(tmp_path / "runs.db", "CREATE TABLE runs (name)")
    before = database.read_bytes()
    assert complaints(database) == []
    assert database.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    rows = ", ".join(f"('{'x' * 500}{row}')" for row in range(200))
    database = make(tmp_path / "runs.db", "CREATE TABLE runs (name)", f"INSERT INTO runs VALUES {rows}")
    content = bytearray(database.read_bytes())
    content[4 * 4096 : 4 * 4096 + 100] = b"\xff" * 100
    database.write_bytes(content)
    assert complaints(database) != []


def test_a_file_that_is_no_database_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "runs.db").write_text("runs" * 500)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        complaints(tmp_path / "runs.db")


def test_the_revision_is_what_alembic_noted(tmp_path: Path) -> None:
    bare = make(tmp_path / "bare.db", "CREATE TABLE runs (name)")
    assert revision(bare) is None
    noted = make(tmp_path / "noted.db", "CREATE TABLE alembic_version (version_num)")
    assert revision(noted) is None
    make(noted, "INSERT INTO alembic_version VALUES ('abc')")
    assert revision(noted) == "abc"


def test_a_folder_without_migrations_has_no_latest_revision(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    with pytest.raises(CommandError, match="holds no migrations"):
        revisions(tmp_path)


def test_the_latest_of_mlflows_migrations_is_one_of_all() -> None:
    latest, known = revisions(folder_of("mlflow") / "store" / "db_migrations")
    assert latest in known
    assert len(known) > 10
