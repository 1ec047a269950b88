"""The folder of raw data as DVC knows it: where it is, and when no stage reads it.

A stage of DVC hashes its inputs before its command begins, and again when it has ended: what comes in between would be
recorded as read. DVC keeps others out with locks of its own, which are taken here as its stages take them.
"""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

from dvc.lock import LockError
from dvc.repo import Repo
from dvc.rwlock import rwlock

from flows.paths_in_use import mend
from physicnet.data.collect import RawBusyError

STAGE = "ingest"  # the one that reads raw data


def paths_of_ingest() -> dict[str, Path]:
    """Return the paths that the command of the stage spells in dvc.yaml, by their options: raw, resume, ..."""
    with Repo(".") as repo:
        words = shlex.split(repo.stage.load_one(name=STAGE).cmd)
    return {word.removeprefix("--"): Path(path) for word, path in pairwise(words) if word.startswith("--")}


@contextmanager
def unread(raw: Path) -> Iterator[None]:
    """Keep every DVC of this folder from reading a folder, for as long as the block lasts.

    Raises:
        RawBusyError: if a stage reads it, or another DVC command is at work.
    """
    with Repo(".") as repo, ExitStack() as locks:
        try:
            mend()
            locks.enter_context(repo.lock)  # under which commands without locks of paths look at it, such as commit
            hardlink = repo.config["core"].get("hardlink_lock", False)
            lock = rwlock(repo.tmp_dir, repo.fs, "collect", [], [str(raw.absolute())], hardlink)
            locks.enter_context(lock)
        except LockError as error:
            raise RawBusyError(f"DVC is at work on {raw}; the next collect takes it") from error
        yield
