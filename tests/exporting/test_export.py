import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr
from forecasting import samples
from training.conftest import CLIP, MODEL
from typer.testing import CliRunner

from physicnet.checkpoint import CheckpointError
from physicnet.cli import app
from physicnet.cycles import Cycles
from physicnet.exporting import export as exporting
from physicnet.exporting import formats, measuring
from physicnet.exporting.export import ExportError, export
from physicnet.exporting.measuring import Measured
from physicnet.exporting.program import Program, inputs_of, trace
from physicnet.exporting.standalone import LOADERS, measured
from physicnet.fields import DataError, Field
from physicnet.model.build import build
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer, Standardization
from physicnet.transforms import Decibel

LEADS = 1
FORMATS = (".pt2", ".onnx")

# What a user runs who has no physicnet: torch or ONNX Runtime, and numpy.
WITHOUT_PHYSICNET = {
    ".pt2": """
import sys, numpy as np, torch
sys.modules["physicnet"] = None
told = {"metadata.json": ""}
program = torch.export.load(sys.argv[1], extra_files=told).module()
np.save("made.npy", program(torch.from_numpy(np.load("past.npy"))).numpy())
print(told["metadata.json"])
""",
    ".onnx": """
import sys, numpy as np, onnxruntime
sys.modules["physicnet"] = sys.modules["torch"] = None
session = onnxruntime.InferenceSession(sys.argv[1])
np.save("made.npy", session.run(["frames"], {"past": np.load("past.npy")})[0])
print(session.get_modelmeta().custom_metadata_map["metadata.json"])
""",
}


class Exported(NamedTuple):
    folder: Path
    printed: str

    def program(self, suffix: str) -> Path:
        return self.folder / f"program{suffix}"


STILL = MODEL.model_copy(update={"flow": "none"})  # most operations of a trace are the flow's


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "MODEL", STILL)
        return samples.save(tmp_path_factory.mktemp("models") / "model.safetensors", samples.record())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Exported:
    """What the command writes and prints, as on a machine with one core."""
    folder = tmp_path_factory.mktemp("exported")
    file = samples.write(folder / "observed.nc", samples.record())
    outputs = [word for suffix in FORMATS for word in ("-o", str(folder / f"program{suffix}"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _pid: {0})
        patch.setattr(measuring, "ROUNDS", 1)
        patch.setenv("COLUMNS", "140")
        words = ["export", str(file), *outputs, "--model", str(checkpoint), "--lead", "5min"]
        result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0
    return Exported(folder, result.output)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, exported: Exported, checkpoint: Path) -> None:
    """Neither traces nor measures the model: what was written stands for what would be."""
    past = samples.record()
    frames = samples.model(checkpoint).forecaster.forecast(past, LEADS)
    monkeypatch.setattr(exporting, "trace", lambda *_: None)
    monkeypatch.setattr(exporting, "measure_model", lambda *_: Measured(frames, 1, 1, 1.0, 1.0, 1.0, 1))
    for suffix in FORMATS:
        monkeypatch.setitem(formats.WRITERS, suffix, lambda *words, own=suffix: copy(exported.program(own), words[-1]))
    monkeypatch.setattr(measuring, "ROUNDS", 1)


def copy(program: Path, to: Path) -> None:
    shutil.copyfile(program, to)


def forecast_of(checkpoint: Path) -> np.ndarray:
    return samples.model(checkpoint).forecaster.forecast(samples.record(), LEADS)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_program_forecasts_what_the_model_does_without_physicnet(
    tmp_path: Path, exported: Exported, checkpoint: Path, suffix: str
) -> None:
    np.save(tmp_path / "past.npy", samples.record().frames(3, 6))
    words = [sys.executable, "-c", WITHOUT_PHYSICNET[suffix], str(exported.program(suffix))]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = forecast_of(checkpoint)
    made = np.load(tmp_path / "made.npy")
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, rtol=0, atol=exporting.TOLERANCE * np.ptp(expected))
    told = json.loads(done.stdout)
    assert told["inputs"] == {"past": [3, 1, 23, 29]}
    assert (told["output"], told["leads"], told["frames_in"], told["trained_leads"]) == ([1, 1, 23, 29], 1, 3, 2)
    assert (told["variables"], told["units"], told["step_seconds"]) == (["rate"], {"rate": "mm h-1"}, 300.0)
    assert told["model_sha256"] == samples.model(checkpoint).sha256
    assert [(axis["axis"], axis["size"]) for axis in told["grid"]] == [("y", 23), ("x", 29)]
    assert told["normalizer"][0]["mean"] == 1.0


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_program_is_loaded_and_run_where_it_is_measured(exported: Exported, checkpoint: Path, suffix: str) -> None:
    forecast = LOADERS[suffix](str(exported.program(suffix)), 1)
    made, costs = measured(lambda: forecast({"past": samples.record().frames(3, 6)}), 2)
    np.testing.assert_allclose(made, forecast_of(checkpoint), rtol=1e-4, atol=1e-5)
    assert len(costs["clock"]) == 2
    assert costs["peak"] > 2**26


