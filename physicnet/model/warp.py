"""Where a parcel came from, and what it brings along.

Symbols: `flow` v (x, y) in pixels per step, forward in time; `displacement` d (x, y) in pixels, from a pixel to the
place at time 0 that its parcel came from; `paths` the displacements of leads 1, 2, ... This is the one file that says
it; every other file refers to it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

FADE = 0.3  # share of the passing flow that is left one lead later (measured: docs/decisions/0003)


def sample(
    field: Float[Tensor, "b c h w"], displacement: Float[Tensor, "b 2 h w"], *, padding: str = "border"
) -> Float[Tensor, "b c h w"]:
    """Values of `field` at x + displacement(x), bilinear between cell centres.

    Args:
        field: what is looked up.
        displacement: (x, y) in pixels.
        padding: `"border"` continues the outermost cells outside the field, `"zeros"` knows nothing there.
    """
    _, _, h, w = field.shape
    field = field.to(torch.promote_types(field.dtype, torch.float32))  # half precision cannot tell far cells apart
    rows = torch.arange(h, device=field.device, dtype=field.dtype)
    cols = torch.arange(w, device=field.device, dtype=field.dtype)
    x = (cols[None, None, :] + displacement[:, 0] + 0.5) * (2 / w) - 1  # b h w
    y = (rows[None, :, None] + displacement[:, 1] + 0.5) * (2 / h) - 1  # b h w
    return F.grid_sample(field, torch.stack((x, y), dim=-1), padding_mode=padding, align_corners=False)


def sample_observed(
    field: Float[Tensor, "b c h w"], observed: Float[Tensor, "b c h w"], displacement: Float[Tensor, "b 2 h w"]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """Like `sample`, over observed cells only.

    Returns the mean of the observed cells among the four neighbours (0 where there is none) and the share of the
    bilinear weight that was observed (0 outside the field).
    """
    share = sample(observed, displacement, padding="zeros")
    value = sample(field * observed, displacement, padding="zeros")
    return torch.where(share > 1e-3, value / share.clamp(min=1e-3), 0.0), share


def trajectories(
    flow: Float[Tensor, "b 2 h w"], num_leads: int, *, passing: Float[Tensor, "b 2 h w"] | None = None
) -> Float[Tensor, "b k 2 h w"]:
    """Backward displacements of leads 1..num_leads in a flow that stays and a `passing` one that fades lead by lead.

    Each step goes back along the velocity at its own midpoint (Staniforth and Côté 1991, eq. 10, one iteration):
    d_k(x) = s_k(x) + d_{k-1}(x + s_k(x)) with s_k(x) = -v_k(x - v_k(x)/2) and v_k = flow + FADE^(k-1) passing.
    """
    displacements: list[Tensor] = []
    for lead in range(num_leads):
        velocity = flow if passing is None else flow + FADE**lead * passing
        step = -sample(velocity, -velocity / 2)
        displacements.append(step + sample(displacements[-1], step) if displacements else step)
    return torch.stack(displacements, dim=1)


def carry(
    frames: Float[Tensor, "b k c h w"], paths: Float[Tensor, "b k 2 h w"] | None, *, padding: str = "border"
) -> Float[Tensor, "b k c h w"]:
    """`sample` for every lead: each frame where its path leads from; without paths each stays where it is."""
    if paths is None:
        return frames
    leads = zip(frames.unbind(dim=1), paths.unbind(dim=1), strict=True)  # one by one: all at once take much memory
    return torch.stack([sample(frame, path, padding=padding) for frame, path in leads], dim=1)


def resize(field: Float[Tensor, "*batch h w"], size: Sequence[int]) -> Float[Tensor, "*batch i j"]:
    """Bilinear interpolation to another grid over the same area."""
    planes = field.flatten(end_dim=-3)[:, None]
    return F.interpolate(planes, size=list(size), mode="bilinear", align_corners=False).view(*field.shape[:-2], *size)
