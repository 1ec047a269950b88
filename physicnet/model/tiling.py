"""Frames too large to be forecast at once: overlapping tiles, each forecast alone, blended where it is sure of itself.

The model sees a tile as a frame of its own. Near its inner edges a tile knows too little: what lies beyond is neither
within the receptive field nor carried into the tile. So tiles overlap by more than twice this halo, and where two
overlap, one gives way to the other within `BLEND` cells around the middle. Weights sum to 1 in every cell.

| symbol | what |
|---|---|
| halo | cells from an inner edge of a tile within which its forecast is not used |
| overlap | cells that neighbouring tiles share at least: 2 halo + BLEND |

What looks farther than any halo: the damping of the Lucas-Kanade equations, relative to their mean over the view, and
the weak pull of the flow towards the motion of the whole view. A tile takes these over itself, as training takes them
over views; so tiles and the whole differ a little (benchmarks/README.md). The limits of `grow` are the whole frame's.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from physicnet.fields import DataError
from physicnet.model.motion import estimate_flow, shrink
from physicnet.model.physicnet import PhysicNet, Prediction, range_of

GRID = 8  # cells of the frame per cell of the coarsest grid: tiles begin on that grid, so that all grids agree
REACH = 64  # cells; halo of a field that does not move
BLEND = 32  # cells within which neighbouring tiles change places
SMALLEST = 64  # cells of a tile's side that overlap neither neighbour, at least


class Tile(NamedTuple):
    """Part of a frame, and how much its forecast counts there."""

    rows: slice
    cols: slice
    weight: Float[Tensor, "i j"]

    def of(self, frames: Float[Tensor, "*axes h w"]) -> Float[Tensor, "*axes i j"]:
        """The part of a frame that the tile covers."""
        return frames[..., self.rows, self.cols]


def predict_by_tiles(
    net: PhysicNet,
    past: Float[Tensor, "t c h w"],
    observed: Float[Tensor, "t c h w"],
    num_leads: int,
    *,
    tile_cells: int,
    device: torch.device,
) -> Iterator[tuple[Tile, Prediction]]:
    """Forecast a frame tile by tile; one that has at most `tile_cells` cells is one tile.

    Raises:
        DataError: if so few cells are too few for tiles that overlap as far as the field moves within `num_leads`.
    """
    within = range_of(past[None]).to(device)
    for tile in lay_out(past, observed, num_leads, tile_cells=tile_cells):
        frames, seen = tile.of(past), tile.of(observed)
        inputs = (part.to(device)[None] for part in (frames, seen))
        with torch.no_grad():
            prediction = net(*inputs, None, num_leads, within=within)
        yield tile, prediction


def lay_out(
    past: Float[Tensor, "t c h w"], observed: Float[Tensor, "t c h w"], num_leads: int, *, tile_cells: int
) -> list[Tile]:
    """The tiles of a frame, row by row; errors as of `predict_by_tiles`."""
    height, width = past.shape[-2:]
    if height * width <= tile_cells:
        return [Tile(slice(0, height), slice(0, width), torch.ones(height, width))]
    speed = fastest(past, observed, tile_cells)
    overlap = 2 * (REACH + math.ceil(num_leads * speed)) + BLEND
    least = (overlap + SMALLEST) ** 2
    if tile_cells < least:
        raise DataError(
            f"a frame of {height} x {width} cells that moves by up to {speed:.1f} cells per step cannot be forecast "
            f"for {num_leads} leads in tiles of {tile_cells} cells, which must overlap by {overlap} cells: set "
            f"machine.tile_cells in params.yaml to {least} or more"
        )
    rows = min(height, math.isqrt(tile_cells))
    cols = min(width, tile_cells // rows)
    rows = min(height, tile_cells // cols)
    return [
        Tile(down, across, down_weight[:, None] * across_weight)
        for down, down_weight in _spans(height, rows, overlap)
        for across, across_weight in _spans(width, cols, overlap)
    ]


def fastest(past: Float[Tensor, "t c h w"], observed: Float[Tensor, "t c h w"], tile_cells: int) -> float:
    """The greatest speed in a frame, cells per step, as the first flow sees it on a grid of at most `tile_cells`."""
    factor = math.ceil(math.sqrt(past.shape[-2] * past.shape[-1] / tile_cells))
    flow = factor * estimate_flow(*shrink(past[None], observed[None], factor))
    return float(flow.norm(dim=1).max())


def _spans(length: int, side: int, overlap: int) -> list[tuple[slice, Float[Tensor, "n"]]]:
    """Stretches of about `side` cells that cover `length` and overlap by at least `overlap`, with their weights."""
    side = side if side >= length else side // GRID * GRID
    count = 1 if side >= length else math.ceil((length - overlap) / (side - overlap - GRID))
    starts = [round(index * (length - side) / max(count - 1, 1) / GRID) * GRID for index in range(count)]
    ends = [min(start + side, length) for start in starts[:-1]] + [length]
    cells = torch.arange(length) + 0.5
    middles = [(start + end) / 2 for start, end in zip(starts[1:], ends[:-1], strict=True)]
    rises = [torch.ones(length), *(_rise((cells - middle) / BLEND) for middle in middles), torch.zeros(length)]
    return [
        (slice(start, end), (rises[index] * (1 - rises[index + 1]))[start:end])
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _rise(phase: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """From 0 at -1/2 smoothly to 1 at 1/2."""
    return torch.sin(math.pi / 2 * (phase + 0.5).clamp(0, 1)) ** 2
