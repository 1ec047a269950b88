"""Gaussian means of a field."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

FINENESS = 3.0  # cells in the standard deviation of a wide mean, at least, on the coarser grid that it is taken on


def blur(field: Float[Tensor, "... h w"], width: float) -> Float[Tensor, "... h w"]:
    """Gaussian mean of standard deviation `width` cells; cells outside the field count as zero.

    Written as two matrix products: on grids this small they are several times faster than long convolutions.
    """
    rows, cols = (_gaussian(length, width, field.dtype, field.device) for length in field.shape[-2:])
    return rows @ field @ cols


def blur_coarsely(field: Float[Tensor, "... h w"], width: float) -> Float[Tensor, "... h w"]:
    """The same within 8 % even of white noise (root mean square), and faster by far where the mean is wide.

    It is taken of block means, on a coarser grid, and interpolated.
    """
    factor = 2 ** max(0, math.floor(math.log2(width / FINENESS)))
    if factor == 1:
        return blur(field, width)
    h, w = field.shape[-2:]
    planes = F.pad(field.reshape(-1, 1, h, w), (0, -w % factor, 0, -h % factor))
    # Variances add up: of the mean over a block (factor² - 1)/12, of the interpolation factor²/6.
    rest = math.sqrt(width**2 - (factor**2 / 4 - 1 / 12)) / factor
    fine = F.interpolate(blur(F.avg_pool2d(planes, factor), rest), scale_factor=factor, mode="bilinear")
    return fine[..., :h, :w].reshape(field.shape)


def mean_around(field: Float[Tensor, "... h w"], width: float) -> Float[Tensor, "... h w"]:
    """`blur_coarsely` over the cells of the field alone: a constant stays what it is up to the border."""
    inside = torch.ones_like(field[(0,) * (field.ndim - 2)])
    return blur_coarsely(field, width) / blur_coarsely(inside, width)


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Keep a trace or a graph from the matrices that were made before, and all else from those that are made in it.

    A trace would take the former for constants and hold them; a graph would read them after they were let go. The
    latter are stand-ins, or have no values before the graph runs.
    """
    _gaussian.cache_clear()
    try:
        yield
    finally:
        _gaussian.cache_clear()


@lru_cache(maxsize=64)
def _gaussian(length: int, width: float, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "n n"]:
    cell = torch.arange(length, device=device, dtype=dtype)
    weights = torch.exp(-0.5 * ((cell[:, None] - cell[None, :]) / width) ** 2)
    return weights / (width * math.sqrt(2 * math.pi))
