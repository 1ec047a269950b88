"""A trained model as a forecaster: physical values in, physical values out."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from physicnet.checkpoint import MAPS, CheckpointError, load_checkpoint
from physicnet.clock import format_time
from physicnet.config import ClipConfig, MachineConfig, ModelConfig
from physicnet.fields import DataError, Field
from physicnet.machine import find_device
from physicnet.model.build import build
from physicnet.model.physicnet import PhysicNet, Prediction
from physicnet.model.windows import covering
from physicnet.normalization import Normalizer


class ModelForecaster:
    """A checkpoint, ready to forecast; it needs nothing but its file."""

    name = "physicnet"

    def __init__(self, net: PhysicNet, normalizer: Normalizer, clip: ClipConfig, device: torch.device) -> None:
        self.net = convert_conv2d_weight_memory_format(net.to(device), torch.channels_last).eval()
        self.normalizer = normalizer
        self.frames_in = clip.frames_in
        self.frames_out = clip.frames_out
        self.device = device

    @classmethod
    def load(cls, checkpoint: Path, machine: MachineConfig) -> "ModelForecaster":
        """Read a checkpoint of joint training.

        Raises:
            CheckpointError: if the file is no such checkpoint.
        """
        device = find_device(machine.device)
        stored = load_checkpoint(checkpoint)
        torch.set_num_threads(machine.num_threads)
        try:
            maps = {name for name in stored.tensors if name.startswith(MAPS)}
            fitted = {name.removeprefix(MAPS): stored.tensors[name].numpy() for name in maps}
            normalizer = Normalizer.from_dict(stored.metadata["normalizer"], fitted)
            clip = ClipConfig(**stored.metadata["clip"])
            model = ModelConfig(**stored.metadata["model"])
            variables, window = len(normalizer.variables), stored.metadata["window"]
            net = build(model, variables=variables, frames_in=clip.frames_in, window=window)
            net.load_state_dict({name: stored.tensors[name] for name in stored.tensors.keys() - maps})
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{checkpoint} holds no PhysicNet of this version ({error}); train again") from error
        return cls(net, normalizer, clip, device)

    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Forecast from the last `frames_in` frames of `past`; see `Forecaster`.

        Raises:
            DataError: if `past` has too few frames, other variables, values that the normalisation does not take, or
                nothing observed.
        """
        times = past.times_after(num_leads)
        frames = self.normalizer.denormalize(self.predict(past, num_leads).frames[0].cpu(), times)
        return np.asarray(frames.numpy(), dtype=np.float32)

    def explain(self, past: Field) -> dict[str, np.ndarray]:
        """What a forecast over the trained leads is made of.

        Returns:
            `flow` (2 h w; x, y in pixels per step), `gate` (k h w; share of the local level, mean over variables) and
            `codes` (i j; index of the code of each coarse cell of the global view).
        """
        prediction = self.predict(past, self.frames_out)
        parts = {
            "flow": prediction.flow[0],
            "gate": prediction.gate[0].mean(dim=1),
            "codes": prediction.codes[0].indices[0],
        }
        return {name: part.cpu().numpy() for name, part in parts.items()}

    @torch.no_grad()
    def predict(self, past: Field, num_leads: int) -> Prediction:
        """Run the model over the whole frame, under overlapping local windows."""
        values = torch.from_numpy(self._read(past))
        observed = values.isfinite()
        standardised = torch.where(observed, self.normalizer.normalize(values, past.times[-len(values) :]), 0.0)
        corners = covering(observed.flatten(end_dim=1).any(dim=0), self.net.window)
        inputs = (
            standardised.to(self.device)[None],
            observed.to(self.device, torch.float32)[None],
            corners.to(self.device)[None],
        )
        prediction: Prediction = self.net(*inputs, num_leads)
        return prediction

    def _read(self, past: Field) -> Float32[np.ndarray, "t c h w"]:
        have = past.shape[0]
        if past.variables != self.normalizer.variables:
            raise DataError(f"the model forecasts {self.normalizer.variables}, the observations hold {past.variables}")
        if have < self.frames_in:
            raise DataError(
                f"the model needs {self.frames_in} frames, only {have} are there; give it more observations"
            )
        values = past.frames(have - self.frames_in, have)
        self.normalizer.check(values, past.times[have - self.frames_in :])
        if not np.isfinite(values[-1]).any():
            raise DataError(
                f"nothing was observed at {format_time(past.times[-1])}, the last frame; forecast from another time"
            )
        return values
