from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from samples import START, STEP

from physicnet import fields
from physicnet.data.cache import CachedWindows
from physicnet.fields import Field

BLOCK_BYTES = 4 * 2 * 3 * 4  # of the largest; those at the lower and the right border are smaller
WINDOWS = [
    (slice(0, 4), slice(0, 5), slice(0, 7)),
    (slice(2, 7), slice(1, 3), slice(2, 3)),
    (slice(1, 3), slice(3, 5), slice(3, 7)),
    (slice(0, 9), slice(2, 4), slice(4, 5)),
]


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Field:
    """A store of 9 frames of 5 x 7 cells in chunks of 3 x 4."""
    monkeypatch.setattr(fields, "CHUNK_CELLS", 4)
    values = np.random.default_rng(0).normal(size=(9, 2, 5, 7)).astype(np.float32)
    values[:, :, 2, 3] = np.nan
    variables = {name: (("time", "y", "x"), values[:, i], {"units": "1"}) for i, name in enumerate("ba")}
    Field(xr.Dataset(variables, {"time": START + STEP * np.arange(9)})).save(tmp_path / "n.zarr")
    return Field.open(tmp_path / "n.zarr")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """What is read from disk: first and last frame, first row and column."""
    seen: list[tuple[int, ...]] = []
    frames = Field.frames

    def counted(self: Field, start: int, stop: int, rows: slice, columns: slice) -> np.ndarray:
        seen.append((start, stop, rows.start, columns.start))
        return frames(self, start, stop, rows, columns)

    monkeypatch.setattr(Field, "frames", counted)
    return seen


@pytest.mark.parametrize("budget", [0, BLOCK_BYTES, 9 * BLOCK_BYTES, 2**20])
def test_a_cache_of_any_size_reads_what_a_slice_reads(field: Field, budget: int) -> None:
    cache, whole = CachedWindows(field, budget), field.frames(0, 9)
    for frames, rows, columns in [*WINDOWS, *WINDOWS]:
        np.testing.assert_array_equal(cache.read(frames, rows, columns), whole[frames, :, rows, columns])


def test_a_field_in_memory_is_read_too(field: Field) -> None:
    loaded = Field(field.dataset.load().drop_encoding())
    np.testing.assert_array_equal(CachedWindows(loaded, 0).read(*WINDOWS[1]), field.frames(2, 7)[:, :, 1:3, 2:3])


def test_only_the_chunks_under_a_window_are_read(field: Field, reads: list[tuple[int, ...]]) -> None:
    cache = CachedWindows(field, 2**20)
    cache.read(slice(2, 7), slice(3, 5), slice(0, 4))
    cache.read(slice(2, 3), slice(2, 4), slice(4, 7))
    assert reads == [(2, 7, 3, 0), (2, 3, 0, 4), (2, 3, 3, 4)]


def test_a_kept_block_is_not_read_again(field: Field, reads: list[tuple[int, ...]]) -> None:
    cache = CachedWindows(field, 5 * BLOCK_BYTES)
    for start, stop in ((2, 4), (0, 5), (1, 4), (4, 6), (2, 5)):
        cache.read(slice(start, stop), slice(0, 3), slice(1, 2))
    assert [(start, stop) for start, stop, *_ in reads] == [(2, 4), (0, 2), (4, 5), (5, 6)]


def test_what_is_returned_may_be_written_into(field: Field) -> None:
    cache = CachedWindows(field, 2**20)
    cache.read(*WINDOWS[0])[:] = 0.0
    np.testing.assert_array_equal(cache.read(*WINDOWS[0]), field.frames(0, 4))


def test_no_more_is_kept_than_the_budget(field: Field) -> None:
    cache = CachedWindows(field, 7 * BLOCK_BYTES)
    for window in WINDOWS:
        cache.read(*window)
        assert sum(block.nbytes for block in cache._kept.values()) <= 7 * BLOCK_BYTES
