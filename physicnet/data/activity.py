"""How much is there, and how much moves, in every window of a clip.

Two numbers describe a window through all frames of a clip, over all its cells, frames and variables: its *coverage* is
the share of values that are there; its *activity* is the mean absolute difference between one frame and the next, where
both are there, and zero where there is no such pair.
"""

from dataclasses import dataclass

import numpy as np
from einops import reduce
from jaxtyping import Float32, Float64


@dataclass(frozen=True)
class Activity:
    """Sums over the frames and variables of one clip, per cell."""

    change: Float64[np.ndarray, "h w"]  # of absolute differences between consecutive frames
    pairs: Float64[np.ndarray, "h w"]  # of consecutive values that are both there
    present: Float64[np.ndarray, "h w"]  # of values that are there
    values: int  # there and missing, per cell

    @classmethod
    def of(cls, clip: Float32[np.ndarray, "t c h w"]) -> "Activity":
        """Sum up a clip in standardised values; NaN where missing."""
        change = np.abs(np.diff(clip, axis=0)).astype(np.float64)
        return cls(
            change=reduce(np.where(np.isnan(change), 0.0, change), "t c h w -> h w", "sum"),
            pairs=reduce((~np.isnan(change)).astype(np.float64), "t c h w -> h w", "sum"),
            present=reduce((~np.isnan(clip)).astype(np.float64), "t c h w -> h w", "sum"),
            values=clip.shape[0] * clip.shape[1],
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.change.shape
        return height, width

    def inside(self, row: int, col: int, height: int, width: int) -> "Activity":
        """Return the sums of the cells of one window."""
        window = (slice(row, row + height), slice(col, col + width))
        return Activity(self.change[window], self.pairs[window], self.present[window], self.values)

    def of_windows(self, size: int) -> tuple[Float64[np.ndarray, "p q"], Float64[np.ndarray, "p q"]]:
        """Return activity and coverage of every window of `size` x `size` cells, by its first row and column.

        Where the frame is smaller than `size`, the window is the frame.
        """
        height, width = (min(size, cells) for cells in self.shape)
        change, pairs, present = (
            window_sums(cells, height, width) for cells in (self.change, self.pairs, self.present)
        )
        activity = np.divide(change, pairs, out=np.zeros_like(change), where=pairs > 0)
        return activity, present / (self.values * height * width)


def window_sums(cells: Float64[np.ndarray, "h w"], height: int, width: int) -> Float64[np.ndarray, "p q"]:
    """Return the sum over every window of `height` x `width` non-negative cells, by a summed-area table."""
    table = np.pad(cells, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums: np.ndarray = (
        table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    )
    return sums.clip(min=0.0)  # rounding leaves a few 1e-16 of either sign where nothing moves
