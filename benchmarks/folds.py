"""How does what is fitted before training do on rain that it was not fitted to? Five blocks, each left out in turn.

    python benchmarks/folds.py

Leaves out block after block of the record before the test part (of which no frame is read), fits the memory of scales
to the clips that lie wholly outside of the block and its gaps, and forecasts within the block: the last frame along the
first flow, the same with the memory, and the baseline advection. Flow, memory, transform and their constants are those
of the code and of params.yaml, so a change of any of them can be judged without the test part. Prints errors as shares
of advection's, and writes those of every block and lead to docs/results/folds.csv.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from physicnet.config import Params, load_params
from physicnet.drawing import observed_box
from physicnet.evaluation.baselines import Advection, Climatology
from physicnet.evaluation.scoring import forecast_case
from physicnet.fields import Field, written_whole
from physicnet.metrics import error_sums
from physicnet.model.cascade import Memory, first_leads
from physicnet.model.course import Fading
from physicnet.model.forecaster import Forecaster
from physicnet.model.physicnet import first_guess, grow, range_of
from physicnet.model.warp import carry
from physicnet.normalization import Normalizer
from physicnet.training.losses import split_missing
from physicnet.training.memory import fit_memory

DATA = Path("data")
TARGET = Path("docs/results/folds.csv")
BLOCKS = 5
ORIGINS = 7  # forecasts within a block
APART = 2  # frames between the clips that the memory is fitted to
SHOWN = (1, 3, 6, 9, 12)  # leads


@dataclass(frozen=True, eq=False)
class FirstGuess:
    """What the model forecasts before it is trained, with a memory of scales or without."""

    name: str
    normalizer: Normalizer
    memory: Memory

    @torch.no_grad()
    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Carry the last frame, and what the memory adds, along the first flow."""
        values = self.normalizer.normalize(torch.from_numpy(past.frames(0, past.shape[0])), past.times)
        seen, observed = split_missing(values[None])
        guess = first_guess(seen, observed, num_leads)
        grown = grow(guess.frame, self.memory(guess.features, first_leads(num_leads, seen)), range_of(seen))
        return self.normalizer.denormalize(carry(grown, guess.paths)[0], past.times_after(num_leads)).numpy()


def blocks(num_frames: int, clip_frames: int) -> list[range]:
    """Return the first frames of the forecasts of each block; the blocks are spread evenly over the record."""
    last = num_frames - clip_frames - ORIGINS + 1
    return [range(round(first), round(first) + ORIGINS) for first in np.linspace(0, last, BLOCKS)]


def outside(block: range, num_frames: int, clip_frames: int, gap: int) -> Iterator[int]:
    """Give the first frames of clips that share no frame with the block, nor come nearer to it than the gap."""
    for start in range(0, num_frames - clip_frames + 1, APART):
        if start + clip_frames + gap <= block[0] or start >= block[-1] + clip_frames + gap:
            yield start


def clips(record: Field, normalizer: Normalizer, starts: Iterator[int], num_frames: int) -> Iterator[Tensor]:
    """Read standardised clips, cut to where anything was observed."""
    for start in starts:
        values = record.frames(start, start + num_frames)
        standardised = normalizer.normalize(torch.from_numpy(values), record.times[start : start + num_frames])
        yield standardised[(slice(None), slice(None), *observed_box(values[:, 0]))]


def fitted(record: Field, normalizer: Normalizer, block: range, params: Params) -> Memory:
    """Return a memory that has not seen the block."""
    starts = outside(block, record.shape[0], params.clip.frames, params.normalize.gap)
    memory = Memory(record.shape[1], Fading())
    seen = clips(record, normalizer, starts, params.clip.frames)
    memory.begin_with(fit_memory(seen, params.clip.frames_in, memory.course))
    return memory


def errors(forecasters: list[Forecaster], record: Field, block: range, params: Params) -> pd.DataFrame:
    """Return RMSE and MAE over all forecasts of a block, a row per model, variable and lead."""
    rows = []
    for start in block:
        case = forecast_case(forecasters, record, start, params.clip)
        for name, frames in case.forecasts.items():
            for channel, variable in enumerate(record.variables):
                sums = error_sums(frames[:, channel], case.truth[:, channel])
                leads = {"lead": np.arange(1, len(frames) + 1)}
                rows.append(pd.DataFrame({"model": name, "variable": variable} | leads | sums))
    total = pd.concat(rows).groupby(["model", "variable", "lead"], sort=False).sum()
    return pd.DataFrame(
        {
            "rmse": (total["squared_error"] / total["cells"]) ** 0.5,
            "mae": total["absolute_error"] / total["cells"],
            "bias": total["error"] / total["cells"],
        }
    )


def show(table: pd.DataFrame, minutes: float) -> None:
    """Print the errors as shares of advection's: the mean over the blocks, and the worst of them."""
    shares = table.copy()
    rival = table.xs("advection", level="model")
    for score in ("rmse", "mae"):
        shares[score] = table[score] / rival[score].reindex(table.droplevel("model").index).to_numpy()
    printed = Table("", *(f"{minutes * lead:g} min" for lead in SHOWN), title="mean over the blocks (worst block)")
    for score in ("rmse", "mae"):
        for name, rows in shares.groupby("model", sort=False):
            each = rows[score].groupby("lead").agg(["mean", "max"])
            cells = (f"{each['mean'][lead]:.3f} ({each['max'][lead]:.3f})" for lead in SHOWN)
            if name != "advection":
                printed.add_row(f"{score.upper()} {name} / advection", *cells)
    Console().print(printed)


def main() -> None:
    """Leave out each block, score, print and write."""
    params = load_params(Path("params.yaml"))
    torch.set_num_threads(params.machine.num_threads)
    splits = json.loads((DATA / "statistics.json").read_text(encoding="utf-8"))["splits"]
    normalizer = Normalizer.load(DATA / "statistics.json", DATA / "maps.safetensors")
    record = Field.open(DATA / "fields.zarr").isel(0, splits["test"][0][0])
    mean = Climatology.fit(record, splits["train"]).mean
    tables = {}
    for block in track(blocks(record.shape[0], params.clip.frames), "block by block"):
        forecasters: list[Forecaster] = [
            FirstGuess("first flow", normalizer, Memory(record.shape[1], Fading())),
            FirstGuess("first flow and memory", normalizer, fitted(record, normalizer, block, params)),
            Advection(normalizer, mean),
        ]
        tables[block[0]] = errors(forecasters, record, block, params)
    table = pd.concat(tables, names=["block"])
    show(table, float(record.step / np.timedelta64(1, "m")))
    with written_whole(TARGET) as partial:
        table.to_csv(partial, float_format="%.4g", lineterminator="\n")
    print(f"{BLOCKS} blocks of {ORIGINS} forecasts, every one and every lead: {TARGET}")


if __name__ == "__main__":
    main()
