"""What earlier runs of ingest have worked out, each piece under the hash of everything that decides it.

A piece is a shard of the archive or the table of a file's frames. It is kept whole or not at all, under a name that
holds the hash of its own content too: what does not fit its name any more, whoever changed it, is made anew. Shards are
hard links to those in the archive where the file system can, and cost no space.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pandas as pd

import physicnet
from physicnet.data.sources import sha256_of

# Packages whose next version may give other values or other bytes for the same values.
MAKERS = ("numpy", "xarray", "dask", "zarr", "numcodecs", "netCDF4", "cf-units", "pandas", "pyarrow")
CODE = ("clock.py", "fields.py", "data/*.py")


@dataclass(frozen=True)
class State:
    """The folder of the pieces."""

    folder: Path

    def key(self, *parts: object) -> str:
        """Hash what decides a piece, together with the code and the packages that make it."""
        return sha256(json.dumps([*parts, made_by()], sort_keys=True).encode()).hexdigest()[:32]

    def table(self, key: str) -> pd.DataFrame | None:
        """Return a table that was kept."""
        path = self._find(key)
        return None if path is None else pd.read_parquet(path)

    def keep_table(self, key: str, table: pd.DataFrame) -> None:
        """Keep a table."""
        partial = self._partial(key)
        table.to_parquet(partial, index=False)
        partial.replace(self._name(key, partial))

    def lend(self, key: str, target: Path) -> bool:
        """Put a file that was kept at `target`; say whether there was one."""
        path = self._find(key)
        if path is None:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, target)
        return True

    def keep_file(self, key: str, path: Path) -> None:
        """Keep a file that is complete and will not be written to again."""
        partial = self._partial(key)
        link_or_copy(path, partial)
        partial.replace(self._name(key, path))
        partial.unlink(missing_ok=True)  # still there where both names were the same file

    def drop_all_but(self, keys: Iterable[str]) -> None:
        """Remove what the archive does not consist of any more, and what killed runs left."""
        wanted = set(keys)
        for path in self.folder.glob("*/*"):
            if path.name.split("-")[0] not in wanted:
                path.unlink()

    def _name(self, key: str, path: Path) -> Path:
        return self.folder / key[:2] / f"{key}-{sha256_of(path)}"

    def _partial(self, key: str) -> Path:
        path = self.folder / key[:2] / f".{key}.{os.getpid()}.partial"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def _find(self, key: str) -> Path | None:
        for path in self.folder.glob(f"{key[:2]}/{key}-*"):
            if path == self._name(key, path):
                return path
            path.unlink()
        return None


@cache
def made_by() -> list[str]:
    """Return the versions of the packages and the hashes of the code that the pieces depend on."""
    root = Path(physicnet.__path__[0])
    code = sorted(path for pattern in CODE for path in root.glob(pattern))
    return [*(f"{name} {version(name)}" for name in MAKERS), *(sha256_of(path) for path in code)]


def link_or_copy(path: Path, target: Path) -> None:
    """Make `target` the same file as `path`, or a copy where the file system cannot."""
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        shutil.copyfile(path, target)
