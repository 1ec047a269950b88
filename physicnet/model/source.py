"""The source expert: what grows and decays along the flow, and where.

The memory (see `cascade.py`) tells how long each scale lives wherever it is; the source expert tells, place by place,
what is different there. It says how much of each band of the field, and of its latest change, is gained by and by.

| symbol | what |
|---|---|
| basis | m features per cell: the bands of the last frame, and how they changed (see `cascade.py`) |
| rises | 1 - exp(-lead / lifetime_j): a source is nothing at lead 0, and bounded ever after |
| amounts | how much of each feature is gained with each rise, on the coarse grid of the latent |
| confidence | how sure the level is of itself, by which the levels are fused |
| source | Σ_j rise_j(lead) (amounts_j0 + Σ_m amounts_jm · basis_m): added to the last frame before it moves |

That the fine scales come from the field itself, and only their amounts are learned, leaves little to learn by heart: a
network that drew the source itself, cell by cell, did worse on another event than none (docs/decisions/0015).
Any number of leads can be asked for, at the cost of a few multiplications for each.
"""

from typing import NamedTuple

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from physicnet.model.cascade import decays
from physicnet.model.encoder import conv
from physicnet.model.warp import resize

BOUND = 4.0  # standard deviations; no source takes a value farther than this from what was observed
RISING = (3.0, 10.0, 30.0)  # lifetimes, leads


class Source(NamedTuple):
    """What an expert says of each lead: the source, in standard deviations, and how confident it is (a logit)."""

    value: Float[Tensor, "b k c h w"]
    confidence: Float[Tensor, "b k c h w"]


class SourceExpert(nn.Module):
    """Reads from the latents of one level how much of each of `basis` features is gained."""

    def __init__(self, latent: int, hidden: int, *, basis: int, variables: int) -> None:
        super().__init__()
        self.variables = variables
        self.body = nn.Sequential(conv(latent, hidden), conv(hidden, hidden))
        self.confidence = nn.Conv2d(hidden, variables * len(RISING), 1)
        self.amounts = nn.Conv2d(hidden, variables * len(RISING) * (1 + basis), 1)  # an offset before them
        for parameter in (*self.confidence.parameters(), *self.amounts.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, latent: Float[Tensor, "b d i j"], basis: Float[Tensor, "b c m h w"], num_leads: int) -> Source:
        """Sources of leads 1..num_leads on the grid of `basis`, their values within ±BOUND."""
        state, size = self.body(latent), basis.shape[-2:]
        shape = {"c": self.variables, "j": len(RISING)}
        confidence = rearrange(resize(self.confidence(state), size), "b (c j) h w -> b c j h w", **shape)
        spoken = rearrange(resize(self.amounts(state), size), "b (c j m) h w -> b c j m h w", **shape)
        offset, amounts = spoken[:, :, :, 0], spoken[:, :, :, 1:]
        gains = [(part * basis).sum(dim=2) for part in amounts.unbind(dim=2)]  # one by one: einsum copies all of it
        value = offset + torch.stack(gains, dim=2)
        fading = decays(num_leads, RISING, value.new_zeros((), dtype=torch.float64))  # 1 less it keeps its digits
        rising = (1 - fading).to(value)
        # In full precision from here on: sources are added to the field.
        value, confidence = (
            einsum(part, rising, "b c j h w, k j -> b k c h w").float() for part in (value, confidence)
        )
        return Source(BOUND * torch.tanh(value / BOUND), confidence)
