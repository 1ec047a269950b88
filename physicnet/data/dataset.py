"""Clips for training and validation, read lazily; batches that depend on seed and epoch alone, read ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Float32, Int64
from torch import Tensor

from physicnet.data.cache import CachedWindows
from physicnet.fields import DataError

T = TypeVar("T")

AHEAD = 2  # batches that are read while the model is busy with an earlier one


class Sample(NamedTuple):
    """One clip."""

    clip: Float32[Tensor, "t c h w"]  # standardised values of the view, NaN where missing
    windows: Int64[Tensor, "n 2"]  # first row and column of each local window, counted within the view


class Batch(NamedTuple):
    """Several clips of one size."""

    clip: Float32[Tensor, "b t c h w"]
    windows: Int64[Tensor, "b n 2"]


@runtime_checkable
class Clips(Protocol):
    """Clips by number, of one record or of several."""

    window: int  # side of the local windows, cells

    def __len__(self) -> int:
        """Return the number of clips."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Read one clip."""
        ...

    def spread(self, count: int) -> Iterator[Float32[Tensor, "t c h w"]]:
        """Read every n-th clip, n such that `count` or a few more are read: all, if there are not more."""
        ...


class ClipDataset:
    """The clips of one split: the views that the table `crops` lists, cut out of the normalized record."""

    def __init__(self, record: CachedWindows, crops: Path, split: str) -> None:
        """Read the table; values are read when a clip is asked for.

        Raises:
            DataError: if the table lists no clip of the split, or its clips lie beyond the frames of the record, as
                those of the test part do.
        """
        rows = pd.read_csv(crops)
        rows = rows[rows["split"] == split]
        if rows.empty:
            raise DataError(f"{crops} lists no clip of split {split!r}; run the stage that writes it (dvc repro)")
        last = int((rows["start"] + rows["frames"]).max())
        if last > record.num_frames:
            raise DataError(
                f"split {split!r} of {crops} needs {last} frames, but the normalized record ends after "
                f"{record.num_frames}; run the stages that write both (dvc repro)"
            )
        self._record = record
        views, windows = rows[rows["level"] == "global"], rows[rows["level"] == "local"]
        self._views = views[["start", "frames", "row", "col", "height", "width"]].to_numpy(np.int64)
        corners = rearrange(windows[["row", "col"]].to_numpy(np.int64), "(b n) c -> b n c", b=len(views))
        self.window = int(windows["height"].iloc[0])  # side of the local windows, cells
        self._windows = corners - rearrange(views[["row", "col"]].to_numpy(np.int64), "b c -> b 1 c")

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._views)

    def __getitem__(self, index: int) -> Sample:
        """Read one clip."""
        start, frames, row, col, height, width = self._views[index].tolist()
        clip = self._record.read(slice(start, start + frames), slice(row, row + height), slice(col, col + width))
        return Sample(torch.from_numpy(clip), torch.from_numpy(self._windows[index]))

    def spread(self, count: int) -> Iterator[Float32[Tensor, "t c h w"]]:
        """See `Clips`."""
        return _spread(self, count)


class JoinedClips:
    """The clips of several records, one record after the other; of training, all views must be of one size."""

    def __init__(self, parts: Sequence[Clips]) -> None:
        """Join them.

        Raises:
            DataError: if their local windows differ in size.
        """
        windows = sorted({part.window for part in parts})
        if len(windows) != 1:
            raise DataError(f"clips with local windows of {windows} cells cannot be joined; draw them with one size")
        self.window = windows[0]
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        """Return the number of clips."""
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        """Read one clip."""
        part = int(np.searchsorted(self._ends, index, side="right"))
        return self._parts[part][index - int(self._ends[part]) + len(self._parts[part])]

    def spread(self, count: int) -> Iterator[Float32[Tensor, "t c h w"]]:
        """See `Clips`; the clips may differ in size from record to record."""
        return _spread(self, count)


def _spread(clips: Clips, count: int) -> Iterator[Float32[Tensor, "t c h w"]]:
    for index in range(0, len(clips), max(1, len(clips) // count)):
        yield clips[index].clip


def epoch_batches(
    dataset: Clips, batch_size: int, steps: int, seed: int, epoch: int, *, rank: int = 0, world_size: int = 1
) -> Iterator[Batch]:
    """Yield `steps` batches of an epoch: clips in random order, all of them before any comes again.

    The order depends on `seed` and `epoch` alone, so training resumes exactly. `batch_size` counts the clips of all
    processes together; each process gets its own share of them, in the order of the batch.

    Raises:
        ValueError: if the processes cannot share a batch evenly.
    """
    if batch_size % world_size:
        raise ValueError(f"batch_size ({batch_size}) must be a multiple of the number of processes ({world_size})")
    rng = np.random.default_rng([seed, epoch])
    rounds = -(-steps * batch_size // len(dataset))
    order = np.concatenate([rng.permutation(len(dataset)) for _ in range(rounds)])
    batches = order[: steps * batch_size].reshape(steps, world_size, batch_size // world_size)[:, rank]
    yield from read_ahead(partial(read_batch, dataset, batch) for batch in batches.tolist())


def read_batch(dataset: Clips, indices: list[int]) -> Batch:
    """Read several clips."""
    samples = [dataset[index] for index in indices]
    return Batch(torch.stack([s.clip for s in samples]), torch.stack([s.windows for s in samples]))


def read_ahead(reads: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield what `reads` return, in their order, while a thread is at most `AHEAD` of them ahead.

    One thread, because it is never waited for once the record is in memory (benchmarks/README.md). What a read raises
    is raised in its turn; who stops early leaves no thread behind.
    """
    reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    pending: deque[Future[T]] = deque()
    try:
        for read in reads:
            pending.append(reader.submit(read))
            if len(pending) > AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        reader.shutdown(cancel_futures=True)
