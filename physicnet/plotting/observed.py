"""What was observed of the times of a forecast, read as `physicnet verify` reads it, on the grid of the forecast."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from physicnet.clock import canonical, format_time
from physicnet.config import IngestConfig
from physicnet.data import recent
from physicnet.data.recent import Between, judged, read_stretch
from physicnet.data.units import understood
from physicnet.fields import DataError, Field
from physicnet.plotting.forecast import Forecast

NEAR = 0.01  # of a cell: coordinates that differ by less are the same
REMEDY = "give observations of that time (--observations), or leave the option out"


@dataclass(frozen=True, eq=False)
class Observed:
    """The last frame before each forecast and the truth of every lead, by variable, as shown; NaN where missing."""

    last: dict[str, Float[np.ndarray, "h w"]]
    truth: dict[str, Float[np.ndarray, "k h w"]]


def observed(forecast: Forecast, paths: Sequence[Path], config: IngestConfig) -> Observed:
    """Read the frames of a forecast's times from files, or from those in folders that `config.pattern` matches.

    Raises:
        DataError: if a file cannot be used, none of the times was observed, a variable is not there or in units that
            cannot be converted, or the forecast's cells are not among those observed.
    """
    times = np.concatenate([np.array([forecast.origin]), forecast.field.times])
    verdict = judged(recent.found(paths, config.pattern), config)
    try:
        record = read_stretch(verdict, config, Between(times[0], times[-1]))
    except DataError as error:
        raise DataError(f"{forecast.path} cannot be compared with what was observed: {error}; {REMEDY}") from None
    dataset = record.dataset.assign_coords({record.time_dim: record.times})
    if not np.isin(record.times, times).any():
        raise DataError(
            f"{forecast.path} forecasts from {format_time(times[0])} to {format_time(times[-1])}, but none of the "
            f"{len(record.times)} frames observed then is of the time of a lead; {REMEDY}"
        )
    dataset = _at_the_cells_of(forecast, dataset.reindex({record.time_dim: canonical(times)}), record)
    frames = {name: _values(forecast, dataset, name) for name in forecast.field.variables}
    return Observed({name: each[0] for name, each in frames.items()}, {name: each[1:] for name, each in frames.items()})


def _at_the_cells_of(forecast: Forecast, dataset: xr.Dataset, record: Field) -> xr.Dataset:
    """Take the forecast's rows and columns, in its order, out of what was observed."""
    for dim in forecast.field.spatial_dims:
        ours = forecast.field.dataset[dim]
        if dim not in record.spatial_dims:
            raise DataError(
                f"{forecast.path} has the axis {dim}, the observations have {', '.join(record.spatial_dims)}; draw a "
                "forecast with observations on its own grid"
            )
        theirs = dataset[dim]
        places = _places(theirs.values.astype(np.float64), ours.values.astype(np.float64))
        if (places < 0).any() or (dim not in record.dataset.coords and ours.size != theirs.size):
            raise DataError(
                f"{forecast.path}: {dim} has {ours.size} cells from {ours.values[0]:g} to {ours.values[-1]:g}, in the "
                f"observations {theirs.size} from {theirs.values[0]:g} to {theirs.values[-1]:g}; draw a forecast with "
                "observations on its own grid, in the same units"
            )
        dataset = dataset.isel({dim: places})
    return dataset


def _places(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Return where our coordinates stand among theirs, -1 where they do not."""
    cell = float(np.abs(np.diff(ours)).min()) if ours.size > 1 else 1.0
    return pd.Index(theirs).get_indexer(pd.Index(ours), method="nearest", tolerance=NEAR * cell)


def _values(forecast: Forecast, dataset: xr.Dataset, name: str) -> Float[np.ndarray, "t h w"]:
    if name not in dataset:
        raise DataError(
            f"{forecast.path} forecasts {name}, of which nothing was observed, only of "
            f"{', '.join(map(str, dataset.data_vars))}; name it in ingest.variables of params.yaml"
        )
    told, asked = dataset[name].attrs.get("units"), forecast.field.units[name]
    ours, theirs = understood(asked), understood(told)
    if ours is None or theirs is None or not theirs.is_convertible(ours):
        raise DataError(
            f"{forecast.path}: variable {name} has units {asked!r}, the observations have {told!r}, and one cannot be "
            "converted into the other; correct the attribute units"
        )
    values = dataset[name].values.astype(np.float64)
    return forecast.shown(name).converted(values if ours == theirs else theirs.convert(values, ours))
