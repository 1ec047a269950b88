import errno
import hashlib
import os
from pathlib import Path
from unittest.mock import patch

import cftime
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from archives import contents, fates, outputs, reason, run
from samples import STEP, clip_config, ingest_config, normalize_config, raw_dataset, variable

from physicnet.clock import format_time
from physicnet.config import IngestConfig
from physicnet.data import archive, reading
from physicnet.data.budget import Budget
from physicnet.data.ingest import survey_all
from physicnet.data.normalize import normalize, without_gaps
from physicnet.data.sources import Source, find_sources
from physicnet.data.survey import Survey
from physicnet.data.workers import Here
from physicnet.fields import DataError, Field


def test_files_in_any_order_equal_one_line_of_xarray(raw: Path) -> None:
    parts = [raw_dataset(3, first=first, seed=first) for first in (0, 3, 8)]
    for name, part in zip("bca", parts, strict=True):
        part.to_netcdf(raw / f"{name}.nc")
    field, catalogue = run(raw)
    xr.testing.assert_equal(
        field.dataset["rate"].drop_vars("projection"), xr.concat([part["rate"] for part in parts], "time")
    )
    assert field.step == STEP
    assert catalogue.num_refused == 0


def test_frames_in_any_order_within_a_file_are_sorted(raw: Path) -> None:
    dataset = raw_dataset()
    dataset.isel(time=[3, 0, 6, 1, 2, 5, 4]).to_netcdf(raw / "a.nc")
    np.testing.assert_array_equal(run(raw)[0].dataset["rate"], dataset["rate"])


def test_the_grid_mapping_and_all_coordinates_travel_along(raw: Path) -> None:
    latitude = (("north", "east"), np.arange(54.0).reshape(6, 9), {"units": "degrees_north"})
    raw_dataset().assign_coords(latitude=latitude).to_netcdf(raw / "a.nc")
    field, _ = run(raw, coarsen=2)
    assert field.dataset["rate"].encoding["grid_mapping"] == "projection"
    assert field.dataset["projection"].attrs == {"grid_mapping_name": "stereographic"}
    assert field.dataset["north"].attrs == {"units": "km"}
    np.testing.assert_array_equal(field.dataset["north"], [99.5, 97.5, 95.5])
    assert field.dataset["latitude"].shape == (3, 4)


def test_several_variables_become_channels_in_the_order_of_the_parameters(raw: Path) -> None:
    dataset = raw_dataset()
    dataset["air"] = (dataset["rate"] + 270).assign_attrs(units="K")
    dataset.to_netcdf(raw / "a.nc")
    field, catalogue = run(raw, variables=[variable("rate", "mm h-1"), variable("air", "K")])
    assert field.variables == ("rate", "air")
    assert field.units == {"rate": "mm h-1", "air": "K"}
    assert catalogue.files["missing"][0] == "0.111111;0.111111"


def test_the_valid_range_is_kept_with_the_variable(raw: Path) -> None:
    dataset = raw_dataset()
    dataset["rate"].attrs |= {"valid_min": -5.0, "valid_max": 5.0}  # of the file, which may pack: not what we keep
    dataset.to_netcdf(raw / "a.nc")
    field, _ = run(raw, variables=[variable(valid_min=-1e6)])
    attributes = field.dataset["rate"].attrs
    assert {name: attributes.get(name) for name in ("valid_min", "valid_max")} == {"valid_min": -1e6, "valid_max": None}


