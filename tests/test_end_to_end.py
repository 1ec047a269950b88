"""All six stages, through DVC, on a field whose motion is known."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from physicnet.config import MachineConfig
from physicnet.data.synthetic import Uniform, advected_field, write_netcdf
from physicnet.fields import Field
from physicnet.model.rollout import ModelForecaster

ROOT = Path(__file__).parent.parent
FLOW = (2.5, -1.25)  # pixels per step
TOLERANCE = 0.15  # pixels per step, median over the frame
RATE = {
    "name": "rate",
    "channel": None,
    "units": "mm h-1",
    "file_units": None,
    "select": {},
    "valid_min": 0.0,
    "valid_max": None,
}
SMALL = {
    "ingest": {"pattern": "*.nc", "variables": [RATE], "coarsen": 1},
    "clip": {"frames_in": 3, "frames_out": 3},
    "normalize": {
        "gap": 2,
        "transforms": {"rate": [{"kind": "decibel", "threshold": 0.01, "floor": -25.0}]},
        "standardize": {"rate": "global"},
    },
    "crops": {"view": 48, "window": 16, "windows_per_clip": 2, "train_clips": 16},
    "machine": {"num_threads": 1},
    "model": {"channels": 8, "code_dim": 8, "num_codes": 16, "hidden": 8},
    "codebook": {"epochs": 2, "steps_per_epoch": 4, "batch_size": 2},
    "train": {"epochs": 2, "steps_per_epoch": 4, "batch_size": 2},
    "evaluate": {"thresholds": {"rate": [1.0]}, "fss_scale": 4, "bootstrap_samples": 50},
}


def run(project: Path, *command: str) -> str:
    """What a command prints, run as from a shell in the project."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{project}/mlflow.db"
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a user has it, with a tiny record in data/raw; every stage has run once."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "physicnet", folder / "physicnet", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in SMALL.items():
        params[section] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    write_netcdf(advected_field(40, 60, 68, flow=Uniform(*FLOW)), folder / "data" / "raw" / "record.nc")
    run(folder, "dvc", "init", "--no-scm", "-q")
    run(folder, "dvc", "repro")
    return folder


def test_the_flow_is_recovered(project: Path) -> None:
    machine = MachineConfig(device="cpu", precision="float32", num_threads=1, cache_mib=16, tile_cells=2**20)
    forecaster = ModelForecaster.load(project / "models" / "model.safetensors", machine)
    field = Field.open(project / "data" / "fields.zarr")
    flow = forecaster.explain(field.isel(34, 37))["flow"]
    error = np.hypot(flow[0] - FLOW[0], flow[1] - FLOW[1])
    assert np.median(error) < TOLERANCE


def test_the_model_beats_persistence_at_every_lead(project: Path) -> None:
    scores = pd.read_csv(project / "results" / "scores.csv").pivot_table(index="lead", columns="model", values="rmse")
    assert scores.index.tolist() == [1, 2, 3]
    assert (scores["physicnet"] < 0.5 * scores["persistence"]).all()


def test_metrics_are_a_file_of_numbers(project: Path) -> None:
    metrics = json.loads((project / "metrics.json").read_text())
    assert metrics["physicnet"]["rate"]["rmse"] < metrics["persistence"]["rate"]["rmse"]


def test_the_repro_of_a_repro_runs_nothing(project: Path) -> None:
    assert "Running stage" not in run(project, "dvc", "repro")


def test_compiled_code_invalidates_nothing(project: Path) -> None:
    (project / "physicnet" / "data" / "__pycache__").mkdir(exist_ok=True)
    (project / "physicnet" / "data" / "__pycache__" / "ingest.cpython-311.pyc").write_bytes(b"compiled")
    assert "Running stage" not in run(project, "dvc", "repro")


def test_a_parameter_of_the_evaluation_runs_the_evaluation_alone(project: Path) -> None:
    changed = (project / "params.yaml").read_text().replace("bootstrap_samples: 50", "bootstrap_samples: 51")
    (project / "params.yaml").write_text(changed)
    ran = [line for line in run(project, "dvc", "repro").splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'evaluate':"]
