"""Colour scales fit for a quantity: for people who see all colours, who do not, and for print in grey.

Whatever has an amount grows darker or lighter all the way, evenly to the eye; on scales about zero, where red and blue
are equally dark, what lies far below zero is hatched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize

from physicnet.drawing import MISSING, ramp
from physicnet.plotting.units import Shown

RAIN = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # mm/h
PERCENT = tuple(range(0, 101, 10))
SIGNED = 0.25  # from this ratio of the two signs on, zero is the middle of the scale
ENDS = (0.001, 0.999)  # quantiles between which a scale lies
FAR = 0.98  # quantile of errors that their scale holds
HATCHED = 0.25  # of the way to the lower end of a scale about zero


@dataclass(frozen=True)
class Scale:
    """What colour a value has; `units` as they are written beside it."""

    norm: Normalize
    colours: Colormap
    units: str
    extend: Literal["neither", "min", "max", "both"] = "both"

    @property
    def is_about_zero(self) -> bool:
        """Whether zero is the middle of the scale."""
        return not isinstance(self.norm, BoundaryNorm) and self.norm.vmin == -(self.norm.vmax or 0.0)

    @property
    def hatched_below(self) -> float:
        """The value below which a scale about zero is hatched."""
        return HATCHED * float(self.norm.vmin or 0.0)


def scale_of(shown: Shown, frames: Sequence[np.ndarray]) -> Scale:
    """Return the scale of a quantity that takes these values.

    Rates of rain have fixed classes, so that two pictures can be compared. Temperatures never lie about zero, which is
    a value like any other there. All else does, if it is an anomaly, or if the lesser sign goes at least a quarter as
    far as the other.
    """
    if shown.is_rain:
        return classes(RAIN, shown.written)
    known = np.concatenate([frame[np.isfinite(frame)].ravel() for frame in frames])
    low, high = np.quantile(known, ENDS).tolist() if known.size else (0.0, 1.0)
    far = max(-low, high)
    if shown.is_anomaly or (not shown.is_temperature and min(-low, high) >= SIGNED * far > 0):
        return about_zero(far, shown.written)
    colours = colormaps["viridis"].with_extremes(bad=MISSING)
    return Scale(Normalize(low, high if high > low else low + 1.0), colours, shown.written)


def amount(frames: Sequence[np.ndarray], units: str) -> Scale:
    """Return the scale of a speed, or of whatever else begins at zero."""
    known = np.concatenate([frame[np.isfinite(frame)].ravel() for frame in frames])
    high = round_up(float(np.quantile(known, ENDS[1]))) if known.size else 1.0
    return Scale(Normalize(0.0, high), ramp(), units, "max")


def errors(differences: Float[np.ndarray, "k h w"], units: str) -> Scale:
    """Return the scale of errors: about zero, to 1, 2 or 5 times a power of ten, beyond which few errors are."""
    known = np.abs(differences[np.isfinite(differences)])
    return about_zero(round_up(float(np.quantile(known, FAR))) if known.size else 1.0, units)


def about_zero(far: float, units: str) -> Scale:
    """Return a scale from blue over white to red that reaches as far to either side."""
    end = far if far > 0 else 1.0
    return Scale(Normalize(-end, end), colormaps["RdBu_r"].with_extremes(bad=MISSING), units)


def probability() -> Scale:
    """Return the scale of probabilities, in steps of ten percent, white below the first."""
    shades = np.concatenate([np.ones((1, 4)), ramp()(np.linspace(0, 1, len(PERCENT) - 2))])
    colours = ListedColormap(shades).with_extremes(bad=MISSING)
    return Scale(BoundaryNorm(PERCENT, colours.N), colours, "%", "neither")


def classes(bounds: Sequence[float], units: str) -> Scale:
    """Return a scale of classes, each darker than the one below by equal steps, white below the lowest."""
    shades = ramp()(np.linspace(0, 1, len(bounds)))
    colours = ListedColormap(shades[:-1]).with_extremes(bad=MISSING, under="white", over=shades[-1])
    return Scale(BoundaryNorm(bounds, colours.N), colours, units, "max")


def round_up(value: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10 ** np.floor(np.log10(value))
    return float(power * next(step for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9)))
