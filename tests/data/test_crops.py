import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from samples import START, STEP, clip_config, crops_config, normalize_config

from physicnet.data.activity import ActivityReader
from physicnet.data.crops import draw_crops, starts
from physicnet.data.normalize import split
from physicnet.fields import DataError, Field

SPLITS = {"train": [[0, 6], [6, 12]], "validation": [[14, 19]], "test": [[21, 26]]}


def moving(num_frames: int = 21, height: int = 20, width: int = 24) -> np.ndarray:
    """Return values that change only in the lower right quarter, and are missing in the upper left one."""
    values = np.zeros((num_frames, height, width), np.float32)
    quarter = (slice(None), slice(height // 2, None), slice(width // 2, None))
    values[quarter] = np.random.default_rng(0).normal(size=values[quarter].shape)
    values[:, : height // 2, : width // 2] = np.nan
    return values


def field(values: np.ndarray) -> Field:
    times = START + STEP * np.arange(len(values))
    return Field(xr.Dataset({"rate": (("time", "y", "x"), values, {"units": "1"})}, {"time": times}))


def run(folder: Path, values: np.ndarray, splits: dict[str, Any] = SPLITS, **changes: object) -> pd.DataFrame:
    field(values).save(folder / "n.zarr")
    (folder / "s.json").write_text(json.dumps({"splits": splits}))
    inputs = {"normalized": folder / "n.zarr", "statistics": folder / "s.json"}
    outputs = {"crops": folder / "crops.csv", "figure": folder / "crops.png"}
    draw_crops(crops_config(**changes), clip_config(), **inputs, **outputs)
    return pd.read_csv(folder / "crops.csv")


def inside(row: Any, outer: Any) -> bool:
    rows = outer.row <= row.row and row.row + row.height <= outer.row + outer.height
    return rows and outer.col <= row.col and row.col + row.width <= outer.col + outer.width


def test_starts_stay_inside_their_segment() -> None:
    assert starts([[0, 6], [6, 9], [10, 12]], 3) == [0, 1, 2, 3, 6]


def test_a_stride_begins_anew_with_each_segment() -> None:
    assert starts([[0, 49], [50, 99]], 25, 12) == [0, 12, 24, 50, 62, 74]  # SEVIR's own benchmark: three clips an event


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 9]), min_size=30, max_size=90),
    train=st.floats(0.2, 0.6),
    validation=st.floats(0.2, 0.3),
    gap=st.integers(0, 6),
    lengths=st.tuples(st.integers(2, 4), st.integers(1, 4)),
)
def test_no_part_reads_a_frame_of_another_and_no_clip_crosses_a_gap(
    steps: list[int], train: float, validation: float, gap: int, lengths: tuple[int, int]
) -> None:
    times = START + STEP * np.cumsum([0, *steps])
    values = (("time", "y", "x"), np.zeros((len(times), 1, 1), np.float32), {"units": "1"})
    record = Field(xr.Dataset({"rate": values}, {"time": times}))
    rules = normalize_config(gap=gap, train_fraction=train, validation_fraction=validation)
    clip = clip_config(frames_in=lengths[0], frames_out=lengths[1])
    try:
        splits = split(record, rules, clip)
    except DataError:  # a part that cannot hold a clip is another test's
        reject()
    read = {
        part: [range(start, start + clip.frames) for start in starts(segments, clip.frames)]
        for part, segments in splits.items()
    }
    owned = {part: {frame for ends in segments for frame in range(*ends)} for part, segments in splits.items()}
    for part, clips in read.items():
        assert clips
        assert {frame for frames in clips for frame in frames} <= owned[part]
        assert all((np.diff(record.times[frames]) == record.step).all() for frames in clips)
    for earlier, later in (("train", "validation"), ("validation", "test")):
        assert max(owned[earlier]) + rules.gap < min(owned[later])
    assert max(owned["test"]) < record.shape[0]


def test_the_table_keeps_to_the_parts_across_gaps_in_time(tmp_path: Path) -> None:
    table = run(tmp_path, moving(), stride=2)
    for row in table.itertuples():
        assert any(first <= row.start and row.start + row.frames <= stop for first, stop in SPLITS[row.split])


def test_every_clip_is_a_view_and_its_windows(tmp_path: Path) -> None:
    table = run(tmp_path, moving())
    assert list(table.columns) == ["clip", "split", "start", "frames", "level", "row", "col", "height", "width"]
    assert (table["frames"] == 3).all()
    for _, rows in table[table["split"] != "test"].groupby("clip"):
        view, *windows = rows.itertuples()
        assert view.level == "global"
        assert [window.level for window in windows] == ["local", "local"]
        assert all(inside(window, view) and (window.height, window.width) == (5, 5) for window in windows)
    assert table["clip"].drop_duplicates().tolist() == list(range(table["clip"].nunique()))


def test_training_clips_lie_in_training_segments_and_their_views_in_the_frame(tmp_path: Path) -> None:
    views = run(tmp_path, moving()).query("split == 'train' and level == 'global'")
    assert len(views) == 20
    assert set(views["start"]) <= {0, 1, 2, 3, 6, 7, 8, 9}
    assert views[["height", "width"]].drop_duplicates().to_numpy().tolist() == [[12, 12]]
    assert (views["row"] + 12).max() <= 20
    assert (views["col"] + 12).max() <= 24


