"""A first flow from the frames themselves, without a learned parameter.

Coarse to fine: matching on a coarse grid finds large motion (Anandan 1989, doi:10.1007/BF00158167), dense Lucas–Kanade
steps on finer grids give it sub-pixel accuracy (Lucas and Kanade 1981). The frames of a clip share one flow: motion
changes slower than fields. Flow is (x, y) in pixels per step, as `warp.py` defines it. Missing cells are evidence of
nothing: `observed` is 1 where a value was seen, 0 where not.
"""

from typing import NamedTuple

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from physicnet.model.smoothing import blur
from physicnet.model.warp import resize, sample_observed

COARSE = 4  # cells of the frame per cell of the matching grid
RADIUS = 5  # cells of the matching grid searched in each direction: 20 pixels of the frame per step
NARROW, WIDE = 8.0, 20.0  # standard deviations of the matching windows, cells of the matching grid
GUIDE = 0.5  # weight of the wide window, which decides where the narrow one sees nothing
FALLBACK = 0.05  # weight of the mean over the frame, which decides where neither does
DOUBT = 1e-5  # count of terms below which the mean error of a shift is that of all shifts
SHARPNESS = 12.0  # of the soft minimum over the shifts
CHANCE, CLEAR = 0.12, 0.16  # by what share the best shift must beat the mean of all to be believed not at all, fully
REFINEMENTS = ((4, 4.0), (2, 7.0))  # cells per cell, and the window's standard deviation in them
FINE = 4.0  # standard deviation of the windows in which passing motion is seen, cells of the frame
DAMPING = 0.02  # of the normal equations, relative to their mean trace
RECENCY = 0.1  # weight of a pair of frames, relative to the pair after it
LONGEST_STEP = 1.5  # cells; a linearisation reaches no farther


