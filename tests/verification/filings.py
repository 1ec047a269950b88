"""A record, forecasts of it in files, and what was learned before them."""

import json
from pathlib import Path

import numpy as np
import xarray as xr
import yaml
from safetensors.numpy import save_file

from physicnet.clock import format_time
from physicnet.config import ClipConfig, EvaluateConfig
from physicnet.data.synthetic import Uniform, advected_field, write_netcdf
from physicnet.evaluation.baselines import Persistence
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import Field
from physicnet.forecasting import cf
from physicnet.normalization import Normalizer, Standardization
from physicnet.verification.reference import Reference

CLIP = ClipConfig(frames_in=2, frames_out=3)
EVALUATE = EvaluateConfig(baselines=[], thresholds={"rate": [1.0]}, fss_scale=4, bootstrap_samples=20, seed=1)
MODEL = "ab" * 32
ROOT = Path(__file__).parents[2]
COMMAND = "physicnet evaluate --fields fields.zarr --statistics statistics.json --maps maps.safetensors"
SPAN = {"start": "2020-01-01T00:00:00", "end": "2020-01-01T00:25:00"}


def record(frames: int = 20) -> Field:
    return advected_field(frames, 12, 14, flow=Uniform(1.0, 0.5))


def reference(field: Field) -> Reference:
    normalizer = Normalizer((Standardization(field.variables[0], (), mean=1.0, std=2.0),))
    persistence = Persistence(np.zeros(field.shape[1:], np.float32))
    return Reference(TrainingPart(field, [[0, 6]], CLIP), normalizer, (persistence,))


def told(field: Field, origin: int, *, too_much: float = 0.0, leads: int = 3, learned_until: str = "") -> xr.Dataset:
    """What will be observed after a frame of the record, and so much more, as a forecast from it."""
    dataset = field.dataset.isel(time=slice(origin + 1, origin + 1 + leads))
    dataset = dataset.map(lambda array: array + too_much, keep_attrs=True)
    words = {"standard_name": "forecast_reference_time"}
    dataset = dataset.assign_coords(forecast_reference_time=((), field.times[origin], words))
    used = ", ".join(map(format_time, field.times[max(0, origin + 1 - CLIP.frames_in) : origin + 1]))
    told = {"physicnet_model_sha256": MODEL, "physicnet_data_end": learned_until, "physicnet_observations": used}
    return dataset.assign_attrs(told)


def file(
    folder: Path, field: Field, origin: int, *, too_much: float = 0.0, leads: int = 3, learned_until: str = ""
) -> Path:
    """Write it."""
    path = folder / f"{origin:03}.nc"
    cf.write(path, told(field, origin, too_much=too_much, leads=leads, learned_until=learned_until))
    return path


def make_project(folder: Path, field: Field) -> Path:
    """Make a folder in which a record was ingested and normalized; `observed` holds all of it."""
    normalizer = reference(field).normalizer
    field.save(folder / "fields.zarr")
    save_file(normalizer.maps(), folder / "maps.safetensors")
    content = {"splits": {"train": [[0, 6]]}, "variables": normalizer.to_dict(), "span": SPAN}
    (folder / "statistics.json").write_text(json.dumps(content))
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"evaluate": {"cmd": COMMAND}}}))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    (name,) = field.variables
    params["ingest"]["variables"][0]["name"] = name
    params["ingest"] |= {"coarsen": 1, "pattern": "*.nc", "memory_limit": "64 GiB"}
    params["clip"] = CLIP.model_dump()
    params["evaluate"] = EVALUATE.model_dump() | {"baselines": ["climatology"], "thresholds": {name: [1.0]}}
    params["normalize"] |= {"transforms": {name: []}, "standardize": {name: "global"}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    write_netcdf(field, folder / "observed" / "record.nc")
    for each in ("forecasts", "forecasts/theirs"):
        (folder / each).mkdir()
    return folder
