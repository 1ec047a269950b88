import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from forecasting import samples
from training.conftest import CLIP, INGEST, MACHINE
from typer.testing import CliRunner

import physicnet
from physicnet import served
from physicnet.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from physicnet.cli import app
from physicnet.digest import content_hash
from physicnet.fields import DataError, Field
from physicnet.forecasting import cf
from physicnet.forecasting.loading import Model, load
from physicnet.model.rollout import ModelForecaster
from physicnet.model.sharp import Sharp
from physicnet.tracking import registered
from physicnet.tracking.store import HistoryError, Store

ROOT = Path(__file__).parent.parent.parent


def plain(checkpoint: Path, past: Field, num_leads: int) -> np.ndarray:
    """What evaluation sees."""
    return ModelForecaster.load(checkpoint, MACHINE).forecast(past, num_leads)[:, 0]


def test_the_numbers_are_those_of_the_evaluation(checkpoint: Path, file: Path) -> None:
    forecast = physicnet.load(checkpoint, MACHINE).forecast(file, lead="25min", sharp=True)
    np.testing.assert_array_equal(forecast["rate"], plain(checkpoint, samples.record(), 5))
    sharp = Sharp(ModelForecaster.load(checkpoint, MACHINE)).forecast(samples.record(), 5)[:, 0]
    np.testing.assert_array_equal(forecast["rate_sharp"], sharp)


def test_a_lead_is_as_far_as_trained_unless_it_is_asked_for(model: Model, file: Path) -> None:
    assert model.forecast(file).sizes["time"] == CLIP.frames_out


def test_a_forecast_from_an_earlier_time_sees_nothing_later(checkpoint: Path, model: Model, file: Path) -> None:
    forecast = model.forecast(file, at=samples.at(15))
    assert forecast["forecast_reference_time"] == np.datetime64(samples.at(15))
    np.testing.assert_array_equal(forecast["rate"], plain(checkpoint, samples.record(4), CLIP.frames_out))


def test_a_dataset_of_the_record_forecasts_as_its_file_does(model: Model, file: Path) -> None:
    expected = model.forecast(file)
    given = samples.record().dataset
    before = given.copy(deep=True)
    xr.testing.assert_equal(model.forecast(given), expected)
    xr.testing.assert_identical(given, before)


def test_a_field_in_memory_forecasts_alike(model: Model, file: Path) -> None:
    xr.testing.assert_equal(model.forecast_field(samples.record(), 2), model.forecast(file))


def test_a_field_in_other_units_is_refused(model: Model) -> None:
    dataset = samples.record().dataset
    dataset["rate"].attrs["units"] = "m s-1"
    with pytest.raises(DataError, match=r"takes .'rate': 'mm h-1'., the observations are in .'rate': 'm s-1'."):
        model.forecast_field(Field(dataset), 1)


def test_grids_of_another_size_and_place_are_fine(checkpoint: Path, model: Model) -> None:
    dataset = samples.record(height=31, width=17).dataset
    moved = dataset.assign_coords(y=dataset["y"].copy(data=dataset["y"] + 5e5))
    expected = plain(checkpoint, Field(moved), 2)
    np.testing.assert_array_equal(model.forecast(moved)["rate"], expected)


def test_a_long_run_gathers_nothing(model: Model) -> None:
    model.forecast_field(samples.record(), 1)
    assert model.forecaster._limited == []


def test_a_checkpoint_that_cannot_read_observations_is_refused(tmp_path: Path) -> None:
    path = samples.save(tmp_path / "old.safetensors", samples.record())
    stored = load_checkpoint(path)
    save_checkpoint(path, stored.tensors, {key: stored.metadata[key] for key in stored.metadata if key != "ingest"})
    with pytest.raises(CheckpointError, match=r"old.safetensors does not tell ingest: .*train again"):
        load(path)


def test_rules_of_another_version_are_refused(tmp_path: Path) -> None:
    path = samples.save(tmp_path / "new.safetensors", samples.record(), ingest=INGEST.rules() | {"rotate": True})
    with pytest.raises(CheckpointError, match=r"(?s)new.safetensors tells how to read .*rotate.*train again"):
        load(path)


