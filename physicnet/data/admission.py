"""Which new files the archive takes in: those that ingest would refuse neither as a whole nor in part.

What is in the archive has precedence: a new file with which ingest would refuse one that stands is not taken in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from physicnet.config import IngestConfig
from physicnet.data.catalogue import file_fates
from physicnet.data.judge import QUARANTINED, judge
from physicnet.data.sources import in_order
from physicnet.data.survey import Refusal, Survey

Found = Sequence[Survey | Refusal]


@dataclass(frozen=True)
class Admission:
    """New files that are taken in, and the reasons against the others by their names."""

    accepted: tuple[Survey, ...]
    refused: Mapping[str, str]


def admit(config: IngestConfig, archive: Found, new: Sequence[Survey]) -> Admission:
    """Decide on new files beside those of the archive, none of which has the name of another.

    Where nothing of the archive stands, the new files decide among themselves, by the majority as in ingest. Else they
    come in the order of their names; as long as some are in trouble together, they are tried in halves.
    """
    before = refused(config, archive)
    if all(one.source.name in before for one in archive):
        against = refused(config, [*archive, *new])
        return Admission(tuple(one for one in new if one.source.name not in against), _only(against, new))
    return _sift(config, archive, new, frozenset(before))


def refused(config: IngestConfig, found: Found) -> dict[str, str]:
    """Return the files that ingest would refuse, as a whole or in part, and why."""
    ordered = {one.source: one for one in found}
    files = file_fates(judge(config, [ordered[source] for source in in_order(ordered)]))
    rows = files[(files["status"] == QUARANTINED) | (files["quarantined_frames"] > 0)]
    return dict(zip(rows["path"], rows["reason"], strict=True))


def _sift(config: IngestConfig, standing: Found, new: Sequence[Survey], before: frozenset[str]) -> Admission:
    against = {name: reason for name, reason in refused(config, [*standing, *new]).items() if name not in before}
    if not against:
        return Admission(tuple(new), {})
    if len(new) == 1:
        return Admission((), _blamed(new[0].source.name, against))
    middle = len(new) // 2
    first = _sift(config, standing, new[:middle], before)
    second = _sift(config, [*standing, *first.accepted], new[middle:], before)
    return Admission((*first.accepted, *second.accepted), {**first.refused, **second.refused})


def _blamed(name: str, against: Mapping[str, str]) -> dict[str, str]:
    if name in against:
        return {name: against[name]}
    other, reason = next(iter(against.items()))
    return {name: f"beside it ingest would refuse {other}, which stands in the archive ({reason})"}


def _only(against: Mapping[str, str], new: Sequence[Survey]) -> dict[str, str]:
    return {one.source.name: against[one.source.name] for one in new if one.source.name in against}
