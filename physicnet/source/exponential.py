"""A time step for stiff equations u' = l u + n(u): what is linear and diagonal exactly, the rest to fourth order.

ETDRK4 of Cox and Matthews, 2002, J. Comput. Phys. 176, 430, with the coefficients of Kassam and Trefethen, 2005, SIAM
J. Sci. Comput. 26, 1214: means over a circle in the complex plane, as the formulas cancel where l is near 0. Where
l = 0 it is the classical Runge-Kutta method.
"""

from collections.abc import Callable
from math import pi

import numpy as np
from jaxtyping import Complex128, Float64, Inexact

Waves = Inexact[np.ndarray, "*c h k"]
NUM_POINTS = 32  # of the half circle, by symmetry, as l is real


class Etdrk4:
    """Steps of one length; `linear` holds l for every wave."""

    def __init__(self, linear: Float64[np.ndarray, "*c h k"], step: float) -> None:
        exponent = step * linear
        self.whole, self.half = np.exp(exponent), np.exp(exponent / 2)
        self.stage = step * _mean(lambda z: (np.exp(z / 2) - 1) / z, exponent)
        self.first = step * _mean(lambda z: (-4 - z + np.exp(z) * (4 - 3 * z + z**2)) / z**3, exponent)
        self.middle = step * _mean(lambda z: 2 * (2 + z + np.exp(z) * (z - 2)) / z**3, exponent)
        self.last = step * _mean(lambda z: (-4 - 3 * z - z**2 + np.exp(z) * (4 - z)) / z**3, exponent)

    def advance(self, state: Waves, nonlinear: Callable[[Waves], Waves]) -> Waves:
        """Return the state a step later."""
        begin = nonlinear(state)
        halfway = self.half * state
        a = halfway + self.stage * begin
        at_a = nonlinear(a)
        at_b = nonlinear(halfway + self.stage * at_a)
        at_c = nonlinear(self.half * a + self.stage * (2 * at_b - begin))
        return self.whole * state + self.first * begin + self.middle * (at_a + at_b) + self.last * at_c


def _mean(
    function: Callable[[Complex128[np.ndarray, "*c h k"]], Complex128[np.ndarray, "*c h k"]],
    centres: Float64[np.ndarray, "*c h k"],
) -> Float64[np.ndarray, "*c h k"]:
    """Return the mean of a function over the circle of radius 1 around each centre, which is its value there."""
    points = np.exp(1j * pi * (np.arange(NUM_POINTS) + 0.5) / NUM_POINTS)
    total = np.zeros_like(centres)
    for point in points:
        total += function(centres + point).real
    return total / NUM_POINTS
