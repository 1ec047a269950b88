"""The distance of a forecast from the truth, and what else the losses need.

| symbol | what |
|---|---|
| f, y | forecast and truth, standardised |
| w | weight of a cell: 0 where the truth is missing, or the forecast could not know |

prediction error = mean of w |f - y| + γ · mean of w (f - y)²

The first term asks for the median, the second for the mean, of the transformed value: a variable's transform says how
much large values count. Where several processes share a batch, the means are over the cells of all of them.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from physicnet.config import TrainConfig
from physicnet.data.dataset import Batch
from physicnet.machine import Machine
from physicnet.normalization import Normalizer


def prediction_error(
    forecast: Float[Tensor, "b k c h w"],
    truth: Float[Tensor, "b k c h w"],
    weight: Float[Tensor, "b k c h w"],
    *,
    squared: float,
    average: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    """The error of the table above with γ = `squared`, a mean over the weighted cells; 0 where all weights are 0.

    `average` takes the mean over the processes that share the batch (see `of_one`): cells count alike in all of
    them, and the mean of their errors is the error of the whole batch.
    """
    return weighted_mean(distance(forecast, truth, squared), weight, average)


def distance(
    forecast: Float[Tensor, "b k c h w"], truth: Float[Tensor, "b k c h w"], squared: float
) -> Float[Tensor, "b k c h w"]:
    """|f - y| + γ (f - y)²."""
    difference = forecast - truth
    return difference.abs() + squared * difference**2


def weighted_mean(
    errors: Float[Tensor, "b k c h w"], weight: Float[Tensor, "b k c h w"], average: Callable[[Tensor], Tensor]
) -> Float[Tensor, ""]:
    """The mean of errors over weighted cells, as of `prediction_error`."""
    return (errors * weight).sum() / average(weight.sum()).clamp(min=1e-6)


def of_one(value: Tensor) -> Tensor:
    """The mean over one process, which is the value itself."""
    return value


def split_missing(clip: Float[Tensor, "b t c h w"]) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b t c h w"]]:
    """Values with 0 for missing ones, and 1 where a value was observed: missing values enter as a mask alone."""
    observed = clip.isfinite()
    return torch.where(observed, clip, 0.0), observed.to(clip)


def augmented(batch: Batch, step: int, config: TrainConfig, normalizer: Normalizer, window: int, on: Machine) -> Batch:
    """The clips as a step sees them: mirrored and rescaled as the parameters ask, by draws of the seed and the step.

    Of the factors that are drawn for a batch, each process takes those of its share of the clips.
    """
    rng = np.random.default_rng([config.seed, step])
    if config.mirror:
        batch = mirror(batch, int(rng.integers(8)), window)
    if config.rescale > 1:
        factors = config.rescale ** rng.uniform(-1, 1, (on.processes, len(batch.clip)))
        batch = rescale(batch, normalizer, factors[on.rank])
    return batch


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
    """Each clip with its physical values times its factor: forecasts should not depend on how strong the field is.

    For pointwise standardisations alone: a view does not tell when and where it was cut out.
    """
    scale = torch.from_numpy(factors).to(batch.clip).view(-1, 1, 1, 1, 1)
    return Batch(normalizer.rescale(batch.clip, scale), batch.windows)
