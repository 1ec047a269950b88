"""Folders of DVC projects."""

from pathlib import Path

from dvc.repo import Repo


def init(folder: Path) -> None:
    """Make a project of DVC without Git: `dvc init --no-scm`, without a process of its own."""
    Repo.init(str(folder), no_scm=True).close()
