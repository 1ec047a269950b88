"""How the weights of what is added to a field go with the lead: they fade for ever, or follow a spline.

| course | a weight at lead k |
|---|---|
| Fading | Σ_j w_j exp(-k / lifetime_j): tells of any lead what those that were trained tell of it |
| Spline | a natural cubic spline through 0 at lead 0 and w_r at knot r; the last knot is the last trained lead, and \
after it nothing changes |

A field that loses what it had, as rain does, needs a few decays, and may be asked for far more leads than were trained.
Where fields swing and turn over in the course of a clip, sums of decays cannot follow, and miss the first lead most:
they need not begin at 0. What that costs: docs/decisions/0031.

Axes: k leads, j what the course is made of: lifetimes or knots.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.interpolate import CubicSpline
from torch import Tensor, nn

LIFETIMES = (1.0, 3.0, 10.0, 30.0, float("inf"))  # leads
CLOSE = (1, 2, 4, 7, 11)  # leads; the first knots, and thereafter one every APART leads
APART = 5


class Fading(nn.Module):
    """Decays at LIFETIMES."""

    knots: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(LIFETIMES)

    def forward(self, leads: Int[Tensor, " k"], like: Tensor) -> Float[Tensor, "k j"]:
        """What each weight counts at some leads, in the precision of `like`."""
        return decays(leads, LIFETIMES, like)


class Spline(nn.Module):
    """A natural cubic spline over the leads 1..`frames_out`."""

    table: Float[Tensor, "k j"]

    def __init__(self, frames_out: int) -> None:
        super().__init__()
        self.knots = knots_to(frames_out)
        leads = np.arange(1, frames_out + 1)
        each = CubicSpline((0, *self.knots), np.eye(1 + len(self.knots)), bc_type="natural")(leads)
        self.register_buffer("table", torch.from_numpy(each[:, 1:]), persistent=False)  # at lead 0 there is no weight

    def __len__(self) -> int:
        return len(self.knots)

    def forward(self, leads: Int[Tensor, " k"], like: Tensor) -> Float[Tensor, "k j"]:
        """What each weight counts at some leads, in the precision of `like`."""
        return self.table.index_select(0, leads.clamp(max=len(self.table)) - 1).to(like)


Course = Fading | Spline


def knots_to(frames_out: int) -> tuple[int, ...]:
    """The leads of a spline's knots: close to each other at first, and the last one that is trained."""
    inner = (*CLOSE, *range(CLOSE[-1] + APART - 1, frames_out, APART))
    return (*(lead for lead in inner if lead < frames_out), frames_out)


def mix(weights: Float[Tensor, "k j"], parts: Float[Tensor, "b j ..."]) -> Float[Tensor, "b k ..."]:
    """Weighted sums of parts, by one product: they lie one after the other in memory, wherever the parts lie."""
    planes = parts.flatten(start_dim=2)
    mixed = torch.bmm(weights.expand(len(planes), -1, -1), planes)
    return mixed.view(*mixed.shape[:2], *parts.shape[2:])


def decays(leads: Int[Tensor, " k"], lifetimes: Sequence[float], like: Tensor) -> Float[Tensor, "k j"]:
    """exp(-lead / lifetime), in the precision of `like`."""
    return torch.exp(-torch.stack([leads.double() / lifetime for lifetime in lifetimes], dim=1).to(like))
