from pathlib import Path
from typing import Any

import cftime
import numpy as np
import pytest
import xarray as xr
from forecasting import samples
from forecasting.storing import put
from forecasting.test_cf import complaints
from typer.testing import CliRunner

from physicnet import cli
from physicnet.fields import DataError
from physicnet.forecasting import cf, shelf
from physicnet.forecasting.hindcast import hindcast
from physicnet.forecasting.layout import laid_out
from physicnet.forecasting.loading import Model

OF_EACH = ("title", "history", "physicnet_observations")  # attributes that differ from forecast to forecast


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.zarr"


@pytest.fixture(scope="module")
def forecasts(model: Model, tmp_path_factory: pytest.TempPathFactory) -> list[xr.Dataset]:
    """Forecasts from 00:10, 00:15, 00:20 and 00:25, the last lead beyond those trained."""
    file = samples.write(tmp_path_factory.mktemp("observed") / "observed.nc", samples.record())
    return [model.forecast(file, at=samples.at(minute), lead=3) for minute in (10, 15, 20, 25)]


def shared(forecast: xr.Dataset) -> xr.Dataset:
    return forecast.assign_attrs(dict.fromkeys(OF_EACH, ""))


def test_a_store_holds_what_a_folder_holds(model: Model, archive: Path, tmp_path: Path) -> None:
    (archive / "06.nc").unlink()  # 00:30 to 00:40
    asked: dict[str, Any] = {"end": samples.at(55), "start": samples.at(20), "lead": "3"}
    for name in ("files", "store.zarr"):
        assert hindcast(model, [archive], tmp_path / name, **asked) == (3, 0, 5)
    for name in ("files", "store.zarr"):
        assert hindcast(model, [archive], tmp_path / name, **asked) == (0, 3, 5)
    paths = sorted((tmp_path / "files").glob("*.nc"))
    for path, forecast in zip(paths, shelf.each(tmp_path / "store.zarr"), strict=True):
        expected = cf.read(path)
        assert {name: array.dtype for name, array in forecast.variables.items()} == {
            name: array.dtype for name, array in expected.variables.items()
        }
        xr.testing.assert_identical(shared(forecast), shared(expected))
        xr.testing.assert_identical(shelf.read(tmp_path / "store.zarr", cf.origin(expected)), forecast)
    assert not (tmp_path / "store.zarr" / ".observations").exists()
    assert (tmp_path / ".store.zarr.observations").is_dir()


def test_xarray_alone_opens_it(path: Path, forecasts: list[xr.Dataset]) -> None:
    put(path, forecasts[::3])
    with xr.open_zarr(path) as dataset:
        rate = dataset["rate"]
        assert dict(rate.sizes) == {"forecast_reference_time": 2, "forecast_period": 3, "y": 23, "x": 29}
        assert dataset["rate_quantile"].dims[:3] == ("forecast_reference_time", "quantile", "forecast_period")
        assert rate.attrs == {**forecasts[0]["rate"].attrs, "grid_mapping": "crs"}
        assert dataset["crs"].attrs == samples.STEREOGRAPHIC
        assert dataset.attrs["title"] == "Forecasts of rate"
        assert dataset.attrs["physicnet_observations"] == "3 frames 5min apart, up to forecast_reference_time"
        np.testing.assert_array_equal(
            dataset["time"].sel(forecast_reference_time=samples.at(25))[0], forecasts[3]["time"][0]
        )
        np.testing.assert_array_equal(rate.sel(forecast_reference_time=samples.at(10)), forecasts[0]["rate"])
        assert rate.dtype == np.float32


def test_what_was_not_made_is_missing(model: Model, archive: Path, path: Path) -> None:
    (archive / "03.nc").unlink()  # 00:15 to 00:25
    assert hindcast(model, [archive], path, end=samples.at(30)) == (1, 0, 4)
    with xr.open_zarr(path) as dataset:
        assert dataset.sizes["forecast_reference_time"] == 5
        assert dataset["made"].notnull().values.tolist() == [True, False, False, False, False]
        for name in ("rate", "rate_quantile", "rate_exceedance"):
            assert dataset[name][1:].isnull().all()
    assert [str(cf.origin(forecast))[:19] for forecast in shelf.each(path)] == [samples.at(10)]


