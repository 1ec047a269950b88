"""Forecasts that belong together, and are scored as those of one model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from physicnet.fields import DataError
from physicnet.forecasting.described import MODEL, TIME


@dataclass(frozen=True, eq=False)
class Series:
    """Forecasts of one model, as far ahead, from some times."""

    sha256: str  # of the model's checkpoint
    num_leads: int
    origins: np.ndarray  # times of the last observed frames, increasing, as of `clock.canonical`

    def refuse_another(self, path: Path, forecast: xr.Dataset) -> None:
        """Refuse to go on beside a forecast of another series: whoever scores them takes all for one model's.

        Raises:
            DataError: if the forecast, which is at `path`, is of another model, or has another number of leads.
        """
        theirs, count = str(forecast.attrs.get(MODEL, "unknown")), forecast.sizes[TIME]
        if theirs != self.sha256:
            raise DataError(
                f"{path} is of another model (SHA-256 {theirs[:12]}, this one has {self.sha256[:12]}); name another "
                "output, or remove the forecasts that are there"
            )
        if count != self.num_leads:
            raise DataError(
                f"{path} has {count} leads, {self.num_leads} are asked for; name another output, or remove the "
                "forecasts that are there"
            )
