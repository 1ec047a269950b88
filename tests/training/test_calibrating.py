import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from training.conftest import CLIP, MACHINE, MODEL, Data
from training.test_joint import THRESHOLDS, run

from physicnet.checkpoint import CALIBRATION, load_checkpoint
from physicnet.fields import Field
from physicnet.model.rollout import ModelForecaster
from physicnet.training.calibrating import calibrate, physical


@pytest.fixture(scope="module")
def trained(data: Data, codebook: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(data, codebook, tmp_path_factory.mktemp("trained"))


def validation(data: Data) -> list[int]:
    ((start, stop),) = json.loads(data.statistics.read_text())["splits"]["validation"]
    return [start, stop]


def test_the_checkpoint_carries_calibrations_and_thresholds(trained: Path) -> None:
    stored, model = load_checkpoint(trained), ModelForecaster.load(trained, MACHINE)
    assert stored.metadata["thresholds"] == THRESHOLDS
    own = model.calibrations["rate"]
    assert own.num_leads == CLIP.frames_out
    assert np.isfinite(own.errors).all()
    assert {name for name in stored.tensors if name.startswith(CALIBRATION)} == {
        f"calibration/rate/{name}" for name in ("edges", "lowest", "highest", "errors")
    }


def test_calibrations_are_the_errors_of_the_weights_that_are_kept(
    data: Data, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physicnet.calibration._widening", lambda _: 1.0)
    paths = {"normalized": data.normalized, "statistics": data.statistics}
    own = calibrate(load_checkpoint(trained).weights, data.inputs, MODEL, CLIP, MACHINE, **paths)
    model = ModelForecaster.load(trained, MACHINE)
    start, stop = validation(data)
    read = physical(Field.open(data.normalized), data.inputs.normalizer)
    errors = []
    for first in range(start, stop - CLIP.frames_in):
        past = read(first, first + CLIP.frames_in)
        truth = read(first + CLIP.frames_in, first + CLIP.frames_in + 1)
        errors.append(truth.frames(0, 1)[0, 0] - model.forecast(past, 2)[0, 0])
    spread = own["calibration/rate/errors"][0].numpy()
    (channel,) = model.normalizer.channels
    largest = np.max(np.stack(errors)) / channel.std
    assert spread.max() == pytest.approx(largest, abs=1e-4)


def test_only_the_validation_part_counts(data: Data, trained: Path, tmp_path: Path) -> None:
    start, stop = validation(data)
    poisoned = Field.open(data.normalized).dataset.compute()
    frame = np.arange(poisoned.sizes["time"])
    outside = (frame < start) | (frame >= stop)
    assert outside.any()
    poisoned["rate"].values[outside] = 50.0
    Field(poisoned).save(tmp_path / "poisoned.zarr")
    weights = load_checkpoint(trained).weights
    ours, theirs = (
        calibrate(weights, data.inputs, MODEL, CLIP, MACHINE, normalized=path, statistics=data.statistics)
        for path in (data.normalized, tmp_path / "poisoned.zarr")
    )
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=0)
    shutil.rmtree(tmp_path / "poisoned.zarr")
    poisoned["rate"].values[~outside] = 50.0
    Field(poisoned).save(tmp_path / "poisoned.zarr")
    other = calibrate(
        weights, data.inputs, MODEL, CLIP, MACHINE, normalized=tmp_path / "poisoned.zarr", statistics=data.statistics
    )
    assert any(not torch.equal(other[name], tensor) for name, tensor in ours.items())


def test_the_record_is_read_in_physical_units(data: Data) -> None:
    inputs = data.inputs
    standardised, record = Field.open(data.normalized), physical(Field.open(data.normalized), inputs.normalizer)
    frames = record(3, 5)
    np.testing.assert_array_equal(frames.times, standardised.times[3:5])
    expected = inputs.normalizer.denormalize(standardised.frames(3, 5), standardised.times[3:5])
    np.testing.assert_array_equal(frames.frames(0, 2), expected)