def test_a_checker_of_cf_would_have_leads_before_origins_and_no_more(
    path: Path, forecasts: list[xr.Dataset], tmp_path: Path
) -> None:
    """CF recommends that nothing lies between a time and the rows; a forecast could then not be written at once."""
    put(path, forecasts)
    with xr.open_zarr(path, mask_and_scale=False) as dataset:
        flags = dataset["beyond_trained_leads"]
        flags.attrs["flag_values"] = np.array(flags.attrs["flag_values"], np.int8)  # attributes of Zarr have no types
        unfilled = [name for name, array in dataset.variables.items() if "_FillValue" not in array.attrs]
        dataset.to_netcdf(tmp_path / "copy.nc", encoding={name: {"_FillValue": None} for name in unfilled})
    told = [line for line in complaints(tmp_path / "copy.nc", tmp_path).splitlines() if line.startswith("*")]
    assert len(told) == 4
    assert all("dimensions are not in the recommended order T, Z, Y, X" in line for line in told)


def test_a_store_is_made_longer_where_it_lies(model: Model, archive: Path, path: Path) -> None:
    assert hindcast(model, [archive], path, end=samples.at(15)) == (2, 0, 0)
    before = {each: each.stat().st_mtime_ns for each in (path / "rate" / "c").rglob("*") if each.is_file()}
    assert hindcast(model, [archive], path, end=samples.at(25)) == (2, 2, 0)
    assert {each: each.stat().st_mtime_ns for each in before} == before
    with xr.open_zarr(path) as dataset, xr.open_zarr(path, consolidated=False) as other:
        xr.testing.assert_identical(dataset, other)
        assert dataset["made"].notnull().all()
    expected = [model.forecast(sorted(archive.iterdir()), at=samples.at(minute)) for minute in (10, 15, 20, 25)]
    for found, forecast in zip(shelf.each(path), expected, strict=True):
        xr.testing.assert_identical(shared(found), shared(forecast))
    assert hindcast(model, [archive], path, start=samples.at(20), end=samples.at(20)) == (0, 1, 0)


