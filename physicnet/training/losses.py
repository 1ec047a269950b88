"""The distance of a forecast from the truth, and what else the losses need.

| symbol | what |
|---|---|
| f, y | forecast and truth, standardised |
| w | weight of a cell: 0 where the truth is missing, or the forecast could not know |
| m | magnitude: sign(x) |x|^p of the physical value x, over its standard deviation in the training clips |

prediction error = mean of w |f - y| + γ · mean of w (m(f) - m(y))²

The first term asks for the median in the transformed space, where small values count; the second keeps large values,
which a median forecasts too low, and p < 1 keeps the largest from drowning all others.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from physicnet.config import MagnitudeConfig
from physicnet.data.dataset import Batch, ClipDataset
from physicnet.normalization import Normalizer

SAMPLED_CLIPS = 64  # from which the standard deviation of the magnitudes is taken
SMALLEST = 1e-4  # added to |x|: the slope of |x|^p is infinite at 0


@dataclass(frozen=True)
class PredictionError:
    """See the table above."""

    normalizer: Normalizer
    power: float
    weight: float
    scale: Float[Tensor, "c 1 1"]

    @classmethod
    def fit(cls, config: MagnitudeConfig, normalizer: Normalizer, clips: ClipDataset) -> "PredictionError":
        """Take the scale of the magnitudes from training clips, spread over the table."""
        every = max(1, len(clips) // SAMPLED_CLIPS)
        values = torch.cat([clips[index].clip for index in range(0, len(clips), every)])  # t c h w
        magnitudes = _magnitude(normalizer.denormalize(values), config.power)
        spreads = [channel[channel.isfinite()].std() for channel in magnitudes.unbind(dim=1)]
        return cls(normalizer, config.power, config.weight, torch.stack(spreads)[:, None, None])

    def __call__(
        self,
        forecast: Float[Tensor, "b k c h w"],
        truth: Float[Tensor, "b k c h w"],
        weight: Float[Tensor, "b k c h w"],
    ) -> Float[Tensor, ""]:
        """Prediction error, a mean over the weighted cells; 0 where all weights are 0."""
        distance = (forecast - truth).abs() + self.weight * (self._scaled(forecast) - self._scaled(truth)) ** 2
        return (distance * weight).sum() / weight.sum().clamp(min=1e-6)

    def _scaled(self, values: Float[Tensor, "b k c h w"]) -> Float[Tensor, "b k c h w"]:
        return _magnitude(self.normalizer.denormalize(values), self.power) / self.scale.to(values.device)


def _magnitude(physical: Float[Tensor, "*batch c h w"], power: float) -> Float[Tensor, "*batch c h w"]:
    return physical.sign() * ((physical.abs() + SMALLEST) ** power - SMALLEST**power)


def split_missing(clip: Float[Tensor, "b t c h w"]) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t c h w"]]:
    """Values with 0 for missing ones, and 1 where a value was observed: missing values enter as a mask alone."""
    observed = clip.isfinite()
    return torch.where(observed, clip, 0.0), observed.to(clip)


def mirror(batch: Batch, turn: int, window: int) -> Batch:
    """One of the eight ways to lay a square down: bits 0 to 2 of `turn` flip columns, flip rows, transpose.

    Local windows of `window` cells stay on the cells they were drawn on. Views that are not square are not transposed.
    """
    clip, corners = batch
    height, width = clip.shape[-2:]
    row, col = corners.unbind(dim=-1)
    if turn & 1:
        clip, col = clip.flip(-1), width - window - col
    if turn & 2:
        clip, row = clip.flip(-2), height - window - row
    if turn & 4 and height == width:
        clip, row, col = clip.transpose(-1, -2), col, row
    return Batch(clip.contiguous(), torch.stack((row, col), dim=-1))


def rescale(batch: Batch, normalizer: Normalizer, factors: Float64[np.ndarray, " b"]) -> Batch:
    """Each clip with its physical values times its factor: forecasts should not depend on how strong the field is."""
    scale = torch.from_numpy(factors).to(batch.clip).view(-1, 1, 1, 1, 1)
    return Batch(normalizer.normalize(normalizer.denormalize(batch.clip) * scale), batch.windows)
