"""The locks of this folder: who holds them, and whether that process is there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from dvc.repo import Repo

from flows.collect import WORK
from flows.retrain import LOCK
from physicnet.doctor.findings import Finding, error, ok, warning
from physicnet.doctor.locks import SUBJECT as SUBJECT
from physicnet.doctor.locks import check_lock, describe

CLOCK = 5.0  # seconds by which the machine's clock, and so the birth of a process, may be set right


@dataclass(frozen=True)
class Entry:
    """A process that DVC's list of paths in use names."""

    pid: int
    command: str
    path: str
    writes: bool


def check() -> Iterator[Finding]:
    """Look at all of them; none is taken, and none is removed."""
    with Repo(".") as repo:
        folder = Path(repo.tmp_dir)
        is_file = repo.config["core"].get("hardlink_lock", False)
    found = [
        *check_lock(LOCK, "retrain"),
        *check_lock(WORK / "lock", "collect"),
        *(_existing(folder / "lock") if is_file else check_lock(folder / "lock", "use DVC")),
        *paths_in_use(folder / "rwlock"),
    ]
    yield from found or [ok(SUBJECT, "nothing is locked, no killed process has left any behind")]


def paths_in_use(path: Path) -> Iterator[Finding]:
    """Read DVC's list of paths in use, which stays when a process is killed.

    DVC drops from it what is gone. A process that was given the number of a killed one it takes for that one, and waits
    for ever; such a process was born after the list was last written.
    """
    if not path.exists():
        return
    try:
        entries = read_entries(path)
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        mended = "the next retrain or python -m flows.pipeline mends it; to go on with dvc alone, "
        yield error(
            SUBJECT,
            f"{path} was cut off, as by a full disk, and every dvc command stops at it: {failure}",
            mended + _by_hand(path),
        )
        return
    written = path.stat().st_mtime
    for pid in sorted({entry.pid for entry in entries}):
        used = [entry for entry in entries if entry.pid == pid]
        yield _told(path, pid, used, written)


def read_entries(path: Path) -> list[Entry]:
    """The processes that write to paths, and those that read them.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: if the file is not what DVC writes.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    writers = [Entry(int(one["pid"]), one["cmd"], used, writes=True) for used, one in content.get("write", {}).items()]
    readers = [
        Entry(int(one["pid"]), one["cmd"], used, writes=False)
        for used, several in content.get("read", {}).items()
        for one in several
    ]
    return writers + readers


def _told(path: Path, pid: int, used: list[Entry], written: float) -> Finding:
    what = f"{len(used)} paths for process {pid} ({used[0].command})"
    born = _birth(pid)
    if born is None:
        if not any(entry.writes for entry in used):  # DVC drops them when somebody will write there
            return ok(SUBJECT, f"{path} still lists {what}, which read them and was killed; that is in nobody's way")
        return warning(
            SUBJECT,
            f"{path} keeps {what}, which was killed while it wrote",
            "dvc repro: it drops this from the list and does the work of that process again",
        )
    if born > written + CLOCK:
        return error(
            SUBJECT,
            f"{path} keeps {what}, which was killed; its number is now that of {describe(pid)}, for which DVC waits",
            _by_hand(path),
        )
    return ok(SUBJECT, f"{describe(pid)} is at work on {len(used)} paths; whoever needs them waits")


def _birth(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def _existing(path: Path) -> Iterator[Finding]:
    """With DVC's core.hardlink_lock the lock is that the file exists, whoever lives."""
    if path.exists():
        yield warning(
            SUBJECT,
            f"{path} exists: with core.hardlink_lock DVC takes this for another DVC at work",
            f"where none is (ps -ef | grep dvc): rm {path}",
        )


def _by_hand(path: Path) -> str:
    return f"when no dvc, retrain or collect is at work here: rm {path}"
