from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from samples import START, STEP

from physicnet.data.cache import CachedFrames
from physicnet.data.crops import COLUMNS
from physicnet.data.dataset import ClipDataset, epoch_batches
from physicnet.fields import DataError, Field

FRAME_BYTES = 4 * 2 * 5 * 7


def field(num_frames: int = 9) -> Field:
    values = np.arange(num_frames * 2 * 5 * 7, dtype=np.float32).reshape(num_frames, 2, 5, 7)
    values[:, :, 0, 0] = np.nan
    variables = {name: (("time", "y", "x"), values[:, i], {"units": "1"}) for i, name in enumerate("ba")}
    return Field(xr.Dataset(variables, {"time": START + STEP * np.arange(num_frames)}))


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    rows = []
    for clip in range(6):
        rows.append((clip, "train", clip, 3, "global", 1, clip % 3, 4, 4))
        rows.extend((clip, "train", clip, 3, "local", 1 + local, 2 + clip % 3, 2, 2) for local in range(2))
    rows.append((6, "test", 9, 3, "global", 0, 0, 5, 7))
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tmp_path / "crops.csv", index=False)
    field().save(tmp_path / "n.zarr")
    return tmp_path / "n.zarr", tmp_path / "crops.csv"


def test_a_clip_is_its_view_cut_out_of_its_frames(paths: tuple[Path, Path]) -> None:
    dataset = ClipDataset(*paths, "train")
    assert len(dataset) == 6
    clip, windows = dataset[4]
    np.testing.assert_array_equal(clip, field().frames(4, 7)[:, :, 1:5, 1:5])
    assert windows.tolist() == [[0, 2], [1, 2]]
    assert (clip.dtype, windows.dtype) == (torch.float32, torch.int64)


def test_missing_values_are_nan(paths: tuple[Path, Path]) -> None:
    dataset = field().dataset
    Field(dataset.assign(b=dataset["b"].where(dataset["b"] != 8))).save(paths[0])
    assert ClipDataset(*paths, "train")[0].clip.isnan().sum() == 1


def test_clips_are_spread_evenly(paths: tuple[Path, Path]) -> None:
    dataset = ClipDataset(*paths, "train")
    for count in (1, 3, len(dataset), len(dataset) + 5):
        every = max(1, len(dataset) // count)
        found = list(dataset.spread(count))
        assert len(found) >= min(count, len(dataset))
        for number, clip in enumerate(found):
            torch.testing.assert_close(clip, dataset[number * every].clip, equal_nan=True)


def test_a_split_without_clips_is_named(paths: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match=r"crops\.csv lists no clip of split 'validation'"):
        ClipDataset(*paths, "validation")


def test_the_test_part_cannot_be_read(paths: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match=r"split 'test' needs 12 frames, but .*n\.zarr ends after 9"):
        ClipDataset(*paths, "test")


def fingerprints(dataset: ClipDataset, **settings: int) -> list[list[float]]:
    defaults = {"batch_size": 2, "steps": 6, "seed": 1, "epoch": 0}
    return [batch.clip[:, 0, 0, 1, 1].tolist() for batch in epoch_batches(dataset, **defaults | settings)]


def test_batches_depend_on_seed_and_epoch_alone(paths: tuple[Path, Path]) -> None:
    dataset = ClipDataset(*paths, "train")
    first = fingerprints(dataset)
    torch.manual_seed(99)
    np.random.seed(99)
    assert fingerprints(ClipDataset(*paths, "train")) == first
    assert fingerprints(dataset, epoch=1) != first
    assert fingerprints(dataset, seed=2) != first


def test_no_clip_comes_again_before_all_have_come(paths: tuple[Path, Path]) -> None:
    order = np.concatenate(fingerprints(ClipDataset(*paths, "train")))
    assert len(order) == 12
    assert len(set(order[:6])) == len(set(order[6:])) == 6


def test_batches_carry_windows_and_shapes(paths: tuple[Path, Path]) -> None:
    (batch,) = epoch_batches(ClipDataset(*paths, "train"), 4, 1, 0, 0)
    assert batch.clip.shape == (4, 3, 2, 4, 4)
    assert batch.windows.shape == (4, 2, 2)


def test_processes_share_the_batch_of_one(paths: tuple[Path, Path]) -> None:
    dataset = ClipDataset(*paths, "train")
    alone = fingerprints(dataset, batch_size=4)
    ranks = [fingerprints(dataset, batch_size=4, rank=rank, world_size=2) for rank in (0, 1)]
    assert [sorted(one + two) for one, two in zip(*ranks, strict=True)] == [sorted(batch) for batch in alone]


def test_a_batch_that_cannot_be_shared_is_named(paths: tuple[Path, Path]) -> None:
    batches = epoch_batches(ClipDataset(*paths, "train"), 3, 1, 0, 0, world_size=2)
    with pytest.raises(ValueError, match=r"batch_size \(3\) must be a multiple of the number of processes \(2\)"):
        next(batches)


@pytest.mark.parametrize("kept", [0, 1, 4, 9])
def test_a_cache_of_any_size_reads_the_same(kept: int) -> None:
    cache = CachedFrames(field(), budget=kept * FRAME_BYTES)
    for start, stop in ((0, 4), (2, 7), (1, 3), (0, 9)):
        np.testing.assert_array_equal(cache.read(start, stop), field().frames(start, stop))


def test_a_kept_frame_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, int]] = []
    frames = Field.frames

    def counted(self: Field, start: int, stop: int) -> np.ndarray:
        reads.append((start, stop))
        return frames(self, start, stop)

    monkeypatch.setattr(Field, "frames", counted)
    cache = CachedFrames(field(), budget=5 * FRAME_BYTES)
    for start, stop in ((2, 4), (0, 5), (1, 4), (4, 6), (2, 5)):
        cache.read(start, stop)
    assert reads == [(2, 4), (0, 2), (4, 5), (5, 6)]