def estimate_flow(past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b 2 h w"]:
    """Flow that best carries each frame of `past` into the next."""
    flow = COARSE * match(*shrink(past, observed, COARSE))  # b 2 h/4 w/4, in pixels of the frame
    for factor, width in REFINEMENTS:
        frames, seen = shrink(past, observed, factor)
        flow = resize(flow, frames.shape[-2:])
        (evidence,) = lucas_kanade(frames, seen, flow / factor, width)
        flow = flow + factor * evidence.step
    return resize(flow, past.shape[-2:])


@torch.no_grad()
def passing_flow(
    past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"], flow: Float[Tensor, "b 2 h w"]
) -> Float[Tensor, "b 2 h w"]:
    """What the frames see of motion on finer scales than `flow` tells: it is real, and does not last."""
    (evidence,) = lucas_kanade(past, observed, flow, FINE)
    return evidence.step


def shrink(
    past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"], factor: int
) -> tuple[Float[Tensor, "b t c i j"], Float[Tensor, "b t c i j"]]:
    """Means of the observed cells in blocks of factor x factor, and which blocks were observed by half or more."""
    t = past.shape[1]
    frames, seen = rearrange(past, "b t c h w -> (b t) c h w"), rearrange(observed, "b t c h w -> (b t) c h w")
    share = F.avg_pool2d(seen, factor, ceil_mode=True)
    mean = F.avg_pool2d(frames * seen, factor, ceil_mode=True) / share.clamp(min=1e-3)
    split = "(b t) c h w -> b t c h w"
    return rearrange(mean, split, t=t), rearrange((share >= 0.5).to(past), split, t=t)


def match(frames: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b 2 h w"]:
    """Whole-cell shift of least squared difference between neighbouring frames, interpolated between shifts.

    It gives way to no shift where the best one fits hardly better than any: of noise, some shift always fits best.
    """
    error, weight = _mismatches(frames, observed)  # b n h w
    typical = error.sum(dim=(1, 2, 3), keepdim=True) / weight.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    narrow, wide = (_mean(blur(error, width), blur(weight, width), typical) for width in (NARROW, WIDE))
    whole = _mean(error.sum(dim=(2, 3), keepdim=True), weight.sum(dim=(2, 3), keepdim=True), typical)
    cost = narrow + GUIDE * wide + FALLBACK * whole
    mean = cost.mean(dim=1, keepdim=True)
    spread = (mean - cost.amin(dim=1, keepdim=True)).clamp(min=1e-6)
    belief = torch.softmax(-SHARPNESS * cost / spread, dim=1)
    clarity = ((spread / mean.clamp(min=1e-6) - CHANCE) / (CLEAR - CHANCE)).clamp(0, 1)
    reach = torch.arange(-RADIUS, RADIUS + 1, device=frames.device, dtype=frames.dtype)
    rows, cols = torch.meshgrid(reach, reach, indexing="ij")
    ways = torch.stack((-cols.flatten(), rows.flatten()), dim=1)  # n 2, of the shifts in their order
    return clarity * torch.einsum("bnhw,nd->bdhw", belief, ways)


def _mismatches(
    frames: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"]
) -> tuple[Float[Tensor, "b n h w"], Float[Tensor, "b n h w"]]:
    """Squared difference of each frame and the one before it, summed, and the count of its terms, for every shift.

    Shifts run from -RADIUS to RADIUS in y, and for each of them from RADIUS to -RADIUS in x.
    """
    errors, weights = [], []
    late, seen_late = frames[:, 1:, :, None], observed[:, 1:, :, None]  # b t-1 c 1 h w
    early, seen_early = (F.pad(part[:, :-1], (RADIUS,) * 4) for part in (frames, observed))
    for y in range(-RADIUS, RADIUS + 1):  # row by row: all shifts at once take much memory
        shifted, seen = (_beside(part, y, frames.shape[-2]) for part in (early, seen_early))
        seen = seen * seen_late
        errors.append(((late - shifted) ** 2 * seen).sum(dim=(1, 2)))
        weights.append(seen.sum(dim=(1, 2)))
    return torch.cat(errors, dim=1), torch.cat(weights, dim=1)


def _beside(padded: Float[Tensor, "b t c y x"], down: int, height: int) -> Float[Tensor, "b t c n h w"]:
    """A frame shifted by `down` rows and by RADIUS to -RADIUS columns, without a copy."""
    rows = padded[..., RADIUS - down : RADIUS - down + height, :]
    return rearrange(rows.unfold(-1, rows.shape[-1] - 2 * RADIUS, 1), "b t c h n w -> b t c n h w")


def _mean(
    error: Float[Tensor, "b n h w"], weight: Float[Tensor, "b n h w"], typical: Float[Tensor, "b 1 1 1"]
) -> Float[Tensor, "b n h w"]:
    """Mean error of a shift; `typical` where nothing was seen under it, or what no one saw would seem to fit best."""
    return (error + DOUBT * typical) / (weight + DOUBT)


class Evidence(NamedTuple):
    """What the frames say of a flow: the correction they ask for, in cells per step, and how firmly (0 to 1)."""

    step: Float[Tensor, "b 2 h w"]
    firmness: Float[Tensor, "b 1 h w"]


def lucas_kanade(
    frames: Float[Tensor, "b t c h w"],
    observed: Float[Tensor, "b t c h w"],
    flow: Float[Tensor, "b 2 h w"],
    *widths: float,
) -> list[Evidence]:
    """Least-squares corrections of `flow`, from windows of standard deviation `widths` cells around each cell."""
    b, t = frames.shape[:2]
    early, seen = (rearrange(part[:, :-1], "b t c h w -> (b t) c h w") for part in (frames, observed))
    late, seen_late = (rearrange(part[:, 1:], "b t c h w -> (b t) c h w") for part in (frames, observed))
    carried, share = sample_observed(early, seen, -repeat(flow, "b d h w -> (b t) d h w", t=t - 1))
    valid = _erode((share > 0.99) * seen_late)
    gx, gy = _gradient((carried + late) / 2)
    change = late - carried
    products = torch.stack((gx * gx, gx * gy, gy * gy, gx * change, gy * change), dim=1) * valid[:, None]
    recent = RECENCY ** torch.arange(t - 2, -1, -1, device=frames.device, dtype=frames.dtype)  # of each pair
    products = rearrange(products, "(b t) n c h w -> b n c h w t", b=b) @ (recent / recent.mean())
    terms = products.sum(dim=2)
    return [_solve(blur(terms, width)) for width in widths]


def _solve(terms: Float[Tensor, "b 5 h w"]) -> Evidence:
    """Solve the damped normal equations [[xx, xy], [xy, yy]] step = -[xt, yt] cell by cell."""
    xx, xy, yy, xt, yt = terms.unbind(dim=1)
    damping = DAMPING * (xx + yy).mean(dim=(1, 2), keepdim=True) + 1e-8
    determinant = (xx + damping) * (yy + damping) - xy * xy
    step = -torch.stack(((yy + damping) * xt - xy * yt, (xx + damping) * yt - xy * xt), dim=1) / determinant[:, None]
    firmness = (xx * yy - xy * xy) / determinant
    return Evidence(step.clamp(-LONGEST_STEP, LONGEST_STEP), firmness[:, None].clamp(0, 1))


def _gradient(field: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """Central differences along x and y, one-sided zero-slope at the borders."""
    padded = F.pad(field, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def _erode(valid: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """1 where the cell and its eight neighbours are valid: the gradient of a cell looks at them."""
    return -F.max_pool2d(-valid, 3, stride=1, padding=1)
