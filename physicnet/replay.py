"""Bring to MLflow what is lacking there of the runs in dvc.lock, from the files that DVC owns.

What a run holds is told in `physicnet/contents.py`, for the stage that runs as well; here it is found out which runs
there are, and which have to be made. Times are not replayed: DVC records none, and gives files that it brings from its
cache the time at which it does so. A run that is made here says so by its tag.
"""

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock, Timeout
from rich.console import Console

from physicnet import contents
from physicnet.config import Section
from physicnet.lineage import StageEntry, git_state, is_as_recorded, md5_of
from physicnet.mirror import lineage_tags
from physicnet.recorded import Recorded, ReplayError, check_files, recorded_stages
from physicnet.tracking import executions, holdings
from physicnet.tracking.executions import REPLAYED, SECONDS, process_tags
from physicnet.tracking.holdings import flatten
from physicnet.tracking.store import PARENT, HistoryError, Store, one_line

if TYPE_CHECKING:
    from physicnet.tracking.store import Run

PIPELINE = ["dvc.yaml", "params.yaml"]
COMPLETED = "physicnet.completed"  # tag: when what the mirror could not deliver was brought from the files


@dataclass
class Attempts:
    """Requests that are tried once each; those that fail are known by their names, the last with its reason."""

    lacking: list[str] = field(default_factory=list)
    reason: str = ""

    def deliver(self, what: str, request: Callable[[], bool]) -> bool:
        """Try a request; return whether it sent anything."""
        try:
            return request()
        except Exception as error:  # whatever fails here, the others are tried
            self.fail(what, error)
            return False

    def fail(self, what: str, error: Exception) -> None:
        """Note what has failed."""
        self.reason = f"{type(error).__name__}: {one_line(error)}"
        self.lacking.append(what)


@dataclass
class ReplayedRun(contents.StageRun):
    """The run of a stage that is made, or completed, from files."""

    store: Store
    stage: str
    paths: Mapping[str, Path]
    sections: Mapping[str, Section]
    entry: StageEntry
    run_id: str
    parent_id: str
    is_latest: bool


