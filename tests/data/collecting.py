"""Runs a collector in processes that are killed: a program that forks one for each order that it reads.

An order has the folder, the source, and at which moment (see `killable.Killer`) or after how many seconds to kill it.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path

from killable import Killer

from physicnet.config import CollectConfig, IngestConfig
from physicnet.data.collect import collected


def collect(root: Path, ingest: str) -> None:
    """Collect from `inbox`, and add a line for each announced file to `announcements`."""
    settings = {
        "source": str(root / "inbox"),
        "quarantine": str(root / "quarantine"),
        "settled": 0,
        "stalled": 0,
        "unfinished": [],
    }
    config, rules = CollectConfig.model_validate(settings), IngestConfig.model_validate_json(ingest)
    own = {"work": root / "work", "resume": root / "state"}
    with (
        collected(config, rules, raw=root / "raw", unread=nullcontext, **own) as result,
        announcements(root).open("a") as file,
    ):
        file.writelines(f"{arrival.name}\n" for arrival in result.accepted)


def announcements(root: Path) -> Path:
    """The file for the names of what was announced, where nothing is killed."""
    return root.parent / f"announced-{root.name}"


def main(ingest: str) -> None:
    """Fork a run for each order, and answer with how it ended."""
    import netCDF4  # noqa: F401
    import pandas  # noqa: F401
    import xarray as xr

    from physicnet.data.state import made_by

    made_by()
    xr.DataArray([0.0]).chunk()
    for line in sys.stdin:
        root, fatal, patience = json.loads(line)
        child = os.fork()
        if not child:
            try:
                killer = Killer(root, fatal)
                sys.addaudithook(killer.hear)
                collect(Path(root), ingest)
                Path(f"{root}.moments").write_text(json.dumps(killer.moments))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if patience is not None:
            time.sleep(patience)
            os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Collector:
    """The program, as the test sees it."""

    def __init__(self, ingest: str) -> None:
        command = [sys.executable, __file__, ingest]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, root: Path, *, moment: int | None = None, patience: float | None = None) -> int:
        """Run, and return the exit status: that of the signal if it was killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(root), moment, patience]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        """End."""
        self.process.communicate()


if __name__ == "__main__":
    main(sys.argv[1])
