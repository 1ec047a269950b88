"""An execution of the pipeline, in MLflow: one run above those of its stages, as a flow keeps it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from physicnet.delivery import Queue
from physicnet.lineage import recorded_entries
from physicnet.tracking import executions
from physicnet.tracking.executions import Owner, process_tags
from physicnet.tracking.store import Store


class Execution:
    """One execution; the first who opens it, flow or stage, creates its run."""

    def __init__(self, root: Path, owner: Owner) -> None:
        self.owner = owner
        self.run_id: str | None = None  # before it was opened, and while the server cannot be reached
        self._root = root
        self._store = Store(root)

    def open(self) -> None:
        """Have a run. Seconds pass before MLflow can be asked: stages need not wait for it, they open it themselves."""
        self._deliver("the execution as one run", self._open)

    def end(self, status: str) -> None:
        """End the run, with links to those of the stages."""
        self._deliver("the end of the execution", lambda: self._end(status))

    def _deliver(self, what: str, request: Callable[[], object]) -> None:
        queue = Queue()
        queue.add(what, request)
        queue.report(self._store.place)

    def _open(self) -> str:
        self.run_id = executions.open_execution(self._store, self.owner)
        return self.run_id

    def _end(self, status: str) -> None:
        run_id = self.run_id or self._open()
        executions.link_stages(self._store, run_id, recorded_entries(self._root))
        self._store.end(run_id, status)


@contextmanager
def mirrored_execution(root: Path, name: str, tags: Mapping[str, str]) -> Iterator[Execution]:
    """Mirror one execution, with tags that tell who started it; how the block ends is how it ends."""
    execution = Execution(root, Owner(process_tags(psutil.Process()), name, dict(tags)))
    status = "KILLED"
    try:
        yield execution
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        execution.end(status)
