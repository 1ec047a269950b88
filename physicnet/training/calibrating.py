"""The end of joint training: how far the forecasts of the trained model are off, by the validation part."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from physicnet import calibration
from physicnet.calibration import Read
from physicnet.checkpoint import CALIBRATION
from physicnet.config import ClipConfig, MachineConfig, ModelConfig
from physicnet.fields import Field
from physicnet.machine import find_device
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer
from physicnet.training.inputs import Inputs


def calibrate(
    weights: Mapping[str, Tensor],
    inputs: Inputs,
    model: ModelConfig,
    clip: ClipConfig,
    machine: MachineConfig,
    *,
    normalized: Path,
    statistics: Path,
) -> dict[str, Tensor]:
    """Forecast the validation part with these weights, and return what a checkpoint carries of the errors.

    Forecasts start from every frame of that part that has enough before it, or from evenly spread ones; see
    `physicnet/calibration.py`.

    Raises:
        DataError: if a variable was not observed there at some lead.
    """
    net = inputs.build(model, clip)
    net.load_state_dict(dict(weights))
    forecaster = ModelForecaster(
        net, inputs.normalizer, clip, find_device(machine.device), tile_cells=machine.tile_cells
    )
    ranges = json.loads(statistics.read_text(encoding="utf-8"))["splits"]["validation"]
    origins = calibration.origins_of(ranges, clip.frames_in)
    read = physical(Field.open(normalized), inputs.normalizer)
    fitted = calibration.fit(forecaster.forecast, read, origins, clip, inputs.normalizer)
    return {
        f"{CALIBRATION}{variable}/{name}": torch.from_numpy(array)
        for variable, own in fitted.items()
        for name, array in own.arrays().items()
    }


def physical(normalized: Field, normalizer: Normalizer) -> Read:
    """Return what reads frames of a record of standardised values in physical units."""

    def read(start: int, stop: int) -> Field:
        frames = Field(normalized.isel(start, stop).dataset.compute())
        values = normalizer.denormalize(frames.frames(0, stop - start), frames.times)
        channels = {
            name: frames.dataset[name].copy(data=values[:, index]) for index, name in enumerate(frames.variables)
        }
        return Field(frames.dataset.assign(channels))

    return read
