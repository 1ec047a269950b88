import numpy as np
import pytest
import xarray as xr
from samples import START, STEP

from physicnet import fields
from physicnet.data.activity import Activity, ActivityReader, window_sums
from physicnet.fields import Field


def clip() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 2, 7, 9)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    return values


def field(values: np.ndarray) -> Field:
    variables = {
        name: (("time", "y", "x"), values[:, i], {"units": "1"}) for i, name in enumerate("ab"[: len(values[0])])
    }
    return Field(xr.Dataset(variables, {"time": START + STEP * np.arange(len(values))}))


def activity_of(values: np.ndarray) -> Activity:
    return ActivityReader(field(values), len(values)).read(0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (7, 9)])
def test_window_sums_equal_the_sums_of_all_windows(height: int, width: int) -> None:
    cells = np.random.default_rng(0).random((7, 9))
    windows = np.lib.stride_tricks.sliding_window_view(cells, (height, width))
    np.testing.assert_allclose(window_sums(cells, height, width), windows.sum(axis=(2, 3)), rtol=1e-12)


def test_window_sums_are_never_negative() -> None:
    cells = np.zeros((5, 40))
    cells[:, :20] = 0.1
    assert (window_sums(cells, 2, 3) >= 0).all()


def test_every_window_has_the_mean_change_and_the_coverage_of_its_values() -> None:
    values = clip()
    activity, coverage = activity_of(values).of_windows(3)
    assert activity.shape == coverage.shape == (5, 7)
    for row, col in np.ndindex(5, 7):
        window = values[:, :, row : row + 3, col : col + 3]
        np.testing.assert_allclose(activity[row, col], np.nanmean(np.abs(np.diff(window, axis=0))), rtol=1e-6)
        np.testing.assert_allclose(coverage[row, col], (~np.isnan(window)).mean())


def test_the_inside_of_a_window_is_the_clip_cut_before() -> None:
    whole = activity_of(clip()).inside(1, 2, 5, 4).of_windows(2)
    cut = activity_of(clip()[:, :, 1:6, 2:6]).of_windows(2)
    np.testing.assert_allclose(whole, cut, rtol=1e-12)


def test_a_window_larger_than_the_frame_is_the_frame() -> None:
    activity, coverage = activity_of(clip()[:, :, :3]).of_windows(5)
    assert activity.shape == coverage.shape == (1, 5)


def test_a_missing_clip_has_neither_activity_nor_coverage() -> None:
    activity, coverage = activity_of(np.full((3, 1, 5, 5), np.nan, np.float32)).of_windows(2)
    assert not activity.any()
    assert not coverage.any()


@pytest.mark.parametrize("read_values", [1, 3 * 126, 2**23])  # a frame has 126 values
@pytest.mark.parametrize("starts", [range(6), [0, 3, 4], [5, 2, 0, 2]])
def test_a_clip_has_the_activity_of_its_frames_alone_in_whatever_order_clips_are_read(
    starts: list[int], read_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "READ_VALUES", read_values)
    values = np.random.default_rng(0).normal(size=(9, 2, 7, 9)).astype(np.float32)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    reader = ActivityReader(field(values), 4)
    for start in starts:
        expected = activity_of(values[start : start + 4]).of_windows(3)
        np.testing.assert_array_equal(reader.read(start).of_windows(3), expected)


def test_clips_in_order_have_each_frame_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    frames = Field.frames

    def counted(self: Field, start: int, stop: int) -> np.ndarray:
        reads.extend(range(start, stop))
        return frames(self, start, stop)

    monkeypatch.setattr(Field, "frames", counted)
    reader = ActivityReader(field(np.zeros((9, 1, 5, 7), np.float32)), 4)
    for start in range(6):
        reader.read(start)
    assert sorted(reads) == list(range(9))
