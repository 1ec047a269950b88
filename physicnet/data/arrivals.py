"""What a round through the inbox has brought, and the journal that lets none of it go unannounced."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from physicnet.clock import written
from physicnet.data.sources import sha256_of
from physicnet.data.survey import Survey


@dataclass(frozen=True)
class Arrival:
    """A file that is taken: its name in the folder of raw data and in the inbox, and its times as ISO 8601 text."""

    name: str
    origin: str
    sha256: str
    frames: int
    first: str
    last: str

    @classmethod
    def of(cls, survey: Survey, origin: str) -> "Arrival":
        """Describe a file of the inbox that will be called as its survey says."""
        times = np.unique(survey.frames["time"].to_numpy())
        first, last = written(times[[0, -1]], survey.calendar)
        frames = int(survey.frames["frame"].nunique())
        return cls(survey.source.name, origin, survey.sha256, frames, str(first), str(last))


@dataclass(frozen=True)
class Collected:
    """What became of the files of the inbox, by their names there; `accepted` also holds what was never announced.

    `quarantined` and `waiting` tell the reasons, `duplicates` the files that have the same content.
    """

    accepted: list[Arrival] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """The frames of the accepted files; those at the same time count apart."""
        return sum(arrival.frames for arrival in self.accepted)

    @property
    def first(self) -> str | None:
        """The time of the earliest accepted frame."""
        return min((arrival.first for arrival in self.accepted), default=None)

    @property
    def last(self) -> str | None:
        """The time of the latest accepted frame."""
        return max((arrival.last for arrival in self.accepted), default=None)


@dataclass(frozen=True)
class Journal:
    """The arrivals that are about to be taken or were taken, and have not been announced."""

    path: Path

    def landed(self, raw: Path) -> list[Arrival]:
        """Return those that were really taken."""
        if not self.path.exists():
            return []
        noted = [Arrival(**content) for content in json.loads(self.path.read_text())]
        return [one for one in noted if (raw / one.name).is_file() and sha256_of(raw / one.name) == one.sha256]

    def note(self, arrivals: Sequence[Arrival]) -> None:
        """Put arrivals in the place of what was noted."""
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps([asdict(arrival) for arrival in arrivals]))
        partial.replace(self.path)

    def clear(self) -> None:
        """Forget all."""
        self.path.unlink(missing_ok=True)
