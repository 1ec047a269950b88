import hashlib
import json
from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr

from physicnet import fields
from physicnet.clock import GREGORIAN, calendar_of, format_time
from physicnet.fields import DataError, Field, frames_per_block, time_differences, written_whole


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


def test_a_window_of_frames_is_cut_out_of_them() -> None:
    field = Field(dataset())
    np.testing.assert_array_equal(field.frames(2, 5, slice(1, 3), slice(2, 4)), field.frames(2, 5)[:, :, 1:3, 2:4])


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


def test_a_field_that_is_no_store_has_one_chunk_a_frame() -> None:
    assert Field(dataset()).chunk_shape == (3, 5)


def test_saving_again_replaces_the_store(tmp_path: Path) -> None:
    Field(dataset(7)).save(tmp_path / "field.zarr")
    Field(dataset(4)).save(tmp_path / "field.zarr")
    assert Field.open(tmp_path / "field.zarr").shape[0] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["field.zarr"]


def test_the_step_is_the_most_frequent_difference_and_may_be_missed() -> None:
    assert Field(dataset(9).isel(time=[0, 1, 2, 5, 6, 8])).step == np.timedelta64(1, "h")


def in_calendar(calendar: str, num_frames: int = 7, first: str = "2000-02-27") -> xr.Dataset:
    """Return a field with a frame a day."""
    days = cftime.num2date(np.arange(num_frames), f"days since {first}", calendar)
    return dataset(num_frames).assign_coords(time=days)


@pytest.mark.parametrize(
    ("calendar", "last"),
    [("360_day", (2000, 3, 3)), ("noleap", (2000, 3, 5)), ("all_leap", (2000, 3, 4)), ("julian", (2000, 3, 4))],
)
def test_a_field_of_any_calendar_is_saved_with_its_times(
    calendar: str, last: tuple[int, int, int], tmp_path: Path
) -> None:
    field = Field(in_calendar(calendar))
    field.save(tmp_path / "field.zarr")
    back = Field.open(tmp_path / "field.zarr")
    assert field.times[-1] == cftime.datetime(*last, calendar=calendar)
    assert field.times.tolist() == back.times.tolist()
    assert back.times[0].calendar == calendar
    assert back.step == np.timedelta64(1, "D")
    attributes = json.loads((tmp_path / "field.zarr" / "time" / "zarr.json").read_text())["attributes"]
    assert (attributes["calendar"], attributes["units"]) == (calendar, "milliseconds since 1970-01-01")
    back.isel(2, 5).save(tmp_path / "again.zarr")
    assert Field.open(tmp_path / "again.zarr").times.tolist() == field.times[2:5].tolist()


@pytest.mark.parametrize("first", ["0850-01-01", "1582-10-01", "1582-10-15", "1677-09-19", "2262-04-09", "3000-01-01"])
@pytest.mark.parametrize("calendar", ["standard", "proleptic_gregorian"])
def test_a_field_far_from_today_is_saved_with_its_times(first: str, calendar: str, tmp_path: Path) -> None:
    field = Field(in_calendar(calendar, first=first))
    field.save(tmp_path / "field.zarr")
    back = Field.open(tmp_path / "field.zarr")
    assert back.times.tolist() == field.times.tolist()
    assert calendar_of(back.times) == (calendar if first < "1582-10-15" else GREGORIAN)
    assert (field.step, back.step) == (np.timedelta64(1, "D"),) * 2
    back.save(tmp_path / "again.zarr")
    assert contents(tmp_path / "again.zarr") == contents(tmp_path / "field.zarr")


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("first", ["1600-01-01", "1677-09-19", "2020-01-01", "2262-04-09", "3000-01-01"])
def test_times_of_numpy_that_nanoseconds_do_not_reach_become_objects(first: str, unit: str, tmp_path: Path) -> None:
    days = (np.datetime64(first) + np.arange(7)).astype(f"datetime64[{unit}]")
    field = Field(dataset().assign_coords(time=days))
    texts = [f"{day}T00:00:00" for day in np.datetime_as_string(days, unit="D")]
    assert field.times.dtype == ("datetime64[ns]" if first == "2020-01-01" else object)
    assert [format_time(time) for time in field.times] == texts
    field.save(tmp_path / "field.zarr")
    assert [format_time(time) for time in Field.open(tmp_path / "field.zarr").times] == texts
    assert [format_time(time) for time in field.isel(0, 2).times_after(5)] == texts[2:]


def test_frames_centuries_apart_increase() -> None:
    field = Field(dataset(3).assign_coords(time=np.array(["1700-01-01", "1700-01-02", "2200-01-01"], "datetime64[ns]")))
    assert field.step == np.timedelta64(1, "D")
    assert time_differences(field.times)[1] == np.timedelta64(182620, "D")


def test_times_of_another_calendar_increase() -> None:
    with pytest.raises(DataError, match=r"2000-02-28T00:00:00 \(360_day\) does not come after the frame before it"):
        Field(in_calendar("360_day").isel(time=[0, 2, 1, 3]))


def test_a_frame_of_another_calendar_off_the_beat_is_named() -> None:
    with pytest.raises(DataError, match=r"2000-03-04T00:00:00 \(360_day\) comes 259200\.0 s after .* 172800\.0 s"):
        _ = Field(in_calendar("360_day", 9).isel(time=[0, 2, 4, 7])).step


def test_the_times_that_follow_are_a_step_apart_in_any_calendar() -> None:
    assert list(map(format_time, Field(dataset()).times_after(2))) == ["2020-01-01T07:00:00", "2020-01-01T08:00:00"]
    assert list(map(format_time, Field(in_calendar("360_day", 3)).times_after(2))) == [
        "2000-02-30T00:00:00 (360_day)",
        "2000-03-01T00:00:00 (360_day)",
    ]


def test_differences_of_times_are_the_same_kind_in_any_calendar() -> None:
    day = np.timedelta64(1, "D")
    for times in (np.arange("2000-02-27", "2000-03-03", dtype="datetime64[D]"), Field(in_calendar("360_day", 5)).times):
        np.testing.assert_array_equal(time_differences(times), np.full(4, day))
        assert time_differences(times).dtype == "timedelta64[us]"


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


def test_a_frame_without_a_time_is_named() -> None:
    times = dataset()["time"].values.copy()
    times[3] = np.datetime64("NaT")
    with pytest.raises(DataError, match="frame 3 has no time, time is missing; leave it out"):
        Field(dataset().assign_coords(time=times))


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
