"""Squares on which simulations compute: cells, waves, and the way from values to waves and back.

Derivatives are taken of waves, where they are products, and so exact for what the cells resolve. Fields have the axes
`(..., h, w)`, rows along y and columns along x; x and y are the centres of cells.
"""

from dataclasses import dataclass
from functools import cached_property
from math import tau

import numpy as np
import scipy.fft
from jaxtyping import Bool, Complex128, Float64


@dataclass(frozen=True)
class Square:
    """`num` × `num` cells on a side of `length`."""

    num: int
    length: float

    @property
    def centres(self) -> Float64[np.ndarray, "n"]:
        """Return x of the columns, y of the rows."""
        return self.length / self.num * (np.arange(self.num) + 0.5)


@dataclass(frozen=True)
class Periodic(Square):
    """A square that repeats after `length`: Fourier series."""

    @cached_property
    def wavenumbers(self) -> tuple[Float64[np.ndarray, "1 k"], Float64[np.ndarray, "h 1"]]:
        """Return the angular wavenumbers along x, of which real fields need the positive ones alone, and along y."""
        spacing = self.length / self.num
        return tau * scipy.fft.rfftfreq(self.num, spacing)[None], tau * scipy.fft.fftfreq(self.num, spacing)[:, None]

    @cached_property
    def squared(self) -> Float64[np.ndarray, "h k"]:
        """Return the squared wavenumbers: the Laplacian, but for the sign."""
        x, y = self.wavenumbers
        return x**2 + y**2

    @cached_property
    def resolved(self) -> Bool[np.ndarray, "h k"]:
        """Return which waves a product of two fields of such waves gives exactly: two thirds along each axis.

        Orszag, 1971, J. Atmos. Sci. 28, 1074.
        """
        return self.cut(self.num / 3)

    def cut(self, num_waves: float) -> Bool[np.ndarray, "h k"]:
        """Return which waves go less than `num_waves` times into the square, along both axes."""
        x, y = self.wavenumbers
        limit = tau / self.length * num_waves
        return (x < limit) & (np.abs(y) < limit)

    def forward(self, values: Float64[np.ndarray, "*c h w"]) -> Complex128[np.ndarray, "*c h k"]:
        """Return the waves of values."""
        return scipy.fft.rfft2(values)

    def backward(self, waves: Complex128[np.ndarray, "*c h k"]) -> Float64[np.ndarray, "*c h w"]:
        """Return the values of waves."""
        return scipy.fft.irfft2(waves, s=(self.num, self.num))

    def along_x(self, waves: Complex128[np.ndarray, "*c h k"]) -> Complex128[np.ndarray, "*c h k"]:
        """Return the derivative along x of waves."""
        return 1j * self.wavenumbers[0] * waves

    def along_y(self, waves: Complex128[np.ndarray, "*c h k"]) -> Complex128[np.ndarray, "*c h k"]:
        """Return the derivative along y of waves."""
        return 1j * self.wavenumbers[1] * waves

    def distances(self, x: float, y: float) -> Float64[np.ndarray, "h w"]:
        """Return how far the cells are from a point, across the borders where that is nearer."""
        half = self.length / 2
        right, down = ((self.centres - place + half) % self.length - half for place in (x, y))
        return np.hypot(right[None], down[:, None])


@dataclass(frozen=True)
class NoFlux(Square):
    """A square through whose borders nothing passes: cosine series."""

    @cached_property
    def squared(self) -> Float64[np.ndarray, "h w"]:
        """Return the squared wavenumbers: the Laplacian, but for the sign."""
        wavenumbers = tau / 2 / self.length * np.arange(self.num)
        return wavenumbers**2 + wavenumbers[:, None] ** 2

    def forward(self, values: Float64[np.ndarray, "*c h w"]) -> Float64[np.ndarray, "*c h w"]:
        """Return the waves of values."""
        return scipy.fft.dctn(values, axes=(-2, -1))

    def backward(self, waves: Float64[np.ndarray, "*c h w"]) -> Float64[np.ndarray, "*c h w"]:
        """Return the values of waves."""
        return scipy.fft.idctn(waves, axes=(-2, -1))


def random_waves(
    plane: Periodic, rng: np.random.Generator, shortest: float, longest: float
) -> Float64[np.ndarray, "h w"]:
    """Draw a smooth field of mean 0 and expected variance 1: 64 waves of lengths between two, in all directions.

    The same generator gives the same field on any number of cells.
    """
    num = 64
    times = plane.length * rng.uniform(1 / longest, 1 / shortest, num)  # that a wave goes into the square
    directions, phases = rng.uniform(0, tau, (2, num))
    columns, rows = np.round(times * [np.cos(directions), np.sin(directions)])
    place = tau / plane.length * plane.centres
    total = np.zeros((plane.num, plane.num))
    for column, row, phase in zip(columns, rows, phases, strict=True):
        total += np.cos(column * place + row * place[:, None] + phase)
    return np.sqrt(2 / num) * total
