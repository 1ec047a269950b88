"""Small fields and parameters for the tests of the data stages."""

import numpy as np
import xarray as xr

from physicnet.config import ClipConfig, CropsConfig, IngestConfig, NormalizeConfig

START = np.datetime64("2020-06-01T00:00", "ns")
STEP = np.timedelta64(5, "m")


def raw_dataset(num_frames: int = 7, height: int = 6, width: int = 9, *, first: int = 0, seed: int = 0) -> xr.Dataset:
    """Return a data set as a user's file may hold it: random rates, a grid mapping, two-dimensional coordinates."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, 2.0, (num_frames, height, width)).astype(np.float32)
    values[:, : height // 3, : width // 3] = np.nan
    rate = (("time", "north", "east"), values, {"units": "mm h-1", "grid_mapping": "projection"})
    return xr.Dataset(
        {"rate": rate, "projection": ((), 0, {"grid_mapping_name": "stereographic"})},
        {
            "time": START + STEP * np.arange(first, first + num_frames),
            "north": ("north", 100.0 - np.arange(height), {"units": "km"}),
            "east": ("east", 10.0 * np.arange(width), {"units": "km"}),
        },
    )


def variable(name: str = "rate", units: str = "mm h-1", **changes: object) -> dict[str, object]:
    return {
        "name": name,
        "channel": None,
        "units": units,
        "file_units": None,
        "select": {},
        "valid_min": None,
        "valid_max": None,
    } | changes


def ingest_config(*variables: dict[str, object], **changes: object) -> IngestConfig:
    settings = {
        "pattern": "*.nc",
        "time_from_name": None,
        "variables": list(variables) or [variable()],
        "coarsen": 1,
        "on_conflict": "newest",
        "max_invalid": 0.05,
        "max_quarantined": 0,
        "memory_limit": "8 GiB",
        "cluster": None,
    }
    return IngestConfig.model_validate(settings | changes)


def clip_config(**changes: int) -> ClipConfig:
    return ClipConfig.model_validate({"frames_in": 2, "frames_out": 1} | changes)


def normalize_config(**changes: object) -> NormalizeConfig:
    settings = {
        "train_fraction": 0.5,
        "validation_fraction": 0.25,
        "gap": 2,
        "transforms": {"rate": [{"kind": "decibel", "threshold": 0.1, "floor": -15.0}]},
        "standardize": {"rate": "global"},
    }
    return NormalizeConfig.model_validate(settings | changes)


def crops_config(**changes: object) -> CropsConfig:
    settings = {
        "seed": 3,
        "view": 12,
        "window": 5,
        "windows_per_clip": 2,
        "train_clips": 20,
        "stride": 1,
        "min_coverage": 0.5,
        "activity_floor": 0.1,
        "activity_exponent": 1.0,
        "coverage_exponent": 0.0,
    }
    return CropsConfig.model_validate(settings | changes)
