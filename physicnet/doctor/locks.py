"""Who holds a lock, by the kernel's list: to ask the lock itself would be to take it, if only for a moment.

The locks here end with the process that holds them; a file that is left behind locks nothing.
"""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psutil

from physicnet.doctor.findings import Finding, error, not_checked, ok
from physicnet.sqlite import PATIENCE

SUBJECT = "locks"
LIST = Path("/proc/locks")


def check_lock(path: Path, what: str) -> Iterator[Finding]:
    """Say which process holds a lock; `what` is what the holder keeps others from."""
    if not path.exists():
        return
    if not LIST.is_file():
        yield not_checked(SUBJECT, f"{path}: this system does not list who holds locks")
        return
    for pid in holders(path):
        yield _told(path, what, pid)


def holders(path: Path) -> list[int]:
    """The processes that hold a lock of a file, by number; those of another container have none and are -1 or 0."""
    about = path.stat()
    device = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    lines = (line.split() for line in LIST.read_text(encoding="ascii").splitlines())
    return [int(line[4]) for line in lines if "->" not in line and line[5] == device]


def unreadable(subject: str, database: Path, failure: sqlite3.Error, anew: str) -> Finding:
    """Say why a database of SQLite cannot be read: another process keeps it, or it needs what `anew` says."""
    if getattr(failure, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF != sqlite3.SQLITE_BUSY:
        return error(subject, f"{database} cannot be read: {failure}", anew)
    keepers = sorted(set(holders(database))) if LIST.is_file() else []
    who = ", ".join(map(describe, keepers)) or "a process that the system does not name"
    return error(
        subject,
        f"{database} has been kept by another for {PATIENCE:.0f} seconds and more: {who}",
        "wait for it; if it hangs, end it: "
        + (f"kill {' '.join(map(str, keepers))}" if keepers else f"fuser {database}"),
    )


def describe(pid: int) -> str:
    """A process in words: its number and the beginning of its command."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return f"process {pid}"
    command = " ".join(" ".join([Path(words[0]).name, *words[1:]]).split())[:80] if words else ""
    return f"process {pid} ({command})" if command else f"process {pid}"


def _told(path: Path, what: str, pid: int) -> Finding:
    if pid > 0 and psutil.pid_exists(pid) and psutil.Process(pid).status() == psutil.STATUS_STOPPED:
        return error(
            SUBJECT, f"{describe(pid)} holds {path} and is suspended: nobody else can {what}", f"kill -CONT {pid}"
        )
    who = describe(pid) if pid > 0 else "a process of another container"
    return ok(SUBJECT, f"{who} holds {path}: it is at work, others wait to {what}")
