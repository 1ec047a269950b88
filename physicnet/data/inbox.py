"""Where new files appear: a folder, or a store that fsspec knows; what lies there, and how it is taken away."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from physicnet.data.sources import Source
from physicnet.fields import DataError


@dataclass(frozen=True)
class Entry:
    """A file that has come: its name below the source, the time of its last change, and what changes with its content.

    `changed` is in seconds since 1970, by the clock of the file system or store.
    """

    name: str
    changed: float
    version: tuple[object, ...]


@runtime_checkable
class Inbox(Protocol):
    """A place where others put files, of any name and at any time."""

    def entries(self) -> list[Entry]:
        """Return all files, in the order of names.

        Raises:
            DataError: if the place cannot be listed.
        """
        ...

    def local(self, entry: Entry) -> Source:
        """Return a file on this machine with the content of an entry.

        Raises:
            FileNotFoundError: if the entry is gone, or is another one by now.
        """
        ...

    def is_current(self, entry: Entry) -> bool:
        """Whether the local file is still what it was when the entries were listed."""
        ...

    def remove(self, entry: Entry) -> None:
        """Take an entry away, unless it is gone already or another one by now."""
        ...


@dataclass(frozen=True)
class Folder:
    """A folder of this machine, with all folders in it. Files are looked at where they are."""

    root: Path

    def entries(self) -> list[Entry]:
        """Return all files; links are not followed. See `Inbox`."""
        try:
            os.scandir(self.root).close()
        except OSError as error:
            raise DataError(
                f"collect.source: {self.root} cannot be listed ({error.strerror}); make it a folder"
            ) from None
        return sorted(self._walk(), key=lambda entry: entry.name)

    def local(self, entry: Entry) -> Source:
        """Return the file itself; see `Inbox`."""
        root = self.root.resolve()
        if not self.is_current(entry):
            raise FileNotFoundError(entry.name)
        return Source(entry.name, root / entry.name, root)

    def is_current(self, entry: Entry) -> bool:
        """See `Inbox`."""
        with suppress(FileNotFoundError):
            return _version(self.root / entry.name) == entry.version
        return False

    def remove(self, entry: Entry) -> None:
        """See `Inbox`."""
        if self.is_current(entry):
            (self.root / entry.name).unlink()

    def _walk(self) -> Iterator[Entry]:
        for path in self.root.rglob("*"):
            with suppress(FileNotFoundError):  # it was taken back meanwhile
                status = path.lstat()
                if path.is_symlink() or not path.is_dir():
                    # A copy may be given the time of the original; that of the change of its inode is its own.
                    changed = max(status.st_mtime, status.st_ctime)
                    yield Entry(path.relative_to(self.root).as_posix(), changed, _version(path))


def _version(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Store:
    """A folder of a store; its files are looked at as copies in the folder `downloads`, one for each version."""

    files: AbstractFileSystem
    root: str
    downloads: Path

    def entries(self) -> list[Entry]:
        """Return all files, and drop the copies of others; see `Inbox`."""
        self.files.invalidate_cache()
        try:
            found = self.files.find(self.root, detail=True)
        except OSError as error:
            raise DataError(f"collect.source: {self.root} cannot be listed ({error}); correct it") from error
        files = {path: info for path, info in found.items() if info["type"] == "file" and not path.endswith("/")}
        entries = [self._entry(path, info) for path, info in files.items()]
        wanted = {self._copy(entry).name for entry in entries}
        for copy in self.downloads.glob("*"):
            if copy.name not in wanted:
                shutil.rmtree(copy)
        return sorted(entries, key=lambda entry: entry.name)

    def local(self, entry: Entry) -> Source:
        """Return a copy, on the disk to stay; see `Inbox`."""
        copy = self._copy(entry)
        path, partial = copy / entry.name, copy / ".partial"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.files.get_file(self._path(entry), str(partial))
            if not self._is_there(entry):
                raise FileNotFoundError(entry.name)
            keep(partial)
            partial.rename(path)
        return Source(entry.name, path.resolve(), copy.resolve())

    def is_current(self, entry: Entry) -> bool:  # noqa: ARG002
        """Whether the copy is what it was: nobody else has it."""
        return True

    def remove(self, entry: Entry) -> None:
        """Take the file and its copy away; see `Inbox`."""
        if self._is_there(entry):
            self.files.rm_file(self._path(entry))
        shutil.rmtree(self._copy(entry), ignore_errors=True)

    def _entry(self, path: str, info: dict[str, Any]) -> Entry:
        # S3 tells it in the list of all files, while `modified` asks for each.
        changed = (info.get("LastModified") or self.files.modified(path)).timestamp()
        return Entry(path.removeprefix(f"{self.root}/"), changed, (info["size"], changed, info.get("ETag", "")))

    def _is_there(self, entry: Entry) -> bool:
        self.files.invalidate_cache()
        with suppress(FileNotFoundError):
            return self._entry(self._path(entry), self.files.info(self._path(entry))) == entry
        return False

    def _path(self, entry: Entry) -> str:
        return f"{self.root}/{entry.name}"

    def _copy(self, entry: Entry) -> Path:
        return self.downloads / sha256(repr((self.root, entry)).encode()).hexdigest()[:32]


def open_inbox(source: str, downloads: Path) -> Inbox:
    """Return the place that `collect.source` names.

    Raises:
        DataError: if it is a URL that fsspec does not know, or that needs a package which is not there.
    """
    if "://" not in source:
        return Folder(Path(source))
    try:
        files, root = url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise DataError(f"collect.source {source!r} cannot be opened: {error}") from error
    return Store(files, root.rstrip("/"), downloads)


def is_finished(name: str, unfinished: list[str]) -> bool:
    """Whether a file of this name may be taken: it is not hidden, no path out of the source, no name of a half copy."""
    parts = name.split("/")
    hidden = any(not part or part.startswith(".") for part in parts)
    return not hidden and not any(fnmatchcase(parts[-1], pattern) for pattern in unfinished)


def keep(path: Path) -> None:
    """Have what was written to a file on the disk, so that it outlives a failure of power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
