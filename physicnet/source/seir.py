"""An epidemic that is simulated: the SEIR model of many places that infect each other, and what is reported of it.

    S  susceptible, shares of the population of a place
    E  exposed: infected, not yet infectious
    I  infectious
    R  recovered
    C  infections that have become infectious since the beginning
    R0 infections by one infectious person among susceptible ones, `beta / gamma`
    f  force of infection, per day

As in Lloyd and May (1996, doi:10.1006/jtbi.1996.0042) and Keeling and Rohani (2008, Modeling infectious diseases in
humans and animals, chapters 2, 5 and 7), with births that balance deaths. Places are cells of a grid, and of what
infects a place, a share `coupling` comes from its four neighbours.

    beta(t) = R0 gamma (1 + forcing cos(2 pi t / year))
    f = beta(t) ((1 - coupling) I + coupling mean of the neighbours' I)
    dS/dt = mu (1 - S) - f S        dE/dt = f S - (sigma + mu) E
    dI/dt = sigma E - (gamma + mu) I        dR/dt = gamma I - mu R        dC/dt = sigma E
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import cos, tau
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from physicnet.fields import written_whole

YEAR = 365.0  # days
State = Float64[np.ndarray, "5 h w"]  # S, E, I, R, C


@dataclass(frozen=True)
class Seir:
    """The model; by default measles before vaccination (Keeling and Rohani, 2008).

    Attributes:
        populated: cells in which people live.
        reproduction: R0.
        latent, infectious: mean days in E and in I, `1 / sigma` and `1 / gamma`.
        birth_rate: of the population, per year, `mu`; as many die.
        forcing: amplitude of the yearly course of infection.
        coupling: share of what infects a place that comes from its neighbours.
    """

    populated: Bool[np.ndarray, "h w"]
    reproduction: float = 17.0
    latent: float = 8.0
    infectious: float = 5.0
    birth_rate: float = 0.02
    forcing: float = 0.1
    coupling: float = 0.05

    def change(self, state: State, day: float) -> State:
        """Return the derivative with respect to time, per day."""
        s, e, i, r, _ = state
        sigma, gamma, mu = 1 / self.latent, 1 / self.infectious, self.birth_rate / YEAR
        beta = self.reproduction * gamma * (1 + self.forcing * cos(tau * day / YEAR))
        infected = beta * ((1 - self.coupling) * i + self.coupling * self.mean_of_neighbours(i)) * s
        return np.stack(
            [
                mu * (1 - s) - infected,
                infected - (sigma + mu) * e,
                sigma * e - (gamma + mu) * i,
                gamma * i - mu * r,
                sigma * e,
            ]
        )

    def mean_of_neighbours(self, values: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
        """Return the mean over those of the four neighbours that are populated; without any, the value itself."""
        there = self.populated.astype(np.float64)
        total, num = _sum_of_neighbours(values * there), _sum_of_neighbours(there)
        return np.where(num > 0, total / np.maximum(num, 1), values)

    def run(self, state: State, num_steps: int, days: float, substeps: int) -> Iterator[State]:
        """Give the state after each step of `days`, by Runge and Kutta's method of fourth order in `substeps`."""
        h = days / substeps
        for step in range(num_steps * substeps):
            day = step * h
            first = self.change(state, day)
            second = self.change(state + h / 2 * first, day + h / 2)
            third = self.change(state + h / 2 * second, day + h / 2)
            fourth = self.change(state + h * third, day + h)
            state = state + h / 6 * (first + 2 * second + 2 * third + fourth)
            if (step + 1) % substeps == 0:
                yield state


def _sum_of_neighbours(values: Float64[np.ndarray, "h w"]) -> Float64[np.ndarray, "h w"]:
    padded = np.pad(values, 1)
    return padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]


def beginning(populated: Bool[np.ndarray, "h w"], susceptible: float, infectious: float) -> State:
    """Return a state without exposed people, and in the middle of the populated cells alone some infectious ones."""
    state = np.zeros((5, *populated.shape))
    state[0] = susceptible
    places = np.argwhere(populated)
    row, column = places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))]
    state[2, row, column] = infectious
    state[3] = 1 - state[0] - state[2]
    return state


@dataclass(frozen=True)
class Epidemic:
    """A simulated epidemic on an island: a disc of `side` cells across, of differing populations.

    It begins in the middle, among 1.5 / R0 susceptible people a head, and spreads from there. Of the cases of a week, a
    share of `reporting` is reported, by chance: numbers are Poisson's.
    """

    side: int
    years: float
    mean_population: float = 50_000.0
    reporting: float = 0.6
    seed: int = 0

    def populated(self) -> Bool[np.ndarray, "h w"]:
        """Return the cells of the island."""
        offset = np.arange(self.side) - (self.side - 1) / 2
        return np.hypot(offset[:, None], offset) <= self.side / 2

    def reports(self) -> Iterator[Float64[np.ndarray, "h w"]]:
        """Give the reported cases of each week; NaN where nobody lives."""
        populated, rng = self.populated(), np.random.default_rng(self.seed)
        population = self.mean_population * rng.lognormal(-0.5, 1.0, populated.shape)  # of mean 1
        model = Seir(populated)
        state = beginning(populated, 1.5 / model.reproduction, 1e-4)
        cases = state[4]
        for after in model.run(state, round(self.years * YEAR / 7), days=7.0, substeps=7):
            expected = self.reporting * population * (after[4] - cases)
            yield np.where(populated, rng.poisson(expected), np.nan)
            cases = after[4]


def write(path: Path, epidemic: Epidemic) -> None:
    """Write the reports as a table, CSV: a row for each week and inhabited cell, below comments that say what it is."""
    start = np.datetime64("2000-01-03")  # a Monday
    weeks = []
    for week, cases in enumerate(epidemic.reports()):
        rows, columns = np.nonzero(np.isfinite(cases))
        counts = cases[rows, columns].astype(np.int64)
        weeks.append(pd.DataFrame({"time": start + 7 * week, "row": rows, "column": columns, "count": counts}))
    parameters = ", ".join(f"{name} {value}" for name, value in asdict(epidemic).items())
    with written_whole(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write("# Simulated epidemic, no observations: weekly reports of a disease like measles on an island\n")
        file.write("# SEIR model of coupled places after Lloyd and May (1996), doi:10.1006/jtbi.1996.0042\n")
        file.write(f"# {parameters}\n")
        pd.concat(weeks).to_csv(file, index=False, date_format="%Y-%m-%d")