def test_a_program_tells_nothing_of_the_machine_that_made_it(exported: Exported) -> None:
    for suffix in FORMATS:
        content = exported.program(suffix).read_bytes()
        assert str(Path(exporting.__file__).parent.parent).encode() not in content


def test_costs_are_printed_of_each_beside_the_model(exported: Exported) -> None:
    for row in ("the model", "program.pt2, by torch", "program.onnx, by ONNX Runtime"):
        (line,) = (line for line in exported.printed.splitlines() if f"│ {row}" in line)
        threads, size, start, clock, processors, peak = (float(cell) for cell in line.split("│")[2:8])
        assert threads == 1
        assert min(size, start, peak) > 0
        assert min(clock, processors) >= 0


def test_nothing_else_is_left_in_the_folder(exported: Exported) -> None:
    assert {path.name for path in exported.folder.iterdir()} == {"observed.nc", "program.pt2", "program.onnx"}


@pytest.mark.usefixtures("exported")
def test_forecasts_after_a_trace_are_as_before(checkpoint: Path) -> None:
    assert isinstance(forecast_of(checkpoint), np.ndarray)


def test_a_field_that_moves_and_anomalies_by_cell_are_traced_too_and_take_a_clock() -> None:
    past = samples.record()
    seeded = np.random.default_rng(0)
    hourly, yearly, mean, std = (seeded.uniform(0.5, 2, (num, 23, 29)) for num in (24, 2, 1, 1))
    cycles = Cycles(hourly, yearly, np.ones(24, bool))
    other = Standardization("snow", (), mean=0.5, std=2.0)
    decibel = Decibel(threshold=0.1, floor=-15.0)
    own = Standardization("rate", (decibel,), mean=mean[0], std=std[0], cycles=cycles)
    both = Field(past.dataset.assign(snow=past.dataset["rate"] + 1)[["rate", "snow"]])
    forecaster = forecaster_of(Normalizer((own, other)))
    inputs = inputs_of(forecaster, both, LEADS)
    assert inputs["clock"].shape == (3 + LEADS, 2)
    expected = forecaster.forecast(both, LEADS)
    program = trace(forecaster, inputs, LEADS).module()
    with torch.no_grad():
        made = program(*map(torch.from_numpy, inputs.values())).numpy()
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)


def forecaster_of(normalizer: Normalizer) -> ModelForecaster:
    net = build(MODEL, CLIP, variables=len(normalizer.variables), window=16)
    return ModelForecaster(net, normalizer, CLIP, torch.device("cpu"), tile_cells=2**20)


def test_without_cycles_a_program_takes_the_frames_alone(checkpoint: Path) -> None:
    forecaster = samples.model(checkpoint).forecaster
    inputs = inputs_of(forecaster, samples.record(), LEADS)
    assert list(inputs) == ["past"]
    program = Program(forecaster.net, forecaster.normalizer, LEADS)
    made = program(torch.from_numpy(inputs["past"])).numpy()
    np.testing.assert_allclose(made, forecast_of(checkpoint), rtol=1e-6)


