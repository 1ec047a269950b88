"""The memory of the cascade, fitted to training clips in closed form before anything is trained by gradients.

| symbol | what |
|---|---|
| φ_k | features of all variables, carried to lead k along the first flow |
| r_k | truth at lead k minus the last frame carried there |
| e_kj | exp(-lead k / lifetime j) |

Least squares for the weights w of Σ_fj w_fj e_kj φ_kf ≈ r_k over all leads and observed cells. Each lead's moments
Σ φ φᵀ and Σ φ r are all that is kept of the clips, for each variable that is forecast.

Axes: as of `cascade.py`; n and m features of all variables.
"""

from collections.abc import Iterable

import torch
from einops import einsum, rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from physicnet.model.cascade import LIFETIMES, decays, first_leads
from physicnet.model.physicnet import first_guess
from physicnet.model.warp import carry
from physicnet.training.losses import split_missing

RIDGE = 1e-3  # added to the diagonal of the normal equations, relative to it: the features overlap
FAINT = 1e-3  # standard deviations; a feature as weak as this has no say, or rounding would have one


@torch.no_grad()
def fit_memory(
    clips: Iterable[Float[Tensor, "t c h w"]], frames_in: int, *, moves: bool = True
) -> Float[Tensor, "c n j"]:
    """Weights of `Memory` for standardised clips: `frames_in` observed frames and the leads after them.

    Unless the model `moves`, nothing is carried anywhere.
    """
    each = (moments(clip[None], frames_in, moves=moves) for clip in clips)
    gram, moment = (sum(parts) for parts in zip(*each, strict=True))
    fading = decays(first_leads(gram.shape[1], gram), LIFETIMES, gram)
    squares = einsum(gram, fading, fading, "c k n m, k i, k j -> c n i m j")
    squares = rearrange(squares, "c n i m j -> c (n i) (m j)")
    products = rearrange(einsum(moment, fading, "c k n, k j -> c n j"), "c n j -> c (n j)")
    cells = gram[:, :, -1, -1].sum(dim=1)[:, None]  # c 1; the last feature is 1
    ridge = RIDGE * squares.diagonal(dim1=1, dim2=2) + FAINT**2 * cells.clamp(min=1)
    normal = squares + torch.diag_embed(ridge)
    # One variable after the other: torch 2.13 with MKL solves a batch of such matrices wrongly on several threads.
    weights = torch.stack([torch.linalg.solve(*pair) for pair in zip(normal, products, strict=True)])
    return rearrange(weights, "c (n j) -> c n j", j=len(LIFETIMES)).float()


def moments(
    clip: Float[Tensor, "b t c h w"], frames_in: int, *, moves: bool = True
) -> tuple[Float[Tensor, "c k n n"], Float[Tensor, "c k n"]]:
    """Σ φ φᵀ and Σ φ r of each lead, over cells whose truth was observed and whose parcel came from within the view."""
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
    return gram, einsum(rest * weight, features, "b k c h w, b k n h w -> c k n")
