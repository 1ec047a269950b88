"""The cascade: the present split by scale, and how long each scale is remembered along the flow.

Small scales of a field live shorter than large ones. S-PROG (Seed 2003, "A Dynamic and Spatial Scaling Approach to
Advection Forecasting", J. Appl. Meteorol. 42) forecasts each scale along the flow by an autoregression of its own. So
does the memory here. Its weights are sums of exponentials of the lead: any number of leads can be asked for, and no
weight grows with them.

| symbol | what |
|---|---|
| bands | the field between Gaussian means of growing width; together they are the field |
| features | the bands of the last frame, how much each changed along the flow since the frame before, and 1 |
| weight | of a feature, Σ_j w_j exp(-lead / lifetime_j) |
| memory | Σ_f weight_f(lead) · feature_f: what the last frame gains on its way, wherever it is |

Axes: b batch, k leads, c variables, n bands, f features, j lifetimes, h w rows and columns.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physicnet.model.motion import blur

WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)  # standard deviations of the Gaussian means, cells
LIFETIMES = (1.0, 3.0, 10.0, 30.0, float("inf"))  # leads
NUM_FEATURES = 2 * (len(WIDTHS) + 1) + 1


class Memory(nn.Module):
    """The share of the source that is the same function of the scales everywhere. It starts at nothing."""

    def __init__(self, variables: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(variables, NUM_FEATURES, len(LIFETIMES)))

    def forward(self, features: Float[Tensor, "b c f h w"], num_leads: int) -> Float[Tensor, "b k c h w"]:
        """What is added to the last frame at leads 1..num_leads, in standard deviations."""
        decays = torch.exp(-exponents(num_leads).to(self.weights))
        return torch.einsum("bcfhw,cfj,kj->bkchw", features, self.weights, decays)


def exponents(num_leads: int) -> Float[Tensor, "k j"]:
    """lead / lifetime, of leads 1..num_leads."""
    leads = torch.arange(1, num_leads + 1, dtype=torch.float64)
    return leads[:, None] / torch.tensor(LIFETIMES, dtype=torch.float64)


def make_features(last: Float[Tensor, "b c h w"], before: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c f h w"]:
    """Features of a frame without missing cells and of the one before it, carried to the same time."""
    bands = split(last)
    return torch.cat((bands, bands - split(before), torch.ones_like(bands[:, :, :1])), dim=2)


def split(frames: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c n h w"]:
    """The bands of each variable, the finest first; their sum is the frame."""
    inside = torch.ones_like(frames[:1, :1])
    means = [frames, *(blur(frames, width) / blur(inside, width) for width in WIDTHS)]
    return torch.stack([*(fine - coarse for fine, coarse in pairwise(means)), means[-1]], dim=2)
