"""Local windows: cut from a frame, put back without seams."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from physicnet.fields import DataError

FULL = 0.25  # sum of weights from which on windows fully speak


def tile(height: int, width: int, window: int) -> Int[Tensor, "n 2"]:
    """Corners (row, column) of windows that cover a frame and overlap by at least half.

    Raises:
        DataError: if the frame is smaller than the window.
    """
    if min(height, width) < window:
        raise DataError(f"a frame of {height} x {width} cells is smaller than a local window of {window} x {window}")
    rows, cols = (_starts(length, window) for length in (height, width))
    return torch.cartesian_prod(rows, cols)


def covering(observed: Bool[Tensor, "h w"], size: int) -> Int[Tensor, "n 2"]:
    """The windows of `tile` that hold an observed cell (all of them, if there is none)."""
    corners = tile(observed.shape[0], observed.shape[1], size).to(observed.device)
    held = cut(observed[None, None].float(), corners[None], size).flatten(start_dim=1).any(dim=1)
    return corners[held] if held.any() else corners


def _starts(length: int, window: int) -> Int[Tensor, "n"]:
    steps = math.ceil((length - window) / (window // 2))
    return torch.linspace(0, length - window, steps + 1).round().long()


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
    canvas = Canvas(size)
    canvas.add(windows, corners)
    return canvas.blend(), canvas.presence()


class Canvas:
    """What `paste` draws on: a frame of `size` rows and columns, which takes windows group after group."""

    def __init__(self, size: Sequence[int]) -> None:
        self.size = size
        self._axes: Sequence[int] = ()
        self._total: Tensor | None = None  # b axes (h w)
        self._weight: Tensor | None = None  # b 1 (h w)

    def add(self, windows: Float[Tensor, "bn *axes s s"], corners: Int[Tensor, "b n 2"]) -> None:
        """Put one group of windows where it was cut; all groups have the same axes."""
        b, s = corners.shape[0], windows.shape[-1]
        taper = _taper(windows)  # s s
        index = cells(corners, s, self.size[1]).flatten(start_dim=1)[:, None]  # b 1 (n s s)
        values = rearrange(windows.flatten(start_dim=1, end_dim=-3) * taper, "(b n) a i j -> b a (n i j)", b=b)
        weights = taper.expand(*corners.shape[:2], s, s).flatten(start_dim=1)[:, None]
        if self._total is None or self._weight is None:
            self._axes = windows.shape[1:-2]
            self._total, self._weight = (
                part.new_zeros(b, part.shape[1], self.size[0] * self.size[1]) for part in (values, weights)
            )
        self._total = self._total.scatter_add_(2, index.expand_as(values), values)
        self._weight = self._weight.scatter_add_(2, index.expand_as(weights), weights)

    def blend(self) -> Float[Tensor, "b *axes h w"]:
        """The weighted mean of what was put on each cell; 0 where nothing was."""
        assert self._total is not None
        assert self._weight is not None
        return (self._total / self._weight.clamp(min=1e-12)).view(-1, *self._axes, *self.size)

    def presence(self) -> Float[Tensor, "b 1 h w"]:
        """How far windows speak of each cell, as `paste` returns it."""
        assert self._weight is not None
        return (self._weight / FULL).clamp(max=1).view(-1, 1, *self.size)


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
