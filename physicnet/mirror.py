"""Mirror of one stage's run in MLflow, which never holds up or fails the stage.

A server that is slow, failing or gone costs seconds: requests wait in a queue, are repeated once a minute, and what
could not be delivered when the stage ends is named on the screen.
"""

import csv
import json
import math
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import psutil

from physicnet.config import Section
from physicnet.lineage import StageEntry, declared_entry, git_state, md5_of, recorded_entries
from physicnet.process import dvc_process
from physicnet.tracking import PARENT_VARIABLE, Metric, Store, flatten, process_tags

RETRY_INTERVAL = 60.0  # seconds between two tries while the server fails
LAST_TRY = 10.0  # seconds that the end of a stage may wait for the server


@contextmanager
def mirrored(stage: str, **sections: Section) -> Iterator["StageMirror"]:
    """Mirror the run of a stage while the block runs; how the block ends is how the child run ends.

    `sections` are the parameters that the stage reads, by their names in params.yaml. Of the processes that `torchrun`
    starts for a stage, only the first one has a mirror that shows anything.
    """
    mirror = StageMirror(stage, Path.cwd())
    mirror.queue.is_open = os.environ.get("RANK", "0") == "0"
    mirror.begin(sections)
    status = "KILLED"
    try:
        yield mirror
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        mirror.end(status)


@contextmanager
def mirrored_execution(root: Path, name: str) -> Iterator[dict[str, str]]:
    """Mirror one execution of the pipeline while the block runs.

    Yields the environment that lets its stages find the execution: empty when the server cannot be reached.
    """
    store, queue = Store(root), Queue()
    environment: dict[str, str] = {}

    def begin() -> None:
        environment[PARENT_VARIABLE] = store.open_execution(psutil.Process(), name)

    def end() -> None:
        store.link_stages(environment[PARENT_VARIABLE], recorded_entries(root))
        store.end(environment[PARENT_VARIABLE], status)

    queue.add("the execution as one run", begin)
    queue.report(store.place)
    status = "KILLED"
    try:
        yield environment
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        if environment:
            queue = Queue()
            queue.add("the end of the execution", end)
            queue.report(store.place)


@dataclass
class Queue:
    """Requests in their order. After a failure they wait, and are tried again at the first request a minute later."""

    waiting: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    reason: str = ""
    is_open: bool = True
    _next_try: float = 0.0

    def add(self, what: str, request: Callable[[], object]) -> None:
        """Queue a request; send all that wait unless one has failed within the last minute."""
        if not self.is_open:
            return
        self.waiting.append((what, request))
        while self.waiting and time.monotonic() >= self._next_try:
            if self._succeeds(self.waiting[0][1]):
                self.waiting.pop(0)
            else:
                self._next_try = time.monotonic() + RETRY_INTERVAL

    def finish(self) -> None:
        """Try each waiting request once more, for a few seconds; what still fails stays in `waiting`."""
        end = time.monotonic() + LAST_TRY
        self.waiting = [entry for entry in self.waiting if time.monotonic() > end or not self._succeeds(entry[1])]

    def report(self, place: str) -> None:
        """Try a last time; then say what was not delivered, where and why."""
        self.finish()
        if not self.waiting:
            return
        missing = Counter(what for what, _ in self.waiting)
        names = ", ".join(what if count == 1 else f"{what} ({count} times)" for what, count in missing.items())
        print(
            f"Not mirrored to MLflow at {place}: {names}.\n"
            f"  Reason: {self.reason}\n"
            "  All files are complete; only the history in MLflow lacks this.",
            file=sys.stderr,
        )

    def _succeeds(self, request: Callable[[], object]) -> bool:
        try:
            request()
        except Exception as error:  # whatever fails here, the stage goes on
            self.reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            return False
        return True


