"""Puts forecasts into a store in processes that are killed: a program that forks one for each order that it reads.

An order has the store, how many of the forecasts to put there, and at which moment (see `killable.Killer`) to kill it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from data.killable import Killer, Program, answer_orders

from physicnet.forecasting import cf
from physicnet.forecasting.described import MODEL
from physicnet.forecasting.series import Series
from physicnet.forecasting.store import Store


def put(path: Path, forecasts: Sequence[xr.Dataset]) -> int:
    """Put those of the forecasts into a store that are not there, as `hindcast` does, and return how many."""
    origins = np.array([cf.origin(forecast) for forecast in forecasts])
    series = Series(forecasts[0].attrs[MODEL], forecasts[0].sizes["time"], origins)
    store = Store(path, series)
    absent = [forecast for forecast in forecasts if not store.holds(cf.origin(forecast))]
    for forecast in absent:
        store.add(forecast)
    return len(absent)


def main(folder: str) -> None:
    """Put there, for each order, what it asks for."""
    forecasts = [cf.read(path) for path in sorted(Path(folder).glob("*.nc"))]

    def run(path: str, num: int, fatal: int | None) -> None:
        killer = Killer(str(Path(path).parent), fatal)
        sys.addaudithook(killer.hear)
        put(Path(path), forecasts[:num])
        Path(f"{path}.moments").write_text(str(len(killer.moments)))

    answer_orders(run)


class Storing(Program):
    """The program, as a test sees it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(__file__, folder)

    def __call__(self, path: Path, num: int, *, moment: int | None = None) -> int:
        """Run, and return the exit status."""
        return self.order(path, num, moment)

    def moments(self, path: Path) -> int:
        """Return how many moments an undisturbed run has had."""
        return int(Path(f"{path}.moments").read_text())


if __name__ == "__main__":
    main(sys.argv[1])
