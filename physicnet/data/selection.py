"""Decides what happens to each file of the inbox; nothing is moved here."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from physicnet.config import CollectConfig, IngestConfig
from physicnet.data.admission import admit
from physicnet.data.budget import Budget
from physicnet.data.inbox import Entry, Inbox, is_finished
from physicnet.data.ingest import survey_all
from physicnet.data.placing import free_name
from physicnet.data.sources import Source, list_sources
from physicnet.data.state import State
from physicnet.data.survey import Refusal, Survey
from physicnet.data.workers import Here

CHANGED = "it changed while it was looked at"


@dataclass(frozen=True)
class Candidate:
    """A file of the inbox, and what ingest has found in it; `survey.source` has the name that it will have."""

    entry: Entry
    source: Source
    survey: Survey


@dataclass(frozen=True)
class Selection:
    """The files to take, those to quarantine and why, those whose content is there (as which file), and the others."""

    taken: list[Candidate] = field(default_factory=list)
    refused: dict[Entry, tuple[Source, str]] = field(default_factory=dict)
    repeated: dict[Entry, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)


def settled(inbox: Inbox, config: CollectConfig) -> tuple[list[Entry], dict[str, str]]:
    """Return the files whose time has come, and the names of those that may still be written to, with the reason."""
    entries = [entry for entry in inbox.entries() if is_finished(entry.name, config.unfinished)]
    ripe = [entry for entry in entries if _age(entry) >= config.settled]
    because = f"it has changed in the last {config.settled:g} seconds"
    return ripe, {entry.name: because for entry in entries if entry not in ripe}


def _age(entry: Entry) -> float:
    return time.time() - entry.changed


class Selector:
    """Judges settled files of an inbox by the rules of ingest, beside those in the folder of raw data.

    What is worked out of a file is kept in the state of ingest, which then need not read it again.
    """

    def __init__(self, inbox: Inbox, config: CollectConfig, ingest: IngestConfig, *, raw: Path, resume: Path) -> None:
        self._inbox, self._config, self._ingest, self._raw = inbox, config, ingest, raw
        self._state = State(resume.resolve())

    def select(self, entries: Sequence[Entry]) -> Selection:
        """Decide on each.

        Raises:
            DataError: if `ingest.pattern` is none, or the folder of raw data cannot be listed.
        """
        selection = Selection()
        candidates = self._understood(self._fetched(entries, selection), selection)
        if not candidates:
            return selection
        archive = self._surveys(list_sources(self._raw, self._ingest.pattern))
        named = self._named(candidates, {one.sha256: one.source.name for one in archive if one.sha256}, selection)
        admission = admit(self._ingest, archive, [candidate.survey for candidate in named])
        for candidate in named:
            reason = admission.refused.get(candidate.survey.source.name)
            if reason is None:
                selection.taken.append(candidate)
            else:
                selection.refused[candidate.entry] = (candidate.source, reason)
        return selection

    def _fetched(self, entries: Sequence[Entry], selection: Selection) -> dict[Entry, Source]:
        """The files that ingest could be given: no links, and of a name that it reads."""
        readable: dict[Path, set[str]] = {}
        fetched = {}
        for entry in entries:
            try:
                source = self._inbox.local(entry)
            except FileNotFoundError:
                selection.waiting[entry.name] = CHANGED
                continue
            if source.root not in readable:
                readable[source.root] = {one.name for one in list_sources(source.root, self._ingest.pattern)}
            if source.path.is_symlink():
                selection.refused[entry] = (source, "it is a link; put the file itself there")
            elif source.name not in readable[source.root]:
                because = f"ingest.pattern, {self._ingest.pattern!r}, leaves out its name; rename it, or correct that"
                selection.refused[entry] = (source, because)
            else:
                fetched[entry] = source
        return fetched

    def _understood(self, sources: Mapping[Entry, Source], selection: Selection) -> list[Candidate]:
        surveys = {found.source: found for found in self._surveys(list(sources.values()))}
        candidates = []
        for entry, source in sources.items():
            found = surveys[source]
            if isinstance(found, Survey):
                candidates.append(Candidate(entry, source, found))
            elif _age(entry) < self._config.stalled:
                selection.waiting[entry.name] = f"its copy may go on: {found.reason}"
            else:
                selection.refused[entry] = (source, found.reason)
        return candidates

    def _surveys(self, sources: Sequence[Source]) -> list[Survey | Refusal]:
        budget = Budget.within(self._ingest.memory_bytes)
        return survey_all(sources, self._ingest, budget=budget, state=self._state, workers=Here())

    def _named(
        self, candidates: Sequence[Candidate], archive: Mapping[str, str], selection: Selection
    ) -> list[Candidate]:
        """Give each the name that it will have; leave out what has the content of a file that is there, or comes."""
        names, taken, named = dict(archive), set[str](), []
        for candidate in candidates:
            entry, digest = candidate.entry, candidate.survey.sha256
            name = free_name(entry.name, lambda other: other in taken or _is_there(self._raw / other))
            if digest in names:
                selection.repeated[entry] = names[digest]
            elif name != entry.name and not self._can_be_called(name):
                because = (
                    f"{self._raw} has another file of this name, and as {name} ingest would not read it; rename it"
                )
                selection.refused[entry] = (candidate.source, because)
            else:
                names[digest] = name
                taken.add(name)
                survey = replace(candidate.survey, source=replace(candidate.source, name=name))
                named.append(replace(candidate, survey=survey))
        return named

    def _can_be_called(self, name: str) -> bool:
        """Whether ingest reads a file beside one that it reads, under this name."""
        tells_time = self._ingest.time_from_name is not None
        return not tells_time and fnmatchcase(PurePath(name).name, PurePath(self._ingest.pattern).name)


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()
