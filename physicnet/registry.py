"""Which version of the registered model is the champion: promotion of the challenger, and the way back.

A decision is made from files alone: the checkpoints of two versions and the test data at hand. It is written to
`reports/promotion.json` before the registry changes, and told to the versions as tags (`promotion.*`) and in words.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml
from rich.console import Console

from physicnet.config import BaselineName, Params
from physicnet.digest import content_hash
from physicnet.evaluation.promotion import Decision, decide
from physicnet.evaluation.promotion_table import print_decision
from physicnet.evaluation.retest import refuse_other_kind, retest
from physicnet.evaluation.scored import ScoredRun, read_origins, refuse_unlike
from physicnet.fields import DataError, Field, written_whole
from physicnet.lineage import command_paths, holds_outputs, md5_of
from physicnet.tracking import registered
from physicnet.tracking.registered import CHALLENGER, CHAMPION, SHA256
from physicnet.tracking.store import HistoryError, Store

if TYPE_CHECKING:
    from physicnet.tracking.registered import ModelVersion

REPORT = Path("reports") / "promotion.json"
TEST_DATA = ("fields", "statistics", "maps", "crops")  # options of `physicnet evaluate`
ORIGINS = "origins.csv"


@dataclass(frozen=True)
class Candidate:
    """A version of the registered model, with its checkpoint as it was when the version was registered."""

    role: str
    version: "ModelVersion"
    checkpoint: Path
    sha256: str
    units: Mapping[str, str]

    @property
    def number(self) -> str:
        """The version."""
        return str(self.version.version)

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.role}, version {self.number}"

    @property
    def identity(self) -> dict[str, str]:
        """What tells it from all others."""
        return {"version": self.number, "run_id": str(self.version.run_id), "checkpoint_sha256": self.sha256}


@dataclass(frozen=True)
class TestData:
    """The files that `physicnet evaluate` reads and writes in this folder, by option."""

    root: Path
    params: Params

    @cached_property
    def paths(self) -> dict[str, Path]:
        """Where they are.

        Raises:
            DataError: if one that a test needs is missing.
        """
        told = {name: self.root / path for name, path in command_paths(self.root, "evaluate").items()}
        missing = [str(told.get(name, name)) for name in TEST_DATA if name not in told or not told[name].exists()]
        if missing:
            raise DataError(
                f"{', '.join(missing)} does not exist, so there is nothing to test on: run the command in the folder "
                "of dvc.yaml, after dvc repro"
            )
        return told

    @property
    def hashes(self) -> dict[str, str]:
        """The files' hashes, as dvc.lock has them."""
        found = {path.relative_to(self.root).as_posix(): path for name, path in self.paths.items() if name in TEST_DATA}
        return {name: md5_of(path) for name, path in found.items()}

    def is_test_of(self, sha256: str) -> bool:
        """Whether the results here are of that checkpoint and of these data and parameters."""
        checkpoint = self.paths["checkpoint"]
        here = checkpoint.is_file() and content_hash(checkpoint) == sha256
        return here and holds_outputs(self.root, "evaluate")

    def retest(self, candidate: Candidate, baselines: list[BaselineName]) -> pd.DataFrame:
        """Test a checkpoint here."""
        return retest(candidate.checkpoint, candidate.name, self.params, self.paths, baselines)


def promote(store: Store, params: Params, console: Console) -> None:
    """Make the challenger the champion if it meets the rule `promote` of the parameters; print and write why.

    Raises:
        HistoryError: if there is no challenger, or a checkpoint is missing or another one than was registered.
        DataError: if the test data are missing, or a model cannot be tested on them.
    """
    version, before = registered.version(store, CHALLENGER), registered.version(store, CHAMPION)
    if version is None:
        raise HistoryError(
            f"No version of the model at {store.place} is the {CHALLENGER}: dvc repro gives this name to a model that "
            "it has evaluated (an evaluation that was unchanged: dvc repro --force --single-item evaluate)"
        )
    if before is not None and before.version == version.version:
        console.print(f"Version {version.version} is the champion already: there is nothing to decide.")
        return
    data = TestData(store.root, params)
    with TemporaryDirectory() as folder:
        challenger = fetch(store, CHALLENGER, version, Path(folder))
        champion = fetch(store, CHAMPION, before, Path(folder)) if before else None
        runs, sources = _tested(store, data, challenger, champion)
    decision = decide(runs[0], runs[1] if champion else None, params.promote, params.evaluate)
    _write(store.root, _report(data, challenger, champion, decision, runs[0], sources))
    _tell(store, challenger, champion, decision)
    print_decision(decision, params.promote, verdict(challenger, champion, decision), console)
    console.print(f"All numbers: {REPORT}", style="dim")