def test_a_forecast_is_one_file_of_chunks_that_are_neither_small_nor_large() -> None:
    def chunks(levels: int, *shape: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        times = np.datetime64("2020-01-01", "ns") + np.arange(1, 1 + shape[0]) * np.timedelta64(5, "m")
        words = {"standard_name": "forecast_reference_time"}
        like = xr.Dataset(
            {"rate": (("quantile", "time", "y", "x"), np.broadcast_to(np.float32(0), (levels, *shape)))},
            {"time": times, "forecast_reference_time": ((), np.datetime64("2020-01-01", "ns"), words)},
        )
        how = laid_out(like, times)["rate"].encoding
        return how["chunks"], how["shards"]

    assert chunks(7, 12, 382, 350) == ((1, 1, 3, 382, 350), (1, 7, 12, 382, 350))  # the bundled radar: 1.6 MB
    assert chunks(7, 13, 382, 350) == ((1, 1, 3, 382, 350), (1, 7, 15, 382, 350))
    assert chunks(1, 48, 30, 40) == ((1, 1, 48, 30, 40), (1, 1, 48, 30, 40))
    assert chunks(1, 12, 1999, 2000) == ((1, 1, 1, 250, 2000), (1, 1, 12, 2000, 2000))


def test_times_of_another_calendar_are_kept(path: Path, forecasts: list[xr.Dataset]) -> None:
    def moved(forecast: xr.Dataset) -> xr.Dataset:
        def time(minute: int) -> cftime.datetime:
            return cftime.datetime(2020, 2, 30, 0, minute, calendar="360_day")

        first = int(cf.origin(forecast).astype("M8[m]").astype(int) % 60)
        return forecast.assign_coords(
            time=("time", [time(first + 5 * lead) for lead in (1, 2, 3)], forecast["time"].attrs),
            forecast_reference_time=((), time(first), forecast["forecast_reference_time"].attrs),
        )

    others = [moved(forecast) for forecast in forecasts]
    put(path, others[:2])
    put(path, others)
    for found, expected in zip(shelf.each(path), others, strict=True):
        xr.testing.assert_identical(shared(found), shared(expected))
    with pytest.raises(
        DataError, match=r"has 4 times from 2020-02-30T00:10:00 \(360_day\) to .* 2020-01-01T00:10:00 is n"
    ):
        put(path, forecasts)


def test_forecasts_of_another_model_or_length_do_not_go_into_a_store(path: Path, forecasts: list[xr.Dataset]) -> None:
    put(path, forecasts)
    with pytest.raises(DataError, match=r"store.zarr has 3 leads, 2 are asked for; name another output, or remove"):
        put(path, [forecast.isel(time=slice(2)) for forecast in forecasts])
    with pytest.raises(
        DataError, match=r"store.zarr is of another model \(SHA-256 \w{12}, this one has cdcdcdcdcdcd\)"
    ):
        put(path, [forecast.assign_attrs(physicnet_model_sha256="cd" * 32) for forecast in forecasts])


def test_times_before_and_between_those_of_a_store_are_refused(path: Path, forecasts: list[xr.Dataset]) -> None:
    put(path, forecasts[1:4:2])
    told = "store.zarr has 2 times from 2020-01-01T00:15:00 to 2020-01-01T00:25:00, among which 2020-01-01T00:{} is not"
    with pytest.raises(DataError, match=told.format("10:00")):
        put(path, forecasts[:2])
    with pytest.raises(DataError, match=told.format("20:00")):
        put(path, forecasts[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda forecast: forecast.drop_vars("rate_quantile"), "ask for the same .--probabilities or --no-probab"),
        (
            lambda forecast: forecast.isel(y=slice(20)),
            r"holds rate \(3 forecast_period|holds rate \(3 time x 23 y x 29 x",
        ),
        (
            lambda forecast: forecast.assign_coords(x=forecast["x"] + 1),
            r"holds x \(29 x from 0.0 to 28000.0, units m\); ",
        ),
        (lambda forecast: forecast.assign(rate=forecast["rate"].assign_attrs(units="K")), r"has \(.* units K\); give"),
    ],
)
def test_a_forecast_of_another_layout_is_refused(
    path: Path, forecasts: list[xr.Dataset], change: Any, message: str
) -> None:
    put(path, forecasts[:1])
    with pytest.raises(DataError, match=message):
        put(path, [change(forecast) for forecast in forecasts[:2]])


def test_what_is_no_store_of_forecasts_is_refused(path: Path, forecasts: list[xr.Dataset]) -> None:
    path.mkdir()
    with pytest.raises(DataError, match="store.zarr cannot be read as a Zarr store of forecasts .*; repair it or move"):
        put(path, forecasts)
    samples.record().save(path)
    with pytest.raises(
        DataError, match=r"store.zarr is no store of forecasts: it has no times forecast_reference_time\("
    ):
        put(path, forecasts)


def test_a_damaged_store_is_named(path: Path, forecasts: list[xr.Dataset]) -> None:
    put(path, forecasts[:1])
    (path / "rate" / "c" / "0" / "0" / "0" / "0").write_bytes(b"half")
    with pytest.raises(DataError, match="store.zarr cannot be read as a Zarr store of forecasts"):
        shelf.read(path, cf.origin(forecasts[0]))


def test_a_store_that_does_not_tell_what_was_made_is_whole(path: Path, forecasts: list[xr.Dataset]) -> None:
    put(path, forecasts[:2])
    with xr.open_zarr(path) as dataset:
        dataset.drop_vars("made").drop_encoding().to_zarr(path.with_name("theirs.zarr"), consolidated=False)
    assert len(list(shelf.each(path.with_name("theirs.zarr")))) == 2


def test_one_forecast_is_no_store(checkpoint: Path, file: Path, path: Path) -> None:
    told = CliRunner().invoke(cli.app, ["forecast", str(file), "-o", str(path), "--model", str(checkpoint)])
    assert told.exit_code == 2
    assert "would be a Zarr store, but one forecast is a NetCDF file" in " ".join(told.output.replace("│", "").split())
    assert not path.exists()
