import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from samples import START, STEP
from waiting import wait_until

from physicnet.data.cache import CachedWindows
from physicnet.data.crops import COLUMNS
from physicnet.data.dataset import AHEAD, ClipDataset, JoinedClips, epoch_batches, read_ahead
from physicnet.fields import DataError, Field


def field(num_frames: int = 9) -> Field:
    values = np.arange(num_frames * 2 * 5 * 7, dtype=np.float32).reshape(num_frames, 2, 5, 7)
    values[:, :, 0, 0] = np.nan
    variables = {name: (("time", "y", "x"), values[:, i], {"units": "1"}) for i, name in enumerate("ba")}
    return Field(xr.Dataset(variables, {"time": START + STEP * np.arange(num_frames)}))


@pytest.fixture
def paths(tmp_path: Path) -> tuple[CachedWindows, Path]:
    rows = []
    for clip in range(6):
        rows.append((clip, "train", clip, 3, "global", 1, clip % 3, 4, 4))
        rows.extend((clip, "train", clip, 3, "local", 1 + local, 2 + clip % 3, 2, 2) for local in range(2))
    rows.append((6, "test", 9, 3, "global", 0, 0, 5, 7))
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tmp_path / "crops.csv", index=False)
    field().save(tmp_path / "n.zarr")
    return CachedWindows(Field.open(tmp_path / "n.zarr"), 2**20), tmp_path / "crops.csv"


def test_a_clip_is_its_view_cut_out_of_its_frames(paths: tuple[CachedWindows, Path]) -> None:
    dataset = ClipDataset(*paths, "train")
    assert len(dataset) == 6
    clip, windows = dataset[4]
    np.testing.assert_array_equal(clip, field().frames(4, 7)[:, :, 1:5, 1:5])
    assert windows.tolist() == [[0, 2], [1, 2]]
    assert (clip.dtype, windows.dtype) == (torch.float32, torch.int64)


def test_missing_values_are_nan(paths: tuple[CachedWindows, Path]) -> None:
    dataset = field().dataset
    record = CachedWindows(Field(dataset.assign(b=dataset["b"].where(dataset["b"] != 8))), 0)
    assert ClipDataset(record, paths[1], "train")[0].clip.isnan().sum() == 1


