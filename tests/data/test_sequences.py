"""Separate sequences: on one clock in the record, apart in everything that runs over time."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from samples import clip_config, crops_config, ingest_config, normalize_config, variable

from physicnet.data.crops import draw_crops
from physicnet.data.ingest import ingest
from physicnet.data.netcdf import open_netcdf
from physicnet.data.normalize import normalize
from physicnet.fields import DataError, Field

FRAMES, SIZE = 5, (8, 9)
CLIP = clip_config(frames_in=2, frames_out=2)
CONFIG = ingest_config(variable(units="1"), max_quarantined=9)


def values_of(sequence: int, frames: int = FRAMES) -> np.ndarray:
    """Known by heart: random, and none like another."""
    return np.random.default_rng(sequence).uniform(1, 2, (frames, *SIZE)).astype(np.float32)


def sequences(numbers: list[int], *, frames: int = FRAMES, parts: list[int] | None = None) -> xr.Dataset:
    values = np.stack([values_of(number, frames) for number in numbers])
    time = ("time", 60.0 * np.arange(frames), {"units": "seconds since 2000-01-01", "standard_name": "time"})
    dataset = xr.Dataset(
        {"rate": (("sequence", "time", "y", "x"), values, {"units": "1"})},
        {"sequence": numbers, "time": time, "y": np.arange(8.0), "x": np.arange(9.0)},
    )
    if parts is None:
        return dataset
    flags = {"flag_values": np.arange(3, dtype=np.int8), "flag_meanings": "train validation test"}
    return dataset.assign_coords(part=("sequence", np.array(parts, np.int8), flags))


def ingested(folder: Path, *files: xr.Dataset) -> Field:
    raw = folder / "raw"
    raw.mkdir()
    for index, dataset in enumerate(files):
        dataset.to_netcdf(raw / f"{index}.nc")
    ingest(CONFIG, CLIP, raw=raw, fields=folder / "fields.zarr", catalogue=folder / "catalogue", resume=folder / "kept")
    return Field.open(folder / "fields.zarr")


def split_of(folder: Path, **changes: object) -> dict[str, list[list[int]]]:
    config = normalize_config(transforms={"rate": []}, **changes)
    paths = {"normalized": folder / "normalized.zarr", "statistics": folder / "s.json", "maps": folder / "maps"}
    normalize(config, CLIP, CONFIG, fields=folder / "fields.zarr", **paths)
    return json.loads(paths["statistics"].read_text())["splits"]


def test_sequences_come_in_the_order_of_their_numbers_whichever_file_holds_them(tmp_path: Path) -> None:
    field = ingested(tmp_path, sequences([4, 1]), sequences([0, 7]))
    assert field.sequences is not None
    assert field.sequences.tolist() == np.repeat([0, 1, 4, 7], FRAMES).tolist()
    expected = np.concatenate([values_of(number) for number in (0, 1, 4, 7)])
    np.testing.assert_array_equal(field.frames(0, 4 * FRAMES)[:, 0], expected)


def test_a_file_that_comes_later_changes_the_place_of_no_sequence(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = ingested(tmp_path / "before", sequences([0, 3]))
    after = ingested(tmp_path / "after", sequences([0, 3]), sequences([1, 2]))
    assert set(before.times) < set(after.times)


def test_the_catalogue_names_the_sequence_of_a_frame_and_no_gap_between_two(tmp_path: Path) -> None:
    ingested(tmp_path, sequences([0, 1, 2]))
    frames = pd.read_csv(tmp_path / "catalogue" / "frames.csv")
    assert frames["sequence"].tolist() == np.repeat([0, 1, 2], FRAMES).tolist()
    assert pd.read_csv(tmp_path / "catalogue" / "gaps.csv").empty


def test_a_frame_that_a_sequence_lacks_is_a_gap_in_it(tmp_path: Path) -> None:
    files = [sequences([0, 1, 2])]
    files[0]["rate"][1, 2] = np.nan
    files += [sequences([1]).isel(time=[0])]  # of one frame: refused
    field = ingested(tmp_path, *files)
    assert np.isnan(field.frames(FRAMES + 2, FRAMES + 3)).all()
    told = pd.read_csv(tmp_path / "catalogue" / "files.csv")
    assert "a sequence needs two frames" in told["reason"][1]


def test_fractions_count_sequences_and_need_no_gap(tmp_path: Path) -> None:
    ingested(tmp_path, sequences([0, 1, 2, 3, 4, 5, 6, 7]))
    splits = split_of(tmp_path, train_fraction=0.5, validation_fraction=0.25, gap=3)
    assert splits["train"] == [[0, 5], [5, 10], [10, 15], [15, 20]]
    assert splits["validation"] == [[20, 25], [25, 30]]
    assert splits["test"] == [[30, 35], [35, 40]]


def test_parts_that_files_tell_are_kept_whatever_the_fractions_are(tmp_path: Path) -> None:
    ingested(tmp_path, sequences([0, 1], parts=[0, 1]), sequences([2, 3, 4], parts=[2, 2, 2]))
    splits = split_of(tmp_path, train_fraction=0.8, validation_fraction=0.1)
    assert splits == {"train": [[0, 5]], "validation": [[5, 10]], "test": [[10, 15], [15, 20], [20, 25]]}


def test_no_clip_runs_from_one_sequence_into_the_next(tmp_path: Path) -> None:
    field = ingested(tmp_path, sequences([0, 1, 2, 3], parts=[0, 0, 1, 2]))
    split_of(tmp_path)
    draw_crops(
        crops_config(view=8),
        CLIP,
        normalized=tmp_path / "normalized.zarr",
        statistics=tmp_path / "s.json",
        crops=tmp_path / "crops.csv",
        figure=tmp_path / "crops.png",
    )
    clips = pd.read_csv(tmp_path / "crops.csv").drop_duplicates("clip")
    assert field.sequences is not None
    first, last = field.sequences[clips["start"]], field.sequences[clips["start"] + CLIP.frames - 1]
    assert (first == last).all()
    assert set(zip(clips["split"], first.tolist(), strict=True)) == {
        ("train", 0),
        ("train", 1),
        ("validation", 2),
        ("test", 3),
    }


def test_parts_out_of_order_are_refused_by_number(tmp_path: Path) -> None:
    ingested(tmp_path, sequences([0, 1, 2], parts=[0, 2, 1]))
    with pytest.raises(DataError, match=r"sequence 2 is of validation, after one of test; number them in this order"):
        split_of(tmp_path)


def test_parts_that_only_some_files_tell_are_refused(tmp_path: Path) -> None:
    ingested(tmp_path, sequences([0, 1], parts=[0, 1]), sequences([2, 3]))
    with pytest.raises(DataError, match="sequence 2 is of none, after one of validation"):
        split_of(tmp_path)


def test_a_day_or_a_year_cannot_be_taken_from_counted_times(tmp_path: Path) -> None:
    ingested(tmp_path, sequences([0, 1, 2, 3]))
    anomaly = {"kind": "anomaly", "hour_of_day": True, "harmonics": 0}
    config = normalize_config(transforms={"rate": [anomaly]})
    paths = {"normalized": tmp_path / "n.zarr", "statistics": tmp_path / "s.json", "maps": tmp_path / "maps"}
    with pytest.raises(DataError, match="separate sequences, whose times are counted and of no day or year"):
        normalize(config, CLIP, CONFIG, fields=tmp_path / "fields.zarr", **paths)


def test_sequences_of_another_length_and_a_long_series_beside_them_are_quarantined(tmp_path: Path) -> None:
    long = sequences([0]).isel(sequence=0, drop=True)
    ingested(tmp_path, sequences([0, 1, 2]), sequences([3], frames=4), long)
    reasons = pd.read_csv(tmp_path / "catalogue" / "files.csv", keep_default_na=False)["reason"].tolist()
    assert reasons[0] == ""
    assert reasons[1].startswith("it holds sequences of 4 frames, most frames are of sequences of 5 frames")
    assert reasons[2].startswith("it holds one long series, most frames are of sequences of 5 frames")


def without_numbers(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.drop_vars("sequence")


def numbered_twice(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign_coords(sequence=[1, 1])


def numbered_by_halves(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign_coords(sequence=[0.5, 1.0])


def going_back(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.isel(time=[0, 2, 1])


def of_a_part_without_a_name(dataset: xr.Dataset) -> xr.Dataset:
    told = dataset.assign_coords(part=("sequence", np.array([0, 3], np.int8)))
    told["part"].attrs = {"flag_values": np.arange(4, dtype=np.int8), "flag_meanings": "train validation test spare"}
    return told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_numbers, "the dimension sequence has no coordinate; write a coordinate of whole numbers"),
        (numbered_twice, "does not number the sequences from 0 on"),
        (numbered_by_halves, "does not number the sequences from 0 on"),
        (going_back, "the times of a sequence must increase from frame to frame; correct time"),
        (of_a_part_without_a_name, "the coordinate part has 3, which its flag_meanings call 'spare'"),
    ],
)
def test_what_is_wrong_with_sequences_is_said(change, message: str, tmp_path: Path) -> None:
    change(sequences([0, 1])).to_netcdf(tmp_path / "odd.nc")
    with pytest.raises(DataError, match=message) as refused:
        open_netcdf(tmp_path / "odd.nc", CONFIG)
    assert str(tmp_path / "odd.nc") in str(refused.value)
