"""The pipeline as a flow: a task for each stage of dvc.yaml, in DVC's own order, each run by `dvc repro`.

The graph is DVC's: this file names no stage. `python -m flows.pipeline` needs no server and does the same work as
`dvc repro`; what has not changed is not even asked again.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import networkx as nx
from dvc.lock import LockError
from dvc.repo import Repo
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.states import Completed

from flows import paths_in_use
from flows.process import ProcessGroups
from flows.shown_progress import ShownProgress
from flows.spare import SpareDvc
from physicnet.execution import Execution, mirrored_execution
from physicnet.process import end_cleanly_on_sigterm

LOCKED = ("Unable to acquire lock", "is busy, it is being blocked by")  # DVC's two messages
FULL = ("No space left on device", "database or disk is full", "Disk quota exceeded")  # the system's, SQLite's
PATIENCE = 3600.0  # seconds to wait for another DVC in this folder: as long as a training may take

Answer = TypeVar("Answer")


class StageFailedError(RuntimeError):
    """A stage ended with an error; its output is in the log of its task."""


@flow(name="physicnet")
def pipeline(until: str | None = None, after: str | None = None, stage_minutes: float | None = None) -> dict[str, str]:
    """Bring the stages of dvc.yaml up to date; say of each whether it ran, came from the cache or was unchanged.

    Args:
        until: a stage that is to be brought up to date with all that it depends on, and no other; None: all are.
        after: a stage that is left as it is, with all that it depends on; None: no stage is.
        stage_minutes: after which a stage is ended and has failed; None: it may take as long as it likes.

    Raises:
        StageFailedError: if a stage fails. Stages that depend on it do not run, all others do.
    """
    if patiently(paths_in_use.mend, time.sleep):  # which waits for every DVC here to end: before one is started
        get_run_logger().warning("DVC's list of paths in use had been cut off, as by a full disk: it was emptied")
    with ProcessGroups() as groups, SpareDvc(groups) as spare:
        order, stale = patiently(lambda: plan(until, after), time.sleep)
        spare.expect(len(stale))
        with _execution(stale) as execution:
            return _walk(order, stale, spare, execution, stage_minutes)


def _walk(
    order: Mapping[str, list[str]],
    stale: set[str],
    spare: SpareDvc,
    execution: Execution | None,
    stage_minutes: float | None,
) -> dict[str, str]:
    """Make a task of each stage, wait for all, leave the artifacts."""
    futures: dict[str, PrefectFuture[Any]] = {}
    for stage, inputs in order.items():
        futures[stage] = run_stage.with_options(task_run_name=stage).submit(
            stage,
            stage in stale,
            spare,
            {} if execution is None else execution.owner.environment,
            stage_minutes,
            return_state=False,
            wait_for=[futures[name] for name in inputs],
        )
    if execution is not None:
        execution.open()
    wait(list(futures.values()))
    states = {stage: future.state for stage, future in futures.items()}
    _leave_artifacts(states, execution)
    failed = [stage for stage, state in states.items() if not state.is_completed()]
    if failed:
        reasons = [str(state.message) for state in states.values() if state.is_failed()]
        raise StageFailedError(f"not up to date: {', '.join(failed)} ({'; '.join(reasons)})")
    return {stage: state.name or "" for stage, state in states.items()}


@task(cache_policy=NO_CACHE)
def run_stage(
    stage: str, is_stale: bool, spare: SpareDvc, environment: Mapping[str, str], minutes: float | None
) -> State:
    """Bring one stage up to date; its state is named Ran, Cached or Unchanged, and says how long it took."""
    if not is_stale:
        return Completed(name="Unchanged")
    begun = time.monotonic()
    outcome = patiently(lambda: reproduce(stage, spare, environment, minutes), spare.groups.pause)
    return Completed(name=outcome, message=duration(time.monotonic() - begun))


def duration(seconds: float) -> str:
    """A duration in words: seconds, or minutes where there are many."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def plan(until: str | None = None, after: str | None = None) -> tuple[dict[str, list[str]], set[str]]:
    """DVC's graph: each stage with those it depends on, in the order of work; and the stages that may have to run.

    These are the ones whose inputs, outputs, parameters or command have changed, and all that depend on them. DVC
    itself decides again when their turn comes: an input may come out as it was. With `until`, only that stage and those
    it depends on are looked at; with `after`, all but that stage and those it depends on.
    """
    with Repo(".") as repo:
        stages = repo.index.graph.subgraph(stage for stage in repo.index.graph if stage.cmd)  # no tracked files
        graph = nx.relabel_nodes(stages, lambda stage: stage.addressing)
        if until is not None:
            graph = graph.subgraph({until, *nx.descendants(graph, until)})
        if after is not None:
            graph = graph.subgraph(set(graph) - {after} - nx.descendants(graph, after))
        changed = set(repo.status()) & set(graph)
    order = {stage: sorted(graph.successors(stage)) for stage in reversed(list(nx.topological_sort(graph)))}
    return order, changed.union(*(nx.ancestors(graph, stage) for stage in changed))


