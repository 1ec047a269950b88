"""The source expert: what grows and decays along the flow, and where.

The memory (see `cascade.py`) tells how long each scale lives wherever it is; the source expert tells, place by place,
what is different there. It says how much of each band of the field, and of its latest change, is gained by and by.
The expert of the global level may draw instead: a network that looks at the frames of all variables at once, on their
own grid and on coarser ones, says cell by cell what is gained. Fields that react on the spot ask for that.

| symbol | what |
|---|---|
| basis | m features per cell: the bands of the last frame, and how they changed (see `cascade.py`) |
| seen | v channels: the frames of the present and their masks (see `physicnet.py`) |
| rises | 1 - exp(-lead / lifetime_j): a source is nothing at lead 0, and bounded ever after |
| amounts | how much of each feature is gained with each rise, on the coarse grid of the latent |
| drawn | what is gained, on the grid of the frame, at the knots of a spline over the leads (see `course.py`) |
| confidence | how sure the level is of itself, by which the levels are fused |
| source | Σ_j rise_j(lead) (amounts_j0 + Σ_m amounts_jm · basis_m), or drawn(lead): added to the last frame before it \
moves |

Any number of leads can be asked for, at the cost of a few multiplications for each. Beyond those that were trained,
what is drawn stays as it is at the last of them. What the drawing is worth: docs/decisions/0028 and 0033.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from physicnet.model.course import Spline, decays, mix
from physicnet.model.encoder import CellNorm, conv
from physicnet.model.warp import resize

BOUND = 4.0  # standard deviations; sums of amounts take no value farther than this from what was observed
RISING = (3.0, 10.0, 30.0)  # lifetimes, leads


class Source(NamedTuple):
    """What an expert says of each lead: the source, in standard deviations, and how confident it is (a logit)."""

    value: Float[Tensor, "b k c h w"]
    confidence: Float[Tensor, "b k c h w"]


class SourceExpert(nn.Module):
    """Reads from the latents of one level how much of each of `basis` features is gained, or draws what is."""

    def __init__(self, latent: int, hidden: int, *, basis: int, variables: int, drawing: "Drawing | None") -> None:
        super().__init__()
        self.variables = variables
        self.body = nn.Sequential(conv(latent, hidden), conv(hidden, hidden))
        self.confidence = nn.Conv2d(hidden, variables * len(RISING), 1)
        self.drawing = drawing
        spoken = variables * len(RISING) * (1 + basis)  # an offset before the amounts
        self.amounts = nn.Conv2d(hidden, spoken, 1) if drawing is None else None
        for layer in (self.confidence, self.amounts):
            for parameter in () if layer is None else layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        latent: Float[Tensor, "b d i j"],
        basis: Float[Tensor, "b c m h w"],
        seen: Float[Tensor, "b v h w"],
        leads: Int[Tensor, " k"],
    ) -> Source:
        """Sources of some leads on the grid of `basis`, their values within ±BOUND unless they are drawn."""
        state = self.body(latent)
        sure = rearrange(self.confidence(state), "b (c j) y x -> b j c y x", c=self.variables)
        confidence = risen(resize(sure, basis.shape[-2:]), leads)
        if self.drawing is not None:
            return Source(self.drawing(state, seen, leads).float(), confidence)
        assert self.amounts is not None  # one of the two
        value = risen(weighed(self.amounts(state), basis), leads)
        return Source(BOUND * torch.tanh(value / BOUND), confidence)


def weighed(spoken: Float[Tensor, "b crm i j"], basis: Float[Tensor, "b c m h w"]) -> Float[Tensor, "b r c h w"]:
    """What is gained with each rise: the offset, and the amount of each feature times it."""
    parts = rearrange(spoken, "b (c r m) i j -> b r c m i j", c=basis.shape[1], r=len(RISING))
    parts = resize(parts, basis.shape[-2:])
    offset, amounts = parts[:, :, :, 0], parts[:, :, :, 1:]
    gains = [(part * basis).sum(dim=2) for part in amounts.unbind(dim=1)]  # one by one: einsum copies all of it
    return offset + torch.stack(gains, dim=1)


def risen(parts: Float[Tensor, "b r c h w"], leads: Int[Tensor, " k"]) -> Float[Tensor, "b k c h w"]:
    """The sum of parts that rise, at some leads; in full precision from there on: sources are added to the field."""
    fading = decays(leads, RISING, parts.new_zeros((), dtype=torch.float64))  # 1 less it keeps its digits
    return mix((1 - fading).to(parts), parts).float()


class Drawing(nn.Module):
    """Draws what is gained, cell by cell, from the frames and the level's state: a U-Net of three grids.

    `width` is the number of channels on the finest of them.

    It begins with nothing. On each grid, blocks add to what is there. They look at it normalised cell by cell, which
    does not tell how much there is; what they add to still does, from the frames to what is drawn.
    """

    def __init__(self, hidden: int, width: int, course: Spline, *, seen: int, variables: int) -> None:
        super().__init__()
        self.variables = variables
        self.course = course
        fine, middle, coarse = width, width * 3 // 2, width * 2
        self.seen = nn.Conv2d(seen, fine, 3, padding=1)
        self.state = nn.Conv2d(hidden, coarse, 1)
        self.down = nn.ModuleList([nn.Conv2d(fine, middle, 3, 2, 1), nn.Conv2d(middle, coarse, 3, 2, 1)])
        self.up = nn.ModuleList([nn.Conv2d(coarse, middle, 1), nn.Conv2d(middle, fine, 1)])
        self.blocks = nn.ModuleList([block(size) for size in (fine, middle, coarse, middle, fine)])
        self.out = nn.Linear(fine, len(course) * variables)  # of each cell
        for parameter in self.out.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, state: Float[Tensor, "b d i j"], seen: Float[Tensor, "b v h w"], leads: Int[Tensor, " k"]
    ) -> Float[Tensor, "b k c h w"]:
        """What is gained at some leads, on the grid of `seen`; `state` is on any coarser one."""
        fine = self.seen(seen)
        fine = fine + self.blocks[0](fine)
        middle = self.down[0](fine)
        middle = middle + self.blocks[1](middle)
        coarse = self.down[1](middle)
        coarse = coarse + resize(self.state(state), coarse.shape[-2:])
        coarse = coarse + self.blocks[2](coarse)
        middle = middle + doubled(self.up[0](coarse), middle)
        middle = middle + self.blocks[3](middle)
        fine = fine + doubled(self.up[1](middle), fine)
        fine = fine + self.blocks[4](fine)
        # What `out` is at each lead, instead of what it says at each knot: the same sum.
        knots = torch.cat((self.out.weight, self.out.bias[:, None]), dim=1)  # rc e+1
        told = (self.course(leads, knots) @ knots.view(len(self.course), -1)).view(-1, knots.shape[1])  # kc e+1
        drawn = mix(told[:, :-1], fine) + told[:, -1, None, None]
        return rearrange(drawn, "b (k c) h w -> b k c h w", c=self.variables)


def block(width: int) -> nn.Sequential:
    """What the features of a grid gain: they are normalised cell by cell, 3 x 3 convolution, SiLU, and another one."""
    first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
    return nn.Sequential(CellNorm(width), first, nn.SiLU(), second)


def doubled(coarse: Float[Tensor, "b d i j"], like: Float[Tensor, "b e h w"]) -> Float[Tensor, "b d h w"]:
    """Twice as fine, cut to the grid of `like`: whatever its size, a cell gets what lies above it."""
    height, width = like.shape[-2:]
    return F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
