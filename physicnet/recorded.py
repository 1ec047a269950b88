"""The stages of dvc.lock, of which runs can be made: what each ran and read, and whether the files are still those."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from physicnet import contents
from physicnet.config import Params, Section
from physicnet.lineage import StageEntry, declared_stages, md5_of, recorded_entries
from physicnet.tracking.store import one_line

REMEDY = "dvc checkout brings outputs from DVC's cache, dvc repro makes them anew"


class ReplayError(ValueError):
    """The runs of dvc.lock cannot be replayed, or not all of them; the message names what is wrong and the remedy."""


@dataclass(frozen=True)
class Recorded:
    """A stage as dvc.lock has it: its entry, the paths of its command by option, the parameters that it read."""

    entry: StageEntry
    paths: dict[str, Path]
    sections: dict[str, Section]


def recorded_stages(root: Path) -> dict[str, Recorded]:
    """The stages of dvc.lock that have a run, in the order of dvc.yaml.

    Raises:
        ReplayError: if there is none, or if its command or parameters are not such as this version takes.
    """
    entries = recorded_entries(root)
    names = [name for name in declared_stages(root) if name in entries and name in contents.CONTENTS]
    if not names:
        raise ReplayError(
            f"{root / 'dvc.lock'} is missing or has none of the stages of dvc.yaml: nothing that ran here is known. "
            "Change to the folder of dvc.lock, or run dvc repro"
        )
    return {name: Recorded(entries[name], _paths(entries[name]), _sections(entries[name])) for name in names}


def check_files(root: Path, stages: Mapping[str, Recorded]) -> None:
    """Hold all outputs to their hashes in dvc.lock, and the data that stages read to the outputs of those before.

    Raises:
        ReplayError: naming the first that differs or is missing.
    """
    made = {path: md5 for recorded in stages.values() for path, md5 in recorded.entry.outs.items()}
    for path, md5 in made.items():
        if not (root / path).exists():
            raise ReplayError(f"{path} is missing, so that its run cannot be replayed: {REMEDY}")
        if md5_of(root / path) != md5:
            raise ReplayError(f"{path} is not the one of dvc.lock, so that its run cannot be replayed: {REMEDY}")
    for name, recorded in stages.items():
        for path, md5 in recorded.entry.data.items():
            if made.get(path, md5) != md5:
                raise ReplayError(
                    f"{name} has read another {path} than dvc.lock has now: dvc repro brings it up to date"
                )


def _paths(entry: StageEntry) -> dict[str, Path]:
    words = shlex.split(entry.command)
    options = words[words.index(entry.name) + 1 :] if entry.name in words else []
    paths = {option.removeprefix("--"): Path(path) for option, path in zip(options[::2], options[1::2], strict=False)}
    needed = contents.CONTENTS[entry.name].options
    if not needed <= paths.keys():
        missing = ", ".join(f"--{option}" for option in sorted(needed - paths.keys()))
        raise ReplayError(
            f"The command of {entry.name} in dvc.lock, {entry.command!r}, does not name {missing}: it is not of this "
            "version. Check out the commit that it is of, or run dvc repro"
        )
    return paths


def _sections(entry: StageEntry) -> dict[str, Section]:
    """Parsed as a stage parses them, so that the values are the same; a single parameter of a section is none."""
    try:
        kinds = {name: Params.model_fields[name].annotation for name in entry.params if "." not in name}
        return {name: kind.model_validate(entry.params[name]) for name, kind in kinds.items()}  # type: ignore[union-attr]
    except (KeyError, ValidationError) as error:
        raise ReplayError(
            f"The parameters of {entry.name} in dvc.lock are not of this version: {one_line(error)}. Check out the "
            "commit that they are of, or run dvc repro"
        ) from error
