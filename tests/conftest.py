"""Shared by all tests: one torch thread, no telemetry, no deadlines of examples, matplotlib without a display."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ["MPLBACKEND"] = "Agg"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DVC_NO_ANALYTICS"] = "1"

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("unhurried", deadline=None)  # the first example of a test also pays for imports
settings.load_profile("unhurried")


LONGEST = ("test_survives_kills.py", "test_service.py", "test_same_as_dvc.py")  # minutes each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: else one process would still be at them when the others have ended."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with parameters, an empty pipeline and a store of MLflow that four processes opened at once.

    The store is slow to make, so the tests of tracking share it. `executions.txt` holds what the processes saw.
    """
    root = tmp_path_factory.mktemp("repository")
    (root / "params.yaml").write_text((Path(__file__).parent.parent / "params.yaml").read_text())
    for name in ("dvc.yaml", "dvc.lock"):
        (root / name).write_text("stages: {}\n")
    program = (
        "import psutil, pathlib; from physicnet.tracking import executions, store;"
        f"print(executions.open_execution(store.Store(pathlib.Path.cwd()), psutil.Process({os.getpid()}), 'tests'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    command = [sys.executable, "-c", program]
    together = [
        subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    (root / "executions.txt").write_text("".join(process.communicate()[0] for process in together))
    return root
