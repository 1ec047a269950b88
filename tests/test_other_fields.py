"""The stages on fields that are no radar rain: signed, hourly, two at once, in a calendar without leap days."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from physicnet.config import Params
from physicnet.data.crops import draw_crops
from physicnet.data.normalize import normalize
from physicnet.data.synthetic import Uniform, Waves, advected_field
from physicnet.evaluation.verify import evaluate
from physicnet.fields import Field
from physicnet.training.joint import train
from physicnet.training.pretraining import pretrain

ANOMALY = {"kind": "anomaly", "hour_of_day": True, "harmonics": 0}
BRIEF = {"epochs": 1, "steps_per_epoch": 3, "batch_size": 2}
CHANGES: dict[str, dict[str, Any]] = {
    "clip": {"frames_in": 3, "frames_out": 6},
    "ingest": {"memory_limit": "64 GiB"},  # many other tests may have filled this process
    "normalize": {
        "gap": 6,
        "transforms": {"t2m": [ANOMALY], "u10": []},
        "standardize": {"t2m": "global", "u10": "per_cell"},
    },
    "crops": {"view": 24, "window": 16, "windows_per_clip": 2, "train_clips": 24, "stride": 7},
    "machine": {"num_threads": 1},
    "model": {"channels": 8, "code_dim": 8, "num_codes": 16, "hidden": 8},
    "codebook": BRIEF,
    "train": BRIEF | {"mirror": False, "rescale": 1.0},
    "evaluate": {
        "baselines": ["climatology", "persistent_anomaly"],
        "thresholds": {"t2m": [0.0], "u10": []},
        "fss_scale": 4,
        "bootstrap_samples": 20,
    },
}


def params() -> Params:
    """Those of the repository, with what other fields and a short test need."""
    content = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))
    for section, changes in CHANGES.items():
        content[section] |= changes
    variable = content["ingest"]["variables"][0]
    content["ingest"]["variables"] = [variable | {"name": name, "units": "1"} for name in ("t2m", "u10")]
    return Params.model_validate(content)


def record() -> Field:
    """Ten days: temperatures around freezing that swing by 8 degrees a day, and a wind that blows either way."""
    rng = np.random.default_rng(0)
    weather = [
        np.log(
            advected_field(240, 24, 32, flow=Uniform(0.3, 0.1), pattern=Waves(12, 14.0, seed)).dataset["rate"].values
        )
        for seed in (1, 2)
    ]
    day = 8 * np.sin(np.arange(240) / 24 * 2 * np.pi)[:, None, None] * rng.uniform(0.8, 1.2, (24, 32))
    times = xr.date_range("2020-02-25", periods=240, freq="h", calendar="noleap", use_cftime=True)
    latitude, longitude = 58 - 0.25 * np.arange(24), -10 + 0.25 * np.arange(32)
    dims = ("time", "latitude", "longitude")
    return Field(
        xr.Dataset(
            {"t2m": (dims, day + weather[0], {"units": "degC"}), "u10": (dims, 5 * weather[1], {"units": "m s-1"})},
            {
                "time": times,
                "latitude": ("latitude", latitude, {"units": "degrees_north"}),
                "longitude": ("longitude", longitude, {"units": "degrees_east"}),
            },
        )
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the last stage writes after all before it but ingest have run."""
    folder, chosen = tmp_path_factory.mktemp("fields"), params()
    record().save(folder / "fields.zarr")
    fitted = {"statistics": folder / "statistics.json", "maps": folder / "maps.safetensors"}
    normalized, crops, codebook = (folder / name for name in ("normalized.zarr", "crops.csv", "codebook.safetensors"))
    drawn = {"statistics": fitted["statistics"], "crops": crops, "figure": folder / "crops.png"}
    normalize(
        chosen.normalize, chosen.clip, chosen.ingest, fields=folder / "fields.zarr", normalized=normalized, **fitted
    )
    draw_crops(chosen.crops, chosen.clip, normalized=normalized, **drawn)
    shared = (chosen.clip, chosen.model, chosen.machine)
    inputs = {"normalized": normalized, "crops": crops, "codebook": codebook, **fitted, "report": lambda *_: None}
    traces = {"history": folder / "history.csv", "resume": folder / "resume"}
    pretrain(chosen.codebook, *shared, **inputs, **traces)
    train(
        chosen.train, *shared, chosen.evaluate.thresholds, checkpoint=folder / "model.safetensors", **inputs, **traces
    )
    paths = {"fields": folder / "fields.zarr", "crops": crops, "checkpoint": folder / "model.safetensors", **fitted}
    written = {"metrics": folder / "metrics.json", "results": folder / "results"}
    evaluate(chosen.evaluate, chosen.clip, chosen.machine, **paths, **written)
    return folder / "results"


def test_both_variables_are_scored_in_their_units(results: Path) -> None:
    scores = pd.read_csv(results / "scores.csv")
    assert dict(scores[["variable", "units"]].drop_duplicates().to_numpy()) == {"t2m": "degC", "u10": "m s-1"}
    assert scores.groupby(["variable", "model"])["rmse"].count().eq(6).all()
    assert scores["model"].unique().tolist() == ["physicnet", "persistence", "climatology", "persistent_anomaly"]
    assert scores.loc[scores["variable"] == "t2m", "csi_0"].notna().all()


def test_the_model_knows_the_cycle_of_the_day(results: Path) -> None:
    """Hardly trained, it keeps what the day leaves over: far better than to keep the temperature."""
    scores = pd.read_csv(results / "scores.csv").query("variable == 't2m' and lead == 6").set_index("model")["rmse"]
    assert scores["physicnet"] < 0.25 * scores["persistence"]
    assert scores["persistent_anomaly"] < 0.25 * scores["persistence"]


def test_every_figure_is_drawn(results: Path) -> None:
    drawn = {path.stem for path in (results / "figures").iterdir()}
    kinds = {f"{kind}_{name}" for kind in ("forecast", "skill", "spectra", "uncertainty") for name in ("t2m", "u10")}
    assert drawn == kinds | {"flow", "codes", "atlas", "growth"}
