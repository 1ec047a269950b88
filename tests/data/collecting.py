"""Runs a collector in processes that are killed: a program that forks one for each order that it reads.

An order has the folder, and at which moment (see `killable.Killer`) or after how many seconds to kill it.
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from killable import Killer, Program, answer_orders

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
    """Collect for each order."""
    import netCDF4  # noqa: F401
    import pandas  # noqa: F401
    import xarray as xr

    from physicnet.data.state import made_by

    made_by()
    xr.DataArray([0.0]).chunk()

    def run(root: str, fatal: int | None) -> None:
        killer = Killer(root, fatal)
        sys.addaudithook(killer.hear)
        collect(Path(root), ingest)
        Path(f"{root}.moments").write_text(json.dumps(killer.moments))

    answer_orders(run)


class Collector(Program):
    """The program, as the test sees it."""

    def __init__(self, ingest: str) -> None:
        super().__init__(__file__, ingest)

    def __call__(self, root: Path, *, moment: int | None = None, patience: float | None = None) -> int:
        """Run, and return the exit status."""
        return self.order(root, moment, seconds=patience)


if __name__ == "__main__":
    main(sys.argv[1])
