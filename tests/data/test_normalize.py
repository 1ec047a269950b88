import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file
from samples import clip_config, ingest_config, normalize_config, raw_dataset

from physicnet.calendar import hour_of_day
from physicnet.clock import format_time
from physicnet.config import ClipConfig, NormalizeConfig
from physicnet.data.budget import Budget
from physicnet.data.normalize import normalize, split
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer

CLIP = clip_config()
FILES = {"normalized": "normalized.zarr", "statistics": "statistics.json", "maps": "maps.safetensors"}
ANOMALY = {"kind": "anomaly", "hour_of_day": True, "harmonics": 0}


def record(num_frames: int = 30, **changes: int) -> Field:
    dataset = raw_dataset(num_frames, **changes).set_coords("projection")
    dataset["rate"].encoding["grid_mapping"] = dataset["rate"].attrs.pop("grid_mapping")
    return Field(dataset)


def run(
    folder: Path, field: Field, config: NormalizeConfig, clip: ClipConfig = CLIP, **machine: object
) -> tuple[Field, dict]:
    field.save(folder / "fields.zarr")
    paths = {name: folder / file for name, file in FILES.items()}
    normalize(config, clip, ingest_config(**machine), fields=folder / "fields.zarr", **paths)
    return Field.open(paths["normalized"]), json.loads(paths["statistics"].read_text())


def test_the_split_by_hand() -> None:
    config = normalize_config(train_fraction=0.55, validation_fraction=0.20, gap=4)
    parts = split(record(92), config, clip_config(frames_in=4, frames_out=12))
    assert parts == {"train": [[0, 46]], "validation": [[50, 67]], "test": [[71, 92]]}


@pytest.mark.parametrize("num_frames", range(19, 40, 4))
@pytest.mark.parametrize("gap", [0, 1, 3])
def test_no_frame_is_shared_and_gaps_are_kept(num_frames: int, gap: int) -> None:
    parts = split(record(num_frames), normalize_config(gap=gap), CLIP)
    (train,), (validation,), (test,) = parts["train"], parts["validation"], parts["test"]
    assert train[0] == 0
    assert validation[0] - train[1] == test[0] - validation[1] == gap
    assert test[1] == num_frames


def test_no_range_runs_across_a_gap_in_time() -> None:
    frames = [*range(7), *range(9, 32)]
    field = Field(record(32).dataset.isel(time=frames))
    parts = split(field, normalize_config(), CLIP)
    assert parts["train"] == [[0, 7], [7, 13]]
    assert (parts["validation"], parts["test"]) == ([[15, 22]], [[24, 30]])


def test_the_clock_and_the_split_stand_beside_the_statistics(tmp_path: Path) -> None:
    _, statistics = run(tmp_path, record(), normalize_config())
    assert statistics["step_seconds"] == 300.0
    assert statistics["splits"] == split(record(), normalize_config(), CLIP)
    assert [entry["variable"] for entry in statistics["variables"]] == ["rate"]


def test_how_and_when_the_training_part_was_observed_stands_there_too(tmp_path: Path) -> None:
    _, statistics = run(tmp_path, record(), normalize_config())
    first, last = statistics["splits"]["train"][0][0], statistics["splits"]["train"][-1][1] - 1
    ends = {name: format_time(record().times[frame]) for name, frame in {"start": first, "end": last}.items()}
    assert statistics["span"] == ends | {"calendar": "proleptic_gregorian"}
    assert statistics["ingest"] == ingest_config().rules()


def test_training_values_have_mean_zero_and_deviation_one(tmp_path: Path) -> None:
    normalized, statistics = run(tmp_path, record(), normalize_config())
    train = normalized.frames(*statistics["splits"]["train"][0])
    np.testing.assert_allclose([np.nanmean(train), np.nanstd(train)], [0, 1], atol=1e-5)


def test_what_comes_after_training_changes_no_statistic(tmp_path: Path) -> None:
    field = record()
    _, before = run(tmp_path, field, normalize_config())
    later = field.dataset.where(field.dataset["time"] < field.dataset["time"][before["splits"]["train"][0][1]], 999.0)
    _, after = run(tmp_path, Field(later), normalize_config())
    assert after == before


