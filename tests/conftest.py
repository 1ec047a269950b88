"""Shared by all tests: one torch thread, no telemetry, no deadlines of examples, matplotlib without a display."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from filelock import FileLock

os.environ["MPLBACKEND"] = "Agg"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DVC_NO_ANALYTICS"] = "1"

import torch
from hypothesis import settings

if TYPE_CHECKING:  # imported before the hook that checks types is there, modules of physicnet would go unchecked
    from tiny_project import Finished

torch.set_num_threads(1)
settings.register_profile("unhurried", deadline=None)  # the first example of a test also pays for imports
settings.load_profile("unhurried")


LONGEST = ("test_survives_kills.py", "test_service.py", "test_rehearsal.py", "test_same_as_dvc.py")  # minutes each
PROCESSES = 3  # at least: those that wait for servers leave their core to the others


def pytest_xdist_auto_num_workers() -> int:
    """How many processes of tests there are."""
    return max(PROCESSES, os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: else one process would still be at them when the others have ended."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> "Finished":
    """The tiny project when its stages have run; the process of tests that needs it first makes it for all."""
    from tiny_project import Finished

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with FileLock(shared / "finished.lock"):
        return Finished.find(shared / "finished") or Finished.make(shared / "finished")


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with parameters, an empty pipeline, and a store of MLflow with one execution, which is slow to make."""
    from workspaces import pipeline_of_nothing

    from physicnet.tracking.executions import Owner, open_execution, process_tags
    from physicnet.tracking.store import Store

    root = tmp_path_factory.mktemp("repository")
    pipeline_of_nothing(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_execution(Store(root), Owner(process_tags(psutil.Process()), "tests"))
    return root
