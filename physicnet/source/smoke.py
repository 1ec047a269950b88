"""Smoke that rises from fires in a closed room with obstacles: a stand-in for simulations of fires.

Boussinesq flow without divergence, where the density s of the smoke is what lifts it:
ω_t = ∂x F_y - ∂y F_x + ν ∇²ω with F = (v ω, -u ω) + (0, B s) - χ (u, v) / η, and
s_t = -∇·(s (u, v)) + ∇·(κ (1 - χ) ∇s) + q, with the vorticity ω, from which the stream function gives u and v.

χ is 1 in what is solid, the walls of the room included, and 0 elsewhere: the flow enters a porous medium of small
permeability η (Angot et al., 1999), and smoke does not spread in it (Kadoch et al., 2012). So the square can be
periodic, and the computation pseudo-spectral, of waves whose products are exact; in time by ETDRK4.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Complex128, Float64

from physicnet.source.exponential import Etdrk4
from physicnet.source.plane import Periodic, random_waves
from physicnet.source.simulation import split_step

Values = Float64[np.ndarray, "h w"]
Wave = Complex128[np.ndarray, "h k"]
Waves = Complex128[np.ndarray, "2 h k"]


@dataclass(frozen=True)
class Scene:
    """Where the room is solid (χ), and how much smoke comes where (q, 1/s)."""

    solid: Values
    source: Values


@dataclass(frozen=True)
class Smoke:
    """A square room of side 1, whose rows go upward, without units but for time, written as seconds."""

    num_cells: int = 128  # a side
    frame_step: float = 0.04
    spin_up: float = 1.0  # time before the first frame, in which the fires begin to draw
    viscosity: float = 5e-4  # ν
    diffusivity: float = 5e-4  # κ
    buoyancy: float = 1.0  # B
    permeability: float = 2e-3  # η, s
    wall: float = 0.06  # thickness on every side
    max_fires: int = 2
    max_obstacles: int = 3

    name: ClassVar[str] = "smoke"
    title: ClassVar[str] = "Smoke of fires that rises around obstacles in a closed room"
    references: ClassVar[str] = (
        "Angot et al., 1999, doi:10.1007/s002110050401; Kadoch et al., 2012, doi:10.1016/j.jcp.2012.01.036"
    )
    variables: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "smoke": {"units": "1", "long_name": "density of smoke"},
        "u": {"units": "s-1", "long_name": "velocity along x"},
        "v": {"units": "s-1", "long_name": "velocity along y, upward"},
    }
    length_units: ClassVar[str] = "1"

    @cached_property
    def plane(self) -> Periodic:
        """Return the square."""
        return Periodic(self.num_cells, 1.0)

    @property
    def max_step(self) -> float:
        """Return the longest time step, s: the drag in what is solid, and a flow of speed 1, allow it with a margin."""
        return min(2 * self.permeability, 0.64 / self.num_cells)

    def draw(self, rng: np.random.Generator) -> Scene:
        """Draw fires near the floor and round obstacles above them."""
        solid = self.walls()
        for _ in range(rng.integers(0, self.max_obstacles + 1)):
            x, y, radius = rng.uniform(0.2, 0.8), rng.uniform(0.4, 0.8), rng.uniform(0.05, 0.1)
            solid = np.maximum(solid, self.solid(radius - self.plane.distances(x, y)))
        source = np.zeros_like(solid)
        for _ in range(rng.integers(1, self.max_fires + 1)):
            x, y, width = rng.uniform(0.2, 0.8), rng.uniform(0.12, 0.2), rng.uniform(0.02, 0.04)
            source += rng.uniform(1, 3) * np.exp(-0.5 * (self.plane.distances(x, y) / width) ** 2)
        return Scene(solid, source)

    def walls(self) -> Values:
        """Return where the walls are, around the room."""
        from_seam = 0.5 - np.abs(self.plane.centres - 0.5)
        return self.solid(self.wall - np.minimum(from_seam, from_seam[:, None]))

    def solid(self, depth: Values) -> Values:
        """Return χ at a depth below a surface: it goes from 0 to 1 over about four cells, as waves can resolve."""
        return 0.5 * (1 + np.tanh(depth * self.num_cells / 2))

    def frames(self, rng: np.random.Generator) -> Iterator[Mapping[str, Values]]:
        """Draw a scene, and give its variables frame by frame, without end: clear air that hardly moves, then fire."""
        scene = self.draw(rng)
        stir = 0.1 * random_waves(self.plane, rng, 0.2, 1.0)
        return self.follow(scene, np.stack([stir, np.zeros_like(stir)]))

    def follow(self, scene: Scene, start: Float64[np.ndarray, "2 h w"]) -> Iterator[Mapping[str, Values]]:
        """Give the variables frame by frame, without end, from vorticity and smoke `spin_up` before the first."""
        source = self.plane.forward(scene.source)
        state = self.plane.resolved * self.plane.forward(start)
        step, steps_of_frame = split_step(self.frame_step, self.max_step)
        num_steps = round(self.spin_up / step)
        while True:
            for _ in range(num_steps):
                state = self.integrator.advance(state, lambda waves: self.tendency(waves, scene.solid, source))
            u, v, smoke = self.plane.backward(np.stack([*self.flow(state[0]), state[1]]))
            yield {"smoke": smoke, "u": u, "v": v}
            num_steps = steps_of_frame

    @cached_property
    def integrator(self) -> Etdrk4:
        """Return what makes a time step: viscosity and diffusion exactly, as if nothing were solid."""
        rates = np.array([self.viscosity, self.diffusivity])[:, None, None]
        step, _ = split_step(self.frame_step, self.max_step)
        return Etdrk4(-rates * self.plane.squared, step)

    @cached_property
    def inverse_laplacian(self) -> Float64[np.ndarray, "h k"]:
        """Return what makes the stream function of a vorticity, but for the sign; its mean is 0."""
        squared = self.plane.squared
        return np.divide(1, squared, out=np.zeros_like(squared), where=squared > 0)

    def flow(self, vorticity: Wave) -> Waves:
        """Return u and v, which have no divergence and no mean, of a vorticity."""
        stream = self.inverse_laplacian * vorticity
        return np.stack([self.plane.along_y(stream), -self.plane.along_x(stream)])

    def tendency(self, state: Waves, solid: Values, source: Wave) -> Waves:
        """Return what vorticity and smoke change by, but for viscosity and diffusion."""
        plane, (vorticity_waves, smoke_waves) = self.plane, state
        slopes = plane.along_x(smoke_waves), plane.along_y(smoke_waves)
        fields = np.stack([*self.flow(vorticity_waves), vorticity_waves, smoke_waves, *slopes])
        u, v, vorticity, smoke, slope_x, slope_y = plane.backward(fields)
        drag, held = solid / self.permeability, self.diffusivity * solid
        force = v * vorticity - drag * u, -u * vorticity - drag * v + self.buoyancy * smoke
        flux = u * smoke + held * slope_x, v * smoke + held * slope_y
        force_x, force_y, flux_x, flux_y = plane.resolved * plane.forward(np.stack([*force, *flux]))
        turn = plane.along_x(force_y) - plane.along_y(force_x)
        return np.stack([turn, plane.resolved * source - plane.along_x(flux_x) - plane.along_y(flux_y)])
