"""Puts a file into another folder, whole or not at all, and never in the place of another."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from physicnet.data.inbox import keep
from physicnet.data.sources import Source, sha256_of

REASON = ".reason.txt"


def place(path: Path, target: Path) -> None:
    """Move a file; into another file system by a copy that gets its name when it is complete and on the disk.

    Raises:
        FileExistsError: if the target exists.
    """
    if target.is_symlink() or target.exists():
        raise FileExistsError(f"{target} exists, and is not replaced")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(path, partial, follow_symlinks=False)
        keep(partial)
        partial.rename(target)
        path.unlink()


def free_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """Return the name, or the first of `name_2`, `name_3`, ... that is free; in order these come behind it."""
    path, number, free = PurePosixPath(name), 1, name
    while is_taken(free):
        number += 1
        free = str(path.with_name(f"{path.stem}_{number}{path.suffix}"))
    return free


def quarantine(source: Source, folder: Path, reason: str) -> None:
    """Move a file into a folder, with the reason beside it in a file of its name and `.reason.txt`.

    A file of the same name and content that is there already makes room; one of other content keeps its name.
    """
    target = folder / free_name(source.name, lambda name: _is_another(folder / name, source.path))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name(target.name + REASON).write_text(f"{reason}\n", encoding="utf-8")
    target.unlink(missing_ok=True)
    place(source.path, target)


def _is_another(path: Path, than: Path) -> bool:
    if not path.exists() and not path.is_symlink():
        return False
    regular = all(one.is_file() and not one.is_symlink() for one in (path, than))
    return not regular or sha256_of(path) != sha256_of(than)