def reproduce(stage: str, spare: SpareDvc, environment: Mapping[str, str], minutes: float | None) -> str:
    """Run `dvc repro` for one stage alone, its output going to the task's log; return Ran, Cached or Unchanged.

    DVC gives its lock away while the stage's command runs and may fail to get it back: what the command did is then
    not recorded, and has to be done again.

    Raises:
        LockError: if another DVC is at work in this folder.
        StageFailedError: if the stage fails.
        TimeoutError: if it takes longer than it may.
    """
    logger = get_run_logger()
    transcript = Transcript(stage)

    def on_line(line: str) -> None:
        transcript.read(line)
        progress.read(line)
        if line:
            logger.info(line)

    seconds = None if minutes is None else 60 * minutes
    with ShownProgress(stage) as progress:
        status = spare.run(["repro", "--single-item", stage], environment, on_line, seconds=seconds)
    if status != 0 and transcript.is_locked:
        raise LockError(
            f"another DVC kept {Path.cwd()} locked for {PATIENCE:.0f} seconds; .dvc/tmp/rwlock names its process"
        )
    if status != 0:
        raise StageFailedError(transcript.reason(f"stage {stage!r}", status))
    return transcript.outcome


class Transcript:
    """What a command said, and what DVC said of one stage."""

    def __init__(self, stage: str) -> None:
        self.outcome = "Unchanged"
        self.is_locked = False
        self.is_full = False
        self._outcomes = {
            f"Running stage '{stage}':": "Ran",
            f"Stage '{stage}' is cached - skipping run": "Cached",
        }

    def read(self, line: str) -> None:
        """Take note of one line of DVC's output."""
        for beginning, outcome in self._outcomes.items():
            if line.startswith(beginning):
                self.outcome = outcome
        if line.startswith("ERROR:") and any(message in line for message in LOCKED):
            self.is_locked = True
        self.is_full = self.is_full or any(message in line for message in FULL)

    def reason(self, what: str, status: int) -> str:
        """Why it failed, in words."""
        if self.is_full:
            return (
                f"{what} failed, for the disk is full; physicnet doctor tells how much is needed, the next run goes on"
            )
        return f"{what} failed with exit status {status}; the log above tells why"


def patiently(action: Callable[[], Answer], pause: Callable[[float], object]) -> Answer:
    """Do something that needs DVC's locks; while another DVC holds them, try again after 1, 2, 4, ... 30 seconds."""
    end = time.monotonic() + PATIENCE
    delay = 1.0
    while True:
        try:
            return action()
        except LockError:
            if time.monotonic() + delay > end:
                raise
        pause(delay * random.uniform(0.5, 1.5))
        delay = min(2 * delay, 30.0)


def metric_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The means of metrics.json (model, variable, score) as rows of a table; its headline is left out."""
    return [
        {"model": model, "variable": variable, **scores}
        for model, variables in metrics.items()
        if model != "headline"
        for variable, scores in variables.items()
    ]


@contextmanager
def _execution(stale: set[str]) -> Iterator[Execution | None]:
    """The history's entry for this run of the flow, if there is anything to do."""
    if not stale:
        yield None
        return
    tags = {"prefect.flow_run": str(flow_run.id), "prefect.page": str(flow_run.ui_url)}
    with mirrored_execution(Path.cwd(), flow_run.name or "flow", tags) as execution:
        yield execution


def _leave_artifacts(states: Mapping[str, State], execution: Execution | None) -> None:
    took = {stage: state.message or "" if state.is_completed() else "" for stage, state in states.items()}
    rows = [f"| {stage} | {state.name} | {took[stage]} |" for stage, state in states.items()]
    lines = ["| stage | state | took |", "|---|---|--:|", *rows]
    if execution is not None and execution.run_id is not None:
        lines += ["", f"In MLflow: run `{execution.run_id}` (`physicnet explain` tells of it)"]
    create_markdown_artifact("\n".join(lines), key="stages", description="What was done")
    with Repo(".") as repo:
        files = repo.metrics.show().get("", {}).get("data", {})
    scores = [row for file in files.values() for row in metric_rows(file.get("data", {}))]
    if scores:
        create_table_artifact(scores, key="results", description="Scores on the test part, means over the leads")


if __name__ == "__main__":
    end_cleanly_on_sigterm()  # else the temporary server of Prefect stays behind
    sys.exit(0 if pipeline(return_state=True).is_completed() else 1)
