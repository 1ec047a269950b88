"""What the peers share: the view of the past that they get, frames of any size, and the forecast as a change."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 8  # of group normalisation


def padded(frames: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c y x"]:
    """Continue the outermost cells to the right and below, up to sides that are multiples of `multiple`."""
    height, width = frames.shape[-2:]
    return F.pad(frames, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def both(past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t d h w"]:
    """Values and masks as channels, as PhysicNet's encoders see them."""
    return torch.cat((past, observed), dim=2)


def changed(past: Float[Tensor, "b t c h w"], change: Float[Tensor, "b k c y x"]) -> Float[Tensor, "b k c h w"]:
    """The last frame (0, the mean, where it is missing) plus the change of each lead, cut to the frame."""
    height, width = past.shape[-2:]
    return past[:, -1:] + change[..., :height, :width]


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution, normalised over groups of channels, with SiLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.GroupNorm(GROUPS, outputs), nn.SiLU()
    )


def beginning_with_nothing(inputs: int, outputs: int) -> nn.Conv2d:
    """The last layer: 1 x 1, with weights of zero, so that the untrained peer is persistence."""
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def doubled(frames: Float[Tensor, "b c h w"], size: torch.Size) -> Float[Tensor, "b c y x"]:
    """Bilinear, to the size of the next finer grid."""
    return F.interpolate(frames, size=tuple(size), mode="bilinear", align_corners=False)


def split_leads(frames: Float[Tensor, "b kc h w"], leads: int) -> Float[Tensor, "b k c h w"]:
    """Tell the leads apart that came out as channels."""
    return rearrange(frames, "b (k c) h w -> b k c h w", k=leads)