def test_clips_are_spread_evenly(paths: tuple[CachedWindows, Path]) -> None:
    dataset = ClipDataset(*paths, "train")
    for count in (1, 3, len(dataset), len(dataset) + 5):
        every = max(1, len(dataset) // count)
        found = list(dataset.spread(count))
        assert len(found) >= min(count, len(dataset))
        for number, clip in enumerate(found):
            torch.testing.assert_close(clip, dataset[number * every].clip, equal_nan=True)


def test_joined_clips_are_those_of_each_part_in_turn(paths: tuple[CachedWindows, Path]) -> None:
    one, other = (ClipDataset(*paths, "train") for _ in range(2))
    other._views = other._views[1:4]
    joined = JoinedClips([other, one, other])
    assert (len(other), len(joined)) == (3, 12)
    assert joined.window == one.window
    expected = [part[index] for part in (other, one, other) for index in range(len(part))]
    for index, sample in enumerate(expected):
        np.testing.assert_array_equal(joined[index].clip, sample.clip)
        np.testing.assert_array_equal(joined[index].windows, sample.windows)
    assert len(list(joined.spread(4))) == 4


def test_clips_with_windows_of_several_sizes_cannot_be_joined(paths: tuple[CachedWindows, Path]) -> None:
    one, other = (ClipDataset(*paths, "train") for _ in range(2))
    other.window = one.window + 1
    with pytest.raises(DataError, match=rf"local windows of \[{one.window}, {one.window + 1}\] cells cannot be joined"):
        JoinedClips([one, other])


def test_a_split_without_clips_is_named(paths: tuple[CachedWindows, Path]) -> None:
    with pytest.raises(DataError, match=r"crops\.csv lists no clip of split 'validation'"):
        ClipDataset(*paths, "validation")


def test_the_test_part_cannot_be_read(paths: tuple[CachedWindows, Path]) -> None:
    with pytest.raises(
        DataError, match=r"split 'test' of .*crops\.csv needs 12 frames, but the normalized record ends after 9"
    ):
        ClipDataset(*paths, "test")


def fingerprints(dataset: ClipDataset, **settings: int) -> list[list[float]]:
    defaults = {"batch_size": 2, "steps": 6, "seed": 1, "epoch": 0}
    return [batch.clip[:, 0, 0, 1, 1].tolist() for batch in epoch_batches(dataset, **defaults | settings)]


def test_batches_depend_on_seed_and_epoch_alone(paths: tuple[CachedWindows, Path]) -> None:
    dataset = ClipDataset(*paths, "train")
    first = fingerprints(dataset)
    torch.manual_seed(99)
    np.random.seed(99)
    assert fingerprints(ClipDataset(*paths, "train")) == first
    assert fingerprints(dataset, epoch=1) != first
    assert fingerprints(dataset, seed=2) != first


def test_no_clip_comes_again_before_all_have_come(paths: tuple[CachedWindows, Path]) -> None:
    order = np.concatenate(fingerprints(ClipDataset(*paths, "train")))
    assert len(order) == 12
    assert len(set(order[:6])) == len(set(order[6:])) == 6


def test_batches_carry_windows_and_shapes(paths: tuple[CachedWindows, Path]) -> None:
    (batch,) = epoch_batches(ClipDataset(*paths, "train"), 4, 1, 0, 0)
    assert batch.clip.shape == (4, 3, 2, 4, 4)
    assert batch.windows.shape == (4, 2, 2)


def test_processes_share_the_batch_of_one(paths: tuple[CachedWindows, Path]) -> None:
    dataset = ClipDataset(*paths, "train")
    alone = fingerprints(dataset, batch_size=4)
    ranks = [fingerprints(dataset, batch_size=4, rank=rank, world_size=2) for rank in (0, 1)]
    assert [one + two for one, two in zip(*ranks, strict=True)] == alone


def test_a_batch_that_cannot_be_shared_is_named(paths: tuple[CachedWindows, Path]) -> None:
    batches = epoch_batches(ClipDataset(*paths, "train"), 3, 1, 0, 0, world_size=2)
    with pytest.raises(ValueError, match=r"batch_size \(3\) must be a multiple of the number of processes \(2\)"):
        next(batches)


def test_batches_are_what_a_plain_loop_reads(paths: tuple[CachedWindows, Path]) -> None:
    dataset, rng = ClipDataset(*paths, "train"), np.random.default_rng([1, 0])
    order = np.concatenate([rng.permutation(6), rng.permutation(6)])
    for step, batch in enumerate(epoch_batches(dataset, 2, 6, seed=1, epoch=0)):
        expected = [dataset[index] for index in order[2 * step : 2 * step + 2].tolist()]
        torch.testing.assert_close(batch.clip, torch.stack([sample.clip for sample in expected]), equal_nan=True)
        torch.testing.assert_close(batch.windows, torch.stack([sample.windows for sample in expected]))


def test_reads_come_in_their_order_however_long_each_takes() -> None:
    def read(number: int) -> int:
        time.sleep(0.01 * (number % 3 == 0))
        return number

    assert list(read_ahead(partial(read, number) for number in range(20))) == list(range(20))


def test_no_more_is_read_than_is_ahead() -> None:
    done: list[int] = []
    reads = read_ahead(partial(done.append, number) for number in range(20))
    for asked in range(1, 5):
        next(reads)
        wait_until(lambda asked=asked: len(done) == asked + AHEAD)
        time.sleep(0.02)
        assert len(done) == asked + AHEAD


def test_what_a_read_raises_is_raised_in_its_turn() -> None:
    def read(number: int) -> int:
        if number == 1:
            raise OSError("the disk is gone")
        return number

    reads = read_ahead(partial(read, number) for number in range(5))
    assert next(reads) == 0
    with pytest.raises(OSError, match="the disk is gone"):
        next(reads)
    assert reading_threads() == []


def test_who_stops_early_leaves_no_thread() -> None:
    reads = read_ahead(partial(int, number) for number in range(5))
    next(reads)
    assert len(reading_threads()) == 1
    reads.close()
    assert reading_threads() == []


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]
