from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from forecasting import samples
from training.conftest import INGEST

from physicnet.config import IngestConfig
from physicnet.digest import content_hash
from physicnet.fields import DataError, Field
from physicnet.forecasting.loading import Model
from physicnet.normalization import Normalizer, Standardization


def test_a_forecast_says_what_it_was_made_by_and_of(model: Model, checkpoint: Path, file: Path) -> None:
    told = model.forecast(file).attrs
    digest = content_hash(checkpoint)
    assert told["Conventions"] == "CF-1.11"
    assert told["source"] == f"physicnet {version('physicnet')}, model SHA-256 {digest}"
    assert told["physicnet_model_sha256"] == digest
    assert (told["physicnet_data_start"], told["physicnet_data_end"]) == (samples.SPAN["start"], samples.SPAN["end"])
    assert told["physicnet_observations"] == ", ".join(samples.at(minute) for minute in (15, 20, 25))
    assert told["references"] == "arXiv:2402.05970"


def test_coordinates_and_words_are_those_of_the_observations(model: Model, file: Path) -> None:
    forecast, observed = model.forecast(file), samples.record().dataset
    for name, axis in {"y": {"axis": "Y"}, "x": {"axis": "X"}, "crs": {}}.items():
        xr.testing.assert_identical(forecast[name].variable, observed[name].assign_attrs(axis).variable)
    kept = {"units", "standard_name", "long_name", "cell_methods"}
    assert {name: forecast["rate"].attrs[name] for name in kept} == observed["rate"].attrs
    assert forecast["rate"].encoding["grid_mapping"] == "crs"


def test_the_time_is_told_three_ways(model: Model, file: Path) -> None:
    forecast = model.forecast(file, lead=3)
    assert forecast["forecast_period"].attrs["units"] == "minutes"
    elapsed = forecast["time"] - forecast["forecast_reference_time"]
    np.testing.assert_array_equal(elapsed / np.timedelta64(1, "m"), forecast["forecast_period"])


def test_leads_beyond_those_of_training_are_marked(model: Model, file: Path) -> None:
    flag = model.forecast(file, lead=4)["beyond_trained_leads"]
    assert flag.values.tolist() == [0, 0, 1, 1]
    assert flag.attrs["flag_meanings"].split()[1] == "beyond_trained_leads"
    assert model.forecast(file)["rate"].attrs["ancillary_variables"] == flag.name


@pytest.mark.parametrize(("signs", "units", "scale"), [((1, -1), "m", 1.0), ((-1, 1), "km", 1000.0)])
def test_the_flow_is_in_metres_per_second_along_the_axes(
    tmp_path: Path, signs: tuple[int, int], units: str, scale: float
) -> None:
    dataset = samples.record().dataset
    axes = zip(("y", "x"), signs, strict=True)
    dataset = dataset.assign_coords(
        {dim: dataset[dim].copy(data=sign * dataset[dim] / scale).assign_attrs(units=units) for dim, sign in axes}
    )
    model = samples.model(samples.save(tmp_path / "model.safetensors", Field(dataset)))
    forecast = model.forecast_field(Field(dataset), 2, flow=True)
    x, y = model.forecaster.explain(Field(dataset), 2)["flow"]
    np.testing.assert_allclose(forecast["flow_x"], signs[1] * x * 1000 / 300, rtol=1e-5)
    np.testing.assert_allclose(forecast["flow_y"], signs[0] * y * 1000 / 300, rtol=1e-5)
    assert forecast["flow_x"].attrs["units"] == "m s-1"


def test_where_axes_have_no_metres_the_flow_is_in_cells_per_step(tmp_path: Path) -> None:
    dataset = samples.record().dataset.drop_vars("x")
    own = samples.model(samples.save(tmp_path / "model.safetensors", Field(dataset)))
    forecast = own.forecast_field(Field(dataset), 2, flow=True)
    np.testing.assert_array_equal(forecast["flow_x"], own.forecaster.explain(Field(dataset), 2)["flow"][0])
    assert forecast["flow_x"].attrs["units"] == "1"
    assert forecast["flow_x"].attrs["comment"] == "cells per time step"
    assert forecast["flow_y"].attrs["units"] == "m s-1"


def test_the_gate_has_every_lead(model: Model, file: Path) -> None:
    gate = model.forecast(file, lead=5, flow=True)["gate"]
    assert gate.sizes["time"] == 5
    assert float(gate.min()) >= 0
    assert float(gate.max()) <= 1


def test_a_mapping_without_a_name_stays_but_maps_nothing(model: Model) -> None:
    unnamed = samples.record().dataset.assign_coords(crs=((), np.int32(0), {"proj4": "+proj=stere"}))
    forecast = model.forecast(unnamed)
    assert forecast["crs"].attrs == {"proj4": "+proj=stere"}
    assert "crs" not in forecast.coords
    assert "grid_mapping" not in forecast["rate"].encoding


def test_years_that_nanoseconds_do_not_reach_and_other_calendars_are_forecast(tmp_path: Path) -> None:
    dataset = samples.record().dataset.convert_calendar("360_day", align_on="date")
    forecast = samples.model(samples.save(tmp_path / "model.safetensors", Field(dataset))).forecast(
        dataset, at=samples.at(20)
    )
    assert str(forecast["time"].values[0]) == "2020-01-01 00:25:00"
    assert forecast["time"].values[0].calendar == "360_day"
    assert "units_metadata" not in forecast["time"].attrs


@pytest.fixture
def two(tmp_path: Path) -> Model:
    """A model of two variables."""
    return samples.model(two_channels(tmp_path / "model.safetensors", "rate", "also"))


def two_channels(path: Path, *names: str) -> Path:
    record = Field(xr.Dataset({name: samples.record().dataset["rate"] for name in names}))
    channels = tuple(Standardization(name, (), 1.0, 5.0) for name in names)
    variables = [INGEST.variables[0].model_dump() | {"name": name, "channel": name} for name in names]
    config = IngestConfig.model_validate(INGEST.model_dump() | {"variables": variables})
    return samples.save(path, record, config, normalizer=Normalizer(channels).to_dict())


def test_each_channel_has_its_variables(two: Model) -> None:
    dataset = samples.record().dataset
    dataset = xr.Dataset({"also": 2 * dataset["rate"], "rate": dataset["rate"]})
    dataset["also"].attrs["units"] = "mm h-1"
    forecast = two.forecast(dataset, sharp=True)
    own = two.forecaster.forecast(Field(dataset[["rate", "also"]]), 2)
    np.testing.assert_array_equal(forecast["rate"], own[:, 0])
    np.testing.assert_array_equal(forecast["also"], own[:, 1])
    assert float(forecast["also_sharp"].max()) == pytest.approx(2 * float(forecast["rate_sharp"].max()))


@pytest.mark.parametrize(
    "names", [("rate", "gate"), ("rate", "rate_sharp"), ("beyond_trained_leads", "rate"), ("rate", "made")]
)
def test_no_channel_is_called_as_a_part_of_a_forecast(tmp_path: Path, names: tuple[str, str]) -> None:
    model = samples.model(two_channels(tmp_path / "model.safetensors", *names))
    rate = samples.record().dataset["rate"]
    with pytest.raises(DataError, match="would be two things in a forecast; give the variable another channel"):
        model.forecast(xr.Dataset(dict.fromkeys(names, rate)), sharp=True, flow=True)
