import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from samples import START, STEP

from physicnet.data import sampling
from physicnet.data.crops import COLUMNS
from physicnet.data.sampling import cells_seen, frames_seen, movement, sampling_figure
from physicnet.fields import Field

SPLITS = {"test": [[15, 19]], "train": [[0, 4], [4, 8]], "validation": [[10, 13]]}  # in the order of the JSON file


def field(height: int = 6, width: int = 8) -> Field:
    """Return 15 frames that change by 1 from each to the next in the left half, and are missing in the first column."""
    values = np.zeros((15, height, width), np.float32)
    values[:, :, : width // 2] = np.arange(15)[:, None, None]
    values[4:] += 100.0  # across the gap in time
    values[:, :, 0] = np.nan
    times = START + STEP * (np.arange(15) + 7 * (np.arange(15) >= 4))
    return Field(xr.Dataset({"rate": (("time", "y", "x"), values, {"units": "1"})}, {"time": times}))


def clips(num: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows: list[tuple[int | str, ...]] = []
    for clip in range(num):
        start, row, col = rng.integers([2, 3, 4]).tolist()
        rows.append((clip, "train", start, 3, "global", row, col, 3, 4))
        rows.append((clip, "train", start, 3, "local", row + 1, col + 1, 2, 2))
    rows.append((num, "validation", 10, 3, "global", 0, 0, 6, 8))
    rows.append((num + 1, "test", 15, 3, "global", 0, 0, 6, 8))
    return pd.DataFrame(rows, columns=COLUMNS)


def draw(splits: dict[str, list[list[int]]] = SPLITS) -> Figure:
    return sampling_figure(field(), splits, clips())


def test_every_cell_counts_the_boxes_that_hold_it() -> None:
    boxes = clips().query("level == 'local'")
    expected = np.zeros((6, 8), int)
    for box in boxes.itertuples():
        expected[box.row : box.row + box.height, box.col : box.col + box.width] += 1
    np.testing.assert_array_equal(cells_seen(boxes, (6, 8)), expected)


def test_every_frame_counts_the_clips_that_hold_it() -> None:
    views = clips().query("level == 'global'")
    expected = [sum(start <= frame < start + 3 for start in views["start"]) for frame in range(19)]
    assert frames_seen(views, 19).tolist() == expected


def test_movement_is_the_mean_change_and_not_across_a_gap() -> None:
    moved = movement(field(), SPLITS)
    np.testing.assert_array_equal(moved.of_cells, np.tile([np.nan, *[1.0] * 3, *[0.0] * 4], (6, 1)))
    known = [1, 2, 3, 5, 6, 7, 11, 12]
    assert np.flatnonzero(np.isfinite(moved.of_frames)).tolist() == known
    assert moved.of_frames[known] == pytest.approx(3 / 7)
    assert len(moved.of_frames) == 19


def test_the_figure_shows_how_often_cells_and_frames_were_seen() -> None:
    upper, lower = draw().subfigs
    views = np.ma.filled(upper.axes[1].images[0].get_array(), np.nan)
    expected = cells_seen(clips().query("split == 'train' and level == 'global'"), (6, 8)) / 30 * 100
    np.testing.assert_allclose(views[:, 1:], expected[:, 1:])  # nothing was observed in the first column
    bars = [bar.get_height() for bar in lower.axes[0].patches if bar.get_width() == 1 and bar.get_alpha() == 0.75]
    assert bars == frames_seen(clips().query("split == 'train' and level == 'global'"), 19).tolist()


def test_the_figure_marks_parts_and_what_lies_between_them() -> None:
    axes = draw().subfigs[1].axes[0]
    assert [text.get_text() for text in axes.texts] == ["training: 30 views", "validation: 1 clips", "test: 1 clips"]
    hatched = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches if patch.get_hatch()]
    assert hatched == [(8, 10), (13, 15)]
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed == [4]  # the gap in time within the training part


def test_the_figure_names_sequences_and_marks_no_gap_between_them() -> None:
    apart = Field(field().dataset.assign_coords(sequence=("time", np.repeat([3, 5], [4, 11]))))
    axes = sampling_figure(apart, SPLITS, clips()).subfigs[1].axes[0]
    assert not [line for line in axes.lines if line.get_linestyle() == "--"]
    assert axes.get_xlabel() == "frame, and its sequence"
    assert axes.xaxis.get_major_formatter()(4.0) == "4\n5"


def test_frames_of_a_long_record_share_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_BARS", 10)
    seen = frames_seen(clips().query("split == 'train' and level == 'global'"), 19)
    bars = [bar.get_height() for bar in draw().subfigs[1].axes[0].patches if bar.get_alpha() == 0.75]
    assert bars == [*seen[:18].reshape(9, 2).mean(axis=1), seen[18]]
