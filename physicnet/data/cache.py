"""Windows of a field on disk: only the chunks under them are read, and kept while they fit into memory."""

from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock

import numpy as np
from jaxtyping import Float32

from physicnet.fields import Field

Block = Float32[np.ndarray, "c h w"]
Place = tuple[int, int]  # of a block in the frame: how many blocks lie above it, and to its left


class CachedWindows:
    """Reads windows of clips; the blocks used last, each a chunk of one frame, stay in memory up to `budget` bytes.

    Several threads may read from one cache; they take turns.
    """

    def __init__(self, field: Field, budget: int) -> None:
        self._field = field
        self._budget = budget
        self._kept: OrderedDict[tuple[int, Place], Block] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    @property
    def num_frames(self) -> int:
        """Frames of the field."""
        return self._field.shape[0]

    def read(self, frames: slice, rows: slice, columns: slice) -> Float32[np.ndarray, "t c h w"]:
        """Return a window (each slice has a start and a stop inside the field); NaN where missing."""
        clip = np.empty(
            (frames.stop - frames.start, self._field.shape[1], rows.stop - rows.start, columns.stop - columns.start),
            np.float32,
        )
        with self._lock:
            for place in self._places(rows, columns):
                top, left = (place[axis] * self._field.chunk_shape[axis] for axis in (0, 1))
                target_rows, source_rows = _overlap(rows, top, self._field.chunk_shape[0])
                target_columns, source_columns = _overlap(columns, left, self._field.chunk_shape[1])
                for target, block in zip(clip, self._blocks(frames, place), strict=True):
                    target[:, target_rows, target_columns] = block[:, source_rows, source_columns]
        return clip

    def _places(self, rows: slice, columns: slice) -> Iterator[Place]:
        """The blocks under a window."""
        height, width = self._field.chunk_shape
        for i in range(rows.start // height, -(-rows.stop // height)):
            for j in range(columns.start // width, -(-columns.stop // width)):
                yield i, j

    def _blocks(self, frames: slice, place: Place) -> list[Block]:
        """One block of consecutive frames; what is not kept is read in as few runs as there are."""
        found: dict[int, Block] = {}
        for index in range(frames.start, frames.stop):
            if index in found:
                continue
            if (index, place) in self._kept:
                self._kept.move_to_end((index, place))
                found[index] = self._kept[index, place]
            else:
                found |= self._load(index, frames.stop, place)
        return [found[index] for index in range(frames.start, frames.stop)]

    def _load(self, start: int, stop: int, place: Place) -> dict[int, Block]:
        """Read the run of blocks from `start` on that are not kept."""
        end = next((index for index in range(start, stop) if (index, place) in self._kept), stop)
        rows, columns = (
            slice(number * side, (number + 1) * side)
            for number, side in zip(place, self._field.chunk_shape, strict=True)
        )
        # A copy per block: a view would keep the whole run in memory for one of its frames.
        run = {start + i: block.copy() for i, block in enumerate(self._field.frames(start, end, rows, columns))}
        for index, block in run.items():
            self._kept[index, place] = block
            self._bytes += block.nbytes
        while self._bytes > self._budget:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return run


def _overlap(window: slice, start: int, size: int) -> tuple[slice, slice]:
    """What a window shares with a block of `size` cells from `start` on, counted within the window and the block."""
    low, high = max(window.start, start), min(window.stop, start + size)
    return slice(low - window.start, high - window.start), slice(low - start, high - start)