class StageMirror:
    """The child run of one stage."""

    def __init__(self, stage: str, root: Path) -> None:
        self.stage = stage
        self.root = root
        self.store = Store(root)
        self.queue = Queue()
        self.session = dvc_process() or psutil.Process()
        self.identity = {"physicnet.child": uuid.uuid4().hex}

    @cached_property
    def parent_id(self) -> str:
        """The execution that this stage belongs to, opened by whichever of its stages comes first."""
        return os.environ.get(PARENT_VARIABLE) or self.store.open_execution(self.session)

    @cached_property
    def run_id(self) -> str:
        """The child run, created on first use."""
        tags = {"mlflow.parentRunId": self.parent_id, **process_tags(psutil.Process()), **self._lineage()}
        return self.store.find_or_create(self.identity, self.stage, tags)

    @cached_property
    def entry(self) -> StageEntry | None:
        """What DVC will write to dvc.lock for this run; None outside DVC."""
        return declared_entry(self.root, self.stage) if "DVC_STAGE" in os.environ else None

    def begin(self, sections: Mapping[str, Section]) -> None:
        """Create the run and log its parameters."""
        params = flatten({name: section.model_dump() for name, section in sections.items()}, ".")
        self.queue.add("the run", lambda: self.store.log_params(self.run_id, params))

    def report(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log one epoch's values in one request."""
        metrics = [(name, float(value), epoch) for name, value in values.items()]
        self.queue.add("an epoch", partial(self._log_metrics, metrics, _now()))

    def keep(self, *paths: Path) -> None:
        """Log output files and folders as artifacts."""
        for path in paths:
            self.queue.add(str(path), partial(self._keep, path))

    def conclude(self, *, checkpoint: Path, metrics: Path, scores: Path, origins: Path, figures: Path) -> None:
        """Log the test results here, on the run that trained `checkpoint` and, in short, on the execution; end it.

        `metrics` is the nested JSON of means over leads, `scores` the table with a row per model, variable and lead,
        `origins` the same for each forecast origin.
        """
        now = _now()
        trained = {f"dvc.out.{checkpoint}": md5_of(checkpoint)}

        def log_on_this() -> None:
            self.store.log_metrics(self.run_id, read_means(metrics) + read_scores(scores), now)

        def log_on_training() -> None:
            run = self.store.find(trained)
            if run is not None:
                self.store.log_metrics(run.info.run_id, _of_the_model(read_means(metrics), read_scores(scores)), now)
                self.store.keep(run.info.run_id, origins)
                self.store.keep(run.info.run_id, figures)

        def log_on_execution() -> None:
            self.store.log_metrics(self.parent_id, read_means(metrics), now)

        self.queue.add("the test scores", log_on_this)
        self.queue.add("the test scores and figures on the training's run", log_on_training)
        self.queue.add("the test scores on the execution", log_on_execution)
        self.keep(metrics, scores, origins, figures)
        self.queue.add("the end of the execution", self._close_execution)

    def end(self, status: str) -> None:
        """End the run, and say what could not be mirrored."""
        self.queue.add("the end of the run", lambda: self.store.end(self.run_id, status))
        if self.session == psutil.Process() and PARENT_VARIABLE not in os.environ:
            self.queue.add("the end of the execution", lambda: self.store.end(self.parent_id, status))
        self.queue.report(self.store.place)

    def _lineage(self) -> dict[str, str]:
        tags = {"dvc.stage": self.stage, "mlflow.source.name": f"physicnet {self.stage}"}
        if self.entry is None:
            return tags | git_state(self.root, ["params.yaml"])
        tags |= {"dvc.key": self.entry.key, "dvc.cmd": self.entry.command}
        tags |= {f"dvc.dep.{path}": md5 for path, md5 in self.entry.data.items()}
        return tags | git_state(self.root, ["dvc.yaml", "params.yaml", *self.entry.deps])

    def _log_metrics(self, metrics: Sequence[Metric], milliseconds: int) -> None:
        self.store.log_metrics(self.run_id, metrics, milliseconds)

    def _keep(self, path: Path) -> None:
        self.store.keep(self.run_id, path)

    def _close_execution(self) -> None:
        entries = recorded_entries(self.root) | ({self.stage: self.entry} if self.entry else {})
        self.store.link_stages(self.parent_id, entries)
        if PARENT_VARIABLE not in os.environ:
            self.store.end(self.parent_id, "FINISHED")


def read_means(path: Path) -> list[Metric]:
    """The leaves of metrics.json as metrics `test/<model>/<variable>/<score>`."""
    leaves = flatten(json.loads(path.read_text(encoding="utf-8")), "/")
    return [(f"test/{name}", float(value), 0) for name, value in leaves.items() if _is_finite(value)]


def read_scores(path: Path) -> list[Metric]:
    """The table of scores as metrics `test by lead/<model>/<variable>/<score>`; their step is the lead in minutes.

    A score that does not exist at a lead (an event that never happened) is left out.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = ("model", "variable", "lead", "lead_minutes")
    return [
        (f"test by lead/{row['model']}/{row['variable']}/{name}", float(value), round(float(row["lead_minutes"])))
        for row in rows
        for name, value in row.items()
        if name not in keys and _is_finite(value)
    ]


def _of_the_model(means: list[Metric], by_lead: list[Metric]) -> list[Metric]:
    """Leave out the baselines: the table of scores begins with the model."""
    model = by_lead[0][0].split("/")[1] if by_lead else ""
    return [metric for metric in means + by_lead if metric[0].split("/")[1] in {model, "headline"}]


def _is_finite(value: object) -> bool:
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _now() -> int:
    return int(time.time() * 1000)  # milliseconds, MLflow's unit
