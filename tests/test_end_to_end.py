"""All six stages, through DVC, on a field whose motion is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tiny_project import FLOW, Finished, run

from physicnet.config import MachineConfig
from physicnet.fields import Field
from physicnet.model.rollout import ModelForecaster

TOLERANCE = 0.15  # pixels per step, median over the frame


@pytest.fixture(scope="module")
def project(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a user has it, with a tiny record in data/raw; every stage has run once."""
    return finished.copy(tmp_path_factory.mktemp("end_to_end") / "project")


def test_the_flow_is_recovered(project: Path) -> None:
    machine = MachineConfig(device="cpu", precision="float32", num_threads=1, cache_mib=16, tile_cells=2**20)
    forecaster = ModelForecaster.load(project / "models" / "model.safetensors", machine)
    field = Field.open(project / "data" / "fields.zarr")
    flow = forecaster.explain(field.isel(34, 37))["flow"]
    error = np.hypot(flow[0] - FLOW[0], flow[1] - FLOW[1])
    assert np.median(error) < TOLERANCE


def test_a_forecast_from_the_files_has_the_numbers_of_the_record(project: Path) -> None:
    machine = MachineConfig(device="cpu", precision="float32", num_threads=1, cache_mib=16, tile_cells=2**20)
    forecaster = ModelForecaster.load(project / "models" / "model.safetensors", machine)
    expected = forecaster.forecast(Field.open(project / "data" / "fields.zarr"), 3)[:, 0]
    run(project, "physicnet", "forecast", "data/raw/record.nc", "-o", "forecast.nc", "--threads", "1")
    with xr.open_dataset(project / "forecast.nc") as forecast:
        np.testing.assert_array_equal(forecast["rate"], expected)
        assert forecast.attrs["physicnet_data_start"] == "2020-01-01T00:00:00"


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
