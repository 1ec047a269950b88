"""The adaptive encoder of one pipeline.

| symbol | what |
|---|---|
| present | past frames carried to the present along the flow (missing as 0) and their masks, as channels |
| features | what the encoder found, on its coarsest grid |
| latent | what the codebook quantizes, on the same grid |

Features are normalised cell by cell, over their channels alone (Zhang and Sennrich 2019, "Root mean square layer
normalization"): what is said of a place depends on its surroundings and not on what else the view holds, so that a
window, a tile and the whole frame say the same.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

FAINT = 0.01  # mean square of the channels below which they are hardly amplified


class CellNorm(nn.Module):
    """Divides the channels of each cell by their root mean square; weights and offsets as usual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Normalise."""
        scale = torch.rsqrt(x.square().mean(dim=1, keepdim=True) + FAINT)
        return x * scale * self.weight[:, None, None] + self.bias[:, None, None]


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, normalisation of each cell, SiLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), CellNorm(outputs), nn.SiLU())


class Encoded(NamedTuple):
    """What an encoder saw and found, and the latent that the codebook quantizes."""

    seen: Float[Tensor, "b v h w"]
    features: Float[Tensor, "b e i j"]
    latent: Float[Tensor, "b d i j"]


class Encoder(nn.Module):
    """A pyramid of convolutions; `strides` says how much coarser each grid is than the one before."""

    def __init__(self, inputs: int, widths: tuple[int, ...], strides: tuple[int, ...], code_dim: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            *(
                nn.Sequential(conv(before, width, stride), conv(width, width))
                for before, width, stride in zip((inputs, *widths[:-1]), widths, strides, strict=True)
            )
        )
        self.latent = nn.Conv2d(widths[-1], code_dim, 1)

    def forward(self, present: Float[Tensor, "b v h w"]) -> Encoded:
        """Features and latent on the coarsest grid."""
        features = self.stages(present)
        return Encoded(present, features, self.latent(features))
