from pathlib import Path

import numpy as np
import pytest
import torch
from training.conftest import CLIP, MACHINE, MODEL

from physicnet.checkpoint import MAPS, CheckpointError, save_checkpoint
from physicnet.cycles import Cycles
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.fields import DataError, Field
from physicnet.model.build import build
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer, Standardization
from physicnet.transforms import Decibel, Log1p

HOUR = np.timedelta64(1, "h")
NORMALIZER = Normalizer((Standardization("rate", (Decibel(threshold=0.1, floor=-15.0),), mean=1.0, std=5.0),))


def anomalies(hourly: np.ndarray, known: np.ndarray) -> Normalizer:
    """Anomalies against a value for each hour, the same in all cells."""
    maps = np.broadcast_to(hourly[:, None, None], (24, 37, 41)).astype(np.float32)
    yearly = np.zeros((0, 37, 41), np.float32)
    return Normalizer((Standardization("rate", (), 0.0, 2.0, Cycles(maps, yearly, known)),))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path, NORMALIZER)


def save(folder: Path, normalizer: Normalizer) -> Path:
    net = build(MODEL, CLIP, variables=1, window=16)
    path = folder / "model.safetensors"
    metadata = {
        "model": MODEL.model_dump(mode="json"),
        "clip": CLIP.model_dump(mode="json"),
        "window": 16,
        "normalizer": normalizer.to_dict(),
    }
    maps = {MAPS + name: torch.from_numpy(array.copy()) for name, array in normalizer.maps().items()}
    save_checkpoint(path, net.state_dict() | maps, metadata)
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


def test_codes_are_read_without_a_forecast(checkpoint: Path) -> None:
    forecaster = ModelForecaster.load(checkpoint, MACHINE)
    np.testing.assert_array_equal(forecaster.read_codes(observations()), forecaster.explain(observations())["codes"])


def test_a_forecast_tells_how_many_cells_were_held_back(checkpoint: Path) -> None:
    forecaster = ModelForecaster.load(checkpoint, MACHINE)
    forecaster.forecast(observations(), 3)
    assert (forecaster.take_saturation() == 0).all()
    forecaster.forecast(observations(), 3)
    forecaster.net.memory.fitted[:, -1] = 100.0  # the constant feature
    forecaster.forecast(observations(), 3)
    assert forecaster.take_saturation().tolist() == [[0.5]] * 3  # of the last two forecasts, one wholly


def test_no_forecast_leaves_the_valid_range(tmp_path: Path) -> None:
    bounded = Normalizer((Standardization("rate", (), mean=1.0, std=1.0, valid_min=0.5, valid_max=2.0),))
    forecast = ModelForecaster.load(save(tmp_path, bounded), MACHINE).forecast(observations(), 3)
    assert forecast.min() == 0.5
    assert forecast.max() == 2.0


def test_every_lead_is_brought_back_with_its_own_hour(tmp_path: Path) -> None:
    """Frames that follow the day's cycle alone are forecast along it: the untrained model keeps an anomaly of zero."""
    hourly = 10 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    path = save(tmp_path, anomalies(hourly, np.full(24, True)))
    record = observations(5).dataset.assign_coords(time=np.datetime64("2020-01-01T20", "ns") + HOUR * np.arange(5))
    values = hourly[[20, 21, 22, 23, 0], None, None] + np.zeros((5, 37, 41))
    past = Field(record.assign(rate=record["rate"].copy(data=values.astype(np.float32))))
    forecast = ModelForecaster.load(path, MACHINE).forecast(past, 6)
    expected = np.broadcast_to(hourly[1:7, None, None, None], forecast.shape)
    np.testing.assert_allclose(forecast, expected, atol=1e-4)


def test_a_lead_in_an_hour_that_training_never_saw_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, anomalies(np.zeros(24), np.arange(24) == 0))
    with pytest.raises(DataError, match=r"2020-01-01T01:00.* never occurs in the training part"):
        ModelForecaster.load(path, MACHINE).forecast(observations(), 4)


def test_values_that_the_transforms_do_not_take_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path, Normalizer((Standardization("rate", (Log1p(1.0),), 0.0, 1.0),)))
    record = observations()
    record.dataset["rate"][-1, 3, 5] = -2.0
    with pytest.raises(DataError, match=r"rate is -2 at 2020-01-01T00:40.*, row 3, column 5"):
        ModelForecaster.load(path, MACHINE).forecast(record, 1)


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
