from pathlib import Path

import numpy as np
import pytest
import torch
from training.conftest import CLIP, MACHINE, MODEL

from physicnet.checkpoint import CheckpointError, save_checkpoint
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.fields import DataError, Field
from physicnet.model.build import build
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer, Standardization
from physicnet.transforms import Decibel

NORMALIZER = Normalizer((Standardization("rate", (Decibel(threshold=0.1, floor=-15.0),), mean=1.0, std=5.0),))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    net = build(MODEL, variables=1, frames_in=CLIP.frames_in, window=16)
    path = tmp_path / "model.safetensors"
    metadata = {
        "model": MODEL.model_dump(mode="json"),
        "clip": CLIP.model_dump(mode="json"),
        "window": 16,
        "normalizer": NORMALIZER.to_dict(),
    }
    save_checkpoint(path, net.state_dict(), metadata)
    return path


def observations(num_frames: int = 9, **changes: str) -> Field:
    return advected_field(num_frames, 37, 41, flow=Uniform(2.0, 1.0), **changes)


def test_the_untrained_model_carries_the_last_frame_along_in_physical_units(checkpoint: Path) -> None:
    record = observations()
    forecast = ModelForecaster.load(checkpoint, MACHINE).forecast(record.isel(0, 5), 3)
    truth = record.frames(5, 8)
    inner = (..., slice(10, -10), slice(10, -10))
    error = np.abs(forecast - truth)[inner].mean()
    persistence = np.abs(record.frames(4, 5) - truth)[inner].mean()
    assert forecast.dtype == np.float32
    assert error < 0.25 * persistence


def test_only_the_last_frames_count(checkpoint: Path) -> None:
    forecaster, record = ModelForecaster.load(checkpoint, MACHINE), observations()
    assert np.array_equal(forecaster.forecast(record.isel(0, 6), 2), forecaster.forecast(record.isel(3, 6), 2))


def test_cells_that_were_not_observed_get_a_forecast_too(checkpoint: Path) -> None:
    record = observations()
    partly = Field(record.dataset.where(record.dataset["x"] > 9000))
    forecast = ModelForecaster.load(checkpoint, MACHINE).forecast(partly, 4)
    assert np.isfinite(forecast).all()


def test_explain_shows_flow_gate_and_codes(checkpoint: Path) -> None:
    parts = ModelForecaster.load(checkpoint, MACHINE).explain(observations())
    assert parts["flow"].shape == (2, 37, 41)
    assert np.median(parts["flow"][0]) == pytest.approx(2.0, abs=0.3)
    assert np.median(parts["flow"][1]) == pytest.approx(1.0, abs=0.3)
    assert parts["gate"].shape == (CLIP.frames_out, 37, 41)
    assert parts["codes"].shape == (5, 6)


def test_other_variables_are_refused(checkpoint: Path) -> None:
    with pytest.raises(DataError, match="forecasts .'rate',., the observations hold .'snow',."):
        ModelForecaster.load(checkpoint, MACHINE).forecast(observations(variable="snow"), 1)


def test_too_few_frames_are_refused(checkpoint: Path) -> None:
    with pytest.raises(DataError, match="needs 3 frames, only 2 are there"):
        ModelForecaster.load(checkpoint, MACHINE).forecast(observations(2), 1)


def test_a_last_frame_without_a_value_is_refused(checkpoint: Path) -> None:
    record = observations(4)
    blind = Field(record.dataset.where(record.dataset["time"] < record.dataset["time"][-1]))
    with pytest.raises(DataError, match="nothing was observed at 2020-01-01T00:15.*forecast from another time"):
        ModelForecaster.load(checkpoint, MACHINE).forecast(blind, 1)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other.safetensors", {"w": torch.zeros(1)}, {"clip": {}})
    with pytest.raises(CheckpointError, match="other.safetensors holds no PhysicNet of this version"):
        ModelForecaster.load(tmp_path / "other.safetensors", MACHINE)
