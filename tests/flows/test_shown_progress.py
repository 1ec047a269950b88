"""A stage that prints steps, as both trainings do, has a progress artifact."""

import math
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prefect.artifacts import Artifact

from flows import shown_progress as module
from flows.pipeline import StageFailedError, pipeline

STAGE = """
import sys
from physicnet.progress import steps_shown
with steps_shown(0, 8, is_shown=True) as advance:
    for step in range(8):
        if step == int(sys.argv[1]):
            sys.exit("out of memory")
        advance(f"loss {1 / (step + 1):.3f}")
"""


@pytest.fixture
def training(project: Path) -> Path:
    (project / "stage.py").write_text(STAGE)
    write_graph(project, fails_at=-1)
    return project


def write_graph(project: Path, *, fails_at: int) -> None:
    stages = {"train": {"cmd": f"{sys.executable} stage.py {fails_at} && touch model", "outs": ["model"]}}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))


def shown() -> tuple[float, str]:
    artifact = Artifact.get("progress-train")
    assert artifact is not None
    assert artifact.type == "progress"
    return float(str(artifact.data)), str(artifact.description)


@pytest.mark.usefixtures("_server")
def test_a_training_that_ends_stands_at_a_hundred_percent(training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    updates: list[float] = []

    def update(artifact: object, percent: float, **rest: Any) -> None:
        updates.append(percent)
        original(artifact, percent, **rest)

    original = module.update_progress_artifact
    monkeypatch.setattr(module, "update_progress_artifact", update)
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    assert pipeline() == {"train": "Ran"}
    assert updates == [12.5 * step for step in range(1, 9)]
    assert shown() == (100.0, "train: step 8 of 8, loss 0.125")
    assert pipeline() == {"train": "Unchanged"}
    assert len(updates) == 8


@pytest.mark.usefixtures("_server")
def test_a_training_that_fails_leaves_how_far_it_came(training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", math.inf)  # what has waited is shown at the end
    write_graph(training, fails_at=3)
    with pytest.raises(StageFailedError, match="train"):
        pipeline()
    assert shown() == (37.5, "train: step 3 of 8, loss 0.333")


@pytest.mark.usefixtures("_server")
def test_a_training_goes_on_when_its_progress_cannot_be_shown(
    training: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise httpx.ConnectError("nobody answers")

    monkeypatch.setattr(module, "create_progress_artifact", fail)
    assert pipeline() == {"train": "Ran"}
    assert "the progress of train cannot be shown: nobody answers" in caplog.text