def test_a_checkpoint_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physicnet.checkpoint.FORMAT", 99)
    path = samples.save(tmp_path / "new.safetensors", samples.record())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has checkpoint format 99, this version of physicnet reads 1"):
        load(path)


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("kind", ["pickle", "torch", "appended"])
def test_pickled_content_is_refused_unread(tmp_path: Path, checkpoint: Path, kind: str) -> None:
    path, mark = tmp_path / "model.pt", tmp_path / "mark"
    if kind == "torch":
        torch.save({"weights": Trap(mark)}, path)
    else:
        before = checkpoint.read_bytes() if kind == "appended" else b""
        path.write_bytes(before + pickle.dumps(Trap(mark)))
    with pytest.raises(CheckpointError, match="model.pt is not a whole safetensors file"):
        load(path)
    assert not mark.exists()


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent.safetensors does not exist"):
        load(tmp_path / "absent.safetensors")


def test_the_command_needs_nothing_but_the_checkpoint_and_the_files(
    tmp_path: Path, checkpoint: Path, file: Path
) -> None:
    folder = tmp_path / "empty"
    (folder / "models").mkdir(parents=True)
    shutil.copy(checkpoint, folder / "models" / "model.safetensors")
    shutil.copy(file, folder / "observed.nc")
    words = ["forecast", "observed.nc", "-o", "forecast.nc", "--lead", "15min", "--sharp", "--flow", "--threads", "1"]
    program = f"import sys; sys.argv = {['physicnet', *words]}; from physicnet.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"models", "observed.nc", "forecast.nc"}
    forecast = cf.read(folder / "forecast.nc")
    np.testing.assert_array_equal(forecast["rate"], plain(checkpoint, samples.record(), 3))
    assert {"rate_sharp", "flow_x", "flow_y", "gate"} <= set(forecast.data_vars)


@pytest.fixture
def store(repository: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store, in the folder of which we are, whose registered model has a version with the alias `forecasts`."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(repository)
    store = Store(repository)
    run_id = store.find_or_create({"physicnet.child": "forecasts"}, "train", {})
    served.log(store, run_id, checkpoint, samples.record(), MACHINE)
    registered.name_version(store, "forecasts", registered.register(store, run_id))
    return store


def test_a_registered_model_is_loaded_by_its_alias_or_its_version(store: Store, checkpoint: Path, file: Path) -> None:
    number = registered.holder(store, "forecasts")
    for name in ("models:/physicnet@forecasts", f"models:/physicnet/{number}"):
        model = load(name, MACHINE)
        assert model.sha256 == content_hash(checkpoint)
        np.testing.assert_array_equal(model.forecast(file)["rate"], plain(checkpoint, samples.record(), 2))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("name", ["models:/physicnet@nobody", "models:/physicnet/999"])
def test_a_version_that_is_not_registered_is_refused(name: str) -> None:
    with pytest.raises(HistoryError, match=f"There is no {name} in sqlite:.*physicnet has the versions .*'1'"):
        load(name)


@pytest.mark.parametrize("name", ["models:/other@champion", "models:physicnet", "models:/physicnet"])
def test_what_names_no_registered_model_is_refused(name: str) -> None:
    with pytest.raises(HistoryError, match=f"{name} names no model; write models:/physicnet@champion or"):
        load(name)


def test_no_store_is_made_by_looking_for_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HistoryError):
        load("models:/physicnet@champion")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["observed.nc", "./observed.nc", "model.safetensors"])
def test_no_input_is_overwritten(
    tmp_path: Path, file: Path, checkpoint: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(checkpoint, "model.safetensors")
    before = {path: path.read_bytes() for path in (file, tmp_path / "model.safetensors")}
    result = CliRunner().invoke(app, ["forecast", file.name, "-o", output, "--model", "model.safetensors"])
    assert result.exit_code == 2
    assert "is an input, too" in " ".join(result.output.split())
    assert {path: path.read_bytes() for path in before} == before


def test_the_package_has_nothing_else_to_hand_on() -> None:
    with pytest.raises(AttributeError, match="module 'physicnet' has no attribute 'unload'"):
        physicnet.unload  # noqa: B018
