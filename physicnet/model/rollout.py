"""A trained model as a forecaster: physical values in, physical values out."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from physicnet import calibration
from physicnet.calibration import Calibration
from physicnet.checkpoint import CALIBRATION, MAPS, CheckpointError, load_checkpoint
from physicnet.clock import format_time
from physicnet.config import ClipConfig, MachineConfig, ModelConfig
from physicnet.fields import DataError, Field
from physicnet.machine import find_device
from physicnet.model.build import build
from physicnet.model.physicnet import PhysicNet, Prediction
from physicnet.model.tiling import GRID, Tile, predict_by_tiles
from physicnet.normalization import Normalizer


class ModelForecaster:
    """A checkpoint, ready to forecast; it needs nothing but its file.

    `calibrations`, by variable, tell how far its forecasts err; there are none before training has ended.
    """

    name = "physicnet"

    def __init__(
        self, net: PhysicNet, normalizer: Normalizer, clip: ClipConfig, device: torch.device, *, tile_cells: int
    ) -> None:
        self.net = convert_conv2d_weight_memory_format(net.to(device), torch.channels_last).eval()
        self.normalizer = normalizer
        self.frames_in = clip.frames_in
        self.frames_out = clip.frames_out
        self.device = device
        self.tile_cells = tile_cells
        self.calibrations: dict[str, Calibration] = {}
        self._limited: list[np.ndarray] = []

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
            maps, fitted = (
                {name: tensor.numpy() for name, tensor in stored.under(prefix).items()}
                for prefix in (MAPS, CALIBRATION)
            )
            normalizer = Normalizer.from_dict(stored.metadata["normalizer"], maps)
            clip = ClipConfig(**stored.metadata["clip"])
            model = ModelConfig(**stored.metadata["model"])
            net = build(model, clip, variables=len(normalizer.variables), window=stored.metadata["window"])
            net.load_state_dict(stored.weights)
            calibrations = calibration.from_arrays(normalizer, fitted) if fitted else {}
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{checkpoint} holds no PhysicNet of this version ({error}); train again") from error
        forecaster = cls(net, normalizer, clip, device, tile_cells=machine.tile_cells)
        forecaster.calibrations = calibrations
        return forecaster

    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Forecast from the last `frames_in` frames of `past`; see `Forecaster`.

        Raises:
            DataError: if `past` has too few frames, other variables, values that the normalisation does not take, or
                nothing observed, or if it is too large and too fast for tiles of `machine.tile_cells`.
        """
        times = past.times_after(num_leads)
        frames = torch.zeros(num_leads, *past.shape[1:])
        limited = torch.zeros(num_leads, past.shape[1])
        for tile, prediction in self._predict(past, num_leads):
            tile.of(frames).add_(tile.weight * prediction.frames[0].cpu())
            limited += prediction.limited[0].cpu() * (tile.weight.sum() / tile.weight.new_tensor(past.shape[2:]).prod())
        self._limited.append(limited.numpy())
        for lead in range(num_leads):  # one by one: all at once take much memory
            frames[lead] = self.normalizer.denormalize(frames[lead : lead + 1], times[lead : lead + 1])[0]
        return np.asarray(frames.numpy(), dtype=np.float32)

    def take_saturation(self) -> Float32[np.ndarray, "k c"]:
        """Share of the cells that were held back within the range of the past, over all forecasts since last asked.

        The forecasts must have had one number of leads. See `held_back`.
        """
        share: np.ndarray = np.mean(self._limited, axis=0)
        self._limited.clear()
        return share

    def explain(self, past: Field, num_leads: int | None = None) -> dict[str, np.ndarray]:
        """What a forecast is made of; one over the trained leads, unless others are asked for.

        Returns:
            `flow` (2 h w; x, y in pixels per step), `gate` (k h w; share of the local level, mean over variables) and
            `codes` (i j; index of the code of each coarse cell of the global view).
        """
        height, width = past.shape[2:]
        num_leads = self.frames_out if num_leads is None else num_leads
        flow, gate = torch.zeros(2, height, width), torch.zeros(num_leads, height, width)
        codes = torch.zeros(-(-height // GRID), -(-width // GRID), dtype=torch.int64)
        for tile, prediction in self._predict(past, num_leads):
            tile.of(flow).add_(tile.weight * prediction.flow[0].cpu())
            tile.of(gate).add_(tile.weight * prediction.gate[0].mean(dim=1).cpu())
            found = prediction.codes[0].indices[0].cpu()
            codes[tile.rows.start // GRID :, tile.cols.start // GRID :][: len(found), : found.shape[1]] = found
        return {"flow": flow.numpy(), "gate": gate.numpy(), "codes": codes.numpy()}

    def read_codes(self, past: Field) -> Int[np.ndarray, "i j"]:
        """The codes of `explain`, without a forecast; a frame is read as a whole, however large it is."""
        standardised, observed = self._standardised(past)
        with torch.no_grad():
            found = self.net.read(standardised[None].to(self.device), observed[None].to(self.device))
        return np.asarray(found.indices[0].cpu().numpy())

    def _predict(self, past: Field, num_leads: int) -> Iterator[tuple[Tile, Prediction]]:
        """Run the model, under overlapping local windows, tile by tile."""
        standardised, observed = self._standardised(past)
        return predict_by_tiles(
            self.net, standardised, observed, num_leads, tile_cells=self.tile_cells, device=self.device
        )

    def _standardised(self, past: Field) -> tuple[Float[Tensor, "t c h w"], Float[Tensor, "t c h w"]]:
        """The frames as networks see them, 0 where missing, and a mask of where they are not."""
        values = torch.from_numpy(self._read(past))
        observed = values.isfinite()
        standardised = torch.where(observed, self.normalizer.normalize(values, past.times[-len(values) :]), 0.0)
        return standardised, observed.to(torch.float32)

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
