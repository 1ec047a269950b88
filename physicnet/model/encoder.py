"""The adaptive encoder of one pipeline, and the features that it hands to the decoders.

| symbol | what |
|---|---|
| present | past frames carried to the present along the flow (missing as 0) and their masks, as channels |
| grids | features, from the finest grid to the coarsest |
| latent | what the codebook quantizes, on the coarsest grid |
| detail | features on the finest grid, the same for all leads |
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physicnet.model.warp import resize


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution, group normalisation, SiLU."""
    groups = math.gcd(8, outputs)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(groups, outputs), nn.SiLU())


class Encoded(NamedTuple):
    """What an encoder found: features of each grid, finest first, and the latent that the codebook quantizes."""

    grids: list[Tensor]
    latent: Float[Tensor, "b d i j"]


class Encoder(nn.Module):
    """A pyramid of convolutions; `strides` says how much coarser each grid is than the one before."""

    def __init__(self, inputs: int, widths: tuple[int, ...], strides: tuple[int, ...], code_dim: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(conv(before, width, stride), conv(width, width))
            for before, width, stride in zip((inputs, *widths[:-1]), widths, strides, strict=True)
        )
        self.latent = nn.Conv2d(widths[-1], code_dim, 1)

    def forward(self, present: Float[Tensor, "b i h w"]) -> Encoded:
        """Features of every grid, and the latent of the coarsest."""
        grids, x = [], present
        for stage in self.stages:
            x = stage(x)
            grids.append(x)
        return Encoded(grids, self.latent(x))


class Detail(nn.Module):
    """The way back up: coarse features refine the finer ones, up to the finest grid of the encoder."""

    def __init__(self, widths: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        pairs = list(zip(widths[1:], widths[:-1], strict=True))
        self.merges = nn.ModuleList(conv(coarse + fine, fine) for coarse, fine in reversed(pairs))
        self.out = nn.Conv2d(widths[0], outputs, 1)

    def forward(self, grids: list[Tensor]) -> Float[Tensor, "b m h w"]:
        """Features on the finest grid."""
        *finer, x = grids
        for merge, grid in zip(self.merges, reversed(finer), strict=True):
            x = merge(torch.cat((resize(x, grid.shape[-2:]), grid), dim=1))
        return self.out(x)