def rollback(store: Store, console: Console) -> None:
    """Make the champion of before the last promotion the champion again.

    The version that it replaces also ceases to be the challenger: otherwise it would be promoted again.

    Raises:
        HistoryError: if there is none, or its checkpoint is missing or another one than was registered.
    """
    now = registered.version(store, CHAMPION)
    former = [each for each in registered.former_versions(store) if each.version != now.version] if now else []
    if now is None or not former:
        raise HistoryError(
            f"No version of the model at {store.place} was champion before "
            f"{f'version {now.version}' if now else 'any other'}, so there is none to go back to; physicnet promote "
            "makes champions"
        )
    with TemporaryDirectory() as folder:
        restored = fetch(store, "former champion", former[-1], Path(folder))
    words = f"Version {restored.number} is the champion again, in place of version {now.version}."
    replaced = {"version": str(now.version), "run_id": str(now.run_id), "checkpoint_sha256": now.tags.get(SHA256)}
    _write(store.root, {"verdict": "rolled back", "words": words, "champion": restored.identity, "replaced": replaced})
    when = _now()
    registered.tag_version(
        store,
        str(now.version),
        {"promotion.decision": "rolled back", "promotion.when": when, "promotion.replaced_by": restored.number},
        _added(now, f"{when}: rolled back. {words}"),
    )
    registered.tag_version(
        store,
        restored.number,
        {"promotion.decision": "restored", "promotion.when": when, "promotion.replaced_by": "none"},
        _added(restored.version, f"{when}: restored. {words}"),
    )
    challenger = registered.version(store, CHALLENGER)
    registered.name_version(store, CHAMPION, restored.number)
    registered.keep_former(store, [str(each.version) for each in former[:-1]])
    if challenger is not None and challenger.version == now.version:
        registered.take_name(store, CHALLENGER)
    console.print(words)


def champion_sha256(store: Store) -> str | None:
    """The SHA-256 of the champion's checkpoint, as registered; None if there is no champion."""
    version = registered.version(store, CHAMPION)
    return None if version is None else version.tags.get(SHA256)


def copy_champion(store: Store, target: Path) -> str | None:
    """Write the champion's checkpoint to a file and return its SHA-256; None if there is no champion.

    Raises:
        HistoryError: if the checkpoint is missing or another one than was registered.
    """
    version = registered.version(store, CHAMPION)
    if version is None:
        return None
    with TemporaryDirectory() as folder, written_whole(target) as partial:
        champion = fetch(store, CHAMPION, version, Path(folder))
        copyfile(champion.checkpoint, partial)
    return champion.sha256


def fetch(store: Store, role: str, version: "ModelVersion", folder: Path) -> Candidate:
    """Download a version's model, after checking that its checkpoint is the one that was registered.

    Raises:
        HistoryError: if it is not there, or is another one.
    """
    place = folder / str(version.version)
    place.mkdir()
    model = registered.fetch_model(store, version, place)
    checkpoint = next(model.glob("data/*"))
    known, found = version.tags.get(SHA256), content_hash(checkpoint)
    if known is None:
        raise HistoryError(
            f"Version {version.version} ({role}) does not tell the hash of its checkpoint (tag {SHA256}), so it was "
            "registered by an older version of physicnet: check out the commit and the data of its run, "
            f"{version.run_id}; dvc repro --force --single-item evaluate then registers it anew"
        )
    if found != known:
        raise HistoryError(
            f"The checkpoint of version {version.version} ({role}) is another one than was registered: its SHA-256 is "
            f"{found}, not {known}. Restore model/data of run {version.run_id}, or check out the commit and the data "
            "of that run; dvc repro --force --single-item evaluate then registers it anew"
        )
    about = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))
    return Candidate(role, version, checkpoint, known, about["flavors"]["python_function"]["config"]["units"])


def _tested(
    store: Store, data: TestData, challenger: Candidate, champion: Candidate | None
) -> tuple[list[ScoredRun], list[str]]:
    """The tests of the challenger and of the champion, where there is one, and where each is from."""
    record = Field.open(data.paths["fields"])
    frames_in = data.params.clip.frames_in
    for each in (challenger, champion):
        if each is not None:
            refuse_other_kind(each.checkpoint, each.name, each.units, record, frames_in, _remedy(each))
    results = data.paths["results"] / ORIGINS
    if data.is_test_of(challenger.sha256):
        source, origins = results.relative_to(data.root).as_posix(), read_origins(results.read_text(), str(results))
    else:
        source, origins = "tested anew", data.retest(challenger, data.params.evaluate.baselines)
    runs, sources = [_scored("A", challenger, origins)], [source]
    if champion is not None:
        own = _own_test(store, champion, runs[0])
        runs.append(own or _scored("B", champion, data.retest(champion, [])))
        sources.append(f"{ORIGINS} of its run" if own else "tested anew")
    return runs, sources


