import hashlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from physicnet import fields
from physicnet.fields import DataError, Field, frames_per_block, written_whole


def dataset(num_frames: int = 7, names: tuple[str, ...] = ("wind", "air")) -> xr.Dataset:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(names), num_frames, 3, 5)).astype(np.float32)
    values[:, :, 0, 0] = np.nan
    return xr.Dataset(
        {name: (("time", "lat", "lon"), values[i], {"units": f"{i + 1} K"}) for i, name in enumerate(names)},
        {
            "time": np.datetime64("2020-01-01", "ns") + np.timedelta64(60, "m") * np.arange(num_frames),
            "lat": [50.0, 51.0, 52.0],
            "lon": np.arange(5.0),
        },
    )


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_field_knows_its_axes_units_and_clock() -> None:
    field = Field(dataset())
    assert field.shape == (7, 2, 3, 5)
    assert field.variables == ("wind", "air")
    assert field.units == {"wind": "1 K", "air": "2 K"}
    assert (field.time_dim, field.spatial_dims) == ("time", ("lat", "lon"))
    assert field.step == np.timedelta64(1, "h")
    assert field.times[-1] == np.datetime64("2020-01-01T06:00")


def test_frames_are_the_variables_stacked() -> None:
    data = dataset()
    expected = data.isel(time=slice(2, 5)).to_array("c").transpose("time", "c", "lat", "lon").values
    np.testing.assert_array_equal(Field(data).frames(2, 5), expected)
    np.testing.assert_array_equal(Field(data).isel(2, 5).frames(0, 3), expected)


def test_a_saved_field_comes_back_with_order_coordinates_and_grid_mapping(tmp_path: Path) -> None:
    data = dataset().assign_coords(crs=((), 0, {"grid_mapping_name": "latitude_longitude"}))
    data["height"] = ((), 2.0)
    data = data.set_coords("height")
    data["wind"].encoding["grid_mapping"] = "crs"
    Field(data).save(tmp_path / "field.zarr")
    back = Field.open(tmp_path / "field.zarr")
    assert back.variables == ("wind", "air")
    assert back.dataset["wind"].encoding["grid_mapping"] == "crs"
    xr.testing.assert_identical(back.dataset.drop_attrs(deep=False).load(), data)


def test_equal_fields_are_saved_as_equal_bytes_a_chunk_per_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "SHARD_BYTES", 3 * 4 * 3 * 5)
    for name in ("one.zarr", "two.zarr"):
        Field(dataset()).save(tmp_path / name)
    assert contents(tmp_path / "one.zarr") == contents(tmp_path / "two.zarr")
    encoding = Field.open(tmp_path / "one.zarr").dataset["air"].encoding
    assert (encoding["chunks"], encoding["shards"]) == ((1, 3, 5), (3, 3, 5))


def test_a_shard_does_not_depend_on_the_length_of_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "SHARD_BYTES", 3 * 4 * 3 * 5)
    for frames in (4, 7):
        Field(dataset(7).isel(time=slice(0, frames))).save(tmp_path / f"{frames}.zarr")
    short, long = contents(tmp_path / "4.zarr"), contents(tmp_path / "7.zarr")
    assert short["wind/c/0/0/0"] == long["wind/c/0/0/0"]


def test_large_frames_are_cut_into_equal_chunks_and_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "CHUNK_CELLS", 2)
    monkeypatch.setattr(fields, "SHARD_BYTES", 4 * 2 * 6)  # two rows of 5 cells, which three chunks of 2 cover
    Field(dataset()).save(tmp_path / "field.zarr")
    back = Field.open(tmp_path / "field.zarr")
    encoding = back.dataset["air"].encoding
    assert (encoding["chunks"], encoding["shards"]) == ((1, 2, 2), (1, 2, 6))
    np.testing.assert_array_equal(back.frames(0, 7), Field(dataset()).frames(0, 7))
    files = {f"air/{part.file}" for part in back.shards()}
    assert files == {name for name in contents(tmp_path / "field.zarr") if name.startswith("air/c")}


@pytest.mark.parametrize(("shape", "shard"), [((765, 700), (15, 765, 702)), ((9000, 12_000), (1, 500, 12_032))])
def test_a_shard_holds_whole_frames_or_a_band_of_one(shape: tuple[int, int], shard: tuple[int, int, int]) -> None:
    chunk, found = fields.layout(*shape)
    assert max(chunk) <= fields.CHUNK_CELLS
    assert all(size % part == 0 for size, part in zip(found, chunk, strict=True))
    assert 4 * np.prod(found) <= fields.SHARD_BYTES
    assert found == shard


