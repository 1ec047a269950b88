"""Where a parcel came from, and what it brings along.

Symbols: `flow` v (x, y) in pixels per step, forward in time; `displacement` d (x, y) in pixels, from a pixel to the
place at time 0 that its parcel came from; `paths` the displacements of leads 1, 2, ... This is the one file that says
it; every other file refers to it.
"""

from collections.abc import Sequence
from typing import NamedTuple

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
    places = Places.of(displacement)
    return read(field, places.seen(displacement), padding=padding)


class Places(NamedTuple):
    """Where the cells of a grid lie, and how far a pixel is, as `grid_sample` counts: from -1 to 1 across the grid."""

    own: Float[Tensor, "h w 2"]
    pixel: Float[Tensor, " 2"]

    @classmethod
    def of(cls, like: Float[Tensor, "*batch 2 h w"]) -> "Places":
        """The cells of a field's grid, in single precision at least: half precision cannot tell far cells apart."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        axes = [
            (torch.arange(n, device=like.device, dtype=dtype) + 0.5) * (2 / n) - 1 for n in reversed(like.shape[-2:])
        ]
        pixel = [like.new_full((1,), 2 / n, dtype=dtype) for n in reversed(like.shape[-2:])]
        return cls(torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1), torch.cat(pixel))

    def seen(self, displacement: Float[Tensor, "*batch 2 h w"], times: float = 1.0) -> Float[Tensor, "*batch h w 2"]:
        """x + `times` displacement(x), of every cell."""
        moved = displacement.to(self.own.dtype).movedim(-3, -1)
        return torch.addcmul(self.own, moved, self.pixel, value=times)


def read(
    field: Float[Tensor, "b c h w"], places: Float[Tensor, "b h w 2"], *, padding: str = "border"
) -> Float[Tensor, "b c h w"]:
    """`sample` at places that are known; in double precision if either is."""
    dtype = torch.promote_types(field.dtype, places.dtype)
    return F.grid_sample(field.to(dtype), places.to(dtype), padding_mode=padding, align_corners=False)


def sample_observed(
    field: Float[Tensor, "b c h w"], observed: Float[Tensor, "b c h w"], displacement: Float[Tensor, "b 2 h w"]
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """Like `sample`, over observed cells only.

    Returns the mean of the observed cells among the four neighbours (0 where there is none) and the share of the
    bilinear weight that was observed (0 outside the field).
    """
    places = Places.of(displacement).seen(displacement)
    share = read(observed, places, padding="zeros")
    value = read(field * observed, places, padding="zeros")
    return torch.where(share > 1e-3, value / share.clamp(min=1e-3), 0.0), share


def trajectories(
    flow: Float[Tensor, "b 2 h w"], num_leads: int, *, passing: Float[Tensor, "b 2 h w"] | None = None
) -> Float[Tensor, "b k 2 h w"]:
    """Backward displacements of leads 1..num_leads in a flow that stays and a `passing` one that fades lead by lead.

    Each step goes back along the velocity at its own midpoint (Staniforth and Côté 1991, eq. 10, one iteration):
    d_k(x) = s_k(x) + d_{k-1}(x + s_k(x)) with s_k(x) = -v_k(x - v_k(x)/2) and v_k = flow + FADE^(k-1) passing.
    """
    places, ways = Places.of(flow), list[Tensor]()  # the ways forward, -d_k
    for lead in range(num_leads):
        velocity = flow if passing is None else torch.add(flow, passing, alpha=FADE**lead)
        step = read(velocity, places.seen(velocity, -0.5))  # -s_k
        ways.append(step + read(ways[-1], places.seen(step, -1.0)) if ways else step)
    return -torch.stack(ways, dim=1)


def carry(
    frames: Float[Tensor, "b k c h w"], paths: Float[Tensor, "b k 2 h w"] | None, *, padding: str = "border"
) -> Float[Tensor, "b k c h w"]:
    """`sample` for every lead: each frame where its path leads from; without paths each stays where it is."""
    if paths is None:
        return frames
    places = Places.of(paths).seen(paths)  # b k h w 2
    leads = zip(frames.unbind(dim=1), places.unbind(dim=1), strict=True)  # one by one: all at once take much memory
    return torch.stack([read(frame, place, padding=padding) for frame, place in leads], dim=1)


def resize(field: Float[Tensor, "*batch h w"], size: Sequence[int]) -> Float[Tensor, "*batch i j"]:
    """Bilinear interpolation to another grid over the same area."""
    planes = field.flatten(end_dim=-3)[:, None]
    return F.interpolate(planes, size=list(size), mode="bilinear", align_corners=False).view(*field.shape[:-2], *size)
