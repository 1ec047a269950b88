import hashlib
from pathlib import Path
from unittest.mock import patch

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from samples import STEP, clip_config, ingest_config, normalize_config, raw_dataset, variable

from physicnet.data.ingest import coarsen, ingest
from physicnet.data.normalize import normalize, without_gaps
from physicnet.fields import DataError, Field, format_time


def run(raw: Path, **changes: object) -> tuple[Field, pd.DataFrame]:
    out = raw.parent
    ingest(ingest_config(**changes), raw=raw, fields=out / "fields.zarr", catalogue=out / "catalogue.csv")
    return Field.open(out / "fields.zarr"), pd.read_csv(out / "catalogue.csv", keep_default_na=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_in_any_order_equal_one_line_of_xarray(raw: Path) -> None:
    parts = [raw_dataset(3, first=first, seed=first) for first in (0, 3, 8)]
    for name, part in zip("bca", parts, strict=True):
        part.to_netcdf(raw / f"{name}.nc")
    field, _ = run(raw)
    xr.testing.assert_equal(
        field.dataset["rate"].drop_vars("projection"), xr.concat([part["rate"] for part in parts], "time")
    )
    assert field.step == STEP


def test_the_grid_mapping_and_all_coordinates_travel_along(raw: Path) -> None:
    latitude = (("north", "east"), np.arange(54.0).reshape(6, 9), {"units": "degrees_north"})
    raw_dataset().assign_coords(latitude=latitude).to_netcdf(raw / "a.nc")
    field, _ = run(raw, coarsen=2)
    assert field.dataset["rate"].encoding["grid_mapping"] == "projection"
    assert field.dataset["projection"].attrs == {"grid_mapping_name": "stereographic"}
    assert field.dataset["north"].attrs == {"units": "km"}
    np.testing.assert_array_equal(field.dataset["north"], [99.5, 97.5, 95.5])
    assert field.dataset["latitude"].shape == (3, 4)


def test_coarsening_averages_valid_cells_where_half_of_them_are_valid() -> None:
    nan = np.nan
    values = np.array([[[1, 2, nan, 4, 9], [3, 6, nan, 8, 9], [nan, nan, 1, nan, 9], [nan, 5, 2, 3, 9]]])
    grid = xr.Dataset({"rate": (("time", "y", "x"), values, {"units": "K"})}, {"x": np.arange(5.0)})
    coarse = coarsen(grid, 2)
    np.testing.assert_array_equal(coarse["rate"], [[[3, 6], [nan, 2]]])
    np.testing.assert_array_equal(coarse["x"], [0.5, 2.5])
    assert coarse["rate"].attrs == {"units": "K"}


@pytest.mark.parametrize("factor", [1, 3])
def test_coarsening_cuts_off_what_is_left_over_and_keeps_the_mean(factor: int) -> None:
    grid = raw_dataset(2, 6, 10).drop_vars("projection").fillna(0)
    coarse = coarsen(grid, factor)["rate"]
    expected = grid["rate"].values[:, : 6 // factor * factor, : 10 // factor * factor].mean()
    np.testing.assert_allclose(coarse.mean(), expected, rtol=1e-6)
    assert coarse.shape == (2, 6 // factor, 10 // factor)


def test_the_catalogue_has_a_row_per_file(raw: Path) -> None:
    raw_dataset(3).to_netcdf(raw / "a.nc")
    raw_dataset(4, first=3, seed=1).to_netcdf(raw / "b.nc")
    _, catalogue = run(raw, variables=[variable(units="m s-1")], coarsen=2)
    row = catalogue.iloc[0]
    values = raw_dataset(3)["rate"] / 3.6e6
    assert list(catalogue["path"]) == ["a.nc", "b.nc"]
    assert row["sha256"] == hashlib.sha256((raw / "a.nc").read_bytes()).hexdigest()
    assert (row["variables"], row["shape"], row["frames"]) == ("rate", "3x6x9", 3)
    assert (row["first"], row["last"]) == ("2020-06-01T00:00:00.000000000", "2020-06-01T00:10:00.000000000")
    np.testing.assert_allclose(
        row[["missing", "min", "max"]].astype(float), [6 / 54, values.min(), values.max()], rtol=1e-5
    )
    assert (row["status"], row["reason"]) == ("accepted", "")


def test_several_variables_become_channels_in_the_order_of_the_parameters(raw: Path) -> None:
    dataset = raw_dataset()
    dataset["air"] = (dataset["rate"] + 270).assign_attrs(units="K")
    dataset.to_netcdf(raw / "a.nc")
    field, catalogue = run(raw, variables=[variable(), variable("air", "K")])
    assert field.variables == ("rate", "air")
    assert field.units == {"rate": "mm h-1", "air": "K"}
    assert catalogue["missing"][0] == "0.111111;0.111111"


def test_frames_that_come_twice_are_dropped_and_counted(raw: Path) -> None:
    whole = raw_dataset(7)
    whole.isel(time=slice(0, 5)).to_netcdf(raw / "a.nc")
    whole.isel(time=slice(3, 7)).to_netcdf(raw / "b.nc")
    field, catalogue = run(raw)
    np.testing.assert_array_equal(field.dataset["rate"], whole["rate"])
    assert list(catalogue["reason"]) == ["", "2 frames repeat earlier ones"]


def test_running_again_gives_the_same_bytes(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    run(raw, coarsen=2)
    first = contents(raw.parent)
    run(raw, coarsen=2)
    assert contents(raw.parent) == first


def test_neither_block_nor_shard_size_changes_a_value(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    whole = run(raw, coarsen=2)[0].frames(0, 7)
    monkeypatch.setattr("physicnet.data.netcdf.BLOCK_BYTES", 3 * 8 * 6 * 9)
    monkeypatch.setattr("physicnet.fields.SHARD_BYTES", 2 * 4 * 3 * 4)
    np.testing.assert_array_equal(run(raw, coarsen=2)[0].frames(0, 7), whole)


def test_another_calendar_goes_through_to_the_normalised_record(raw: Path) -> None:
    days = cftime.num2date(6 * np.arange(40), "hours since 2000-02-27", "360_day")
    for name, part in (("b", slice(0, 25)), ("a", slice(25, 40))):
        raw_dataset(40).assign_coords(time=days).isel(time=part).to_netcdf(raw / f"{name}.nc")
    field, catalogue = run(raw)
    paths = {name: raw.parent / name for name in ("normalized", "statistics")}
    normalize(normalize_config(), clip_config(), fields=raw.parent / "fields.zarr", **paths)
    normalized = Field.open(paths["normalized"])
    assert field.times.tolist() == days.tolist()
    assert normalized.times.tolist() == days[: normalized.shape[0]].tolist()
    assert (field.step, normalized.step) == (np.timedelta64(6, "h"), np.timedelta64(6, "h"))
    assert format_time(normalized.times[12]) == "2000-02-30T00:00:00 (360_day)"
    assert set(catalogue["status"]) == {"accepted"}


def test_a_gap_in_another_calendar_cuts_a_segment(raw: Path) -> None:
    days = cftime.num2date(6 * np.arange(40), "hours since 2000-02-27", "360_day")
    raw_dataset(40).assign_coords(time=days).isel(time=np.delete(np.arange(40), [12, 13])).to_netcdf(raw / "a.nc")
    assert without_gaps(run(raw)[0], 5, 30) == [[5, 12], [12, 30]]


def test_an_empty_folder_is_named(raw: Path) -> None:
    with pytest.raises(DataError, match=r"no file in .*raw matches '\*\.nc'; add files or correct ingest\.pattern"):
        run(raw)


def test_another_number_of_cells_is_named(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    raw_dataset(width=8, first=7).to_netcdf(raw / "b.nc")
    with pytest.raises(DataError, match=r"b\.nc has the grid .*'east': 8.*, but .*a\.nc .*'east': 9"):
        run(raw)


def test_another_place_is_named(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    moved = raw_dataset(first=7)
    moved.assign_coords(east=moved["east"] + 1).to_netcdf(raw / "b.nc")
    with pytest.raises(DataError, match=r"b\.nc has other values of east than .*a\.nc; keep the files of one grid"):
        run(raw)


def test_a_missing_axis_is_named(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    raw_dataset(first=7).drop_vars("north").to_netcdf(raw / "b.nc")
    with pytest.raises(DataError, match=r"b\.nc has other values of north than"):
        run(raw)


def test_an_axis_that_differs_by_rounding_is_the_same(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    rounded = raw_dataset(first=7)
    rounded.assign_coords(east=(rounded["east"] * (1 + 1e-7)).astype(np.float32)).to_netcdf(raw / "b.nc")
    assert run(raw)[0].shape[0] == 14


def test_conflicting_frames_are_named(raw: Path) -> None:
    raw_dataset(4).to_netcdf(raw / "a.nc")
    raw_dataset(4, first=3, seed=1).to_netcdf(raw / "b.nc")
    with pytest.raises(DataError, match=r"a\.nc and .*b\.nc hold different values at 2020-06-01T00:15"):
        run(raw)


def test_a_frame_off_the_beat_is_named(raw: Path) -> None:
    dataset = raw_dataset()
    times = dataset["time"].values.copy()
    times[-1] += np.timedelta64(61, "s")
    dataset.assign_coords(time=times).to_netcdf(raw / "a.nc")
    with pytest.raises(DataError, match=r"raw: 2020-06-01T00:31:01.* comes 361\.0 s after"):
        run(raw)


@pytest.mark.parametrize("halfway", ["xarray.Dataset.to_zarr", "pandas.DataFrame.to_csv"])
def test_a_failure_halfway_leaves_nothing(raw: Path, halfway: str) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    with patch(halfway, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        run(raw)
    assert [path.name for path in raw.parent.iterdir()] == ["raw"]
