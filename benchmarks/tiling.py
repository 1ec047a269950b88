"""What does a forecast of a large frame take, whole and in tiles, and do they differ?

    python benchmarks/tiling.py --side 2000              # needs models/model.safetensors from dvc repro

Forecasts 12 leads of an analytic field of SIDE x SIDE cells, at once and in tiles of `machine.tile_cells`, each in a
process of its own, and prints the peak of its resident memory above what it held before, the seconds, and how far both
forecasts are apart beside how far they are from the truth.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import numpy as np

from physicnet.config import load_params
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.model.rollout import ModelForecaster

LEADS = 12
CHECKPOINT = Path("models/model.safetensors")


def peak() -> float:
    """Return the highest resident memory of this process so far, MiB."""
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB


def forecast(side: int, tile_cells: int, target: Path) -> None:
    """Forecast, print what it took, and keep the forecast."""
    machine = load_params(Path("params.yaml")).machine.model_copy(update={"tile_cells": tile_cells})
    model = ModelForecaster.load(CHECKPOINT, machine)
    (variable,) = model.normalizer.variables
    past = advected_field(model.frames_in, side, side, flow=Uniform(2.0, 1.0), variable=variable)
    before, started = peak(), time.monotonic()
    frames = model.forecast(past, LEADS)
    seconds, memory = time.monotonic() - started, peak() - before
    print(
        f"{side} x {side} cells, tiles of {tile_cells}: {memory:.0f} MiB above {before:.0f}, {seconds:.0f} s",
        flush=True,
    )
    np.save(target, frames)


def compare(side: int, whole: Path, tiled: Path) -> None:
    """Print the distances of both forecasts from each other and from the truth, per lead."""
    first, second = np.load(whole, mmap_mode="r"), np.load(tiled, mmap_mode="r")
    frames_in = load_params(Path("params.yaml")).clip.frames_in
    record = advected_field(frames_in + LEADS, side, side, flow=Uniform(2.0, 1.0))
    for lead in (1, 3, 6, 12):
        truth = record.frames(frames_in + lead - 1, frames_in + lead)[0]
        apart, wrong = (np.sqrt(np.mean((first[lead - 1] - other) ** 2)) for other in (second[lead - 1], truth))
        print(f"lead {lead}: whole and tiled differ by {apart:.4g} (RMSE), the whole errs by {wrong:.4g}")


def main() -> None:
    """Run both in processes of their own, then compare."""
    parser = argparse.ArgumentParser(description="What does a forecast of a large frame take, whole and in tiles?")
    parser.add_argument("--side", type=int, default=2000)
    parser.add_argument("--tile-cells", type=int, default=load_params(Path("params.yaml")).machine.tile_cells)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        forecast(given.side, given.tile_cells, given.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        targets = Path(folder) / "whole.npy", Path(folder) / "tiled.npy"
        for target, cells in zip(targets, (given.side**2, given.tile_cells), strict=True):
            sizes = ["--side", str(given.side), "--tile-cells", str(cells)]
            subprocess.run([sys.executable, __file__, *sizes, "--child", str(target)], check=True)
        compare(given.side, *targets)


if __name__ == "__main__":
    main()
