"""Forecasts in a folder of files, one for each time."""

from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from physicnet.clock import Time
from physicnet.forecasting import cf
from physicnet.forecasting.series import Series


@dataclass(frozen=True)
class Folder:
    """The forecasts of a series, in files named by `cf.file_name`; see `Shelf`."""

    path: Path
    series: Series

    def holds(self, origin: Time) -> bool:
        """Whether the forecast from a time is there; see `Shelf`."""
        path = self.path / cf.file_name(origin)
        if not path.exists():
            return False
        with cf.opened(path) as told:
            self.series.refuse_another(path, told)
        return True

    def add(self, forecast: xr.Dataset) -> None:
        """Write a forecast; see `Shelf`."""
        cf.write(self.path / cf.file_name(cf.origin(forecast)), forecast)
