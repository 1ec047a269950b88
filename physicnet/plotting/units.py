"""In which units a variable is shown, and how they and its name are written."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from cf_units import Unit

from physicnet.data.units import understood
from physicnet.evaluation import labels

RATE = "mm h-1"
FLUX = "kg m-2 s-1"  # of water: a kilogram on a square metre is a millimetre
SECONDS = 3600.0  # in an hour
COMPONENTS = ("grid_eastward_", "eastward_", "x_")  # before the standard name of a vector
WET = ("rain", "precipitation", "snowfall")  # words in standard names


@dataclass(frozen=True)
class Shown:
    """The name of a variable in words, its units as shown, and what kind of quantity it is."""

    title: str
    units: str
    asked: Unit | None  # the units that the values are converted to, if they are
    own: Unit | None
    factor: float
    is_rain: bool
    is_temperature: bool
    is_anomaly: bool

    @classmethod
    def of(cls, array: xr.DataArray) -> "Shown":
        """Read it from the attributes: rates of rain are shown in mm/h, all else as it is in the file."""
        told, name = str(array.attrs.get("units", "")), str(array.attrs.get("standard_name", ""))
        words = f"{name} {array.attrs.get('long_name', '')} {array.name}".lower()
        own, rate, flux = understood(told), Unit(RATE), Unit(FLUX)
        is_wet = any(word in name for word in WET)
        is_flux = is_wet and own is not None and own.is_convertible(flux)
        is_rain = own is not None and (own == rate or (is_wet and own.is_convertible(rate)) or is_flux)
        asked = (flux if is_flux else rate) if is_rain else None
        return cls(
            title=str(array.attrs.get("long_name", name.replace("_", " ") or array.name)),
            units=RATE if is_rain else told,
            asked=asked,
            own=own,
            factor=SECONDS if is_flux else 1.0,
            is_rain=is_rain,
            is_temperature=own is not None and own.is_convertible("K"),
            is_anomaly="anomaly" in words,
        )

    def of_speed(self, component: xr.DataArray) -> "Shown":
        """Return how the speed of a vector is shown, one of whose components this is."""
        told = str(component.attrs.get("standard_name", ""))
        for prefix in COMPONENTS:
            told = told.removeprefix(prefix)
        title = f"{told.removesuffix('_velocity').replace('_', ' ')} speed".strip()
        return replace(self, title=title)

    @property
    def written(self) -> str:
        """The units as people write them."""
        return written(self.units)

    def converted(self, values: np.ndarray) -> np.ndarray:
        """Return values in the units shown."""
        if self.asked is None or self.own is None or (self.own == self.asked and self.factor == 1.0):
            return values
        return np.asarray(self.own.convert(values, self.asked)) * self.factor


def written(units: str) -> str:
    """Write units as people do: `mm h⁻¹`, `°C`; nothing for a number without units."""
    return {"degC": "°C", "celsius": "°C"}.get(units, labels.pretty(units))
