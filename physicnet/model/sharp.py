"""A forecast made as sharp as what was last observed: probability matching (Ebert 2001) of each lead.

A forecast that is best on average is blurred: it has too little of the strong and too much of the weak. Here the order
of its values says where it is strong, and the last observed frame says how strong the field is.

| symbol | what |
|---|---|
| n | cells that were observed in the last frame |
| rank | of a cell's forecast among the n cells; equal forecasts are ranked by their neighbourhood, then by place |

The n forecasts become the n observed values, the lowest the lowest and so on; other cells get the values that the
n cells' pairs (forecast, matched) give in between.
"""

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from physicnet.clock import format_time
from physicnet.fields import DataError, Field
from physicnet.model.forecaster import Forecaster

NEIGHBOURHOOD = 9  # cells on a side, whose mean forecast decides between equal ones: dry cells beside rain rain first

Frame = Float32[np.ndarray, "h w"]


class Sharp:
    """A forecaster whose frames have the values of the last observed frame, in the order of its forecasts."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.name = f"{forecaster.name}_sharp"
        self.forecaster = forecaster

    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Forecast and match each lead and variable; NaN stays NaN and takes no part.

        Raises:
            DataError: if nothing of a variable was observed in the last frame.
        """
        return sharpened(self.forecaster.forecast(past, num_leads), past)


def sharpened(frames: Float32[np.ndarray, "k c h w"], past: Field) -> Float32[np.ndarray, "k c h w"]:
    """Match each lead and variable of a forecast with the last frame of what it was made from; see `Sharp`."""
    last = past.frames(past.shape[0] - 1, past.shape[0])[0]
    for variable, cells in zip(past.variables, last, strict=True):
        if np.isnan(cells).all():
            raise DataError(
                f"nothing of {variable} was observed at {format_time(past.times[-1])}, the last frame, so there "
                "is nothing to match a forecast with; forecast from another time, or take the mean forecast"
            )
    return np.stack([[match(*pair) for pair in zip(frame, last, strict=True)] for frame in frames])


def match(forecast: Frame, observed: Frame) -> Frame:
    """Give `forecast` the values of `observed`; see the table of the module.

    Where the forecast is NaN although the cell was observed, the values go to the others by their quantiles.
    """
    taking = np.isfinite(forecast) & np.isfinite(observed)
    values = np.sort(observed[np.isfinite(observed)])
    order = _order(forecast, taking)
    if order.size != len(values):
        values = np.interp(np.linspace(0, len(values) - 1, order.size), np.arange(len(values)), values)
    matched = np.full(forecast.shape, np.nan, np.float32)
    matched[taking] = _placed(values, order)
    others = np.isfinite(forecast) & ~taking
    if order.size:
        matched[others] = _between(forecast[others], forecast[taking], matched[taking])
    return matched


def _order(forecast: Frame, taking: np.ndarray) -> np.ndarray:
    """Indices of the cells that take part, by forecast and, where that is equal, by the mean around."""
    known = np.isfinite(forecast)
    share, around = (
        ndimage.uniform_filter(field.astype(np.float64), NEIGHBOURHOOD, mode="constant")
        for field in (known, np.where(known, forecast, 0.0))
    )
    near = around[taking] / share[taking]
    return np.lexsort((near, forecast[taking]))


def _placed(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    placed = np.empty(order.size)
    placed[order] = values
    return placed


def _between(wanted: np.ndarray, forecast: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """The mean match of each distinct forecast, joined by lines, and level beyond the ends."""
    distinct, group = np.unique(forecast, return_inverse=True)
    means = np.bincount(group, weights=matched) / np.bincount(group)
    return np.interp(wanted, distinct, means)
