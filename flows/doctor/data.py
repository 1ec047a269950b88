"""The outputs that dvc.lock names, in DVC's cache and in the folder: all are read and hashed anew.

DVC itself believes the size and time of a file that it knows, and an object of its cache that is write-protected. It
would also remove a damaged one when asked to check it, which is not for a doctor to do.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dvc.repo import Repo
from dvc_data.hashfile.hash import hash_file

from physicnet.doctor.disk import needs, room
from physicnet.doctor.findings import Finding, error, first, not_checked, ok, warning
from physicnet.lineage import md5_of

CACHE = "DVC's cache"
OUTPUTS = "outputs"
FOLDER = ".dir"  # ends the hash of the list of a folder's files


@dataclass
class Objects:
    """Objects of the cache that belong to one output: their paths, by what was seen of them."""

    sound: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def check_cache() -> Iterator[Finding]:
    """Hash every object of the cache that dvc.lock uses; also whether it has room, where it is on another disk."""
    with Repo(".") as repo:
        yield from _space(repo)
        outputs = {out: objects(out) for out in _outputs(repo) if out.use_cache}
    if not outputs:
        yield not_checked(CACHE, "dvc.lock names no outputs yet", "dvc repro")
        return
    count = sum(len(each.sound) for each in outputs.values())
    if not count and not any(each.damaged for each in outputs.values()):
        yield warning(
            CACHE, "it holds nothing of what dvc.lock names", "dvc pull where a remote has it, else dvc repro"
        )
        return
    for out, each in outputs.items():
        yield from _told(out, each)
    if all(not each.missing and not each.damaged for each in outputs.values()):
        yield ok(CACHE, f"{count:,} objects of {len(outputs)} outputs have the content that their names tell")


def check_outputs() -> Iterator[Finding]:
    """Hash every output in the folder, and compare it with dvc.lock."""
    with Repo(".") as repo:
        states = {out: _state(out) for out in _outputs(repo)}
    for out, state in states.items():
        if state is not None:
            yield warning(
                OUTPUTS,
                f"{out} (stage {out.stage.addressing}) {state}",
                f"dvc checkout {out} brings back what dvc.lock names; dvc repro makes it anew",
            )
    if states and not any(states.values()):
        yield ok(OUTPUTS, f"all {len(states)} in the folder are what dvc.lock names")


def objects(out: Any) -> Objects:
    """Hash the objects of one output of DVC's; those of a folder are its list and the files that the list names."""
    found = Objects()
    top = out.hash_info.value
    _examine(out.cache, top, found)
    if top.endswith(FOLDER) and found.sound:
        listed = json.loads(Path(out.cache.oid_to_path(top)).read_text(encoding="utf-8"))
        for oid in sorted({entry["md5"] for entry in listed}):
            _examine(out.cache, oid, found)
    return found


def _examine(cache: Any, oid: str, found: Objects) -> None:
    path = str(cache.oid_to_path(oid))
    if not Path(path).is_file():
        found.missing.append(path)
        return
    _, seen = hash_file(path, cache.fs, cache.hash_name)
    (found.sound if seen.value == oid.removesuffix(FOLDER) else found.damaged).append(path)


def _told(out: Any, each: Objects) -> Iterator[Finding]:
    stage = out.stage.addressing
    again = f"dvc fetch {out} where a remote has it, else dvc repro {stage}"
    if each.damaged:
        names = _relative(each.damaged)
        yield error(
            CACHE,
            f"of {out} (stage {stage}) {len(names)} objects are damaged, and dvc checkout would copy them as they are: "
            f"{first(names)}",
            f"rm -f {' '.join(names)}; {again}",
        )
    if each.missing:
        yield warning(
            CACHE, f"of {out} (stage {stage}) {len(each.missing)} objects are missing: {first(each.missing)}", again
        )


def _state(out: Any) -> str | None:
    path = Path(out.fs_path)
    if not path.exists():
        return "is not there"
    if md5_of(path) != out.hash_info.value:
        return "is another one than dvc.lock names"
    return None


def _outputs(repo: Repo) -> list[Any]:
    """The outputs of stages; files that are tracked by themselves may be ahead of what DVC knows."""
    outs = [out for out in repo.index.outs if out.stage.cmd]
    return [out for out in outs if out.hash_info and out.hash_info.value and out.protocol == "local"]


def _space(repo: Repo) -> Iterator[Finding]:
    folder = Path(repo.cache.local.path)
    while not folder.exists():
        folder = folder.parent
    if folder.stat().st_dev != Path.cwd().stat().st_dev:
        yield room(folder, needs(Path.cwd())[0], "DVC's cache")


def _relative(paths: Iterable[str]) -> list[str]:
    here = Path.cwd()
    return [str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path for path in paths]
