"""What a retrain did: how things stood before and after it, what ran, and what was decided."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from physicnet.data.novelty import trained_until
from physicnet.digest import content_hash
from physicnet.fields import DataError
from physicnet.lineage import command_paths

SCORES, FILES = "scores.csv", "files.csv"
DECISION = Path("reports") / "promotion.json"


@dataclass(frozen=True)
class Standing:
    """The results, the files of the record and until when it was trained on; None where there was none."""

    scores: pd.DataFrame | None
    files: pd.DataFrame | None
    trained_until: np.datetime64 | None = None

    @classmethod
    def read(cls) -> "Standing":
        """Those in the folder."""
        results = command_paths(Path.cwd(), "evaluate").get("results", "")
        catalogue = command_paths(Path.cwd(), "ingest").get("catalogue", "")
        return cls(_table(Path(results) / SCORES), _table(Path(catalogue) / FILES), _trained_until())


@dataclass
class Retrained:
    """Collects what a retrain did."""

    before: Standing
    after: Standing
    states: dict[str, str] = field(default_factory=dict)
    decision: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def begin(cls) -> "Retrained":
        """Remember how things stand."""
        now = Standing.read()
        return cls(now, now)

    def add(self, states: Mapping[str, str]) -> None:
        """What became of stages; of one that was looked at twice, what was done to it stays."""
        for stage, state in states.items():
            if state != "Unchanged" or stage not in self.states:
                self.states[stage] = state

    def end(self) -> None:
        """See how things stand now, and what was decided of the model that is there."""
        self.after = Standing.read()
        self.decision = read_decision()

    @property
    def is_promoted(self) -> bool:
        """Whether there is a new champion."""
        return self.decision.get("verdict") == "promoted"

    @property
    def summary(self) -> str:
        """In one line."""
        return str(self.decision.get("words", "The model is the champion already: there was nothing to decide."))


def read_decision() -> Mapping[str, object]:
    """The latest decision, if it was about the checkpoint that is in the folder; nothing otherwise.

    That the checkpoint was rolled back is one, too.
    """
    checkpoint = Path(command_paths(Path.cwd(), "evaluate").get("checkpoint", ""))
    if not DECISION.is_file() or not checkpoint.is_file():
        return {}
    told: dict[str, object] = json.loads(DECISION.read_text(encoding="utf-8"))
    about = told.get("challenger", told.get("replaced"))
    is_it = isinstance(about, dict) and about["checkpoint_sha256"] == content_hash(checkpoint)
    return told if is_it else {}


def _trained_until() -> np.datetime64 | None:
    fields, statistics = (
        Path(command_paths(Path.cwd(), "normalize").get(name, "none")) for name in ("fields", "statistics")
    )
    if not fields.exists() or not statistics.exists():
        return None
    try:
        return trained_until(fields, statistics)
    except DataError:  # a damaged record is made anew by this very run, and had no times to tell
        return None


def _table(path: Path) -> pd.DataFrame | None:
    return pd.read_csv(path) if path.is_file() else None
