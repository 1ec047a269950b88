"""A record, forecasts of it in files, and what was learned before them."""

from pathlib import Path

import numpy as np
import xarray as xr

from physicnet.config import ClipConfig, EvaluateConfig
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.evaluation.baselines import Persistence
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import Field
from physicnet.forecasting import cf
from physicnet.normalization import Normalizer, Standardization
from physicnet.verification.reference import Reference

CLIP = ClipConfig(frames_in=2, frames_out=3)
EVALUATE = EvaluateConfig(baselines=[], thresholds={"rate": [1.0]}, fss_scale=4, bootstrap_samples=20, seed=1)
MODEL = "ab" * 32
SPAN = {"start": "2020-01-01T00:00:00", "end": "2020-01-01T00:25:00"}


def record(frames: int = 20) -> Field:
    return advected_field(frames, 12, 14, flow=Uniform(1.0, 0.5))


def reference(field: Field) -> Reference:
    normalizer = Normalizer((Standardization("rate", (), mean=1.0, std=2.0),))
    persistence = Persistence(np.zeros(field.shape[1:], np.float32))
    return Reference(TrainingPart(field, [[0, 6]], CLIP), normalizer, (persistence,))


def told(field: Field, origin: int, *, too_much: float = 0.0, leads: int = 3, learned_until: str = "") -> xr.Dataset:
    """What will be observed after a frame of the record, and so much more, as a forecast from it."""
    dataset = field.dataset.isel(time=slice(origin + 1, origin + 1 + leads))
    dataset = dataset.assign(rate=(dataset["rate"] + too_much).assign_attrs(dataset["rate"].attrs))
    words = {"standard_name": "forecast_reference_time"}
    dataset = dataset.assign_coords(forecast_reference_time=((), field.times[origin], words))
    return dataset.assign_attrs(physicnet_model_sha256=MODEL, physicnet_data_end=learned_until)


def file(
    folder: Path, field: Field, origin: int, *, too_much: float = 0.0, leads: int = 3, learned_until: str = ""
) -> Path:
    """Write it."""
    path = folder / f"{origin:03}.nc"
    cf.write(path, told(field, origin, too_much=too_much, leads=leads, learned_until=learned_until))
    return path
