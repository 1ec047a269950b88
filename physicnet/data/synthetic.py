"""Fields with a known motion, for tests and benchmarks: exact at every time, with no interpolation anywhere.

Velocities are `(x, y)` in pixels per step, forward in time: x along columns, y along rows. Time is counted in steps.
"""

from dataclasses import dataclass
from math import tau
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import xarray as xr
from jaxtyping import Float64

from physicnet.fields import Field

INSTANT = 1e-3  # steps; half the time over which a velocity is taken


@runtime_checkable
class Flow(Protocol):
    """A steady motion whose paths are known in closed form."""

    def departure(
        self, x: Float64[np.ndarray, "h w"], y: Float64[np.ndarray, "h w"], steps: float
    ) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
        """Return where the fluid that is at `(x, y)` now was `steps` steps ago."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Everything moves by `(x, y)` pixels per step."""

    x: float
    y: float

    def departure(
        self, x: Float64[np.ndarray, "h w"], y: Float64[np.ndarray, "h w"], steps: float
    ) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
        """Step back along straight lines."""
        return x - steps * self.x, y - steps * self.y


@dataclass(frozen=True)
class Rotation:
    """Everything turns by `angle` radians per step, from x towards y, around the point `(x, y)`."""

    angle: float
    x: float
    y: float

    def departure(
        self, x: Float64[np.ndarray, "h w"], y: Float64[np.ndarray, "h w"], steps: float
    ) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
        """Turn back along circles."""
        cosine, sine = np.cos(steps * self.angle), np.sin(steps * self.angle)
        right, down = x - self.x, y - self.y
        return self.x + cosine * right + sine * down, self.y - sine * right + cosine * down


@dataclass(frozen=True)
class Shear:
    """Everything moves along x, by `rate` pixels per step and pixel below the row `y`, which stays."""

    rate: float
    y: float

    def departure(
        self, x: Float64[np.ndarray, "h w"], y: Float64[np.ndarray, "h w"], steps: float
    ) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
        """Step back along the rows."""
        return x - steps * self.rate * (y - self.y), y


@dataclass(frozen=True)
class Expansion:
    """Distances from the point `(x, y)` grow by the factor exp(`rate`) per step; they shrink where it is negative."""

    rate: float
    x: float
    y: float

    def departure(
        self, x: Float64[np.ndarray, "h w"], y: Float64[np.ndarray, "h w"], steps: float
    ) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
        """Step back along the rays from the point."""
        factor = np.exp(-steps * self.rate)
        return self.x + factor * (x - self.x), self.y + factor * (y - self.y)


def velocity(flow: Flow, x: Float64[np.ndarray, "h w"], y: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "2 h w"]:
    """Return the velocity (x, y) at a point, in pixels per step: how fast its paths pass, to 1e-6 of it."""
    ahead, behind = (np.stack(flow.departure(x, y, steps)) for steps in (-INSTANT, INSTANT))
    return (ahead - behind) / (2 * INSTANT)


@dataclass(frozen=True)
class Waves:
    """A smooth positive pattern on the whole plane: e to the power of a sum of `num` random plane waves.

    The sum has unit variance; no wave is shorter than `wavelength` pixels, so the pattern is well resolved.
    """

    num: int
    wavelength: float
    seed: int

    def at(self, x: Float64[np.ndarray, "h w"], y: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
        """Evaluate the pattern."""
        rng = np.random.default_rng(self.seed)
        lengths = self.wavelength * rng.uniform(1, 4, self.num)
        directions, phases = rng.uniform(0, tau, (2, self.num))
        total = np.zeros_like(x)
        for length, direction, phase in zip(lengths, directions, phases, strict=True):
            total += np.cos(tau / length * (np.cos(direction) * x + np.sin(direction) * y) + phase)
        values: np.ndarray = np.exp(total * np.sqrt(2 / self.num))
        return values


def advected_field(
    num_frames: int,
    height: int,
    width: int,
    *,
    flow: Flow,
    pattern: Waves = Waves(num=24, wavelength=12.0, seed=0),
    variable: str = "rate",
    units: str = "mm h-1",
) -> Field:
    """Return a pattern carried by a flow: frame t at a pixel is the pattern at that pixel's departure point.

    Frames are five minutes apart, cells one kilometre wide. Nothing is missing.
    """
    y, x = np.mgrid[:height, :width].astype(np.float64)
    frames = [pattern.at(*flow.departure(x, y, float(step))) for step in range(num_frames)]
    coordinates = {
        "time": np.datetime64("2020-01-01", "ns") + np.arange(num_frames) * np.timedelta64(5, "m"),
        "y": ("y", 1000.0 * np.arange(height), {"units": "m", "standard_name": "projection_y_coordinate"}),
        "x": ("x", 1000.0 * np.arange(width), {"units": "m", "standard_name": "projection_x_coordinate"}),
    }
    values = (("time", "y", "x"), np.stack(frames).astype(np.float32), {"units": units})
    return Field(xr.Dataset({variable: values}, coordinates))


def write_netcdf(field: Field, path: Path) -> None:
    """Write a field as CF NetCDF, as raw input for the pipeline; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    field.dataset.assign_attrs(Conventions="CF-1.8").to_netcdf(path, engine="netcdf4")