def replay(root: Path, console: Console) -> None:
    """Complete the store for every stage of dvc.lock, and say of each what was done.

    `root` is the current folder, for paths are relative to it. What another evaluation has left on a run, and the
    challenger, stay as they are unless the evaluation completed here is the latest of the store.

    Raises:
        ReplayError: if dvc.lock is absent or does not agree with the files, a stage runs, or something could not be
            delivered.
        HistoryError: if the store cannot be opened.
    """
    stages = recorded_stages(root)
    check_files(root, stages)
    store = Store(root)
    with _alone(store):
        with _asking(store):
            found, parent = _prepare(store, stages)
            parent_id = parent.info.run_id if parent else _new_execution(store, stages)
        attempts = Attempts()
        for name, recorded in stages.items():
            _say(console, name, *_complete(store, recorded, found[name], parent_id, attempts))
        done = _conclude(store, stages, parent_id, attempts)
        _say(console, "execution", "replayed" if parent is None and done == "completed" else done, parent_id)
    if attempts.lacking:
        raise ReplayError(
            f"Not delivered to MLflow at {store.place}: {', '.join(attempts.lacking)}. Reason: {attempts.reason}. "
            "The rest is there, and all files are complete: run physicnet mirror again"
        )


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Two replays at once would make runs twice."""
    folder = store.home / ".physicnet"
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder / "replay.lock", timeout=0):
            yield
    except Timeout:
        raise ReplayError(f"Another physicnet mirror works in {store.home}: wait for its end") from None


@contextmanager
def _asking(store: Store) -> Iterator[None]:
    """Say what a user can do where MLflow does not answer before anything is delivered."""
    try:
        yield
    except (HistoryError, ReplayError):
        raise
    except Exception as error:  # any of MLflow's
        raise ReplayError(
            f"MLflow at {store.place} does not answer as it should, nothing was delivered: {one_line(error)}. Run "
            "physicnet mirror again once it does"
        ) from error


def _prepare(store: Store, stages: Mapping[str, Recorded]) -> "tuple[dict[str, Run | None], Run | None]":
    """Close what was interrupted, and find the runs of the stages and that of their execution.

    Raises:
        ReplayError: if one of them runs.
    """
    executions.close_abandoned(store)
    found = {name: executions.maker(store, recorded.entry) for name, recorded in stages.items()}
    execution = _execution(store, stages, found)
    for run in [*found.values(), execution]:
        if run is not None and executions.is_running(run):
            raise ReplayError(f"{run.info.run_name}, run {run.info.run_id}, goes on at this moment: wait for its end")
    return found, execution


def _execution(store: Store, stages: Mapping[str, Recorded], found: "Mapping[str, Run | None]") -> "Run | None":
    """The execution that all stages are linked to, else the one that was interrupted."""
    linked = store.find({f"dvc.{name}.key": recorded.entry.key for name, recorded in stages.items()})
    known = linked or store.find(_identity(store))
    return known or _interrupted(store, stages, found) or _interrupted_at_once(store, stages)


def _interrupted(store: Store, stages: Mapping[str, Recorded], found: "Mapping[str, Run | None]") -> "Run | None":
    """The execution of the last stage that has a run, if it never came to its results and ran nothing else."""
    known = [run for run in found.values() if run is not None]
    keys = {recorded.entry.key for recorded in stages.values()}
    with suppress(IndexError, KeyError, HistoryError):
        parent = store.run(known[-1].data.tags[PARENT])
        children = store.children(parent.info.run_id)
        if not _has_results(parent) and all(
            child.data.tags.get("dvc.key") in keys and child.info.status != "FAILED" for child in children
        ):
            return parent
    return None


def _interrupted_at_once(store: Store, stages: Mapping[str, Recorded]) -> "Run | None":
    """The latest execution, if it came to no stage and is of the code and parameters that are here."""
    latest = store.find_execution()
    if latest is None or _has_results(latest) or store.children(latest.info.run_id):
        return None
    params, known = _params(stages), latest.data.params
    git = {name: value for name, value in latest.data.tags.items() if name.startswith("git.")}
    is_of_these = all(known.get(name, str(value)) == str(value) for name, value in params.items())
    return latest if is_of_these and _is_same(store, stages) and git == git_state(store.root, PIPELINE) else None


def _has_results(execution: "Run") -> bool:
    return any(re.fullmatch(r"dvc\..+\.key", tag) for tag in execution.data.tags)


def _is_same(store: Store, stages: Mapping[str, Recorded]) -> bool:
    return all(is_as_recorded(store.root, recorded.entry) for recorded in stages.values())


def _params(stages: Mapping[str, Recorded]) -> dict[str, Any]:
    sections = {name: part.model_dump() for recorded in stages.values() for name, part in recorded.sections.items()}
    return flatten(sections, ".")


def _identity(store: Store) -> dict[str, str]:
    return {"physicnet.execution": f"dvc.lock {md5_of(store.root / 'dvc.lock')}"}


def _new_execution(store: Store, stages: Mapping[str, Recorded]) -> str:
    """Make the execution; its environment is not known, and its code only if that is still here."""
    git = git_state(store.root, PIPELINE) if _is_same(store, stages) else {}
    tags = {REPLAYED: _now(), **process_tags(psutil.Process()), **git}
    name = f"replayed {git.get('git.commit', '')[:7]}".strip()
    return store.find_or_create(_identity(store), name, tags)


def _log_beginning(store: Store, stages: Mapping[str, Recorded], run_id: str) -> bool:
    """Log the parameters of an execution that was lost before it had them, and the pipeline if it is still that one."""
    params = _params(stages)
    if params.keys() <= store.client.get_run(run_id).data.params.keys():
        return False
    if _is_same(store, stages):
        for text in PIPELINE:
            holdings.keep_text(store, run_id, text)
    return holdings.log_params(store, run_id, params)


def _complete(
    store: Store, recorded: Recorded, found: "Run | None", parent_id: str, attempts: Attempts
) -> tuple[str, str]:
    """Deliver what the run of a stage lacks; return what that was and the run's id."""
    name, before = recorded.entry.name, len(attempts.lacking)
    try:
        run = _run(store, recorded, found, parent_id)
    except Exception as error:
        attempts.fail(f"the run of {name} with all that it holds", error)
        return "not replayed", ""
    sent = [attempts.deliver(f"{what} of {name}", request) for what, request in _deliveries(run)]
    sent.append(attempts.deliver(f"the end of {name}", lambda: _end(run, is_completed=any(sent))))
    if len(attempts.lacking) > before:
        return "incomplete", run.run_id
    if found is None:
        return "replayed", run.run_id
    return "completed" if any(sent) else "complete already", run.run_id


