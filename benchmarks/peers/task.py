"""How a peer learns and forecasts: by the loop, loss, clips, masks and augmentation of PhysicNet."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from physicnet.config import ClipConfig, TrainConfig
from physicnet.data.dataset import Batch, Clips
from physicnet.fields import DataError, Field
from physicnet.machine import Machine
from physicnet.normalization import Normalizer
from physicnet.training.inputs import Inputs
from physicnet.training.losses import augmented, of_one, prediction_error, split_missing


class PeerTask:
    """The task: forecast whole views. The only term of the loss is the one by which PhysicNet's forecast is judged."""

    def __init__(
        self, model: nn.Module, config: TrainConfig, clip: ClipConfig, inputs: Inputs, validation: Clips, on: Machine
    ) -> None:
        self.model = model.to(on.device)
        self._config = config
        self._frames_in = clip.frames_in
        self._normalizer = inputs.normalizer
        self._validation = validation
        self._machine = on

    def prepared(self, batch: Batch, step: int) -> Batch:
        """Mirrored and rescaled, as PhysicNet's."""
        return augmented(batch, step, self._config, self._normalizer, self._validation.window, self._machine)

    def terms(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """The prediction error of a batch."""
        return {"prediction": self._error(self.model, batch.clip, self._machine.mean)}

    def settle(self) -> None:
        """A peer does nothing else."""

    def epoch_values(self) -> dict[str, float]:
        """Nothing more is known of a peer."""
        return {}

    @torch.no_grad()
    def validate(self, model: nn.Module) -> Mapping[str, float]:
        """Mean prediction error of the validation clips, whole frames."""
        model.eval()
        clips = (self._validation[index].clip[None] for index in range(len(self._validation)))
        errors = [self._error(model, clip.to(self._machine.device), of_one).item() for clip in clips]
        return {"validation_loss": sum(errors) / len(errors)}

    def _error(
        self, model: nn.Module, clip: Float[Tensor, "b t c h w"], average: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, ""]:
        values, observed = split_missing(clip)
        t = self._frames_in
        forecast = model(values[:, :t], observed[:, :t])
        squared = self._config.squared
        return prediction_error(forecast, values[:, t:], observed[:, t:], squared=squared, average=average)


class PeerForecaster:
    """A trained peer: physical values in, physical values out."""

    def __init__(
        self, name: str, net: nn.Module, normalizer: Normalizer, clip: ClipConfig, device: torch.device
    ) -> None:
        self.name = name
        self.net = net.to(device).eval()
        self.normalizer = normalizer
        self.clip = clip
        self.device = device

    @torch.no_grad()
    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Forecast from the last `frames_in` frames of `past`, at most as many leads as were trained.

        Raises:
            DataError: if more leads are asked for, or `past` is too short.
        """
        have, need = past.shape[0], self.clip.frames_in
        if num_leads > self.clip.frames_out or have < need:
            raise DataError(
                f"{self.name} forecasts {self.clip.frames_out} leads from {need} frames, not {num_leads} from {have}"
            )
        values = torch.from_numpy(past.frames(have - need, have))
        seen, observed = split_missing(self.normalizer.normalize(values, past.times[-need:])[None])
        forecast = self.net(seen.float().to(self.device), observed.float().to(self.device))[0, :num_leads].cpu()
        return np.asarray(self.normalizer.denormalize(forecast, past.times_after(num_leads)).numpy(), np.float32)
