"""The cascade: the present split by scale, and how each scale is remembered along the flow.

Small scales of a field live shorter than large ones. S-PROG (Seed 2003, "A Dynamic and Spatial Scaling Approach to
Advection Forecasting", J. Appl. Meteorol. 42) forecasts each scale along the flow by an autoregression of its own. So
does the memory here. Its weights go with the lead as their course says (see `course.py`): any number of leads can be
asked for, and no weight grows without end. How steady a band has just been in the neighbourhood, and whether it grew,
may change its weight: S-PROG estimates its lifetimes from the latest frames, too.

| symbol | what |
|---|---|
| bands | the field between Gaussian means of growing width; together they are the field |
| change | how much each band changed along the flow since the frame before |
| steadiness | correlation of a band with itself one frame before, in the neighbourhood |
| growth | logarithm of the ratio of its mean square to that of one frame before, in the neighbourhood |
| level | the coarsest bands, softly bounded: how high the field is there |
| features | bands, change, bands times steadiness, growth and level, and 1 |
| weight | of a feature, Σ_j w_j course_j(lead) |
| w | what was fitted in closed form (see `training/memory.py`), and what has been learned beside it, in units of what \
all of the fit leaves: a step of learning is as small at a lead as its errors are, and weight decay leads back to the \
fit |
| memory | Σ_f weight_f(lead) · feature_f, over the features of all variables: what the last frame gains on its way, \
wherever it is |

Axes: b batch, k leads, c variables, n bands, f features, g features of all variables, j what the course is made of, h w
rows and columns.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from physicnet.model.course import Course, mix
from physicnet.model.smoothing import mean_around

WIDTHS = (1.0, 2.0, 4.0, 8.0, 16.0)  # standard deviations of the Gaussian means, cells
NUM_BASIS = 2 * (len(WIDTHS) + 1)  # the first features: bands and change
NUM_FEATURES = 5 * (len(WIDTHS) + 1) + 1
NEIGHBOURHOOD = 6.0  # standard deviation of the Gaussian that weighs neighbours, cells
FAINT = 1e-3  # mean square, in standard deviations, below which a band counts as steady and not growing


class Fit(NamedTuple):
    """A fitted memory: its weights, and the unit in which more is learned, standard deviations."""

    weights: Float[Tensor, "c g j"]
    units: Float[Tensor, "c j"]


class Memory(nn.Module):
    """The share of the source that is the same function of the scales everywhere. It starts at nothing."""

    fitted: Float[Tensor, "c g j"]
    units: Float[Tensor, "c j"]

    def __init__(self, variables: int, course: Course) -> None:
        super().__init__()
        self.course = course
        self.learned = nn.Parameter(torch.zeros(variables, variables * NUM_FEATURES, len(course)))
        self.register_buffer("fitted", torch.zeros_like(self.learned.data))
        self.register_buffer("units", torch.ones(variables, len(course)))

    def begin_with(self, fit: Fit) -> None:
        """Take a fit for all that is known."""
        self.fitted.copy_(fit.weights)
        self.units.copy_(fit.units)
        nn.init.zeros_(self.learned)

    @property
    def weights(self) -> Float[Tensor, "c g j"]:
        """Fitted and learned."""
        return self.fitted + self.units[:, None] * self.learned

    def forward(self, features: Float[Tensor, "b c f h w"], leads: Int[Tensor, " k"]) -> Float[Tensor, "b k c h w"]:
        """What is added to the last frame at some leads, in standard deviations."""
        weights = self.weights
        told = torch.einsum("kj,cgj->kcg", self.course(leads, weights), weights)
        gained = mix(told.flatten(end_dim=1), features.flatten(1, 2))
        return rearrange(gained, "b (k c) h w -> b k c h w", k=len(leads))


def first_leads(num_leads: int, like: Tensor) -> Int[Tensor, " k"]:
    """1..num_leads, made on the device of `like`: a table that came from the host would make a GPU wait."""
    return torch.arange(1, num_leads + 1, device=like.device)


def make_features(last: Float[Tensor, "b c h w"], before: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c f h w"]:
    """Features of a frame without missing cells and of the one before it, carried to the same time."""
    bands, earlier = split(last), split(before)
    squares, earlier_squares = (mean_around(part**2, NEIGHBOURHOOD) + FAINT for part in (bands, earlier))
    steadiness = (mean_around(bands * earlier, NEIGHBOURHOOD) + FAINT) / (squares * earlier_squares).sqrt()
    growth = torch.log(squares / earlier_squares).clamp(-1, 1)
    level = torch.tanh(bands[:, :, -2:].sum(dim=2, keepdim=True))
    parts = (bands, bands - earlier, bands * steadiness, bands * growth, bands * level, torch.ones_like(level))
    return torch.cat(parts, dim=2)


def split(frames: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c n h w"]:
    """The bands of each variable, the finest first; their sum is the frame."""
    means = [frames, *(mean_around(frames, width) for width in WIDTHS)]
    return torch.stack([*(fine - coarse for fine, coarse in pairwise(means)), means[-1]], dim=2)