def test_another_calendar_keeps_its_dates(tmp_path: Path) -> None:
    times = xr.date_range("1990-02-28", periods=7, freq="D", calendar="360_day", use_cftime=True)
    Field(dataset().assign_coords(time=times)).save(tmp_path / "field.zarr")
    back = Field.open(tmp_path / "field.zarr")
    assert [back.label(index) for index in (1, 2, 3)] == [f"1990-{day}T00:00:00" for day in ("02-29", "02-30", "03-01")]
    assert back.step == np.timedelta64(1, "D")


def test_what_is_created_lacks_only_the_values(tmp_path: Path) -> None:
    Field(dataset()).create(tmp_path / "empty.zarr")
    Field(dataset()).save(tmp_path / "full.zarr")
    empty, full = contents(tmp_path / "empty.zarr"), contents(tmp_path / "full.zarr")
    assert empty.items() < full.items()
    assert full.keys() - empty.keys() == {"air/c/0/0/0", "wind/c/0/0/0"}


def test_a_folder_is_exchanged_whole_even_if_it_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the old folder is removed, the new one is in its place already."""
    Field(dataset(7)).save(tmp_path / "field.zarr")

    def killed(_: Path) -> None:
        raise KeyboardInterrupt

    def save() -> None:
        with written_whole(tmp_path / "field.zarr") as partial:
            Field(dataset(4)).create(partial)
            monkeypatch.setattr("shutil.rmtree", killed)

    with pytest.raises(KeyboardInterrupt):
        save()
    assert Field.open(tmp_path / "field.zarr").shape[0] == 4


def test_saving_again_replaces_the_store(tmp_path: Path) -> None:
    Field(dataset(7)).save(tmp_path / "field.zarr")
    Field(dataset(4)).save(tmp_path / "field.zarr")
    assert Field.open(tmp_path / "field.zarr").shape[0] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["field.zarr"]


def test_the_step_is_the_most_frequent_difference_and_may_be_missed() -> None:
    assert Field(dataset(9).isel(time=[0, 1, 2, 5, 6, 8])).step == np.timedelta64(1, "h")


def test_a_field_needs_variables() -> None:
    with pytest.raises(DataError, match="at least one variable"):
        Field(xr.Dataset())


def test_a_field_needs_time_row_and_column() -> None:
    with pytest.raises(DataError, match=r"wind has dimensions \('lat', 'lon'\), not \(time, row, column\)"):
        Field(dataset().isel(time=0))


def test_variables_share_their_dimensions() -> None:
    data = dataset()
    data["air"] = data["air"].transpose("time", "lon", "lat")
    with pytest.raises(DataError, match="variable air has dimensions"):
        Field(data)


def test_a_field_refuses_integers() -> None:
    with pytest.raises(DataError, match="variable wind holds int32"):
        Field(dataset().fillna(0).astype(np.int32))


def test_a_field_needs_units() -> None:
    with pytest.raises(DataError, match="variable wind has no attribute units"):
        Field(dataset().drop_attrs())


def test_a_field_needs_times() -> None:
    with pytest.raises(DataError, match="first dimension, time, has no coordinate of times"):
        Field(dataset().assign_coords(time=np.arange(7)))


def test_times_increase() -> None:
    with pytest.raises(DataError, match=r"2020-01-01T01:00:00.* does not come after"):
        Field(dataset().isel(time=[0, 2, 1, 3]))


def test_a_single_frame_has_no_step() -> None:
    with pytest.raises(DataError, match="single frame has no time step"):
        _ = Field(dataset(1)).step


def test_a_frame_off_the_beat_is_named() -> None:
    data = dataset(5)
    times = data["time"].values.copy()
    times[3] += np.timedelta64(7, "m")
    with pytest.raises(DataError, match=r"2020-01-01T03:07.* comes 4020\.0 s after .* 3600\.0 s"):
        _ = Field(data.assign_coords(time=times)).step


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"field\.zarr does not exist"):
        Field.open(tmp_path / "field.zarr")


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")

    def fail_halfway() -> None:
        with written_whole(target) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".table.csv.partial").mkdir()
    with written_whole(tmp_path / "table.csv") as partial:
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_block_holds_frames_or_rows_of_one() -> None:
    assert fields.block_shape(10, 5, 1000) == (2, 10)
    assert fields.block_shape(10, 5, 130) == (1, 3)
    assert fields.block_shape(10, 5, 1) == (1, 1)


def test_a_block_holds_at_least_one_frame() -> None:
    assert frames_per_block(10, 35) == 3
    assert frames_per_block(100, 35) == 1