def test_the_store_ends_before_the_test_part_and_denormalizes_to_the_fields(tmp_path: Path) -> None:
    field = record()
    normalized, statistics = run(tmp_path, field, normalize_config())
    end = statistics["splits"]["test"][0][0]
    assert normalized.shape == (end, 1, 6, 9)
    normalizer = Normalizer.load(tmp_path / "statistics.json", tmp_path / "maps.safetensors")
    back = normalizer.denormalize(normalized.frames(0, end), normalized.times)
    expected = field.frames(0, end)
    np.testing.assert_allclose(back, np.where(expected < 0.1, 0, expected), rtol=1e-5)


def test_units_coordinates_and_grid_mapping_of_normalized_values(tmp_path: Path) -> None:
    normalized, _ = run(tmp_path, record(), normalize_config())
    assert normalized.units == {"rate": "1"}
    assert normalized.dataset["rate"].encoding["grid_mapping"] == "projection"
    xr.testing.assert_equal(normalized.dataset["north"], record().dataset["north"])


def test_running_again_gives_the_same_bytes(tmp_path: Path) -> None:
    runs = []
    for _ in range(2):
        run(tmp_path, record(), normalize_config())
        runs.append({path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("num_frames", "changes", "message"),
    [
        (3, {}, "of 3 frames the train part gets 0"),
        (20, {"gap": 0, "train_fraction": 0.6, "validation_fraction": 0.1}, "of 20 frames the validation part gets 2"),
        (13, {}, "of 13 frames the test part gets 2"),
    ],
)
def test_a_part_too_short_for_one_clip_is_named(num_frames: int, changes: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=rf"{message}, .* one clip needs 3: add data, change normalize.train_fraction"):
        split(record(num_frames), normalize_config(**changes), CLIP)


def test_a_part_that_gaps_in_time_cut_too_short_is_named() -> None:
    field = Field(record(60).dataset.isel(time=[*range(16), *range(16, 24, 2), *range(24, 60)]))
    config = normalize_config(gap=0, train_fraction=0.28, validation_fraction=0.08)
    with pytest.raises(DataError, match=r"the validation part gets 4, at most 1 of them without a gap"):
        split(field, config, CLIP)


def test_a_constant_variable_is_named(tmp_path: Path) -> None:
    field = Field(record().dataset.map(lambda array: array * 0 + np.float32(0.3)))
    field.dataset["rate"].attrs["units"] = "mm h-1"
    with pytest.raises(DataError, match="variable rate cannot be standardised"):
        run(tmp_path, field, normalize_config())


def hourly_record(days: int) -> Field:
    """Hours of the day as values, the same on every day, plus the row."""
    times = np.datetime64("2020-06-01", "ns") + np.arange(24 * days) * np.timedelta64(1, "h")
    values = (np.arange(24 * days) % 24)[:, None, None] + np.arange(6.0)[:, None] + np.zeros(9)
    values += np.random.default_rng(0).normal(0.0, 0.5, values.shape)
    return Field(xr.Dataset({"rate": (("time", "y", "x"), values, {"units": "K"})}, {"time": times}))


def test_an_anomaly_has_its_maps_beside_the_statistics_and_no_cycle_left(tmp_path: Path) -> None:
    config = normalize_config(transforms={"rate": [ANOMALY]}, standardize={"rate": "per_cell"})
    normalized, statistics = run(tmp_path, hourly_record(12), config)
    maps = load_file(tmp_path / "maps.safetensors")
    assert {name: array.shape for name, array in maps.items()} == {
        "rate/hourly": (24, 6, 9),
        "rate/yearly": (0, 6, 9),
        "rate/mean": (6, 9),
        "rate/std": (6, 9),
    }
    assert statistics["variables"][0]["hours"] == [True] * 24
    train = normalized.frames(*statistics["splits"]["train"][0])
    hours = hour_of_day(normalized.times[: len(train)])
    np.testing.assert_allclose([train[hours == hour].mean(axis=0) for hour in range(24)], 0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=0), 1, rtol=1e-4)


