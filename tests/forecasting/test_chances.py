from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from forecasting import samples
from training.conftest import CLIP
from typer.testing import CliRunner

from physicnet.checkpoint import CALIBRATION, CheckpointError, load_checkpoint, save_checkpoint
from physicnet.cli import app
from physicnet.fields import Field
from physicnet.forecasting import cf
from physicnet.forecasting.chances import LEVELS, rounded
from physicnet.forecasting.loading import Model


def test_a_forecast_has_quantiles_and_probabilities(model: Model, file: Path) -> None:
    forecast = model.forecast(file)
    quantiles, chances = forecast["rate_quantile"], forecast["rate_exceedance"]
    assert quantiles.dims == ("quantile", "time", "y", "x")
    assert chances.dims == ("rate_threshold", "time", "y", "x")
    assert forecast["quantile"].values.tolist() == [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]
    assert forecast["rate_threshold"].values.tolist() == [1.0, 5.0]
    assert forecast["rate_threshold"].attrs["units"] == quantiles.attrs["units"] == "mm h-1"
    assert chances.attrs["units"] == "1"
    assert (quantiles.diff("quantile").fillna(0) >= 0).all()
    assert (chances.diff("rate_threshold").fillna(0) <= 0).all()
    assert float(chances.min()) >= 0
    assert float(chances.max()) <= 1


def test_they_are_those_of_the_calibration_of_the_checkpoint(model: Model, file: Path) -> None:
    forecast, own = model.forecast(file), model.forecaster.calibrations["rate"]
    for lead in (1, 2):
        frame, time = forecast["rate"].values[lead - 1], forecast["time"].values[lead - 1 : lead]
        known = np.isfinite(forecast["rate_quantile"].values[0, lead - 1])
        for values, expected in (
            (forecast["rate_quantile"].values, own.quantiles(lead, frame, time, LEVELS)),
            (forecast["rate_exceedance"].values[1:], own.exceedance(lead, frame, time, 5.0)[None]),
        ):
            np.testing.assert_allclose(values[:, lead - 1][:, known], expected[:, known], rtol=1.3e-4)
    assert (forecast["rate_quantile"].sel(quantile=[0.05, 0.1, 0.25]).fillna(0) == 0).all()  # dry in one of four cells


def test_the_forecast_itself_is_the_same_without(model: Model, file: Path) -> None:
    without = model.forecast(file, probabilities=False)
    assert set(without.data_vars) == {"rate", "beyond_trained_leads"}
    assert not {"quantile", "rate_threshold"} & set(without.variables)
    xr.testing.assert_identical(model.forecast(file)["rate"].drop_attrs(), without["rate"].drop_attrs())


def test_beyond_the_trained_leads_nothing_is_claimed(model: Model, file: Path) -> None:
    forecast = model.forecast(file, lead=CLIP.frames_out + 2)
    for name in ("rate_quantile", "rate_exceedance"):
        beyond = forecast["beyond_trained_leads"] == 1
        assert forecast[name].isel(time=beyond.values).isnull().all()
        assert forecast[name].isel(time=~beyond.values).notnull().any()
        assert "missing beyond the trained leads" in forecast[name].attrs["comment"]


def test_nothing_is_claimed_of_cells_that_were_not_observed(model: Model) -> None:
    observed = samples.record()
    forecast = model.forecast_field(observed, 1)
    seen = np.isfinite(observed.frames(3, 6)[:, 0]).any(axis=0)
    assert 0 < seen.mean() < 1
    np.testing.assert_array_equal(np.isfinite(forecast["rate_quantile"].values[3, 0]), seen)
    np.testing.assert_array_equal(np.isfinite(forecast["rate_exceedance"].values[0, 0]), seen)


def test_a_variable_without_thresholds_has_no_probabilities(tmp_path: Path, file: Path) -> None:
    path = samples.save(tmp_path / "model.safetensors", samples.record(), thresholds={"rate": []})
    forecast = samples.model(path).forecast(file)
    assert "rate_quantile" in forecast
    assert not {"rate_exceedance", "rate_threshold"} & set(forecast.variables)


@pytest.fixture
def older(tmp_path: Path, checkpoint: Path) -> Path:
    """A checkpoint of a version that did not learn how far forecasts err."""
    stored = load_checkpoint(checkpoint)
    tensors = {name: each for name, each in stored.tensors.items() if not name.startswith(CALIBRATION)}
    metadata = {key: value for key, value in stored.metadata.items() if key != "thresholds"}
    save_checkpoint(tmp_path / "older.safetensors", tensors, metadata)
    return tmp_path / "older.safetensors"


def test_an_older_checkpoint_is_refused_unless_no_probabilities_are_asked_for(older: Path, file: Path) -> None:
    model = samples.model(older)
    assert "rate" in model.forecast(file, probabilities=False)
    with pytest.raises(CheckpointError, match=r"older.safetensors does not tell how far .*--no-probabilities"):
        model.forecast(file)


def test_the_command_can_leave_them_out(older: Path, file: Path, tmp_path: Path) -> None:
    words = ["forecast", str(file), "-o", str(tmp_path / "f.nc"), "--model", str(older), "--threads", "1"]
    result = CliRunner().invoke(app, [*words, "--no-probabilities"])
    assert result.exit_code == 0, result.output
    assert "rate_quantile" not in cf.read(tmp_path / "f.nc")


def test_calibrations_without_thresholds_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    stored = load_checkpoint(checkpoint)
    metadata = {key: value for key, value in stored.metadata.items() if key != "thresholds"}
    save_checkpoint(tmp_path / "odd.safetensors", stored.tensors, metadata)
    with pytest.raises(CheckpointError, match=r"odd.safetensors does not tell thresholds: .*train again"):
        samples.model(tmp_path / "odd.safetensors")


def test_a_file_keeps_them_small(tmp_path: Path, model: Model, file: Path) -> None:
    forecast = model.forecast(file)
    cf.write(tmp_path / "f.nc", forecast)
    with xr.open_dataset(tmp_path / "f.nc") as told:
        assert told["rate_quantile"].encoding["zlib"]
        assert told["rate_quantile"].encoding["chunksizes"] == (1, 1, *forecast["rate"].shape[1:])
        np.testing.assert_array_equal(told["rate_quantile"], forecast["rate_quantile"])


def test_rounding_keeps_order_zero_and_what_is_missing() -> None:
    values = np.sort(np.random.default_rng(0).gamma(0.2, 30.0, 10_000)).astype(np.float32)
    short = rounded(values)
    assert (np.diff(short) >= 0).all()
    np.testing.assert_allclose(short, values, rtol=1 / 8192)
    assert (short.view(np.int32) & 0x7FF == 0).all()
    assert rounded(np.float32([0.0, 1.0, -2.5])).tolist() == [0.0, 1.0, -2.5]
    assert np.isnan(rounded(np.float32([np.nan]))).all()


def test_every_variable_has_its_own(tmp_path: Path) -> None:
    record = samples.record().dataset
    both = Field(xr.Dataset(dict.fromkeys(("rate", "also"), record["rate"])))
    from forecasting.test_described import two_channels

    model = samples.model(two_channels(tmp_path / "model.safetensors", "rate", "also"))
    forecast = model.forecast_field(both, 2)
    assert {"rate_quantile", "also_quantile", "rate_threshold", "also_threshold"} <= set(forecast.variables)
