"""The memory of the cascade, fitted to training clips in closed form before anything is trained by gradients.

| symbol | what |
|---|---|
| φ_k | features of all variables, carried to lead k along the first flow |
| r_k | truth at lead k minus the last frame carried there |
| e_kj | what weight j counts at lead k (see `course.py`) |

Least squares for the weights w of Σ_fj w_fj e_kj φ_kf ≈ r_k over all leads and observed cells. Each lead's moments
Σ φ φᵀ, Σ φ r and Σ r² are all that is kept of the clips, for each variable that is forecast. A memory can be cautious:
of what it would tell badly, it tells nothing.

Axes: as of `cascade.py`; n and m features of all variables.
"""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from physicnet.data.dataset import Clips
from physicnet.model.cascade import Fit, first_leads
from physicnet.model.course import Course
from physicnet.model.physicnet import PhysicNet, first_guess
from physicnet.model.warp import carry
from physicnet.training.losses import split_missing

CLIPS = 48  # from which a memory is fitted, at least; three times as many forecast no better
WELL, BADLY = 0.25, 0.5  # shares of the change that are left where a cautious memory is whole, and where nothing
RIDGE = 1e-3  # added to the diagonal of the normal equations, relative to it: the features overlap
FAINT = 1e-3  # standard deviations; a feature as weak as this has no say, or rounding would have one


def first_memory(net: PhysicNet, clips: Clips, frames_in: int) -> Fit:
    """The memory that `net` begins with, fitted to some of the clips.

    Where a level draws and nothing is carried, it is a cautious one.
    """
    cautious = net.global_level.source.drawing is not None and not net.moves
    return fit_memory(clips.spread(CLIPS), frames_in, net.memory.course, moves=net.moves, cautious=cautious)


class Moments(NamedTuple):
    """Sums over the cells of each lead whose truth was observed and whose parcel came from within the view."""

    gram: Float[Tensor, "c k n n"]  # of φ φᵀ
    moment: Float[Tensor, "c k n"]  # of φ r
    square: Float[Tensor, "c k"]  # of r²

    @property
    def cells(self) -> Float[Tensor, "c k"]:
        """How many: the last feature is 1."""
        return self.gram[:, :, -1, -1]


@torch.no_grad()
def fit_memory(
    clips: Iterable[Float[Tensor, "t c h w"]],
    frames_in: int,
    course: Course,
    *,
    moves: bool = True,
    cautious: bool = False,
) -> Fit:
    """Weights of a `Memory` for standardised clips: `frames_in` observed frames and the leads after them.

    Unless the model `moves`, nothing is carried anywhere. A `cautious` memory, on a spline, is silent at knots of which
    it would tell badly: what it leaves there is harder to draw than the whole (docs/decisions/0033).
    """
    each = (moments(clip[None], frames_in, moves=moves) for clip in clips)
    sums = reduce(lambda total, more: Moments(*map(torch.add, total, more)), each)
    fading = course(first_leads(sums.square.shape[1], sums.square), sums.square)
    weights = solve(sums, fading)
    left = unexplained(sums, einsum(weights, fading, "c n j, k j -> c k n"))
    at_knots = [knot - 1 for knot in course.knots]
    if cautious:
        weights = weights * trust(left, unexplained(sums, torch.zeros_like(sums.moment)))[:, None, at_knots]
    units = left[:, at_knots] if at_knots else left.new_ones(len(left), len(course))
    return Fit(weights.float(), units.float())


def trust(left: Float[Tensor, "c k"], change: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """How much of a cautious memory is kept, 0 to 1: by how much of the change is left by all of it."""
    return ((BADLY - left / change.clamp(min=FAINT)) / (BADLY - WELL)).clamp(0, 1)


def solve(sums: Moments, fading: Float[Tensor, "k j"]) -> Float[Tensor, "c n j"]:
    """The weights of least squares."""
    gram, moment, _ = sums
    squares = einsum(gram, fading, fading, "c k n m, k i, k j -> c n i m j")
    squares = rearrange(squares, "c n i m j -> c (n i) (m j)")
    products = rearrange(einsum(moment, fading, "c k n, k j -> c n j"), "c n j -> c (n j)")
    cells = sums.cells.sum(dim=1)[:, None]  # c 1
    ridge = RIDGE * squares.diagonal(dim1=1, dim2=2) + FAINT**2 * cells.clamp(min=1)
    normal = squares + torch.diag_embed(ridge)
    # One variable after the other: torch 2.13 with MKL solves a batch of such matrices wrongly on several threads.
    weights = torch.stack([torch.linalg.solve(*pair) for pair in zip(normal, products, strict=True)])
    return rearrange(weights, "c (n j) -> c n j", j=fading.shape[1])


def unexplained(sums: Moments, weights: Float[Tensor, "c k n"]) -> Float[Tensor, "c k"]:
    """Root mean square of what some weights of the features leave of r, in standard deviations."""
    told = einsum(weights, sums.moment, "c k n, c k n -> c k")
    squared = einsum(weights, sums.gram, weights, "c k n, c k n m, c k m -> c k")
    return ((sums.square - 2 * told + squared).clamp(min=0) / sums.cells.clamp(min=1)).sqrt()


def moments(clip: Float[Tensor, "b t c h w"], frames_in: int, *, moves: bool = True) -> Moments:
    """The sums of some clips."""
    values, observed = split_missing(clip)
    truth, seen = values[:, frames_in:], observed[:, frames_in:]
    guess = first_guess(values[:, :frames_in], observed[:, :frames_in], truth.shape[1], moves=moves)

    def carried(field: Float[Tensor, "b n h w"], padding: str = "border") -> Float[Tensor, "b k n h w"]:
        return carry(repeat(field, "b n h w -> b k n h w", k=truth.shape[1]), guess.paths, padding=padding)

    inside = carried(torch.ones_like(guess.frame[:, :1]), padding="zeros")
    weight = (seen * inside).double()
    rest = (truth - carried(guess.frame)).double()
    features = carried(rearrange(guess.features, "b c f h w -> b (c f) h w")).double()  # b k n h w
    if (weight == weight[:, :, :1]).all():  # as a rule: all variables are observed at the same cells
        weight = weight[:, :, :1]
    grams = []
    for share in weight.unbind(dim=2):
        # The weight first: left to right, einsum would make all products of two features in every cell.
        grams.append(einsum(features * share[:, :, None], features, "b k n h w, b k m h w -> k n m"))
    gram = torch.stack(grams).expand(rest.shape[2], -1, -1, -1)
    weighted = rest * weight
    return Moments(
        gram,
        einsum(weighted, features, "b k c h w, b k n h w -> c k n"),
        einsum(weighted, rest, "b k c h w, b k c h w -> c k"),
    )
