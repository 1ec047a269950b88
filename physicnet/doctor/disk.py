"""Whether a run finds the room that it needs, and may write where it must."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from physicnet.doctor.findings import Finding, error, not_checked, ok, warning
from physicnet.lineage import recorded_entries

SUBJECT = "disk"
COPIES = 2  # of every output: what is written anew beside the old one, and DVC's copy in its cache
LEAST = 2**30  # bytes for a project that has no outputs yet: states, logs, the history
MIB = 2**20


def check() -> Iterator[Finding]:
    """Look at the folder of the project: may it be written to, is there space, are there inodes."""
    root = Path.cwd()
    barred = [str(each.relative_to(root)) or "." for each in folders(root) if not os.access(each, os.W_OK | os.X_OK)]
    if barred:
        yield error(
            SUBJECT,
            f"{', '.join(barred)}: no permission to write, or mounted read-only",
            f"chmod u+rwx {' '.join(barred)}, or mount the file system for writing",
        )
    size, files = needs(root)
    yield room(root, size, "the project")
    yield inodes(root, files)


def needs(root: Path) -> tuple[int, int]:
    """How many bytes and files a run that does everything anew writes, by what the last one has left."""
    outputs = [root / path for entry in recorded_entries(root).values() for path in entry.outs]
    files = [file for output in outputs for file in _files(output)]
    return max(COPIES * sum(file.stat().st_size for file in files), LEAST), COPIES * len(files)


def folders(root: Path) -> list[Path]:
    """Where a run writes: the project, and the folders of its outputs that exist."""
    parents = {(root / path).parent for entry in recorded_entries(root).values() for path in entry.outs}
    own = [root, root / ".dvc", root / ".physicnet", root / "mlflow"]
    return [each for each in dict.fromkeys([*own, *sorted(parents)]) if each.is_dir()]


def room(folder: Path, size: int, what: str) -> Finding:
    """Compare the free space below a folder with what is needed there, in bytes."""
    free = shutil.disk_usage(folder).free
    seen = (
        f"{free / MIB:,.0f} MiB are free for {what} in {folder}, a run from nothing needs up to {size / MIB:,.0f} MiB"
    )
    remedy = "dvc gc --workspace removes from DVC's cache what the workspace does not use; rm -r .physicnet/ingest"
    if free < size:
        return error(SUBJECT, seen, remedy)
    return warning(SUBJECT, seen, remedy) if free < COPIES * size else ok(SUBJECT, seen)


def inodes(folder: Path, files: int) -> Finding:
    """Compare the number of files that may still be made below a folder with what is needed."""
    about = os.statvfs(folder)
    if about.f_files == 0:  # Btrfs and others make them as they go
        return not_checked(SUBJECT, "this file system does not count its inodes")
    seen = f"{about.f_favail:,} more files can be made, a run from nothing makes up to {files:,}"
    if about.f_favail < files:
        return error(SUBJECT, seen, "dvc gc --workspace removes files from DVC's cache; rm -r .physicnet/ingest")
    return ok(SUBJECT, seen)


def _files(output: Path) -> list[Path]:
    return [each for each in (output.rglob("*") if output.is_dir() else [output]) if each.is_file()]
