"""Looks at files as `physicnet inspect` does, for the tests of it."""

from pathlib import Path

import numpy as np
import yaml
from dialects import VALUES, write
from samples import variable

from physicnet.config import Params
from physicnet.data.inspection import Inspection, inspect

PARAMS = Path(__file__).parents[2] / "params.yaml"


def with_rate(**changes: object) -> Params:
    """The repository's parameters for the files of `raw_dataset`."""
    content = yaml.safe_load(PARAMS.read_text())
    content["ingest"] |= {"pattern": "*.nc", "variables": [variable()], "coarsen": 1} | changes
    channels = [one["channel"] or one["name"] for one in content["ingest"]["variables"]]
    content["normalize"] |= {"transforms": {name: [] for name in channels}}
    content["normalize"] |= {"standardize": dict.fromkeys(channels, "global")}
    content["evaluate"]["thresholds"] = {name: [7.5] for name in channels}
    return Params.model_validate(content)


def look(*paths: Path, **changes: object) -> Inspection:
    return inspect(with_rate(**changes), paths)


def levels(path: Path) -> None:
    axes = {"level": np.array([500.0, 850.0]), "time": 5 * np.arange(4), "lat": np.arange(3.0), "lon": np.arange(5.0)}
    values = np.stack([VALUES, VALUES - 100], axis=1)
    write(path / "a.nc", values, ("time", "level", "lat", "lon"), name="w", units="m s-1", axes=axes)
