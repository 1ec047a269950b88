"""What a stage's run was made of: its entry of `dvc.lock` with its hash, observations, git commit, packages.

DVC writes that entry after the stage has ended; a history of runs needs it while the stage runs. The hashes here are
DVC's own (MD5 of a file; of a folder, MD5 of the sorted list of its files' hashes), so that the key of a run can be
looked up from `dvc.lock` later on.
"""

import hashlib
import json
import platform
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import distributions
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml

PARAMS = "params.yaml"
IGNORED = ("__pycache__", ".pyc")  # as in .dvcignore


@dataclass(frozen=True)
class StageEntry:
    """One stage as it stands in `dvc.lock`: the command, the hash of every input, the parameters it reads.

    The hashes of the outputs are known afterwards only, and do not count for the key.
    """

    name: str
    command: str
    deps: dict[str, str]
    params: dict[str, Any]
    outs: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def key(self) -> str:
        """Hash of command, inputs and parameters: equal for two runs that must give the same outputs."""
        text = json.dumps([self.command, self.deps, self.params], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def data(self) -> dict[str, str]:
        """Hashes of the inputs that are not code."""
        return {path: md5 for path, md5 in self.deps.items() if not path.endswith(".py")}


@dataclass(frozen=True)
class Observations:
    """One part of a record, as a run read it."""

    path: str
    part: str  # train, validation or test
    variables: Mapping[str, str]  # name: units
    profile: Mapping[str, Any]  # times and grid
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        """What it is called in lists; the part belongs to it, for a run reads data of one name and hash but once."""
        return f"{', '.join(self.variables)} from {self.profile['first'][:10]}, {self.part} part"


def declared_entry(root: Path, stage: str) -> StageEntry | None:
    """The entry that a stage has with the files as they are now; None if `dvc.yaml` does not name the stage.

    The hash of an earlier stage's output is taken from `dvc.lock`, where DVC has just written it; all other inputs
    are read.
    """
    pipeline = _read_yaml(root / "dvc.yaml")
    declared = pipeline.get("stages", {}).get(stage)
    if declared is None:
        return None
    known = _recorded_outs(root)
    deps = {path: known.get(path) or md5_of(root / path) for path in declared.get("deps", [])}
    values = _read_yaml(root / PARAMS)
    params = {name: _parameter(values, name) for name in declared.get("params", [])}
    return StageEntry(stage, " ".join(declared["cmd"].split()), deps, params)


def declared_stages(root: Path) -> list[str]:
    """The names of the stages of `dvc.yaml`, in its order."""
    return list(_read_yaml(root / "dvc.yaml").get("stages", {}))


def recorded_entries(root: Path) -> dict[str, StageEntry]:
    """Every stage of `dvc.lock`, but for one whose entry breaks off: DVC was killed while it wrote."""
    return {
        name: StageEntry(
            name,
            " ".join(entry["cmd"].split()),
            {dep["path"]: dep["md5"] for dep in entry.get("deps", [])},
            entry.get("params", {}).get(PARAMS, {}),
            {out["path"]: out["md5"] for out in entry.get("outs", [])},
        )
        for name, entry in _read_yaml(root / "dvc.lock").get("stages", {}).items()
        if _has_hashes(entry)
    }


def _has_hashes(entry: Any) -> bool:
    """Whether a stage's entry got as far as its outputs, every file with its hash."""
    parts = [entry.get("deps", []), entry.get("outs")] if isinstance(entry, dict) else [None]
    return all(isinstance(files, list) and all((file or {}).get("md5") for file in files) for files in parts)


def is_as_recorded(root: Path, entry: StageEntry) -> bool:
    """Whether the code and the parameters of a stage are still those of its entry."""
    values = _read_yaml(root / PARAMS)
    code = {path: md5 for path, md5 in entry.deps.items() if path.endswith(".py")}
    is_same_code = all((root / path).is_file() and md5_of(root / path) == md5 for path, md5 in code.items())
    return is_same_code and all(_parameter(values, name) == value for name, value in entry.params.items())


def _parameter(values: Any, name: str) -> Any:
    """A section of params.yaml, or what `section.parameter` names, as DVC has it; None if it is not there."""
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def command_paths(root: Path, stage: str) -> dict[str, str]:
    """The paths that the command of a stage of `dvc.yaml` spells, by option; empty without such a stage."""
    words = shlex.split(_read_yaml(root / "dvc.yaml").get("stages", {}).get(stage, {}).get("cmd", ""))
    return {word[2:]: path for word, path in pairwise(words) if word.startswith("--")}


def holds_outputs(root: Path, stage: str) -> bool:
    """Whether a stage's outputs are in the folder and belong to its data and parameters there, by `dvc.lock`.

    Code is not looked at: to bring outputs up to date with it is DVC's task.
    """
    recorded = _read_yaml(root / "dvc.lock").get("stages", {}).get(stage)
    if recorded is None:
        return False
    entry, values = recorded_entries(root)[stage], _read_yaml(root / PARAMS)
    files = entry.data | {out["path"]: out["md5"] for out in recorded.get("outs", [])}
    return all((root / path).exists() and md5_of(root / path) == md5 for path, md5 in files.items()) and all(
        _parameter(values, name) == recorded for name, recorded in entry.params.items()
    )


def md5_of(path: Path) -> str:
    """DVC's hash of a file or folder."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = (file for file in path.rglob("*") if file.is_file() and not _is_ignored(file))
    tree = [{"md5": md5_of(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    tree.sort(key=itemgetter("relpath"))
    return hashlib.md5(json.dumps(tree, sort_keys=True).encode()).hexdigest() + ".dir"


def git_state(root: Path, paths: list[str]) -> dict[str, str]:
    """Tags `git.commit` and `git.dirty` (whether one of `paths` differs from the commit); empty outside git."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git(root, "status", "--porcelain", "--", *paths)
    return {"git.commit": commit, "git.dirty": str(changes != "").lower()}


def environment() -> str:
    """Every installed package with its version, as pip reads it, below a comment that names Python and the system."""
    found = {dist.metadata["Name"]: dist.version for dist in distributions()}
    lines = [f"{name}=={found[name]}" for name in sorted(found, key=str.lower)]
    return "\n".join([f"# Python {platform.python_version()}, {platform.platform()}", *lines]) + "\n"


def params_now_and_committed(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What params.yaml holds, and held in the commit at hand; the same outside git."""
    now = _read_yaml(root / PARAMS)
    text = _git(root, "show", f"HEAD:./{PARAMS}")
    return now, now if text is None else yaml.safe_load(text)


def _is_ignored(file: Path) -> bool:
    return any(file.name.endswith(IGNORED) or part in IGNORED for part in file.parts)


def _recorded_outs(root: Path) -> dict[str, str]:
    return {path: md5 for entry in recorded_entries(root).values() for path, md5 in entry.outs.items()}


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments], cwd=root, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
