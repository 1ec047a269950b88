"""Frames of a field on disk, read once and kept while they fit into memory."""

from collections import OrderedDict

import numpy as np
from jaxtyping import Float32

from physicnet.fields import Field


class CachedFrames:
    """Reads clips of a field; the frames used last stay in memory, up to `budget` bytes."""

    def __init__(self, field: Field, *, budget: int = 2**30) -> None:
        _, channels, height, width = field.shape
        self._field = field
        self._capacity = budget // (4 * channels * height * width)
        self._kept: OrderedDict[int, Float32[np.ndarray, "c h w"]] = OrderedDict()

    def read(self, start: int, stop: int) -> list[Float32[np.ndarray, "c h w"]]:
        """Return the frames `start` to `stop` (half open); they are shared, so do not write into them."""
        frames: dict[int, np.ndarray] = {}
        for index in range(start, stop):
            if index in frames:
                continue
            if index in self._kept:
                self._kept.move_to_end(index)
                frames[index] = self._kept[index]
            else:
                frames.update(self._load(index, stop))
        return [frames[index] for index in range(start, stop)]

    def _load(self, start: int, stop: int) -> dict[int, Float32[np.ndarray, "c h w"]]:
        """Read the run of frames from `start` on that are not kept."""
        end = next((index for index in range(start, stop) if index in self._kept), stop)
        # A copy per frame: a view would keep the whole run in memory for one of its frames.
        run = {
            index: frame.copy() for index, frame in zip(range(start, end), self._field.frames(start, end), strict=True)
        }
        self._kept.update(run)
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return run
