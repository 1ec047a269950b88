from pathlib import Path

import numpy as np
import pytest
from forecasting import samples

from physicnet.cycles import Cycles
from physicnet.fields import DataError, Field
from physicnet.forecasting.loading import Model
from physicnet.normalization import Normalizer, Standardization


@pytest.fixture
def of_cells(tmp_path: Path) -> Path:
    """A model that knows the mean of each cell."""
    _, _, height, width = samples.record().shape
    hourly, yearly = np.zeros((1, height, width), np.float32), np.zeros((0, height, width), np.float32)
    cycles = Cycles(hourly, yearly, np.array([True]))
    normalizer = Normalizer((Standardization("rate", (), 1.0, 5.0, cycles),))
    path = tmp_path / "model.safetensors"
    return samples.save(path, samples.record(), tensors=normalizer.maps(), normalizer=normalizer.to_dict())


def test_a_model_of_anomalies_forecasts_on_its_own_cells(of_cells: Path) -> None:
    dataset = samples.record().dataset
    model = samples.model(of_cells)
    expected = model.forecast(dataset)["rate"]
    in_km = {dim: (dim, dataset[dim].values / 1000, {"units": "km"}) for dim in ("y", "x")}
    np.testing.assert_array_equal(model.forecast(dataset.assign_coords(in_km))["rate"], expected)


@pytest.mark.parametrize(("units", "scale"), [("m", 1.0), ("km", 1e-3)])
def test_a_model_of_anomalies_knows_no_other_place(of_cells: Path, units: str, scale: float) -> None:
    dataset = samples.record().dataset
    moved = dataset.assign_coords(x=("x", (dataset["x"].values + 2000) * scale, {"units": units}))
    with pytest.raises(DataError, match=r"x from .* here, 0 to 28000 there, and the model knows anomalies"):
        samples.model(of_cells).forecast(moved)


def test_an_axis_that_runs_the_other_way_is_refused(model: Model) -> None:
    dataset = samples.record().dataset.isel(y=slice(None, None, -1))
    with pytest.raises(DataError, match=r"y runs the other way .turn it round, such as by dataset.isel.y=slice"):
        model.forecast(dataset)


def test_the_frames_of_a_field_must_be_a_step_apart(model: Model) -> None:
    dataset = samples.record().dataset.isel(time=[0, 1, 2, 4])
    with pytest.raises(DataError, match="comes 600 s after the frame before it, but the model knows steps of 300 s"):
        model.forecast_field(Field(dataset), 1)
