"""What the runs of a store hold, to be compared, and the replay of those of a folder."""

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from physicnet import replay
from physicnet.tracking.executions import REPLAYED, SECONDS
from physicnet.tracking.store import PARENT, Store

# What each run has of its own.
OWN = {PARENT, REPLAYED, SECONDS, *(f"physicnet.{name}" for name in ("device", "child", "process", "host"))}


def lose_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no process that has a run is alive."""
    monkeypatch.setattr("physicnet.tracking.executions._is_running", lambda _: False)


def said(root: Path, capsys: pytest.CaptureFixture) -> dict[str, list[str]]:
    """Replay, and return what the screen says of each stage: what was done and the run."""
    capsys.readouterr()
    replay.replay(root, Console(width=20))
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: [line[11:28].strip(), line.split()[-1]] for line in lines}


def artifacts(store: Store, run_id: str, folder: str | None = None) -> list[str]:
    found: list[str] = []
    for file in store.client.list_artifacts(run_id, folder):
        found += artifacts(store, run_id, file.path) if file.is_dir else [file.path.split("+timestamp")[0]]
    return sorted(found)


def told(store: Store, run: Any) -> dict[str, Any]:
    """What a run holds beside times, processes and links."""
    is_given = re.compile(r"system/|samples_per_second").match
    tags = {name: value for name, value in run.data.tags.items() if name not in OWN and not name.endswith(".run")}
    points = {name: store.client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {
        "status": run.info.status,
        "params": run.data.params,
        "tags": tags,
        "inputs": [(given.dataset.name, given.dataset.digest) for given in run.inputs.dataset_inputs],
        "points": {
            name: [
                (point.step, pytest.approx(point.value, nan_ok=True)) for point in sorted(part, key=lambda p: p.step)
            ]
            for name, part in points.items()
            if not is_given(name)
        },
        "artifacts": [name for name in artifacts(store, run.info.run_id) if name != "environment.txt"],
    }


def everything(store: Store) -> dict[str, dict[str, Any]]:
    """What all runs hold, by stage: there is one run of each."""
    runs = store.client.search_runs([store.experiment_id])
    by_stage = {run.data.tags.get("dvc.stage", "execution"): told(store, run) for run in runs}
    assert len(by_stage) == len(runs)
    for name in ("mlflow.runName", "physicnet.execution"):
        by_stage["execution"]["tags"].pop(name, None)
    return by_stage
