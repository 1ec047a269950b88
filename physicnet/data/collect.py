"""Takes new observations from an inbox into the folder of raw data, each file exactly once.

A file lies in the inbox until one rename puts it into its place; a process that is killed at whatever moment leaves it
in one of the two, and the next one goes on. What is taken is noted before, so that it is announced even then.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from physicnet.config import CollectConfig, IngestConfig
from physicnet.data.arrivals import Arrival, Collected, Journal
from physicnet.data.inbox import Inbox, open_inbox
from physicnet.data.placing import place, quarantine
from physicnet.data.selection import CHANGED, Candidate, Selection, Selector, settled

Unread = Callable[[], AbstractContextManager[None]]


class CollectBusyError(RuntimeError):
    """Another process collects into the same folder."""


class RawBusyError(RuntimeError):
    """Somebody reads the folder of raw data, and must not see it change."""


@contextmanager
def collected(
    config: CollectConfig, ingest: IngestConfig, *, raw: Path, work: Path, resume: Path, unread: Unread
) -> Iterator[Collected]:
    """Take what is complete in the inbox, and give the block what became of it, to announce it.

    What is taken is announced until such a block has ended without an error. `unread` gives a context in which nobody
    reads the folder `raw`; where it raises `RawBusyError`, everything waits. `work` is the collector's own folder,
    `resume` that in which ingest keeps what it has worked out.

    Raises:
        CollectBusyError: if another process is at it.
        DataError: if the inbox or the folder of raw data cannot be listed.
    """
    work.mkdir(parents=True, exist_ok=True)
    raw.mkdir(parents=True, exist_ok=True)
    with _alone(work / "lock"):
        journal = Journal(work / "accepted.json")
        inbox = open_inbox(config.source, work / "downloads")
        result = Collected(accepted=journal.landed(raw))
        entries, growing = settled(inbox, config)
        result.waiting.update(growing)
        try:
            if entries:
                with unread():  # else looking would be in vain
                    pass
                selection = Selector(inbox, config, ingest, raw=raw, resume=resume).select(entries)
                with unread():
                    moved = _put_in_place(selection, inbox, journal, result, raw)
                for candidate in moved:
                    inbox.remove(candidate.entry)
                _quarantine(selection, inbox, result, Path(config.quarantine))
                _drop_repeated(selection, inbox, result, raw)
                result.waiting.update(selection.waiting)
        except RawBusyError as error:
            result.waiting.update({entry.name: str(error) for entry in entries})
        yield result
        journal.clear()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise CollectBusyError("another process collects, and takes what has come") from None
    try:
        yield
    finally:
        lock.release()


def _put_in_place(
    selection: Selection, inbox: Inbox, journal: Journal, result: Collected, raw: Path
) -> list[Candidate]:
    """Move what is to be taken, and nothing else: it is in others' way meanwhile. Return what was moved."""
    arrivals = [Arrival.of(candidate.survey, candidate.entry.name) for candidate in selection.taken]
    journal.note([*result.accepted, *arrivals])
    moved = []
    for candidate, arrival in zip(selection.taken, arrivals, strict=True):
        if not inbox.is_current(candidate.entry):
            result.waiting[arrival.origin] = CHANGED
            continue
        try:
            place(candidate.source.path, raw / arrival.name)
        except FileExistsError as error:
            result.waiting[arrival.origin] = str(error)
            continue
        result.accepted.append(arrival)
        moved.append(candidate)
    return moved


def _quarantine(selection: Selection, inbox: Inbox, result: Collected, folder: Path) -> None:
    for entry, (source, reason) in selection.refused.items():
        if inbox.is_current(entry):
            quarantine(source, folder, reason)
            inbox.remove(entry)
            result.quarantined[entry.name] = reason
        else:
            result.waiting[entry.name] = CHANGED


def _drop_repeated(selection: Selection, inbox: Inbox, result: Collected, raw: Path) -> None:
    """Remove what is there already, also where an earlier collector was killed before it did."""
    arrived = {(arrival.origin, arrival.name) for arrival in result.accepted}
    for entry, name in selection.repeated.items():
        if not (raw / name).exists():
            result.waiting[entry.name] = f"it has the content of {name}, which was not taken"
            continue
        inbox.remove(entry)
        if (entry.name, name) not in arrived:
            result.duplicates[entry.name] = name
