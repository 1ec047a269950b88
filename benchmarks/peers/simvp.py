"""SimVP with gated spatiotemporal attention (Gao et al. 2022; Tan et al. 2022, "gSTA").

An encoder sees each frame alone, a translator mixes time and space on a coarse grid, a decoder draws each lead with a
skip from the last frame's first layer. The attention is the large-kernel one of Guo et al. 2022, a 5 x 5 and a dilated
7 x 7 depthwise convolution (21 cells across), whose output is gated by its other half. Group normalisation stands where
the original has batch normalisation, for batches are small here.
"""

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from peers.frames import beginning_with_nothing, both, changed, convolution, doubled, padded
from torch import Tensor, nn

LAYER_SCALE = 1e-2  # with which a block's branches begin, as in the original


class Attention(nn.Module):
    """Gated spatiotemporal attention (Tan et al. 2022, eq. 4 to 6)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.entry = nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU())
        self.near = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.far = nn.Conv2d(width, width, 7, padding=9, dilation=3, groups=width)
        self.gated = nn.Conv2d(width, 2 * width, 1)
        self.exit = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Attend."""
        value, gate = self.gated(self.far(self.near(self.entry(x)))).chunk(2, dim=1)
        return self.exit(torch.sigmoid(gate) * value)


class Mixing(nn.Module):
    """The feed-forward branch: wider, a depthwise 3 x 3, and back."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        inner = ratio * width
        self.layers = nn.Sequential(
            nn.Conv2d(width, inner, 1),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner),
            nn.GELU(),
            nn.Conv2d(inner, width, 1),
        )

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Mix."""
        return self.layers(x)


class Block(nn.Module):
    """Attention, then mixing, each added to what it saw."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for _ in range(2))
        self.branches = nn.ModuleList((Attention(width), Mixing(width, ratio)))
        self.scales = nn.Parameter(torch.full((2, width, 1, 1), LAYER_SCALE))

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """One block of the translator."""
        for norm, branch, scale in zip(self.norms, self.branches, self.scales, strict=True):
            x = x + scale * branch(norm(x))
        return x


class SimVP(nn.Module):
    """Encoder, translator, decoder."""

    def __init__(
        self, *, variables: int, frames_in: int, frames_out: int, width: int, translator: int, blocks: int
    ) -> None:
        super().__init__()
        self.frames_out = frames_out
        self.entry = convolution(2 * variables, width)
        self.down = nn.Sequential(
            convolution(width, width, stride=2), convolution(width, width), convolution(width, width, stride=2)
        )
        self.join = nn.Conv2d(frames_in * width, translator, 1)
        self.translator = nn.Sequential(*(Block(translator, ratio=4) for _ in range(blocks)))
        self.part = nn.Conv2d(translator, frames_out * width, 1)
        self.up = nn.ModuleList(convolution(width, width) for _ in range(2))
        self.draw = convolution(2 * width, width)
        self.exit = beginning_with_nothing(width, variables)

    def forward(
        self, past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"]
    ) -> Float[Tensor, "b k c h w"]:
        """Forecast the frames that follow."""
        view = both(past, observed)
        b, t = view.shape[:2]
        fine = self.entry(padded(view.flatten(end_dim=1), 4))  # (b t) d h w
        coarse = rearrange(self.down(fine), "(b t) d h w -> b (t d) h w", b=b)
        told = self.part(self.translator(self.join(coarse)))
        state = rearrange(told, "b (k d) h w -> (b k) d h w", k=self.frames_out)
        size = fine.shape[-2:]
        for stage, part in zip(self.up, (2, 1), strict=True):
            state = doubled(stage(state), torch.Size((size[0] // part, size[1] // part)))
        skip = repeat(fine.unflatten(0, (b, t))[:, -1], "b d h w -> (b k) d h w", k=self.frames_out)
        change = self.exit(self.draw(torch.cat((skip, state), dim=1)))
        return changed(past, change.unflatten(0, (b, self.frames_out)))
