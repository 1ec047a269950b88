"""Mirror of one stage's run in MLflow, which never holds up or fails the stage (`delivery.py`)."""

import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

import psutil

from physicnet import contents
from physicnet.config import MachineConfig, Section
from physicnet.delivery import Queue
from physicnet.lineage import StageEntry, declared_entry, git_state, recorded_entries
from physicnet.process import dvc_process
from physicnet.tracking import executions, holdings
from physicnet.tracking.executions import SECONDS, Owner, process_tags
from physicnet.tracking.holdings import Metric
from physicnet.tracking.store import PARENT, Store


@contextmanager
def mirrored(stage: str, paths: Mapping[str, Path], **sections: Section) -> Iterator["StageMirror"]:
    """Mirror the run of a stage while the block runs; how the block ends is how the child run ends.

    `paths` are those of its command, by option, and `sections` the parameters that the stage reads, by their names in
    params.yaml. Of the processes that `torchrun` starts for a stage, only the first one has a mirror that shows
    anything.
    """
    mirror = StageMirror(stage, Path.cwd(), paths, sections)
    mirror.queue.is_open = os.environ.get("RANK", "0") == "0"
    mirror.begin()
    status = "KILLED"
    try:
        yield mirror
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        mirror.end(status)


class StageMirror(contents.StageRun):
    """The child run of one stage."""

    is_latest = True

    def __init__(self, stage: str, root: Path, paths: Mapping[str, Path], sections: Mapping[str, Section]) -> None:
        self.stage = stage
        self.root = root
        self.paths = paths
        self.sections = sections
        self.store = Store(root)
        self.queue = Queue()
        self.session = dvc_process() or psutil.Process()
        self.flow = Owner.told()
        self.identity = {"physicnet.child": uuid.uuid4().hex}
        self.begun = time.monotonic()

    @cached_property
    def parent_id(self) -> str:  # type: ignore[override]  # which can be set
        """The execution that this stage belongs to, opened by whichever of its stages comes first."""
        return executions.open_execution(self.store, self.flow or Owner(process_tags(self.session)))

    @cached_property
    def run_id(self) -> str:  # type: ignore[override]  # which can be set
        """The child run: the one that was killed with the same inputs, else a new one, created on first use."""
        tags = {
            PARENT: self.parent_id,
            **process_tags(psutil.Process()),
            **lineage_tags(self.root, self.stage, self.entry),
        }
        begun = self.store.find(self.identity)
        if begun is None and self.entry is not None:
            resumed = executions.resume(self.store, self.entry, tags | self.identity)
            if resumed is not None:
                return resumed
        return self.store.find_or_create(self.identity, self.stage, tags)

    @cached_property
    def seconds_before(self) -> float:
        """What the processes that were killed have worked; to be known before this one says what it has."""
        return float(self.store.client.get_run(self.run_id).data.tags.get(SECONDS, "0"))

    @cached_property
    def entry(self) -> StageEntry | None:  # type: ignore[override]  # which can be set
        """What DVC will write to dvc.lock for this run; None outside DVC."""
        return declared_entry(self.root, self.stage) if "DVC_STAGE" in os.environ else None

    def begin(self) -> None:
        """Create the run and log its parameters and what it reads."""
        psutil.cpu_percent()  # from here on
        for what, request in contents.inputs(self):
            self.queue.add(what, request)
        machine = self.sections.get("machine")
        if isinstance(machine, MachineConfig):
            self.queue.add("the machine", lambda: self._tag_machine(machine))

    def report(self, epoch: int, values: Mapping[str, float]) -> None:
        """Log one epoch's values, and what the machine did in it, in one request."""
        metrics = [(name, float(value), epoch) for name, value in {**values, **system_load()}.items()]
        self.queue.add("an epoch", partial(self._log_epoch, metrics, _now(), self._seconds()))

    def show(self) -> None:
        """Log what the stage has written; the evaluation is the end of an execution."""
        for what, request in contents.outputs(self):
            self.queue.add(what, request)
        if contents.CONTENTS[self.stage].results is not None:
            self.queue.add("the end of the execution", self._close_execution)

    def end(self, status: str) -> None:
        """End the run, and say what could not be mirrored."""
        self.queue.add("the end of the run", partial(self._end, status, self._seconds()))
        if self.session == psutil.Process() and self.flow is None:
            self.queue.add("the end of the execution", lambda: self.store.end(self.parent_id, status))
        self.queue.report(self.store.place)

    def _tag_machine(self, config: MachineConfig) -> None:
        from physicnet.machine import describe  # with torch, which these stages have imported

        self.store.client.set_tag(self.run_id, "physicnet.device", describe(config))

    def _log_epoch(self, metrics: list[Metric], milliseconds: int, seconds: float) -> None:
        holdings.log_metrics(self.store, self.run_id, metrics, milliseconds, self._worked(seconds))

    def _end(self, status: str, seconds: float) -> None:
        """A run that has ended tells how long it took."""
        self.store.tag(self.run_id, self._worked(seconds))
        self.store.end(self.run_id, status)

    def _worked(self, seconds: float) -> dict[str, str]:
        return {SECONDS: f"{self.seconds_before + seconds:.1f}"}

    def _seconds(self) -> float:
        return time.monotonic() - self.begun

    def _close_execution(self) -> None:
        entries = recorded_entries(self.root) | ({self.stage: self.entry} if self.entry else {})
        executions.link_stages(self.store, self.parent_id, entries)
        if self.flow is None:
            self.store.end(self.parent_id, "FINISHED")


def lineage_tags(root: Path, stage: str, entry: StageEntry | None) -> dict[str, str]:
    """Tags that tie a run to git and to DVC's hashes; `entry` is None outside DVC."""
    tags = {"dvc.stage": stage, "mlflow.source.name": f"physicnet {stage}"}
    if entry is None:
        return tags | git_state(root, ["params.yaml"])
    tags |= {"dvc.key": entry.key, "dvc.cmd": entry.command}
    tags |= {f"dvc.dep.{path}": md5 for path, md5 in entry.data.items()}
    return tags | git_state(root, ["dvc.yaml", "params.yaml", *entry.deps])


def system_load() -> dict[str, float]:
    """What MLflow shows as system metrics: share of all processors since the last call, and memory."""
    own = psutil.Process().memory_info().rss
    return {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_percentage": psutil.virtual_memory().percent,
        "system/process_memory_megabytes": own / 1e6,
    }


def _now() -> int:
    return int(time.time() * 1000)  # milliseconds, MLflow's unit
