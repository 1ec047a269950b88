"""U-Net (Ronneberger, Fischer and Brox 2015) that tells all leads at once, as RainNet (Ayzel et al. 2020) one."""

from itertools import pairwise

import torch
from einops import rearrange
from jaxtyping import Float
from peers.frames import beginning_with_nothing, both, changed, convolution, doubled, padded, split_leads
from torch import Tensor, nn


class UNet(nn.Module):
    """Two convolutions on each grid down and up, each grid half as fine as the one before."""

    def __init__(self, *, variables: int, frames_in: int, frames_out: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.frames_out = frames_out
        self.entry = _twice(2 * frames_in * variables, widths[0])
        self.down = nn.ModuleList(_twice(finer, coarser, stride=2) for finer, coarser in pairwise(widths))
        self.up = nn.ModuleList(_twice(finer + coarser, finer) for finer, coarser in pairwise(widths))
        self.exit = beginning_with_nothing(widths[0], frames_out * variables)

    def forward(
        self, past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"]
    ) -> Float[Tensor, "b k c h w"]:
        """Forecast the frames that follow."""
        view = rearrange(both(past, observed), "b t d h w -> b (t d) h w")
        grids = [self.entry(padded(view, 2 ** len(self.down)))]
        for stage in self.down:
            grids.append(stage(grids[-1]))
        state = grids.pop()
        for stage, skip in zip(reversed(self.up), reversed(grids), strict=True):
            state = stage(torch.cat((skip, doubled(state, skip.shape[-2:])), dim=1))
        return changed(past, split_leads(self.exit(state), self.frames_out))


def _twice(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(convolution(inputs, outputs, stride), convolution(outputs, outputs))
