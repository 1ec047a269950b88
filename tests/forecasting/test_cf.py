from pathlib import Path

import cftime
import netCDF4
import numpy as np
import pytest
import xarray as xr
from compliance_checker.runner import CheckSuite, ComplianceChecker
from forecasting import samples

from physicnet.fields import DataError
from physicnet.forecasting import cf
from physicnet.forecasting.loading import Model


@pytest.fixture
def written(tmp_path: Path, model: Model, file: Path) -> Path:
    """A forecast beyond the trained leads, with all that can be asked for."""
    cf.write(tmp_path / "forecast.nc", model.forecast(file, lead=3, sharp=True, flow=True))
    return tmp_path / "forecast.nc"


def complaints(path: Path, folder: Path) -> str:
    """What the checker of IOOS says, with the table of standard names that it carries."""
    CheckSuite.load_all_available_checkers()
    report = folder / "report.txt"
    passed, _ = ComplianceChecker.run_checker(
        str(path), ["cf:1.11"], 0, "strict", output_filename=str(report), output_format="text"
    )
    return "" if passed else report.read_text()


def test_a_file_is_named_after_the_time_that_it_starts_from_in_any_calendar() -> None:
    assert cf.file_name(np.datetime64("2010-08-26T05:00", "ns")) == "2010-08-26T050000Z.nc"
    assert cf.file_name(cftime.datetime(2010, 2, 30, 5, calendar="360_day")) == "2010-02-30T050000Z.nc"


def test_a_checker_of_cf_has_nothing_to_say(written: Path, tmp_path: Path) -> None:
    assert complaints(written, tmp_path) == ""


def test_the_checker_would_say_it(written: Path, tmp_path: Path) -> None:
    with netCDF4.Dataset(written, "a") as file:
        file["rate"].standard_name = "rain_of_frogs"
    assert "rain_of_frogs" in complaints(written, tmp_path)


def test_reading_gives_what_was_written(tmp_path: Path, model: Model, file: Path) -> None:
    forecast = model.forecast(file, sharp=True, flow=True)
    before = forecast.copy(deep=True)
    cf.write(tmp_path / "forecast.nc", forecast)
    xr.testing.assert_identical(forecast, before)
    xr.testing.assert_identical(cf.read(tmp_path / "forecast.nc"), before)


def test_another_program_finds_the_values_and_the_times(written: Path, model: Model, file: Path) -> None:
    expected = model.forecast(file, lead=3)
    with netCDF4.Dataset(written) as dataset:
        rate = dataset["rate"]
        assert rate.dimensions == ("time", "y", "x")
        assert (rate.dtype, rate.grid_mapping, rate.units) == (np.float32, "crs", "mm h-1")
        assert rate.filters()["zlib"]
        assert set(rate.coordinates.split()) == {"forecast_period", "forecast_reference_time"}
        assert dataset["crs"].ncattrs() == list(samples.STEREOGRAPHIC)
        np.testing.assert_array_equal(np.ma.filled(rate[:], np.nan), expected["rate"])
        times = netCDF4.num2date(dataset["time"][:], dataset["time"].units, dataset["time"].calendar)
        assert [time.isoformat() for time in times] == [samples.at(minute) for minute in (30, 35, 40)]


def test_xarray_alone_opens_it(written: Path) -> None:
    with xr.open_dataset(written) as dataset:
        assert dataset["time"].dtype.kind == "M"
        assert dataset["forecast_period"].values.tolist() == [5, 10, 15]


def test_pysteps_verifies_it(written: Path) -> None:
    verification = pytest.importorskip("pysteps.verification.detcontscores", reason="the extra baselines")
    forecast, truth = cf.read(written)["rate"].values[0], samples.record(7).dataset["rate"].values[6]
    expected = np.sqrt(np.nanmean((forecast - truth) ** 2))
    assert verification.det_cont_fct(forecast, truth, "RMSE")["RMSE"] == pytest.approx(expected)


def test_a_crash_leaves_the_file_of_before(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written.read_bytes()
    forecast = cf.read(written)

    def crash(*_: object, **__: object) -> None:  # the file is open by then
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "dump_to_store", crash)
    with pytest.raises(OSError, match="disk full"):
        cf.write(written, forecast)
    assert written.read_bytes() == before
    assert [path.name for path in written.parent.glob("*partial*")] == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent.nc does not exist or is no file; name a forecast"):
        cf.read(tmp_path / "absent.nc")


def test_what_is_no_netcdf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.nc").write_text("<html>")
    with pytest.raises(DataError, match=r"page.nc cannot be read as NetCDF .it is a web page"):
        cf.read(tmp_path / "page.nc")


def test_observations_are_no_forecast(file: Path) -> None:
    with pytest.raises(DataError, match="is no forecast from one time: it has 0 coordinates with the standard_name"):
        cf.read(file)


def test_a_forecast_without_valid_times_is_refused(written: Path, tmp_path: Path) -> None:
    xr.load_dataset(written).rename(time="step").to_netcdf(tmp_path / "other.nc")
    with pytest.raises(DataError, match="other.nc has no axis time of valid times"):
        cf.read(tmp_path / "other.nc")
