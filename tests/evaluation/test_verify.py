import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from safetensors.numpy import save_file

from physicnet.calibration import Calibration
from physicnet.checkpoint import CheckpointError
from physicnet.config import ClipConfig, EvaluateConfig, MachineConfig
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.training_part import TrainingPart
from physicnet.evaluation.verify import calibrated, compare, evaluate, read_starts
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer, Standardization

CLIP = ClipConfig(frames_in=2, frames_out=3)
CONFIG = EvaluateConfig(
    baselines=["climatology"], thresholds={"rain": [1.0]}, fss_scale=3, bootstrap_samples=20, seed=0
)
MACHINE = MachineConfig(device="cpu", precision="float32", num_threads=1, cache_mib=16, tile_cells=2**20)


class Stub:
    """Stands for the model: knows the truth but for a constant error, and explains itself."""

    name = "physicnet"

    def __init__(self, record: Field, error: float) -> None:
        self.record, self.error = record, error
        self.calibrations = {"rain": exact(3)}

    def forecast(self, past: Field, num_leads: int) -> np.ndarray:
        first = int(np.searchsorted(self.record.times, past.times[-1])) + 1
        return self.record.frames(first, first + num_leads) + np.float32(self.error)

    def explain(self, past: Field) -> dict[str, np.ndarray]:
        shape = past.shape[2:]
        return {"flow": np.ones((2, *shape)), "gate": np.ones((3, *shape)), "codes": np.zeros((4, 5), int)}


def exact(num_leads: int) -> Calibration:
    """One that says that observations are 0 to 1 deviation above the forecast, and never dry."""
    channel = Standardization("rain", (), 0.0, 1.0)
    parts = np.full((num_leads, 0), np.inf), np.zeros((num_leads, 1)), np.zeros((num_leads, 1))
    errors = np.tile(np.linspace(0.0, 1.0, 201), (num_leads, 1, 1))
    return Calibration(channel, *(part.astype(np.float32) for part in (*parts, errors)))


class Bounded(Stub):
    """A stub that had to be held back in more cells from lead to lead."""

    def take_saturation(self) -> np.ndarray:
        return np.array([[0.0], [0.25], [0.5]])


