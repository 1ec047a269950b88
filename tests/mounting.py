"""Small file systems in memory, where the user may mount."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, *, mib: int, files: int = 10_000) -> Iterator[Path]:
    """An empty file system of that size in a new folder; without the permission to mount, the test is skipped."""
    folder.mkdir()
    options = f"size={mib}m,nr_inodes={files}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def read_only(folder: Path) -> None:
    """Mount it again, for reading alone."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
