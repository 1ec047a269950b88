"""Puts forecasts into a store in processes that are killed: a program that forks one for each order that it reads.

An order has the store, how many of the forecasts to put there, and at which moment (see `killable.Killer`) to kill it.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from data.killable import Killer

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
    """Fork a run for each order, and answer with how it ended and, if it was not killed, how many moments it had."""
    forecasts = [cf.read(path) for path in sorted(Path(folder).glob("*.nc"))]
    for line in sys.stdin:
        path, num, fatal = json.loads(line)
        child = os.fork()
        if not child:
            try:
                killer = Killer(str(Path(path).parent), fatal)
                sys.addaudithook(killer.hear)
                put(Path(path), forecasts[:num])
                Path(f"{path}.moments").write_text(str(len(killer.moments)))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Storing:
    """The program, as a test sees it."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, __file__, str(folder)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def __call__(self, path: Path, num: int, *, moment: int | None = None) -> int:
        """Run, and return the exit status: that of the signal if it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(path), num, moment]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def moments(self, path: Path) -> int:
        """Return how many moments an undisturbed run has had."""
        return int(Path(f"{path}.moments").read_text())

    def close(self) -> None:
        """End."""
        self.process.communicate()


if __name__ == "__main__":
    main(sys.argv[1])