def _own_test(store: Store, champion: Candidate, challenger: ScoredRun) -> ScoredRun | None:
    """What the champion's run holds of its test, if that is on the challenger's test data."""
    try:
        text = store.read_text(store.run(str(champion.version.run_id)), ORIGINS)
        if text is None:
            return None
        own = _scored("B", champion, read_origins(text, f"{ORIGINS} of the {champion.name}"))
        refuse_unlike(challenger, own)
    except (HistoryError, DataError):
        return None
    return own


def _scored(label: str, candidate: Candidate, origins: pd.DataFrame) -> ScoredRun:
    return ScoredRun(label, f"the {candidate.name}", "", {}, origins)


def _remedy(candidate: Candidate) -> str:
    if candidate.role == CHAMPION:
        return (
            "bring back the data that it forecasts (git checkout, dvc checkout), or take the alias champion from "
            f"version {candidate.number} on the model's page (physicnet ui), to judge the challenger without it"
        )
    return "bring back the data and parameters that it was trained on (git checkout, dvc checkout), or dvc repro"


def verdict(challenger: Candidate, champion: Candidate | None, decision: Decision) -> str:
    """Say what was decided."""
    if decision.is_promoted:
        before = f", in place of version {champion.number}" if champion else ", the first one"
        return f"Promoted: version {challenger.number} is the champion now{before}."
    still = f"version {champion.number} stays the champion" if champion else "there still is no champion"
    return f"Not promoted: {still}; version {challenger.number} does not meet the rule."


def _report(
    data: TestData,
    challenger: Candidate,
    champion: Candidate | None,
    decision: Decision,
    tested: ScoredRun,
    sources: list[str],
) -> dict[str, Any]:
    """All that the decision was made of, and nothing that changes when it is repeated."""
    evaluation = data.params.evaluate
    return {
        "verdict": "promoted" if decision.is_promoted else "kept",
        "words": verdict(challenger, champion, decision),
        "gain": decision.gain,
        "reasons": [{"text": check.text, "met": check.is_met} for check in decision.checks],
        "rule": data.params.promote.model_dump(mode="json"),
        "bootstrap": {"samples": evaluation.bootstrap_samples, "seed": evaluation.seed},
        "challenger": challenger.identity | {"test": sources[0]},
        "champion": champion.identity | {"test": sources[1]} if champion else None,
        "test_data": {"md5": data.hashes, "origins": sorted(map(str, tested.truth["time"].unique()))},
        "ratios": _records(decision.ratios),
        "scores": _records(decision.scores),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, with null for what is no number and "all" for the leads of the rule together."""
    rows = json.loads(table.to_json(orient="records", double_precision=6))
    return [row | {"lead": row["lead"] or "all"} for row in rows]


def _write(root: Path, report: Mapping[str, Any]) -> None:
    with written_whole(root / REPORT) as file:
        file.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _tell(store: Store, challenger: Candidate, champion: Candidate | None, decision: Decision) -> None:
    """Tell the versions what was decided, then move the name of the champion."""
    when, words = _now(), verdict(challenger, champion, decision)
    tags = {"promotion.decision": "promoted" if decision.is_promoted else "kept", "promotion.when": when}
    if decision.gain is not None:
        tags["promotion.gain"] = f"{decision.gain:g}"
    reasons = [f"- {'' if check.is_met else '**Not met.** '}{check.text}" for check in decision.checks]
    text = "\n".join([f"{when}: {words}", "", *reasons])
    if champion is not None:
        tags["promotion.compared_with"] = champion.number
    registered.tag_version(store, challenger.number, tags, text)
    if not decision.is_promoted:
        return
    if champion is not None:
        said = _added(champion.version, f"{when}: replaced by version {challenger.number}.")
        registered.tag_version(store, champion.number, {"promotion.replaced_by": challenger.number}, said)
        former = [str(each.version) for each in registered.former_versions(store)]
        registered.keep_former(store, former if former[-1:] == [champion.number] else [*former, champion.number])
    registered.name_version(store, CHAMPION, challenger.number)


def _added(version: "ModelVersion", line: str) -> str:
    return f"{version.description}\n\n{line}" if version.description else line


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
