"""Sums over the frames of each cell, from which its cycles follow by least squares, and the moments of what they leave.

| symbol | what |
|---|---|
| x | transformed value, less the first one that its cell had: so that squares do not drown in rounding |
| w | 1 where a value was observed, else 0 |
| g, e, φ, β | hour, hourly values, harmonics and their coefficients, as in `physicnet/cycles.py` |
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from physicnet.calendar import Times, month
from physicnet.cycles import groups, harmonics

SINGULAR = 1e-9  # of the largest eigenvalue: below it, the harmonics cannot be told apart in a cell


@dataclass(eq=False)
class Sums:
    """Sums over the frames of a band of cells `n`; see the table of the module."""

    num_groups: int  # 24, or 1 where hours are not told apart
    num_harmonics: int  # of the year
    first: Float64[np.ndarray, " n"]  # the first value that each cell had
    counts: Float64[
        np.ndarray, "m n"
    ]  # Σ w of each g, of each g times each φ, of φ times φ, and of months if there is φ
    moments: Float64[np.ndarray, "p n"]  # Σ x of each g, Σ φ x, and at last Σ x²

    @classmethod
    def none(cls, cells: int, num_groups: int, num_harmonics: int) -> "Sums":
        """Nothing summed up yet."""
        m, p = sizes(num_groups, num_harmonics)
        return cls(num_groups, num_harmonics, np.full(cells, np.nan), np.zeros((m, cells)), np.zeros((p, cells)))

    def add(self, values: Float64[np.ndarray, "t n"], times: Times) -> None:
        """Add a block of frames; NaN where missing."""
        observed = ~np.isnan(values)
        arrived = np.isnan(self.first) & observed.any(axis=0)
        self.first[arrived] = values[observed.argmax(axis=0)[arrived], arrived.nonzero()[0]]
        x = np.where(observed, values - self.first, 0.0)
        which = np.eye(self.num_groups)[groups(times, self.num_groups)]  # t g
        phi = harmonics(times, self.num_harmonics)  # t j
        pairs = [np.einsum("ti,tj->tij", one, phi).reshape(len(times), -1) for one in (which, phi)]
        months = [np.eye(12)[month(times) - 1]] if self.num_harmonics else []
        self.counts += np.concatenate([which, *pairs, *months], axis=1).T @ observed.astype(np.float64)
        self.moments[:-1] += np.concatenate([which, phi], axis=1).T @ x
        self.moments[-1] += (x**2).sum(axis=0)


def sizes(num_groups: int, num_harmonics: int) -> tuple[int, int]:
    """Return the numbers of rows of `Sums.counts` and of `Sums.moments`."""
    q = 2 * num_harmonics
    return num_groups * (1 + q) + q * q + (12 if q else 0), num_groups + q + 1


@dataclass(frozen=True, eq=False)
class PerCell:
    """The cycles of a band of cells `n`, and count, mean and variance of what they leave; NaN where not known."""

    hourly: Float64[np.ndarray, "g n"]
    yearly: Float64[np.ndarray, "j n"]
    count: Float64[np.ndarray, " n"]
    mean: Float64[np.ndarray, " n"]
    variance: Float64[np.ndarray, " n"]


def solve(sums: Sums, *, cycles: bool) -> PerCell:
    """Return the cycles by least squares (zeros without `cycles`), and the moments of what they leave.

    A cell that was never observed is not known; nor, with harmonics, one that was never observed in some month: they
    would swing there.
    """
    g, q, cells = sums.num_groups, 2 * sums.num_harmonics, sums.first.size
    count, phi, products, months = np.split(sums.counts, np.cumsum([g, g * q, q * q]))
    phi, products = phi.reshape(g, q, cells), products.reshape(q, q, cells)
    total, phi_x, square = sums.moments[:g], sums.moments[g:-1], sums.moments[-1]
    known = (count.sum(axis=0) > 0) & (months > 0).all(axis=0)
    hourly, yearly = np.zeros_like(count), np.zeros_like(phi_x)
    if cycles:
        hourly, yearly = _least_squares(count, phi, products, total, phi_x)
    # Sums of r = x - e_g - Σ φ β and of r², from those of x, φ and their products.
    season = np.einsum("gjn,jn->gn", phi, yearly)
    left = (total - count * hourly - season).sum(axis=0)
    explained = (hourly * total).sum(axis=0) + (yearly * phi_x).sum(axis=0)
    fitted = (count * hourly**2 + 2 * hourly * season).sum(axis=0) + np.einsum("in,ijn,jn->n", yearly, products, yearly)
    number = np.where(known, count.sum(axis=0), np.nan)
    mean = left / number
    variance = ((square - 2 * explained + fitted) / number - mean**2).clip(min=0.0)
    # The first value, which was taken off, goes back to the cycles, or to the mean if there are none.
    back = (sums.first, 0.0) if cycles else (0.0, sums.first)
    missing = np.where(known, 0.0, np.nan)
    return PerCell(hourly + back[0] + missing, yearly + missing, number, mean + back[1], variance)


def _least_squares(
    count: Float64[np.ndarray, "g n"],
    phi: Float64[np.ndarray, "g j n"],
    products: Float64[np.ndarray, "j j n"],
    total: Float64[np.ndarray, "g n"],
    phi_x: Float64[np.ndarray, "j n"],
) -> tuple[Float64[np.ndarray, "g n"], Float64[np.ndarray, "j n"]]:
    """Return e and β that leave the least squares of x - e_g - Σ φ β, with w, in each cell.

    For given β, e_g is the mean of x - Σ φ β over the hour; that leaves normal equations of β alone (Frisch and Waugh
    1933), of which the shortest solution is taken. Hours in which a cell was never observed take the mean of its
    others.
    """
    share = np.divide(1.0, count, out=np.zeros_like(count), where=count > 0)
    gram = products - np.einsum("gin,gjn,gn->nij", phi, phi, share).transpose(1, 2, 0)
    rest = phi_x - np.einsum("gin,gn,gn->in", phi, total, share)
    inverse = np.linalg.pinv(gram.transpose(2, 0, 1), rcond=SINGULAR, hermitian=True)
    yearly = np.einsum("nij,jn->in", inverse, rest)
    hourly = (total - np.einsum("gjn,jn->gn", phi, yearly)) * share
    others = hourly.sum(axis=0) / np.maximum((count > 0).sum(axis=0), 1)
    return np.where(count > 0, hourly, others), yearly