def test_a_program_that_differs_by_more_than_the_tolerance_is_not_kept(
    tmp_path: Path, checkpoint: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = forecast_of(checkpoint)
    frames[0, 0, 5, 5] += 0.1 * np.nanmax(samples.record().frames(3, 6))
    monkeypatch.setattr(exporting, "measure_model", lambda *_: Measured(frames, 1, 1, 1.0, 1.0, 1.0, 1))
    output = tmp_path / "out" / "program.onnx"
    message = (
        r"program.onnx was not written, .* of rate differs .* at lead 1 by 0\.1.* of the range .*physicnet forecast"
    )
    with pytest.raises(ExportError, match=message):
        export(checkpoint, samples.record().dataset, [output], lead=LEADS)
    assert not output.parent.exists()


def test_a_forecast_that_is_no_number_is_no_agreement(
    tmp_path: Path, checkpoint: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = forecast_of(checkpoint)
    frames[0, 0, 2] = np.nan
    monkeypatch.setattr(exporting, "measure_model", lambda *_: Measured(frames, 1, 1, 1.0, 1.0, 1.0, 1))
    with pytest.raises(ExportError, match=r"at lead 1 by nan of the range"):
        export(checkpoint, samples.record().dataset, [tmp_path / "program.onnx"], lead=LEADS)


def test_what_was_there_stays_if_the_new_program_does_not_run(
    tmp_path: Path, checkpoint: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(formats.WRITERS, ".onnx", lambda *words: words[-1].write_text("no program"))
    output = tmp_path / "program.onnx"
    output.write_text("the old one")
    with pytest.raises(ExportError, match=r"(?s)program.onnx was not written, for it does not run without .*onnx"):
        export(checkpoint, samples.record().dataset, [output], lead=LEADS)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("program.onnx", "the old one")]


@pytest.mark.parametrize("name", ["program", "program.pt", "program.tflite"])
def test_another_format_is_refused(tmp_path: Path, checkpoint: Path, name: str) -> None:
    with pytest.raises(
        DataError, match=rf"{name} names no format of programs; call it something.pt2 or something.onnx"
    ):
        export(checkpoint, samples.record().dataset, [tmp_path / name])


def test_onnx_that_is_not_installed_is_named(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda _name: None)
    with pytest.raises(DataError, match=r"without onnxscript, onnxruntime; pip install 'physicnet\[export\]'"):
        export(checkpoint, samples.record().dataset, [tmp_path / "program.onnx"])


def refused(checkpoint: Path, dataset: xr.Dataset, folder: Path) -> None:
    output = folder / "program.pt2"
    try:
        export(checkpoint, dataset, [output])
    finally:
        assert not output.exists()


def test_too_few_frames_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(DataError, match="frames"):
        refused(checkpoint, samples.record(2).dataset, tmp_path)


def test_frames_without_two_values_that_differ_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    dataset = samples.record().dataset
    dataset["rate"][:] = 0.5
    with pytest.raises(DataError, match="rate has no two values that differ in these observations.*give others"):
        refused(checkpoint, dataset, tmp_path)


def test_frames_that_are_forecast_in_tiles_are_refused(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("physicnet.forecasting.loading.TILE_CELLS", 600)
    with pytest.raises(DataError, match="a frame of 23 x 29 cells is forecast in tiles of at most 600 cells"):
        refused(checkpoint, samples.record().dataset, tmp_path)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("none")
    with pytest.raises(CheckpointError, match="model.safetensors is not a whole safetensors file"):
        refused(tmp_path / "model.safetensors", samples.record().dataset, tmp_path)


def test_no_input_is_overwritten(exported: Exported, checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    file = exported.folder / "observed.nc"
    wide = {"COLUMNS": "1000"}  # or the message would be broken, and where, by the length of the path
    result = CliRunner(env=wide).invoke(app, ["export", str(file), "-o", str(checkpoint), "--model", str(checkpoint)])
    assert result.exit_code == 2
    assert "is an input, too" in " ".join(result.output.split())
    assert checkpoint.read_bytes() == before