def test_an_equal_file_costs_nothing_and_changes_nothing(raw: Path, tmp_path: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    run(raw)
    before = contents(raw.parent / "fields.zarr")
    (raw / "b.nc").write_bytes((raw / "a.nc").read_bytes())
    _, catalogue = run(raw)
    assert contents(raw.parent / "fields.zarr") == before
    assert fates(catalogue) == {"a.nc": "accepted", "b.nc": "duplicate"}
    assert reason(catalogue, "b.nc") == "7 of 7 frames duplicate: repeats the frame in a.nc"


def test_the_newer_of_two_files_wins_whatever_its_date(raw: Path) -> None:
    first, second = raw_dataset(4), raw_dataset(4, first=3, seed=1)
    second.to_netcdf(raw / "v10.nc")
    first.to_netcdf(raw / "v9.nc")
    os.utime(raw / "v10.nc", (0, 0))
    field, catalogue = run(raw)
    np.testing.assert_array_equal(field.dataset["rate"][3:], second["rate"])
    assert fates(catalogue) == {"v9.nc": "accepted", "v10.nc": "accepted"}
    assert reason(catalogue, "v9.nc") == (
        "1 of 4 frames superseded: has other values than the frame in v10.nc, named later"
    )
    assert catalogue.num_refused == 0


def test_the_file_that_contradicts_is_refused_if_the_parameters_say_so(raw: Path) -> None:
    raw_dataset(4).to_netcdf(raw / "a.nc")
    raw_dataset(4, first=3, seed=1).to_netcdf(raw / "b.nc")
    field, catalogue = run(raw, on_conflict="refuse")
    assert field.shape[0] == 4
    assert fates(catalogue) == {"a.nc": "accepted", "b.nc": "quarantined"}
    assert "a.nc has other values of rate at 2020-06-01T00:15:00, and ingest.on_conflict is refuse" in reason(
        catalogue, "b.nc"
    )


def test_a_frame_off_the_beat_is_left_out_and_named(raw: Path) -> None:
    dataset = raw_dataset()
    times = dataset["time"].values.copy()
    times[-1] += np.timedelta64(61, "s")
    dataset.assign_coords(time=times).to_netcdf(raw / "a.nc")
    field, catalogue = run(raw)
    assert field.shape[0] == 6
    assert reason(catalogue, "a.nc") == "1 of 7 frames quarantined: comes 61 s after the beat of 300 s"
    assert catalogue.num_refused == 1


def test_what_is_outside_the_physical_range_is_missing(raw: Path) -> None:
    dataset = raw_dataset()
    values = dataset["rate"].values
    values[0, 5, :3] = [-1, np.inf, 99]
    dataset.to_netcdf(raw / "a.nc")
    field, catalogue = run(
        raw, variables=[variable("rate", "mm h-1", valid_min=0.0, valid_max=50.0)], max_invalid=3 / 48
    )
    values[0, 5, :3] = np.nan
    np.testing.assert_array_equal(field.dataset["rate"], values)
    first = catalogue.frames.iloc[0]
    assert (first["invalid"], first["missing"]) == (pytest.approx(3 / 54), pytest.approx(9 / 54))
    assert first["max"] == np.nanmax(values[0])


def test_a_frame_with_too_many_invalid_values_is_left_out(raw: Path) -> None:
    dataset = raw_dataset()
    dataset["rate"].values[6, 5, :3] = -np.inf
    dataset.to_netcdf(raw / "a.nc")
    field, catalogue = run(raw, max_invalid=0.06)
    assert field.shape[0] == 6
    assert "a share of 0.0625 of its values is outside the valid range, above 0.06" in reason(catalogue, "a.nc")


def test_a_variable_without_any_value_is_quarantined(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    empty = raw_dataset(first=7)
    empty["rate"] = empty["rate"].where(False)
    empty.to_netcdf(raw / "b.nc")
    field, catalogue = run(raw)
    assert field.shape[0] == 7
    assert fates(catalogue)["b.nc"] == "quarantined"
    assert "the file has no valid value of rate" in reason(catalogue, "b.nc")


def test_gaps_are_in_the_catalogue_with_what_they_cost(raw: Path) -> None:
    raw_dataset(10).isel(time=[0, 1, 2, 3, 6, 7, 8, 9]).to_netcdf(raw / "a.nc")
    _, catalogue = run(raw)
    assert catalogue.gaps.to_dict("records") == [
        {"after": "2020-06-01T00:15:00", "before": "2020-06-01T00:30:00", "missing_frames": 2, "clips_lost": 4}
    ]


def test_the_grid_of_most_frames_is_kept_and_the_others_named(raw: Path) -> None:
    raw_dataset(2, width=8, first=20).to_netcdf(raw / "a.nc")
    raw_dataset().to_netcdf(raw / "b.nc")
    moved = raw_dataset(first=7)
    moved.assign_coords(east=moved["east"] + 1).isel(time=slice(3)).to_netcdf(raw / "c.nc")
    field, catalogue = run(raw)
    assert field.shape == (7, 1, 6, 9)
    assert reason(catalogue, "a.nc").startswith("its grid is 6 north x 8 east, that of most frames 6 north x 9 east")
    assert reason(catalogue, "c.nc").startswith("it has other values of east than most frames")


def truncated(path: Path) -> None:
    raw_dataset(40, 30, 30).to_netcdf(path)
    path.write_bytes(path.read_bytes()[:-20_000])


def words(path: Path) -> None:
    raw_dataset().assign(rate=lambda dataset: xr.full_like(dataset["rate"], "rain", dtype=object)).to_netcdf(path)


def complex_numbers(path: Path) -> None:
    with netCDF4.Dataset(path, "w", auto_complex=True) as file:
        for name in ("time", "y", "x"):
            file.createDimension(name, 2)
        file.createVariable("rate", "c16", ("time", "y", "x"))[:] = 1j


def far_too_large(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 3), ("north", 10**6), ("east", 10**6)):
            file.createDimension(name, size)
        time = file.createVariable("time", "f8", ("time",))
        time.units, time[:] = "minutes since 2020-06-01", [0, 5, 10]
        file.createVariable("rate", "f4", ("time", "north", "east"), chunksizes=(1, 1000, 1000)).units = "mm h-1"


BROKEN = {
    "truncated": (truncated, "cannot be read"),
    "empty": (Path.touch, "cannot be read as NetCDF"),
    "page": (lambda path: path.write_text("<!DOCTYPE html><html>404</html>"), "cannot be read as NetCDF"),
    "pipe": (os.mkfifo, "no regular file"),
    "link out": (lambda path: path.symlink_to("/etc/hostname"), "outside of the folder"),
    "link to nothing": (lambda path: path.symlink_to("gone"), "link to nothing"),
    "large": (far_too_large, r"claims 3 x 1000000 x 1000000 = 3\.0e\+12 cells"),
    "no frame": (lambda path: raw_dataset(0).to_netcdf(path), r"has no value: its dimensions are time \(0\)"),
    "text": (words, "."),
    "complex": (complex_numbers, "."),
    "no time": (lambda path: raw_dataset().drop_vars("time").to_netcdf(path), "no axis of time"),
    "zoned": (lambda path: raw_dataset().assign_coords(time=[f"{i} +02:00" for i in range(7)]).to_netcdf(path), "."),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.filterwarnings("ignore::xarray.SerializationWarning")
def test_a_broken_file_is_quarantined_and_the_rest_ingested(raw: Path, kind: str) -> None:
    raw_dataset().to_netcdf(raw / "b.nc")
    make, because = BROKEN[kind]
    make(raw / "a.nc")
    before = {path.name: path.lstat() for path in raw.iterdir()}
    field, catalogue = run(raw)
    np.testing.assert_array_equal(field.dataset["rate"], raw_dataset()["rate"])
    assert fates(catalogue) == {"a.nc": "quarantined", "b.nc": "accepted"}
    assert pd.Series([reason(catalogue, "a.nc")]).str.contains(because).all(), reason(catalogue, "a.nc")
    assert str(raw) not in reason(catalogue, "a.nc")
    after = {path.name: path.lstat() for path in raw.iterdir()}
    assert {name: (status.st_mtime_ns, status.st_ino) for name, status in after.items()} == {
        name: (status.st_mtime_ns, status.st_ino) for name, status in before.items()
    }


def test_a_file_that_may_not_be_read_is_quarantined(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, because permissions do not bind the user root."""
    for index, name in enumerate("ab"):
        raw_dataset(first=7 * index).to_netcdf(raw / f"{name}.nc")
    real = Path.open

    def refusing(path: Path, *arguments: object, **settings: object) -> object:
        if path.name == "a.nc":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", refusing)
    _, catalogue = run(raw)
    assert fates(catalogue) == {"a.nc": "quarantined", "b.nc": "accepted"}
    assert reason(catalogue, "a.nc") == "it may not be read (permission denied); change its permissions"


@pytest.mark.parametrize("when", [2, 4])
@pytest.mark.parametrize(
    ("how", "because"), [("vanish", "it vanished while it was read"), ("grow", "it changed while")]
)
def test_a_file_that_vanishes_or_grows_is_quarantined(
    raw: Path, monkeypatch: pytest.MonkeyPatch, when: int, how: str, because: str
) -> None:
    """While it is looked through, or while it is written to the archive: files are opened twice, b.nc second."""
    for index, name in enumerate("abc"):
        raw_dataset(first=7 * index).to_netcdf(raw / f"{name}.nc")
    real, calls = reading.open_netcdf, iter(range(1, 99))

    def open_later(path: Path, config: IngestConfig) -> xr.Dataset:
        dataset = real(path, config)
        if next(calls) >= when and path.name == "b.nc" and path.exists():
            if how == "vanish":
                path.unlink()
            else:
                with path.open("ab") as file:
                    file.write(b"more")
        return dataset

    monkeypatch.setattr(reading, "open_netcdf", open_later)
    field, catalogue = run(raw)
    assert because in reason(catalogue, "b.nc")
    assert field.shape[0] == 14
    xr.testing.assert_equal(field.dataset["rate"][7:].drop_vars("projection"), raw_dataset(first=14)["rate"])


def test_another_calendar_than_most_frames_have_is_named(raw: Path) -> None:
    times = xr.date_range("2020-06-02", periods=3, freq="5min", calendar="noleap", use_cftime=True)
    raw_dataset().to_netcdf(raw / "a.nc")
    dataset = raw_dataset(3).assign_coords(time=("time", times))
    dataset.to_netcdf(raw / "b.nc")
    real = reading.open_netcdf

    def with_calendars(path: Path, variables: list) -> xr.Dataset:
        if path.name == "b.nc":
            return dataset.astype(np.float64)[["rate"]].chunk({"time": 3})
        return real(path, variables)

    with patch.object(reading, "open_netcdf", with_calendars):
        _, catalogue = run(raw)
    assert reason(catalogue, "b.nc").startswith("its calendar is noleap, that of most frames proleptic_gregorian")


def test_another_calendar_goes_through_to_the_normalised_record(raw: Path) -> None:
    days = cftime.num2date(6 * np.arange(40), "hours since 2000-02-27", "360_day")
    for name, part in (("b", slice(0, 25)), ("a", slice(25, 40))):
        raw_dataset(40).assign_coords(time=days).isel(time=part).to_netcdf(raw / f"{name}.nc")
    field, catalogue = run(raw)
    paths = {name: raw.parent / name for name in ("normalized", "statistics", "maps")}
    normalize(normalize_config(), clip_config(), ingest_config(), fields=raw.parent / "fields.zarr", **paths)
    normalized = Field.open(paths["normalized"])
    assert field.times.tolist() == days.tolist()
    assert normalized.times.tolist() == days[: normalized.shape[0]].tolist()
    assert (field.step, normalized.step) == (np.timedelta64(6, "h"), np.timedelta64(6, "h"))
    assert format_time(normalized.times[12]) == "2000-02-30T00:00:00 (360_day)"
    assert catalogue.files["last"].tolist() == ["2000-03-06T18:00:00", "2000-03-03T00:00:00"]


def test_a_gap_in_another_calendar_cuts_a_segment(raw: Path) -> None:
    days = cftime.num2date(6 * np.arange(40), "hours since 2000-02-27", "360_day")
    raw_dataset(40).assign_coords(time=days).isel(time=np.delete(np.arange(40), [12, 13])).to_netcdf(raw / "a.nc")
    assert without_gaps(run(raw)[0], 5, 30) == [[5, 12], [12, 30]]


def test_variables_of_several_files_are_joined_and_what_is_absent_is_named(raw: Path) -> None:
    rate = raw_dataset(5)
    air = (raw_dataset(5, first=2, seed=1) + 270).rename(rate="air")
    air["air"].attrs["units"] = "K"
    rate.to_netcdf(raw / "a.nc")
    air.to_netcdf(raw / "b.nc")
    field, catalogue = run(raw, variables=[variable("rate", "mm h-1"), variable("air", "K")])
    together = xr.merge([rate["rate"], air["air"]], join="outer", compat="override")
    for name in ("rate", "air"):
        np.testing.assert_array_equal(field.dataset[name], together[name])
    absent = catalogue.frames[catalogue.frames["status"] == "absent"]
    assert absent["variable"].value_counts().to_dict() == {"rate": 2, "air": 2}
    assert set(absent["reason"]) == {f"no accepted frame has {name} at this time" for name in ("rate", "air")}


def test_a_variable_that_no_file_gives_is_named(raw: Path) -> None:
    raw_dataset(5).to_netcdf(raw / "a.nc")
    with pytest.raises(DataError, match=r"no file gives air; add files or take it out of ingest\.variables"):
        run(raw, variables=[variable("rate", "mm h-1"), variable("air", "K")])


def test_without_two_frames_nothing_is_written(raw: Path) -> None:
    raw_dataset(1).to_netcdf(raw / "a.nc")
    (raw / "b.nc").write_text("<html>")
    with pytest.raises(DataError, match=r"(?s)of 2 files 1 can be ingested.*b\.nc: .*cannot be read as NetCDF"):
        run(raw)
    assert sorted(path.name for path in raw.parent.iterdir()) == ["raw", "state"]


def test_running_again_gives_the_same_bytes_with_and_without_the_state(raw: Path, tmp_path: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    run(raw, coarsen=2)
    run(raw, tmp_path / "fresh", coarsen=2)
    first = outputs(raw.parent)
    run(raw, coarsen=2)
    assert outputs(raw.parent) == first == outputs(tmp_path / "fresh")
    assert len(first) > 10


def test_neither_blocks_nor_shards_nor_chunks_change_a_value(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    whole, table = run(raw, coarsen=2)
    frames = whole.frames(0, 7)
    monkeypatch.setattr("physicnet.data.netcdf.SMALLEST", 4 * 8 * 9)
    monkeypatch.setattr("physicnet.data.budget.LARGEST", 3 * 8 * 9)
    monkeypatch.setattr("physicnet.fields.SHARD_BYTES", 2 * 4 * 1 * 4)
    monkeypatch.setattr("physicnet.fields.CHUNK_CELLS", 2)
    field, again = run(raw, raw.parent / "small", coarsen=2)
    np.testing.assert_array_equal(field.frames(0, 7), frames)
    pd.testing.assert_frame_equal(again.frames, table.frames)


def test_the_catalogue_has_a_row_per_file(raw: Path) -> None:
    raw_dataset(3).to_netcdf(raw / "a.nc")
    raw_dataset(4, first=3, seed=1).to_netcdf(raw / "b.nc")
    run(raw, variables=[variable("rate", "m s-1")], coarsen=2)
    table = pd.read_csv(raw.parent / "catalogue" / "files.csv", keep_default_na=False)
    row = table.iloc[0]
    values = raw_dataset(3)["rate"] / 3.6e6
    assert list(table["path"]) == ["a.nc", "b.nc"]
    assert row["sha256"] == hashlib.sha256((raw / "a.nc").read_bytes()).hexdigest()
    assert (row["variables"], row["shape"], row["frames"], row["step_seconds"]) == ("rate", "3x6x9", 3, 300)
    assert (row["first"], row["last"]) == ("2020-06-01T00:00:00", "2020-06-01T00:10:00")
    np.testing.assert_allclose(
        row[["missing", "min", "max"]].astype(float), [6 / 54, values.min(), values.max()], rtol=1e-5
    )
    assert (row["status"], row["reason"]) == ("accepted", "")


@pytest.mark.parametrize("halfway", ["xarray.Dataset.to_zarr", "pandas.DataFrame.to_csv"])
def test_a_failure_halfway_leaves_nothing(raw: Path, halfway: str) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    with patch(halfway, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        run(raw)
    assert sorted(path.name for path in raw.parent.iterdir()) == ["raw", "state"]


def test_a_limit_below_the_program_itself_is_named(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    with pytest.raises(DataError, match=r"ingest\.memory_limit is 100 MiB, but the program .* take \d+ MiB; raise it"):
        run(raw, memory_limit="100 MiB")


def test_one_file_of_a_folder_is_a_source(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    with reading.opened(Source("a.nc", raw / "a.nc", raw), ingest_config()) as dataset:
        assert dataset["rate"].shape == (7, 6, 9)


def test_files_of_one_grid_hold_its_coordinates_once(raw: Path) -> None:
    places = {"latitude": (("north", "east"), np.arange(54.0).reshape(6, 9), {"units": "degrees_north"})}
    for name, first in (("a", 0), ("b", 7)):
        raw_dataset(7, first=first).assign_coords(places).to_netcdf(raw / f"{name}.nc")
    sources, budget = find_sources(raw, "*.nc"), Budget(2**20, 1, 0)
    one, other = survey_all(sources, ingest_config(), budget=budget, state=None, workers=Here())
    assert isinstance(one, Survey)
    assert isinstance(other, Survey)
    assert other.grid is one.grid


def test_a_full_disk_stops_the_run_and_refuses_no_file(raw: Path) -> None:
    raw_dataset(7).to_netcdf(raw / "a.nc")
    full = OSError(errno.ENOSPC, "No space left on device")
    with patch.object(archive, "_fill", side_effect=full), pytest.raises(OSError, match="No space left on device"):
        run(raw)
    assert not (raw.parent / "fields.zarr").exists()
