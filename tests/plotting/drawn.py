"""Forecasts in files as they are drawn, and what was observed meanwhile."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from physicnet.config import IngestConfig
from physicnet.data.synthetic import Uniform, advected_field, write_netcdf
from physicnet.fields import Field
from physicnet.forecasting import cf

ROOT = Path(__file__).parents[2]
ORIGIN, NUM_LEADS, TOO_MUCH = 4, 3, 0.5
KINDS = {
    "rate": {"units": "mm h-1", "standard_name": "rainfall_rate"},
    "uo": {"units": "m s-1", "standard_name": "eastward_sea_water_velocity"},
    "vo": {"units": "m s-1", "standard_name": "northward_sea_water_velocity"},
    "t2m": {"units": "degC", "standard_name": "air_temperature", "long_name": "2 m temperature"},
}
DIMS = ("time", "y", "x")


def record(*names: str, height: int = 12, width: int = 14) -> Field:
    """Ten frames from 00:00 on, five minutes apart; one corner was never observed."""
    dataset = advected_field(10, height, width, flow=Uniform(1.0, 0.5), variable="pattern").dataset
    pattern = dataset["pattern"].where((dataset["x"] > 2500) | (dataset["y"] > 2500))
    signs = {"uo": -1.0, "vo": 1.0}
    arrays = {
        name: (DIMS, (pattern * signs.get(name, 1.0) - (name == "uo") * -2).values, KINDS[name]) for name in names
    }
    return Field(dataset.drop_vars("pattern").assign(arrays))


def forecast(field: Field, **more: Any) -> xr.Dataset:
    """What will be observed and half a unit more, wherever that is, with the words of a forecast."""
    after = field.dataset.isel(time=slice(ORIGIN + 1, ORIGIN + 1 + NUM_LEADS))
    shifted = {name: (after[name].fillna(1.0) + TOO_MUCH).assign_attrs(after[name].attrs) for name in after}
    words = {"standard_name": "forecast_reference_time"}
    dataset = after.assign(shifted).assign_coords(forecast_reference_time=((), field.times[ORIGIN], words))
    return dataset.assign(more).assign_attrs(physicnet_model_sha256="ab" * 32)


def moving(field: Field, x: float, y: float, units: str = "m s-1") -> dict[str, Any]:
    """The same motion everywhere, as a forecast tells it."""
    shape = field.shape[2:]
    return {
        name: (DIMS[1:], np.full(shape, speed, np.float32), {"units": units})
        for name, speed in (("flow_x", x), ("flow_y", y))
    }


def chances(field: Field, name: str, *thresholds: float) -> dict[str, Any]:
    """A probability of a fifth of exceeding each threshold."""
    shape = (len(thresholds), NUM_LEADS, *field.shape[2:])
    return {
        f"{name}_threshold": (f"{name}_threshold", list(thresholds)),
        f"{name}_exceedance": ((f"{name}_threshold", *DIMS), np.full(shape, 0.2, np.float32), {"units": "1"}),
    }


def file(folder: Path, field: Field, **more: Any) -> Path:
    """Write the forecast."""
    path = folder / "forecast.nc"
    cf.write(path, forecast(field, **more))
    return path


def observe(folder: Path, field: Field) -> Path:
    """Write what was observed."""
    write_netcdf(field, folder / "observed" / "record.nc")
    return folder / "observed"


def content(*names: str) -> dict[str, Any]:
    """The parameters of a project with these variables."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    plain = params["ingest"]["variables"][0]
    params["ingest"] |= {
        "coarsen": 1,
        "pattern": "*.nc",
        "memory_limit": "64 GiB",  # many other tests may have filled this process
        "variables": [
            plain | {"name": name, "units": KINDS[name]["units"], "valid_min": None, "valid_max": None}
            for name in names
        ],
    }
    params["normalize"] |= {
        "transforms": {name: [] for name in names},
        "standardize": dict.fromkeys(names, "global"),
    }
    params["evaluate"] |= {"thresholds": {name: [] for name in names}}
    return params


def rules(*names: str) -> IngestConfig:
    """How its observations are read."""
    return IngestConfig.model_validate(content(*names)["ingest"])
