"""Which files of the folder of raw data are to be read, and which of them never can be."""

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

from physicnet.fields import DataError

EXAMPLE = "write one such as '*.nc', or '**/*.nc' for files in folders"


@dataclass(frozen=True)
class Source:
    """A file: its name, as the catalogue shows it, its absolute path, and the folder that it must lie in."""

    name: str
    path: Path
    root: Path


def find_sources(raw: Path, pattern: str) -> list[Source]:
    """Return what in the folder matches the pattern, but for folders, in the order of names, numbers by their value.

    Raises:
        DataError: if the pattern is none of names in the folder, the folder cannot be listed, or nothing in it matches.
    """
    found = list_sources(raw, pattern)
    if not found:
        raise DataError(f"no file in {raw} matches {pattern!r}; add files or correct ingest.pattern")
    return found


def list_sources(raw: Path, pattern: str) -> list[Source]:
    """Return what `find_sources` does, or nothing where nothing matches.

    Raises:
        DataError: if the pattern is none of names in the folder, or the folder cannot be listed.
    """
    root, parts = raw.resolve(), PurePath(pattern).parts
    if not parts or ".." in parts or PurePath(pattern).is_absolute():
        raise DataError(f"ingest.pattern {pattern!r} names no file in {raw}; {EXAMPLE}")
    try:
        os.scandir(root).close()
        found = [path for path in root.glob(pattern) if path.is_symlink() or not path.is_dir()]
    except ValueError as error:
        raise DataError(f"ingest.pattern {pattern!r} cannot be understood ({error}); {EXAMPLE}") from None
    except OSError as error:
        raise DataError(f"{raw} cannot be listed ({error.strerror}); make it a folder that you may read") from None
    return in_order(Source(path.relative_to(root).as_posix(), path, root) for path in found)


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Sort by name, numbers in it by their value: `v9` comes before `v10`."""
    return sorted(sources, key=lambda source: (_natural(source.name), source.name))


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.findall(r"(\d+)|(\D+)", name)
    return [(int(number or 0), text) for number, text in parts]


def check_file(source: Source) -> None:
    """Check, without opening it, that a source is a file inside its folder.

    What lies outside is not refused for safety alone: DVC would not notice when it changes.

    Raises:
        DataError: if it is a link out of the folder or to nothing, or no regular file, or is gone.
    """
    target = source.path.resolve()
    if not target.is_relative_to(source.root):
        raise DataError(f"it is a link to {target}, outside of the folder; copy the file into the folder")
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        raise DataError("there is no such file, or it is a link to nothing; bring it back or remove the link") from None
    if not stat.S_ISREG(mode):
        raise DataError("it is no regular file (a folder, pipe or device); move it away")


Stamp = tuple[int, int]


def stamp_of(path: Path) -> Stamp:
    """Return size and time of the last change: what must stay as it is while a file is read."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