def _deliveries(run: ReplayedRun) -> Iterator[contents.Delivery]:
    """All that a run holds."""
    yield from contents.inputs(run)
    history = contents.CONTENTS[run.stage].history
    if history is not None:
        epochs, now = contents.read_epochs(run.paths[history]), int(time.time() * 1000)
        yield "the epochs", lambda: holdings.add_metrics(run.store, run.run_id, epochs, now)
    yield from contents.outputs(run)


def _end(run: ReplayedRun, *, is_completed: bool) -> bool:
    """End a run whose outputs are in dvc.lock, however its process ended; how long the rest took is not known then."""
    known = run.store.client.get_run(run.run_id)
    is_open = known.info.status != "FINISHED"
    if is_open and SECONDS in known.data.tags:
        run.store.client.delete_tag(run.run_id, SECONDS)
    if is_open:
        run.store.end(run.run_id, "FINISHED")
    if (is_open or is_completed) and REPLAYED not in known.data.tags:
        run.store.client.set_tag(run.run_id, COMPLETED, _now())
    return is_open


def _run(store: Store, recorded: Recorded, found: "Run | None", parent_id: str) -> ReplayedRun:
    """The run that was found, else a new one."""
    entry = recorded.entry
    known = entry.name, recorded.paths, recorded.sections, entry
    if found is not None:
        tags = found.data.tags
        last = store.find({"dvc.stage": entry.name})
        is_latest = REPLAYED not in tags and last is not None and last.info.run_id == found.info.run_id
        return ReplayedRun(store, *known, found.info.run_id, tags.get(PARENT, parent_id), is_latest)
    tags = {PARENT: parent_id, REPLAYED: _now(), **process_tags(psutil.Process())}
    lineage = lineage_tags(store.root, entry.name, entry)
    if not is_as_recorded(store.root, entry):  # the commit that is checked out is not the one of the run
        lineage = {name: value for name, value in lineage.items() if not name.startswith("git.")}
    run_id = store.find_or_create({"physicnet.child": uuid.uuid4().hex}, entry.name, tags | lineage)
    return ReplayedRun(store, *known, run_id, parent_id, is_latest=False)


def _conclude(store: Store, stages: Mapping[str, Recorded], parent_id: str, attempts: Attempts) -> str:
    """Complete the execution, link it to its stages, and end it as they ended; return what was done."""
    entries = {name: recorded.entry for name, recorded in stages.items()}
    before = len(attempts.lacking)

    def end() -> bool:
        status = executions.outcome(store, parent_id) if store.children(parent_id) else "FINISHED"
        if store.client.get_run(parent_id).info.status in {status, "FINISHED"}:
            return False
        store.end(parent_id, status)
        return True

    sent = [
        attempts.deliver("the parameters of the execution", lambda: _log_beginning(store, stages, parent_id)),
        attempts.deliver("the links of the execution", lambda: executions.link_stages(store, parent_id, entries)),
        attempts.deliver("the end of the execution", end),
    ]
    if len(attempts.lacking) > before:
        return "incomplete"
    return "completed" if any(sent) else "complete already"


def _say(console: Console, name: str, what: str, run_id: str) -> None:
    console.print(f"{name:<11}{what:<18}{run_id}".rstrip(), markup=False, highlight=False, soft_wrap=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
