import numpy as np
import pytest

from physicnet.data.activity import Activity, window_sums


def clip() -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 2, 7, 9)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    return values


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
    activity, coverage = Activity.of(values).of_windows(3)
    assert activity.shape == coverage.shape == (5, 7)
    for row, col in np.ndindex(5, 7):
        window = values[:, :, row : row + 3, col : col + 3]
        np.testing.assert_allclose(activity[row, col], np.nanmean(np.abs(np.diff(window, axis=0))), rtol=1e-6)
        np.testing.assert_allclose(coverage[row, col], (~np.isnan(window)).mean())


def test_the_inside_of_a_window_is_the_clip_cut_before() -> None:
    whole = Activity.of(clip()).inside(1, 2, 5, 4).of_windows(2)
    cut = Activity.of(clip()[:, :, 1:6, 2:6]).of_windows(2)
    np.testing.assert_allclose(whole, cut, rtol=1e-12)


def test_a_window_larger_than_the_frame_is_the_frame() -> None:
    activity, coverage = Activity.of(clip()[:, :, :3]).of_windows(5)
    assert activity.shape == coverage.shape == (1, 5)


def test_a_missing_clip_has_neither_activity_nor_coverage() -> None:
    activity, coverage = Activity.of(np.full((3, 1, 5, 5), np.nan, np.float32)).of_windows(2)
    assert not activity.any()
    assert not coverage.any()
