"""Temporary files that a process would have removed or renamed, had it not been killed."""

from collections.abc import Iterator
from pathlib import Path

import psutil

from physicnet.doctor.findings import Finding, first, ok, warning
from physicnet.doctor.locks import describe

SUBJECT = "temporary files"
NAMES = ("*.partial", ".*.tmp")  # ours, and those of DVC's copies
ASIDE = {".git", ".venv", "inbox", "node_modules"}  # of others; what is put into the inbox is its owner's
WORKERS = {"dvc", "physicnet", "prefect.flow_engine", "prefect.engine"}


def check() -> Iterator[Finding]:
    """Name what lies about while nobody works here."""
    root = Path.cwd()
    found = sorted(str(path.relative_to(root)) for path in temporary(root))
    working = at_work(root)
    if not found:
        yield ok(SUBJECT, "none are left over")
    elif working:
        yield ok(SUBJECT, f"{len(found)}, and {first(map(describe, working))} at work here")
    else:
        yield warning(
            SUBJECT,
            f"{len(found)} left by processes that were killed: {first(found)}",
            "they are read by nobody; the next run of the same stage replaces most of them. To remove one: rm -r NAME",
        )


def temporary(root: Path) -> Iterator[Path]:
    """The temporary files and folders below a folder; not what is in such a folder."""
    for path in root.iterdir():
        if any(path.match(name) for name in NAMES):
            yield path
        elif path.is_dir() and not path.is_symlink() and path.name not in ASIDE:
            yield from temporary(path)


def at_work(root: Path) -> list[int]:
    """The other processes in a folder that run a stage, DVC or a flow."""
    return [
        process.pid
        for process in psutil.process_iter()
        if process.pid not in _own() and _is_at_work(process, root.resolve())
    ]


def _own() -> set[int]:
    return {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}


def _is_at_work(process: psutil.Process, root: Path) -> bool:
    try:
        words = [Path(word).name for word in process.cmdline()[:3]]
        works = any(word in WORKERS or word.startswith("flows.") for word in words)
        return works and Path(process.cwd()) == root
    except (psutil.Error, OSError):
        return False
