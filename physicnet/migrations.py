"""What revisions of a schema an installed package knows: apart from `sqlite`, for Alembic is slow to import."""

from importlib.util import find_spec
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.util import CommandError


def revisions(migrations: Path, versions: Path | None = None) -> tuple[str, set[str]]:
    """The latest revision of a folder of Alembic's migrations, and all that it knows.

    Raises:
        CommandError: if the folder holds no migrations, or they have several ends.
    """
    script = ScriptDirectory(str(migrations), version_locations=None if versions is None else [str(versions)])
    latest = script.get_current_head()
    if latest is None:
        raise CommandError(f"{versions or migrations} holds no migrations")
    return latest, {each.revision for each in script.walk_revisions()}


def folder_of(package: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = find_spec(package)
    assert spec is not None, f"physicnet depends on {package}"
    assert spec.origin is not None, f"{package} has an __init__.py"
    return Path(spec.origin).parent
