"""A model that was never trained, as small as one can be, and files that it can forecast from."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training.conftest import CLIP, INGEST, MACHINE, MODEL

from physicnet.calibration import TABLE
from physicnet.checkpoint import CALIBRATION, MAPS, save_checkpoint
from physicnet.config import IngestConfig
from physicnet.data.spacing import mapping_of, place_of, spacing_of
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.fields import Field
from physicnet.forecasting.loading import Model
from physicnet.model.build import build
from physicnet.normalization import Normalizer, Standardization
from physicnet.transforms import Decibel

NORMALIZER = Normalizer((Standardization("rate", (Decibel(threshold=0.1, floor=-15.0),), mean=1.0, std=5.0),))
NO_MAPS: dict[str, np.ndarray] = {}
CALIBRATED = {
    "edges": np.full((CLIP.frames_out, 1), np.inf, np.float32),
    "lowest": np.full((CLIP.frames_out, 2), 0.25, np.float32),
    "highest": np.zeros((CLIP.frames_out, 2), np.float32),
    "errors": np.tile((2 * TABLE - 1).astype(np.float32), (CLIP.frames_out, 2, 1)),
}
SPAN = {"start": "2019-01-01T00:00:00", "end": "2019-02-01T00:00:00", "calendar": "proleptic_gregorian"}
STEREOGRAPHIC = {
    "grid_mapping_name": "polar_stereographic",
    "straight_vertical_longitude_from_pole": 0.0,
    "latitude_of_projection_origin": 90.0,
    "standard_parallel": 60.0,
    "false_easting": 0.0,
    "false_northing": 0.0,
}


def record(num_frames: int = 6, height: int = 23, width: int = 29) -> Field:
    """Frames from 2020-01-01T00:00 on, of which some cells miss, in a projection."""
    dataset = advected_field(num_frames, height, width, flow=Uniform(2.0, 1.0)).dataset
    dataset["rate"].attrs |= {"standard_name": "rainfall_rate", "long_name": "rain rate", "cell_methods": "time: point"}
    dataset["rate"].encoding["grid_mapping"] = "crs"
    dataset["rate"][:, 3:7, 5:11] = np.nan
    return Field(dataset.assign_coords(crs=((), np.int32(0), STEREOGRAPHIC)))


def save(
    path: Path, like: Field, config: IngestConfig = INGEST, tensors: Mapping[str, np.ndarray] = NO_MAPS, **changes: Any
) -> Path:
    """Write a checkpoint of a model for records like this one, which were read by these rules.

    In one of four cells it was dry, whatever was forecast; in the others errors are spread evenly over ±1 deviation.
    """
    net = build(MODEL, CLIP, variables=len(like.variables), window=16)
    metadata = {
        "model": MODEL.model_dump(mode="json"),
        "clip": CLIP.model_dump(mode="json"),
        "window": 16,
        "normalizer": NORMALIZER.to_dict(),
        "step_seconds": 300.0,
        "grid": [asdict(spacing) for spacing in spacing_of(like)],
        "grid_mapping": mapping_of(like),
        "place": place_of(like),
        "ingest": config.rules(),
        "span": SPAN,
    }
    metadata = metadata | {"thresholds": {name: [1.0, 5.0] for name in like.variables}} | changes
    maps = {MAPS + name: torch.from_numpy(array) for name, array in tensors.items()}
    calibrations = {
        f"{CALIBRATION}{entry['variable']}/{name}": torch.from_numpy(array)
        for entry in metadata["normalizer"]
        for name, array in CALIBRATED.items()
    }
    save_checkpoint(path, net.state_dict() | maps | calibrations, metadata)
    return path


def model(path: Path) -> Model:
    return Model(path, MACHINE)


def write(path: Path, field: Field, **changes: Any) -> Path:
    """Write frames as a file that someone gives, changed by `assign` of xarray."""
    dataset = field.dataset.reset_coords("crs").assign(changes)
    dataset["rate"].encoding = {}
    dataset["rate"].attrs["grid_mapping"] = "crs"
    dataset.to_netcdf(path, engine="netcdf4")
    return path


def at(minute: int) -> str:
    return f"2020-01-01T00:{minute:02}:00"