def test_validation_and_test_see_the_whole_frame_every_stride(tmp_path: Path) -> None:
    table = run(tmp_path, moving(), stride=2).query("level == 'global' and split != 'train'")
    assert table[["split", "start"]].to_numpy().tolist() == [
        ["validation", 14], ["validation", 16], ["test", 21], ["test", 23],
    ]  # fmt: skip
    assert table[["row", "col", "height", "width"]].drop_duplicates().to_numpy().tolist() == [[0, 0, 20, 24]]


def test_test_clips_have_no_local_windows(tmp_path: Path) -> None:
    assert set(run(tmp_path, moving()).query("split == 'test'")["level"]) == {"global"}


def test_views_and_windows_are_covered(tmp_path: Path) -> None:
    values = moving()
    for row in run(tmp_path, values, min_coverage=0.8).query("split == 'train'").itertuples():
        window = values[row.start : row.start + 3, row.row : row.row + row.height, row.col : row.col + row.width]
        assert (~np.isnan(window)).mean() >= 0.8


def test_without_a_floor_windows_are_drawn_only_where_the_field_moves(tmp_path: Path) -> None:
    table = run(tmp_path, moving(), view=6, train_clips=50, activity_floor=0.0).query("split == 'train'")
    assert ((table["row"] + table["height"] > 10) & (table["col"] + table["width"] > 12)).all()


@pytest.mark.parametrize("exponents", [(1.0, 0.0), (0.5, 2.0)])
def test_views_are_drawn_as_often_as_their_importance_and_the_floor_say(
    tmp_path: Path, exponents: tuple[float, float]
) -> None:
    values, floor = moving(9, 6, 8), 0.4
    table = run(
        tmp_path, values, {"train": [[0, 4]], "validation": [[5, 8]], "test": [[9, 12]]},
        view=5, window=3, train_clips=1500, activity_floor=floor, min_coverage=0.7,
        activity_exponent=exponents[0], coverage_exponent=exponents[1],
    )  # fmt: skip
    reader = ActivityReader(field(values), 3)
    maps = [reader.read(start).of_windows(5) for start in (0, 1)]
    activity, coverage = (np.stack(parts) for parts in zip(*maps, strict=True))
    covered = coverage >= 0.7
    importance = covered * activity ** exponents[0] * coverage ** exponents[1]
    expected = floor * covered / covered.sum() + (1 - floor) * importance / importance.sum()
    drawn = np.zeros_like(expected)
    views = table.query("split == 'train' and level == 'global'")
    np.add.at(drawn, (views["start"], views["row"], views["col"]), 1 / 1500)
    np.testing.assert_allclose(drawn, expected, atol=4 * np.sqrt(expected.max() / 1500))
    assert (drawn[~covered] == 0).all()


def test_without_an_exponent_activity_does_not_count(tmp_path: Path) -> None:
    table = run(tmp_path, moving(), view=6, train_clips=400, activity_floor=0.0, activity_exponent=0.0)
    still = table.query("split == 'train' and level == 'global' and row + height <= 10")
    assert len(still) > 50


def test_where_nothing_moves_windows_are_drawn_evenly(tmp_path: Path) -> None:
    views = run(tmp_path, np.zeros((21, 8, 9), np.float32), view=6, train_clips=300).query("level == 'global'")
    assert len(views.query("split == 'train'")[["row", "col"]].drop_duplicates()) == 3 * 4


def test_a_frame_smaller_than_the_view_is_the_view(tmp_path: Path) -> None:
    views = run(tmp_path, moving(21, 8, 30)).query("split == 'train' and level == 'global'")
    assert views[["row", "height", "width"]].drop_duplicates().to_numpy().tolist() == [[0, 8, 12]]


def test_where_no_window_is_covered_enough_the_best_is_drawn(tmp_path: Path) -> None:
    values = moving()
    values[14:, :10] = np.nan
    values[14:, ::2] = np.nan  # validation: every other row of the lower half
    windows = run(tmp_path, values, min_coverage=0.65).query("split == 'validation' and level == 'local'")
    assert (windows["row"] >= 11).all()
    assert (windows["row"] % 2 == 1).all()


def test_the_seed_decides(tmp_path: Path) -> None:
    first = run(tmp_path, moving())
    names = ("crops.csv", "crops.png")
    contents = [(tmp_path / name).read_bytes() for name in names]
    run(tmp_path, moving())
    assert [(tmp_path / name).read_bytes() for name in names] == contents
    assert not run(tmp_path, moving(), seed=4).equals(first)


def test_a_grid_smaller_than_a_window_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"n\.zarr has a grid of 4 x 24 cells, smaller than a local window of 5"):
        run(tmp_path, moving(height=4))


def test_too_little_coverage_is_named_with_the_best(tmp_path: Path) -> None:
    values = np.full((21, 6, 7), np.nan, np.float32)
    values[:, :3] = 0.0
    with pytest.raises(DataError, match=r"has crops\.min_coverage = 0\.9 of its values; the best has 0\.500"):
        run(tmp_path, values, min_coverage=0.9)


def test_a_failure_halfway_leaves_nothing(tmp_path: Path) -> None:
    with patch.object(pd.DataFrame, "to_csv", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        run(tmp_path, moving())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.zarr", "s.json"]
