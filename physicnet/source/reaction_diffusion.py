"""Two substances that react and spread: u_t = f(u, v) + d1 ∇²u, v_t = g(u, v) + d2 ∇²v.

Pseudo-spectral in space; in time by ETDRK4, diffusion exactly. Quantities have no units; a unit of time is written as
a second. docs/sources.md has the errors of the time steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from physicnet.source.exponential import Etdrk4, Waves
from physicnet.source.plane import NoFlux, Periodic, random_waves
from physicnet.source.simulation import split_step

Values = Float64[np.ndarray, "h w"]
REGIMES = {  # (feed, kill) of Gray-Scott
    "gliders": (0.014, 0.054),
    "bubbles": (0.098, 0.057),
    "maze": (0.029, 0.057),
    "worms": (0.058, 0.065),
    "spirals": (0.018, 0.051),
    "spots": (0.03, 0.062),
}


@dataclass(frozen=True)
class ReactionDiffusion(ABC):
    """What all systems share: a beginning is drawn, followed for `spin_up`, and then written every `frame_step`."""

    num_cells: int = 128  # a side
    frame_step: float = 1.0
    spin_up: float = 0.0
    max_step: float = 1.0  # of integration

    name: ClassVar[str]
    title: ClassVar[str]
    references: ClassVar[str]
    variables: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "u": {"units": "1", "long_name": "first substance"},
        "v": {"units": "1", "long_name": "second substance"},
    }
    length_units: ClassVar[str] = "1"

    @property
    @abstractmethod
    def plane(self) -> Periodic | NoFlux:
        """Return the square."""

    @property
    @abstractmethod
    def diffusivities(self) -> tuple[float, float]:
        """Return d1 and d2."""

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Float64[np.ndarray, "2 h w"]:
        """Draw u and v."""

    @abstractmethod
    def rates(self, u: Values, v: Values) -> tuple[Values, Values]:
        """Return f and g."""

    def frames(self, rng: np.random.Generator) -> Iterator[Mapping[str, Values]]:
        """Draw a beginning, and give u and v frame by frame, without end."""
        return self.follow(self.start(rng))

    def follow(self, start: Float64[np.ndarray, "2 h w"]) -> Iterator[Mapping[str, Values]]:
        """Give u and v frame by frame, without end, from those of a time `spin_up` before the first frame."""
        step, steps_of_frame = split_step(self.frame_step, self.max_step)
        state = self.plane.forward(start)
        num_steps = round(self.spin_up / step)
        while True:
            for _ in range(num_steps):
                state = self.integrator.advance(state, self.react)
            u, v = self.plane.backward(state)
            yield {"u": u, "v": v}
            num_steps = steps_of_frame

    @cached_property
    def integrator(self) -> Etdrk4:
        """Return what makes a time step."""
        diffusivities = np.array(self.diffusivities)[:, None, None]
        step, _ = split_step(self.frame_step, self.max_step)
        return Etdrk4(-diffusivities * self.plane.squared, step)

    def react(self, state: Waves) -> Waves:
        """Return the waves of f and g."""
        return self.plane.forward(np.stack(self.rates(*self.plane.backward(state))))


@dataclass(frozen=True)
class LambdaOmega(ReactionDiffusion):
    """λ-ω waves: a = |(u, v)| tends to 1, and (u, v) turns the faster the larger it is; spirals around zeros of a.

    f = (1 - a²) u + β a² v, g = -β a² u + (1 - a²) v. The system of Champion et al., 2019, and Chen et al., 2022, which
    begin with one spiral; here smooth random fields of amplitudes below 1 become several.
    """

    frame_step: float = 0.2
    spin_up: float = 40.0
    max_step: float = 0.1
    beta: float = 1.0
    diffusivity: float = 0.1
    length: float = 20.0

    name: ClassVar[str] = "lambda-omega"
    title: ClassVar[str] = "Spiral waves of the lambda-omega reaction-diffusion system"
    references: ClassVar[str] = (
        "Champion et al., 2019, doi:10.1073/pnas.1906995116; Chen et al., 2022, doi:10.1038/s43588-022-00281-6"
    )

    @cached_property
    def plane(self) -> Periodic:
        """Return the square."""
        return Periodic(self.num_cells, self.length)

    @property
    def diffusivities(self) -> tuple[float, float]:
        """Return d1 and d2."""
        return self.diffusivity, self.diffusivity

    def start(self, rng: np.random.Generator) -> Float64[np.ndarray, "2 h w"]:
        """Draw smooth fields of amplitudes below 1."""
        fields = 0.5 * np.stack([random_waves(self.plane, rng, self.length / 4, self.length) for _ in range(2)])
        return fields / np.sqrt(1 + (fields**2).sum(axis=0))

    def rates(self, u: Values, v: Values) -> tuple[Values, Values]:
        """Return f and g."""
        squared = u**2 + v**2
        growth, turn = 1 - squared, self.beta * squared
        return growth * u + turn * v, growth * v - turn * u


@dataclass(frozen=True)
class GrayScott(ReactionDiffusion):
    """Gray-Scott patterns: v is made of u, by u + 2 v → 3 v; u is fed, v is removed.

    f = -u v² + feed (1 - u), g = u v² - (feed + kill) v. Diffusivities and regimes of The Well (Ohana et al., 2024),
    after Pearson, 1993. The beginning is u = 1, v = 0 but for 10 to 100 Gaussian drops in which v takes the place of u;
    in the regime of bubbles, where a second homogeneous state is steady, waves between the two, of which drops would
    leave little.
    """

    frame_step: float = 10.0
    spin_up: float = 100.0
    max_step: float = 1.0
    feed: float = REGIMES["gliders"][0]
    kill: float = REGIMES["gliders"][1]

    name: ClassVar[str] = "gray-scott"
    title: ClassVar[str] = "Patterns of the Gray-Scott reaction-diffusion system"
    references: ClassVar[str] = "Pearson, 1993, doi:10.1126/science.261.5118.189; Ohana et al., 2024, arXiv:2412.00568"

    @cached_property
    def plane(self) -> Periodic:
        """Return the square."""
        return Periodic(self.num_cells, 2.0)

    @property
    def diffusivities(self) -> tuple[float, float]:
        """Return d1 and d2."""
        return 2e-5, 1e-5

    def start(self, rng: np.random.Generator) -> Float64[np.ndarray, "2 h w"]:
        """Draw v from 0 to 1; u = 1 - v."""
        has_second_state = self.feed > 4 * (self.feed + self.kill) ** 2
        v = self._waves(rng) if has_second_state else self._drops(rng)
        return np.stack([1 - v, v])

    def _drops(self, rng: np.random.Generator) -> Values:
        u = np.ones((self.num_cells, self.num_cells))
        for _ in range(rng.integers(10, 101)):
            x, y = rng.uniform(0, self.plane.length, 2)
            width, height = rng.uniform(0.03, 0.06), rng.uniform(0.3, 0.9)
            u *= 1 - height * np.exp(-0.5 * (self.plane.distances(x, y) / width) ** 2)
        return 1 - u

    def _waves(self, rng: np.random.Generator) -> Values:
        values: Values = 0.5 + 0.5 * np.tanh(random_waves(self.plane, rng, self.plane.length / 8, self.plane.length))
        return values

    def rates(self, u: Values, v: Values) -> tuple[Values, Values]:
        """Return f and g."""
        made = u * v**2
        return self.feed * (1 - u) - made, made - (self.feed + self.kill) * v


@dataclass(frozen=True)
class FitzHughNagumo(ReactionDiffusion):
    """FitzHugh-Nagumo: an activator u and an inhibitor v, in a square through whose borders nothing passes.

    f = u - u³ - k - v, g = u - v. The diffusion-reaction of PDEBench (Takamoto et al., 2022), with its parameters and
    its beginning: standard normal noise in every cell.
    """

    frame_step: float = 0.05
    spin_up: float = 0.0
    max_step: float = 0.01
    k: float = 5e-3

    name: ClassVar[str] = "fitzhugh-nagumo"
    title: ClassVar[str] = "Patterns of the FitzHugh-Nagumo reaction-diffusion system"
    references: ClassVar[str] = "Takamoto et al., 2022, arXiv:2210.07182; Klaasen and Troy, 1984, doi:10.1137/0144008"

    @cached_property
    def plane(self) -> NoFlux:
        """Return the square."""
        return NoFlux(self.num_cells, 2.0)

    @property
    def diffusivities(self) -> tuple[float, float]:
        """Return d1 and d2."""
        return 1e-3, 5e-3

    def start(self, rng: np.random.Generator) -> Float64[np.ndarray, "2 h w"]:
        """Draw noise."""
        return rng.standard_normal((2, self.num_cells, self.num_cells))

    def rates(self, u: Values, v: Values) -> tuple[Values, Values]:
        """Return f and g."""
        return u - u**3 - self.k - v, u - v


SYSTEMS: dict[str, type[ReactionDiffusion]] = {each.name: each for each in (LambdaOmega, GrayScott, FitzHughNagumo)}
