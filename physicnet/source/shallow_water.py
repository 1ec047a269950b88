"""A shallow layer of rotating water: vortices in balance with the rotation, and the gravity waves that leave them.

u_t = (ζ + f) v - ∂x B, v_t = -(ζ + f) u - ∂y B, η_t = -∇·((H + η)(u, v)), with the vorticity ζ = ∂x v - ∂y u, the
height η above the mean depth H, and B = g η + (u² + v²) / 2 (Vallis, 2017, chapter 3). Pseudo-spectral, of those waves
whose products are exact; in time by ETDRK4. The shortest waves are damped by a power of the Laplacian.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import ClassVar

import numpy as np
from jaxtyping import Complex128, Float64

from physicnet.source.exponential import Etdrk4
from physicnet.source.plane import Periodic, random_waves
from physicnet.source.simulation import split_step

Values = Float64[np.ndarray, "h w"]
Waves = Complex128[np.ndarray, "3 h k"]


@dataclass(frozen=True)
class ShallowWater:
    """A periodic square on an f-plane, in metres and seconds.

    The defaults are of the middle latitudes: gravity waves of 31 m/s, a deformation radius of 310 km, vortices of about
    10 m/s. A beginning is a random height in geostrophic balance and `max_drops` humps or hollows at the most, at rest.
    """

    num_cells: int = 128  # a side
    frame_step: float = 3600.0
    length: float = 5e6
    depth: float = 100.0  # H
    gravity: float = 9.81  # g
    coriolis: float = 1e-4  # f, at 43° N
    height: float = 5.0  # standard deviation of what is in balance
    drop_height: float = 10.0  # the most
    max_drops: int = 3
    damping: float = 1 / 1800  # of the shortest waves, 1/s
    damping_order: int = 4  # the power of the Laplacian

    name: ClassVar[str] = "shallow-water"
    title: ClassVar[str] = "Vortices and gravity waves of rotating shallow water"
    references: ClassVar[str] = "Vallis, 2017, Atmospheric and Oceanic Fluid Dynamics, doi:10.1017/9781107588417"
    variables: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "height": {"units": "m", "long_name": "height above the mean depth"},
        "u": {"units": "m s-1", "long_name": "velocity along x"},
        "v": {"units": "m s-1", "long_name": "velocity along y"},
    }
    length_units: ClassVar[str] = "m"

    @cached_property
    def plane(self) -> Periodic:
        """Return the square."""
        return Periodic(self.num_cells, self.length)

    @property
    def max_step(self) -> float:
        """Return the longest time step, s: in it the shortest wave turns by 1.4 radians, half of what is stable.

        Waves travel by sqrt(g H), faster on humps and with the wind: half as fast again is the most that is expected.
        """
        shortest = np.sqrt(self.plane.squared[self.plane.resolved].max())
        return float(1.4 / (1.5 * sqrt(self.gravity * self.depth) * shortest))

    def start(self, rng: np.random.Generator) -> Float64[np.ndarray, "3 h w"]:
        """Draw u, v and η."""
        balanced = self.height * random_waves(self.plane, rng, self.length / 8, self.length / 3)
        drops = np.zeros_like(balanced)
        for _ in range(rng.integers(0, self.max_drops + 1)):
            x, y = rng.uniform(0, self.length, 2)
            width, height = self.length * rng.uniform(0.02, 0.05), self.drop_height * rng.uniform(-1, 1)
            drops += height * np.exp(-0.5 * (self.plane.distances(x, y) / width) ** 2)
        u, v = self.balance(balanced)
        return np.stack([u, v, balanced + drops - drops.mean()])

    def balance(self, height: Values) -> tuple[Values, Values]:
        """Return the wind that keeps a height where it is: along its contours (geostrophic balance)."""
        waves = self.gravity / self.coriolis * self.plane.forward(height)
        return self.plane.backward(-self.plane.along_y(waves)), self.plane.backward(self.plane.along_x(waves))

    def frames(self, rng: np.random.Generator) -> Iterator[Mapping[str, Values]]:
        """Draw a beginning, and give its variables frame by frame, without end."""
        return self.follow(self.start(rng))

    def follow(self, start: Float64[np.ndarray, "3 h w"]) -> Iterator[Mapping[str, Values]]:
        """Give the variables frame by frame, without end, from u, v and η of the first."""
        state = self.plane.resolved * self.plane.forward(start)
        _, num_steps = split_step(self.frame_step, self.max_step)
        while True:
            u, v, height = self.plane.backward(state)
            yield {"height": height, "u": u, "v": v}
            for _ in range(num_steps):
                state = self.integrator.advance(state, self.tendency)

    @cached_property
    def integrator(self) -> Etdrk4:
        """Return what makes a time step: the damping of all three fields exactly."""
        squared = self.plane.squared
        relative = squared / squared[self.plane.resolved].max()
        step, _ = split_step(self.frame_step, self.max_step)
        return Etdrk4(-self.damping * np.minimum(relative, 1)[None] ** self.damping_order, step)

    def tendency(self, state: Waves) -> Waves:
        """Return what u, v and η change by, but for the damping."""
        plane, (u_waves, v_waves, height_waves) = self.plane, state
        vorticity_waves = plane.along_x(v_waves) - plane.along_y(u_waves)
        u, v, height, vorticity = plane.backward(np.concatenate([state, vorticity_waves[None]]))
        absolute = vorticity + self.coriolis
        products = np.stack([absolute * v, -absolute * u, (u**2 + v**2) / 2, height * u, height * v])
        turn_u, turn_v, energy, flux_x, flux_y = plane.resolved * plane.forward(products)
        energy += self.gravity * height_waves
        flux_x += self.depth * u_waves
        flux_y += self.depth * v_waves
        divergence = plane.along_x(flux_x) + plane.along_y(flux_y)
        return np.stack([turn_u - plane.along_x(energy), turn_v - plane.along_y(energy), -divergence])
