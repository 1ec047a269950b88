"""The project as a user has it, with a record so small that all six stages take a minute."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import dvc_folder
import yaml

from physicnet.data.synthetic import Uniform, advected_field, write_netcdf

ROOT = Path(__file__).parent.parent
STAGES = ("ingest", "normalize", "crops", "codebook", "train", "evaluate")
FLOW = (2.5, -1.25)  # pixels per step
NOBODY = "http://127.0.0.1:1"  # where nobody listens
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


def make_project(folder: Path) -> None:
    """Code, graph, parameters and one file of observations; no stage has run."""
    shutil.copytree(ROOT / "physicnet", folder / "physicnet", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, changes in SMALL.items():
        params[section] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    write_netcdf(advected_field(40, 60, 68, flow=Uniform(*FLOW)), folder / "data" / "raw" / "record.nc")
    dvc_folder.init(folder)


@dataclass(frozen=True)
class Finished:
    """A project in which every stage has run once, and the seconds that each took with its DVC. Change a copy of it."""

    folder: Path
    seconds: dict[str, float]

    @classmethod
    def make(cls, folder: Path) -> "Finished":
        """Run the stages one after the other in a new project."""
        make_project(folder)
        seconds = {}
        for stage in STAGES:
            begun = time.monotonic()
            run(folder, "dvc", "repro", "--single-item", stage)
            seconds[stage] = time.monotonic() - begun
        (folder / "seconds.json").write_text(json.dumps(seconds))
        return cls(folder, seconds)

    @classmethod
    def find(cls, folder: Path) -> "Finished | None":
        """That which another process has made; None if it did not."""
        told = folder / "seconds.json"
        return cls(folder, json.loads(told.read_text())) if told.exists() else None

    def copy(self, folder: Path) -> Path:
        """Copy it to a new folder."""
        return shutil.copytree(self.folder, folder, symlinks=True)


def environment(project: Path, *, is_mirrored: bool = True) -> dict[str, str]:
    """That of a shell in the project; unless it `is_mirrored` there is no MLflow, which saves a quarter of a stage."""
    found = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return found | {"MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db" if is_mirrored else NOBODY}


def run(project: Path, *command: str, is_mirrored: bool = True) -> str:
    """What a command prints, run as from a shell in the project."""
    done = subprocess.run(
        command,
        cwd=project,
        env=environment(project, is_mirrored=is_mirrored),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
