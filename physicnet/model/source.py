"""The source expert: what grows and decays along the flow.

| symbol | what |
|---|---|
| detail | m features per cell on a fine grid, the same for all leads |
| amounts | how much of each feature enters at a lead, on the coarse grid of the latent |
| confidence | how sure the level is of itself, by which the levels are fused |
| source | Σ_m amounts_m(lead) · detail_m: added to the last frame before it is carried along |

A convolutional GRU moves the coarse state on, lead by lead, so any number of leads can be asked for. Splitting the
source into coarse amounts and fine features lets scales decay at different rates, as they do in nature (Seed 2003), at
the cost of one multiplication per cell, feature and lead.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from physicnet.model.gru import ConvGRU
from physicnet.model.warp import resize

BOUND = 4.0  # standard deviations; no source takes a value farther than this from what was observed


class Source(NamedTuple):
    """What an expert says of each lead: the source, in standard deviations, and how confident it is (a logit)."""

    value: Float[Tensor, "b k c h w"]
    confidence: Float[Tensor, "b k c h w"]


class SourceExpert(nn.Module):
    """Rolls the state of one level forward and reads the source of each lead from it."""

    def __init__(self, latent: int, hidden: int, *, basis: int, variables: int) -> None:
        super().__init__()
        self.variables = variables
        self.start = nn.Conv2d(latent, hidden, 3, padding=1)
        self.gru = ConvGRU(latent, hidden)
        self.confidence = nn.Conv2d(hidden, variables, 1)
        self.amounts = nn.Conv2d(hidden, variables * (basis + 1), 1)  # and an offset before them
        for parameter in (*self.confidence.parameters(), *self.amounts.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, latent: Float[Tensor, "b d i j"], detail: Float[Tensor, "b m h w"], num_leads: int) -> Source:
        """Sources of leads 1..num_leads on the grid of `detail`, their values within ±BOUND."""
        state, drive = torch.tanh(self.start(latent)), self.gru.drive(latent)
        values, confidences = [], []
        for _ in range(num_leads):
            state = self.gru(state, drive)
            spoken = torch.cat((self.confidence(state), self.amounts(state)), dim=1)
            fine = resize(spoken, detail.shape[-2:])  # lead by lead: all at once take much memory
            amounts = rearrange(fine[:, self.variables :], "b (c n) h w -> b c n h w", c=self.variables)
            confidences.append(fine[:, : self.variables])
            values.append(amounts[:, :, 0] + (amounts[:, :, 1:] * detail[:, None]).sum(dim=2))
        # In full precision from here on: sources are added to the field.
        value, confidence = (torch.stack(leads, dim=1).float() for leads in (values, confidences))  # b k c h w
        return Source(BOUND * torch.tanh(value / BOUND), confidence)
