"""What stages have written, read while none of them writes it.

A stage of DVC removes its outputs before its command begins. Who reads them meanwhile finds nothing, or files that do
not belong together; DVC's own lock of paths, taken here as its stages take it, keeps readers and writers apart.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dvc.lock import LockError
from dvc.repo import Repo
from dvc.rwlock import rwlock


class OutputsBusyError(RuntimeError):
    """A stage is about to write what is to be read."""


@contextmanager
def unchanged(paths: Iterable[Path], reader: str) -> Iterator[None]:
    """Keep stages of this folder from writing to paths for as long as the block lasts; a stage that is due waits.

    Raises:
        OutputsBusyError: if a stage writes to one of them now.
    """
    with Repo(".") as repo:
        hardlink = repo.config["core"].get("hardlink_lock", False)
        read = [str(path.absolute()) for path in paths]
        with ExitStack() as locks:
            try:
                locks.enter_context(rwlock(repo.tmp_dir, repo.fs, reader, read, [], hardlink))
            except LockError as error:
                raise OutputsBusyError(f"a stage of DVC is at work on what {reader} reads") from error
            yield