def run_stage(folder: Path, record: Field, normalizer: Normalizer) -> None:
    """Run the stage on a record of ten frames with two test origins; the model is a stub that errs by 0.5 mm/h."""
    record.save(folder / "fields.zarr")
    save_file(normalizer.maps(), folder / "maps.safetensors")
    content = {"splits": {"train": [[0, 4]], "validation": [[1, 6]]}, "variables": normalizer.to_dict()}
    (folder / "statistics.json").write_text(json.dumps(content))
    rows = [("validation", 2, "global"), ("test", 5, "global"), ("test", 4, "global"), ("train", 0, "local")]
    pd.DataFrame(rows, columns=["split", "start", "level"]).to_csv(folder / "crops.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("physicnet.model.rollout.ModelForecaster.load", lambda *_: Stub(record, 0.5))
        evaluate(
            CONFIG,
            CLIP,
            MACHINE,
            fields=folder / "fields.zarr",
            statistics=folder / "statistics.json",
            maps=folder / "maps.safetensors",
            crops=folder / "crops.csv",
            checkpoint=folder / "model.safetensors",
            metrics=folder / "metrics.json",
            results=folder / "results",
        )


@pytest.fixture(scope="module")
def evaluated(moving_blob: Field, normalizer: Normalizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stage has run."""
    folder = tmp_path_factory.mktemp("evaluated")
    run_stage(folder, moving_blob, normalizer)
    return folder


def test_the_stage_writes_metrics_tables_and_figures_and_nothing_else(evaluated: Path) -> None:
    inputs = {"fields.zarr", "statistics.json", "maps.safetensors", "crops.csv"}
    assert {path.name for path in evaluated.iterdir()} - inputs == {"metrics.json", "results"}
    written = {str(path.relative_to(evaluated / "results")) for path in (evaluated / "results").rglob("*.*")}
    tables = ("scores", "origins", "spectra", "codes", "uncertainty", "ranks", "reliability")
    figures = ("forecast", "skill", "spectra", "flow", "codes", "atlas", "growth", "uncertainty")
    assert written == {f"{name}.csv" for name in tables} | {f"figures/{name}.png" for name in figures} | {
        "figures/forecast.gif"
    } | {f"frames/rain/lead_{minutes}.png" for minutes in ("000", "010", "020", "030")}


def test_the_scores_are_those_of_a_constant_error(evaluated: Path) -> None:
    scores = pd.read_csv(evaluated / "results" / "scores.csv")
    assert scores["model"].unique().tolist() == ["physicnet", "persistence", "climatology"]
    ours = scores[scores["model"] == "physicnet"]
    assert ours["lead"].tolist() == [1, 2, 3]
    assert ours["lead_minutes"].tolist() == [10, 20, 30]
    for name in ("rmse", "mae", "bias"):
        assert ours[name].to_numpy() == pytest.approx(0.5, rel=1e-5)
    means = json.loads((evaluated / "metrics.json").read_text())
    assert means["physicnet"]["rain"]["rmse"] == 0.5
    assert means["persistence"]["rain"]["skill"] == 0
    rivals = scores[scores["model"] == "persistence"]
    share = float((ours["rmse"].to_numpy() / rivals["rmse"].to_numpy()).max())
    assert means["headline"]["rain"]["rmse_of_persistence_worst_lead"] == pytest.approx(share, rel=1e-4)


def test_the_distributions_of_the_model_and_of_persistence_are_scored(evaluated: Path) -> None:
    scores = pd.read_csv(evaluated / "results" / "uncertainty.csv")
    assert scores[["model", "lead"]].to_numpy().tolist() == [
        [model, lead] for model in ("physicnet", "persistence") for lead in (1, 2, 3)
    ]
    ours = scores[scores["model"] == "physicnet"]
    assert (ours["coverage_90"] == 0).all()  # the stub is half a unit above what is observed, not below it
    means = json.loads((evaluated / "metrics.json").read_text())
    assert means["physicnet"]["rain"]["crps"] == pytest.approx(ours["crps"].mean(), rel=1e-4)
    assert means["persistence"]["rain"]["coverage_80"] <= 1
    assert "crps" not in means["climatology"]["rain"]


def test_a_model_of_unknown_errors_is_refused(
    moving_blob: Field, normalizer: Normalizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.exact", lambda _: 1 / 0)
    monkeypatch.setattr(Stub, "__init__", lambda self, *_: setattr(self, "calibrations", {}))
    with pytest.raises(
        CheckpointError, match=r"model.safetensors does not tell how far its forecasts err; train again"
    ):
        run_stage(tmp_path, moving_blob, normalizer)


def test_the_test_part_does_not_calibrate(moving_blob: Field, normalizer: Normalizer, field_of: Callable) -> None:
    values = moving_blob.frames(0, 10)[:, 0].copy()
    values[6:] = 99.0
    values[:1] = 77.0
    (ours, theirs) = (
        calibrated(
            build_baselines([], TrainingPart(moving_blob, [[0, 4]], CLIP), normalizer)[0],
            record,
            [[1, 6]],
            CLIP,
            normalizer,
        )["rain"]
        for record in (moving_blob, field_of(values))
    )
    for name, array in ours.arrays().items():
        np.testing.assert_array_equal(array, theirs.arrays()[name])


def test_saturation_stands_beside_the_scores_of_the_model_that_counts_it(
    moving_blob: Field, normalizer: Normalizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.Stub", Bounded)
    run_stage(tmp_path, moving_blob, normalizer)
    scores = pd.read_csv(tmp_path / "results" / "scores.csv").set_index(["model", "lead"])["saturation"]
    assert scores["physicnet"].tolist() == [0.0, 0.25, 0.5]
    assert scores["persistence"].isna().all()
    means = json.loads((tmp_path / "metrics.json").read_text())
    assert means["physicnet"]["rain"]["saturation"] == 0.25
    assert "saturation" not in means["persistence"]["rain"]


def test_the_origins_are_those_of_the_test_part_and_pool_to_the_scores(evaluated: Path) -> None:
    origins = pd.read_csv(evaluated / "results" / "origins.csv", parse_dates=["time"])
    assert sorted(origins["origin"].unique()) == [5, 6]  # the last observed frames of the clips 4 and 5
    assert origins["time"].min() == pd.Timestamp("2020-06-01T00:50")
    pooled = origins.groupby(["model", "lead"])[["squared_error", "cells"]].sum()
    scores = pd.read_csv(evaluated / "results" / "scores.csv").set_index(["model", "lead"]).sort_index()
    assert np.sqrt(pooled["squared_error"] / pooled["cells"]).to_numpy() == pytest.approx(scores["rmse"], rel=1e-4)


def test_the_codes_of_all_origins_are_counted(evaluated: Path) -> None:
    codes = pd.read_csv(evaluated / "results" / "codes.csv")
    assert codes["code"].tolist() == [0]  # the stub knows no other
    assert codes["cells"].tolist() == [2 * 4 * 5]
    assert codes["share"].tolist() == [1]
    assert codes["units"].tolist() == ["mm h-1"]


def test_a_second_evaluation_gives_the_same_bytes(
    evaluated: Path, moving_blob: Field, normalizer: Normalizer, tmp_path: Path
) -> None:
    run_stage(tmp_path, moving_blob, normalizer)
    first, second = (
        {path.name: path.read_bytes() for path in [folder / "metrics.json", *(folder / "results").rglob("*.*")]}
        for folder in (evaluated, tmp_path)
    )
    assert first == second


def test_a_stage_that_fails_leaves_the_earlier_results_as_they_were(
    moving_blob: Field, normalizer: Normalizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    for name in ("metrics.json", "results/scores.csv"):
        (tmp_path / name).write_text("earlier")
    monkeypatch.setattr("physicnet.evaluation.atlas.codes_figure", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_stage(tmp_path, moving_blob, normalizer)
    assert (tmp_path / "metrics.json").read_text() == "earlier"
    assert [path.read_text() for path in (tmp_path / "results").iterdir()] == ["earlier"]
    assert not list(tmp_path.glob(".*"))


def test_a_test_part_without_clips_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "crops.csv"
    pd.DataFrame([("train", 0, "global")], columns=["split", "start", "level"]).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"crops\.csv has no clip in the test part.*lower normalize\.train_fraction"):
        read_starts(path)


def test_a_model_that_says_nothing_fails_and_writes_nothing(
    moving_blob: Field, normalizer: Normalizer, tmp_path: Path
) -> None:
    baselines = build_baselines([], TrainingPart(moving_blob, [[0, 4]], CLIP), normalizer)
    paths = {"metrics": tmp_path / "metrics.json", "results": tmp_path / "results"}
    with pytest.raises(DataError, match=r"physicnet .* is not a number in 8640 cells"):
        compare([Stub(moving_blob, np.nan), *baselines], moving_blob, [4], normalizer, CONFIG, CLIP, **paths)
    assert not list(tmp_path.iterdir())


def test_every_variable_has_its_scores_and_figures(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((8, 20, 22)).astype(np.float32)
    variables = {
        name: (("time", "y", "x"), factor * values, {"units": units})
        for name, factor, units in (("u", 1, "m s-1"), ("t", 9, "K"))
    }
    times = np.datetime64("2020-01-01", "ns") + np.arange(8) * np.timedelta64(1, "h")
    record = Field(xr.Dataset(variables, coords={"time": times}))
    normalizer = Normalizer(tuple(Standardization(name, (), 0.5, 0.3) for name in ("u", "t")))
    config = CONFIG.model_copy(update={"thresholds": {"u": [0.5], "t": []}, "baselines": ["advection"]})
    baselines = build_baselines(config.baselines, TrainingPart(record, [[0, 3]], CLIP), normalizer)
    results = tmp_path / "results"
    compare(baselines, record, [3], normalizer, config, CLIP, metrics=tmp_path / "metrics.json", results=results)
    figures = {path.stem for path in (results / "figures").iterdir()}
    assert figures == {f"{kind}_{name}" for kind in ("forecast", "skill", "spectra") for name in ("u", "t")}
    scores = pd.read_csv(results / "scores.csv").query("model == 'persistence'")
    fast, warm = (scores[scores["variable"] == name] for name in ("u", "t"))
    assert warm["rmse"].to_numpy() == pytest.approx(9 * fast["rmse"].to_numpy(), rel=1e-4)
    assert fast["csi_0.5"].notna().all()
    assert warm["csi_0.5"].isna().all()
