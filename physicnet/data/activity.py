"""How much is there, and how much moves, in every window of a clip.

Two numbers describe a window through all frames of a clip, over all its cells, frames and variables: its *coverage* is
the share of values that are there; its *activity* is the mean absolute difference between one frame and the next, where
both are there, and zero where there is no such pair.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt16

from physicnet.fields import Field


@dataclass(frozen=True)
class Activity:
    """Sums over the frames and variables of one clip, per cell."""

    change: Float64[np.ndarray, "h w"]  # of absolute differences between consecutive frames
    pairs: Float64[np.ndarray, "h w"]  # of consecutive values that are both there
    present: Float64[np.ndarray, "h w"]  # of values that are there
    values: int  # there and missing, per cell

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


@dataclass(frozen=True)
class Frame:
    """What one frame adds to the sums of a clip, per cell, over its variables."""

    change: Float32[np.ndarray, "h w"]  # from the frame before
    pairs: UInt16[np.ndarray, "h w"]  # with the frame before
    present: UInt16[np.ndarray, "h w"]

    @classmethod
    def of(cls, frame: Float32[np.ndarray, "c h w"], before: Float32[np.ndarray, "c h w"]) -> "Frame":
        """Sum up a frame in standardised values; NaN where missing."""
        change = np.abs(frame - before)
        return cls(
            change=np.nansum(change, axis=0),
            pairs=(~np.isnan(change)).sum(axis=0, dtype=np.uint16),
            present=(~np.isnan(frame)).sum(axis=0, dtype=np.uint16),
        )


class ActivityReader:
    """Reads the activity of the clips of a field.

    It keeps the sums of the frames of one clip, 8 bytes a cell and frame, so clips that are asked for in the order of
    their starts have each frame read once.
    """

    def __init__(self, field: Field, num_frames: int) -> None:
        self._field = field
        self._num_frames = num_frames
        self._sums: dict[int, Frame] = {}
        self._last: tuple[int, Float32[np.ndarray, "c h w"]] | None = None

    def read(self, start: int) -> Activity:
        """Sum up the clip whose first frame is `start`."""
        clip = range(start, start + self._num_frames)
        self._sums = {index: self._sums[index] for index in clip if index in self._sums}
        known = next((index for index in clip if index not in self._sums), clip.stop)
        self._sums |= self._read(known, clip.stop)
        first, *others = (self._sums[index] for index in clip)
        return Activity(
            change=_total([frame.change for frame in others], like=first.change),
            pairs=_total([frame.pairs for frame in others], like=first.change),
            present=_total([frame.present for frame in self._sums.values()], like=first.change),
            values=self._num_frames * self._field.shape[1],
        )

    def _read(self, start: int, stop: int) -> dict[int, Frame]:
        """Sum up the frames `start` to `stop` (half open)."""
        sums = {}
        for index, frame in enumerate(self._field.each_frame(start, stop), start=start):
            # The first frame of the record has none before it, but neither has a clip that begins with it.
            sums[index] = Frame.of(frame, frame if index == 0 else self._values(index - 1))
            self._last = index, frame
        return sums

    def _values(self, index: int) -> Float32[np.ndarray, "c h w"]:
        if self._last is not None and self._last[0] == index:
            return self._last[1]
        return self._field.frames(index, index + 1)[0]


def _total(parts: list[np.ndarray], *, like: np.ndarray) -> Float64[np.ndarray, "h w"]:
    total = np.zeros(like.shape)
    for part in parts:
        total += part
    return total


def window_sums(cells: Float64[np.ndarray, "h w"], height: int, width: int) -> Float64[np.ndarray, "p q"]:
    """Return the sum over every window of `height` x `width` non-negative cells, by a summed-area table."""
    table = np.pad(cells, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    sums: np.ndarray = (
        table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    )
    return sums.clip(min=0.0)  # rounding leaves a few 1e-16 of either sign where nothing moves
