"""Local windows: cut from a frame, put back without seams."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

FULL = 0.25  # sum of weights from which on windows fully speak


def cut(
    frames: Float[Tensor, "b *axes h w"], corners: Int[Tensor, "b n 2"], size: int
) -> Float[Tensor, "bn *axes s s"]:
    """Windows of `size` x `size` cells at `corners`, those of one frame after the other: b n of them."""
    b, h, w = frames.shape[0], *frames.shape[-2:]
    index = cells(corners, size, w).flatten(start_dim=1)  # b (n s s)
    planes = frames.reshape(b, -1, h * w)
    found = planes.gather(2, index[:, None].expand(-1, planes.shape[1], -1))  # b axes (n s s)
    windows = rearrange(found, "b a (n i j) -> (b n) a i j", i=size, j=size)
    return windows.reshape(-1, *frames.shape[1:-2], size, size)


def paste(
    windows: Float[Tensor, "bn *axes s s"], corners: Int[Tensor, "b n 2"], size: Sequence[int]
) -> tuple[Float[Tensor, "b *axes h w"], Float[Tensor, "b 1 h w"]]:
    """Put windows back where they were cut, blended where they overlap.

    Returns the blend, and its presence: 1 where windows fully speak, falling smoothly to 0 where there is none.
    """
    b, s = corners.shape[0], windows.shape[-1]
    taper = _taper(windows)  # s s
    index = cells(corners, s, size[1]).flatten(start_dim=1)[:, None]  # b 1 (n s s)
    values = rearrange(windows.flatten(start_dim=1, end_dim=-3) * taper, "(b n) a i j -> b a (n i j)", b=b)
    weights = taper.expand(*corners.shape[:2], s, s).flatten(start_dim=1)[:, None]
    total, weight = (
        part.new_zeros(b, part.shape[1], size[0] * size[1]).scatter_add_(2, index.expand_as(part), part)
        for part in (values, weights)
    )
    blend = (total / weight.clamp(min=1e-12)).view(b, *windows.shape[1:-2], *size)
    return blend, (weight / FULL).clamp(max=1).view(b, 1, *size)


def cells(corners: Int[Tensor, "b n 2"], size: int, width: int) -> Int[Tensor, "b n s s"]:
    """Index of each window's cells in a frame of `width` columns, read row by row."""
    offset = torch.arange(size, device=corners.device)
    rows, cols = corners[..., 0, None] + offset, corners[..., 1, None] + offset  # b n s
    return rows[..., :, None] * width + cols[..., None, :]


def _taper(windows: Float[Tensor, "bn *axes s s"]) -> Float[Tensor, "s s"]:
    """Weight of a window's cells: a raised cosine that falls towards the edges and never reaches 0."""
    size = windows.shape[-1]
    phase = (torch.arange(size, device=windows.device, dtype=windows.dtype) + 0.5) / size
    edge = torch.sin(math.pi * phase) ** 2
    return edge[:, None] * edge[None, :]