def test_without_maps_their_file_is_empty(tmp_path: Path) -> None:
    run(tmp_path, record(), normalize_config())
    assert load_file(tmp_path / "maps.safetensors") == {}


def test_an_hour_of_the_test_part_that_training_never_saw_is_refused_at_once(tmp_path: Path) -> None:
    field = hourly_record(12)
    nights = [index for index in range(24 * 12) if index >= 24 * 11 or index % 24 < 12]
    config = normalize_config(transforms={"rate": [ANOMALY]})
    with pytest.raises(DataError, match=r"fields\.zarr: 2020-06-12T12:00.* never occurs in the training part"):
        run(tmp_path, Field(field.dataset.isel(time=nights)), config)


@pytest.mark.parametrize("frame", [3, 20])  # of training, of validation
def test_a_value_that_its_transform_does_not_take_is_named_with_its_file(tmp_path: Path, frame: int) -> None:
    field = record()
    field.dataset["rate"][frame, 4, 7] = -0.5
    config = normalize_config(transforms={"rate": [{"kind": "log1p", "scale": 1.0}]})
    message = r"fields\.zarr: variable rate is -0\.5 at 2020-06-01T.*, row 4, column 7, .* log1p takes no value below 0"
    with pytest.raises(DataError, match=message):
        run(tmp_path, field, config)
    assert [path.name for path in tmp_path.iterdir()] == ["fields.zarr"]


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 3 x 3 cells; shards of 6 rows and 4 frames."""
    monkeypatch.setattr("physicnet.fields.CHUNK_CELLS", 3)
    monkeypatch.setattr("physicnet.fields.SHARD_BYTES", 4 * 6 * 9 * 4)


PER_CELL = {"transforms": {"rate": [ANOMALY]}, "standardize": {"rate": "per_cell"}}


@pytest.mark.parametrize("changes", [{}, PER_CELL])
@pytest.mark.parametrize("block", [8 * 9, 8 * 9 * 6 * 3])  # a row of one frame; three frames
def test_neither_shards_nor_blocks_change_what_is_written(
    changes: dict, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = run(tmp_path / "whole", hourly_record(12), normalize_config(**changes))
    expected = whole.frames(0, whole.shape[0])
    monkeypatch.setattr("physicnet.fields.SHARD_BYTES", 4 * 6 * 9 * 4)
    monkeypatch.setattr(Budget, "within", lambda *_: Budget(block, 1, 2**30))
    parts, _ = run(tmp_path / "parts", hourly_record(12), normalize_config(**changes))
    assert len(list((tmp_path / "parts/normalized.zarr/rate/c").iterdir())) > 1
    np.testing.assert_array_equal(parts.frames(0, parts.shape[0]), expected)


@pytest.mark.usefixtures("small_shards")
def test_two_workers_of_a_cluster_give_the_same_bytes(tmp_path: Path) -> None:
    from distributed import LocalCluster

    config = normalize_config(**PER_CELL)
    run(tmp_path / "here", hourly_record(12), config)
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=None, memory_limit=0
    ) as cluster:
        run(tmp_path / "cluster", hourly_record(12), config, cluster=cluster.scheduler_address)
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "here", tmp_path / "cluster")
    ]
    assert contents[0] == contents[1]


def test_a_limit_that_is_too_small_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fields\.zarr: ingest\.memory_limit is 1 MiB, but the program .* raise it"):
        run(tmp_path, record(), normalize_config(), memory_limit="1 MiB")


def test_a_failure_halfway_leaves_nothing(tmp_path: Path) -> None:
    record().save(tmp_path / "fields.zarr")
    paths = {name: tmp_path / file for name, file in FILES.items()}
    with patch.object(xr.Dataset, "to_zarr", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        normalize(normalize_config(), CLIP, ingest_config(), fields=tmp_path / "fields.zarr", **paths)
    assert [path.name for path in tmp_path.iterdir()] == ["fields.zarr"]
