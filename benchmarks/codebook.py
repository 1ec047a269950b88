"""How many codes, and how wide? And what would be lost without them?

    python benchmarks/codebook.py                                       # the grid of the defaults below: hours
    python benchmarks/codebook.py --codes 32 128 --widths 8 --seeds 1 --steps 40
    python benchmarks/codebook.py --forecast --seeds 3                  # discrete against continuous, trained jointly

Needs what `dvc repro` has made in data/ up to the stage `crops`. Reads no frame of the test part.

Each run of the grid is the pretraining of `physicnet codebook` with other `model.num_codes` and `model.code_dim`, as
`dvc exp run --queue -S model.num_codes=...` would make it, without the other stages. `continuous` is the same encoder
and decoder with the latents as they are in place of the codes: all else, losses, steps and seeds, is equal. Usage and
perplexity are counted over the validation views and windows, with the codebook at rest.

`--forecast` adds joint training from each of them (`--joint-steps` steps), and its validation loss; K and D are then
those of params.yaml unless they are given. It writes docs/results/codes.csv and draws nothing.

A run that is finished is a row of the table and is not made again; a killed run goes on from its last epoch. Rows of
other parameters, data or code are kept apart by `key`. Writes docs/results/codebook.csv and docs/figures/codebook.png.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from physicnet.config import Params, load_params
from physicnet.drawing import INK, drawing_style, save
from physicnet.fields import written_whole
from physicnet.training.inputs import key_of
from physicnet.training.joint import train
from physicnet.training.pretraining import pretrain

DATA = Path("data")
STATE = Path(".physicnet/benchmarks/codebook")
TARGET = Path("docs/results/codebook.csv")
FORECASTS = Path("docs/results/codes.csv")
FIGURE = Path("docs/figures/codebook.png")
CODES = (16, 32, 64, 128, 256, 512)
WIDTHS = (4, 8, 32)
COLOURS = ("#1c5fb4", "#e8710a", "#2b8a3e", "#b5179e", "#868e96")
QUANTITIES = {
    "validation_codebook_usage": "share of the codes used",
    "validation_codebook_perplexity": "perplexity",
    "validation_loss": "reconstruction error (standard deviations)",
}


@dataclass(frozen=True)
class Run:
    """One training: the latents' width, the number of codes (0: continuous latents), the seed."""

    code_dim: int
    num_codes: int
    seed: int

    @property
    def name(self) -> str:
        """A name for its folder."""
        return f"d{self.code_dim}_k{self.num_codes or 'continuous'}_s{self.seed}"

    def of(self, params: Params, steps: int, joint_steps: int) -> Params:
        """The parameters of this run: epochs as they are, each as long as the steps allow."""
        sizes = {"code_dim": self.code_dim, "seed": self.seed}
        sizes |= {"num_codes": self.num_codes} if self.num_codes else {"quantize": False}
        lengths = {"codebook": steps, "train": joint_steps}
        sections = {name: getattr(params, name) for name in lengths}
        seeded = {
            name: section.model_copy(
                update={"seed": self.seed, "steps_per_epoch": max(1, lengths[name] // section.epochs)}
            )
            for name, section in sections.items()
        }
        return params.model_copy(update={"model": params.model.model_copy(update=sizes), **seeded})


def grid(widths: list[int], codes: list[int], seeds: int) -> Iterator[Run]:
    """Every width with every number of codes and with continuous latents; seed by seed, so that all come early."""
    for seed in range(1, seeds + 1):
        for width in widths:
            yield from (Run(width, number, seed) for number in (*codes, 0))


def measure(run: Run, params: Params, *, forecast: bool) -> dict[str, float]:
    """Make a run, or the rest of it, and return the last row of its history; with `forecast`, of both trainings."""
    names = {"normalized": "normalized.zarr", "statistics": "statistics.json", "maps": "maps.safetensors"}
    inputs = {name: DATA / file for name, file in names.items()} | {"crops": DATA / "crops.csv"}
    sections = (params.clip, params.model, params.machine)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        codebook, history = folder / "codebook.safetensors", folder / "codebook.csv"
        state = STATE / run.name
        outputs = {"codebook": codebook, "history": history}
        pretrain(params.codebook, *sections, **inputs, **outputs, resume=state / "codebook", report=_silent)
        row = _best(history)
        if forecast:
            outputs = {
                "codebook": codebook,
                "checkpoint": folder / "model.safetensors",
                "history": folder / "joint.csv",
            }
            thresholds = params.evaluate.thresholds
            train(params.train, *sections, thresholds, **inputs, **outputs, resume=state / "train", report=_silent)
            row |= {f"joint_{name}": value for name, value in _best(outputs["history"]).items()}
    if run.num_codes == 0:  # there is nothing to use
        row = {name: value for name, value in row.items() if "codebook" not in name}
    return row


def _silent(*_: object) -> None:
    """What a run reports after its epochs is read from its history."""


def _best(history: Path) -> dict[str, float]:
    """The validation values of the epoch whose weights are kept."""
    table = pd.read_csv(history)
    row = table.loc[table["validation_loss"].idxmin()]
    return {str(name): float(row[name]) for name in table if str(name).startswith("validation_")}


def sweep(runs: list[Run], params: Params, *, steps: int, joint_steps: int, target: Path) -> pd.DataFrame:
    """Make every run that the table lacks, write the table after each, and return the rows of these runs."""
    rows = pd.read_csv(target).to_dict("records") if target.is_file() else []
    inputs = [DATA / name for name in ("normalized.zarr", "statistics.json", "maps.safetensors", "crops.csv")]
    keys = []
    for number, run in enumerate(runs, start=1):
        chosen = run.of(params, steps, joint_steps)
        used = {name: getattr(chosen, name) for name in ("clip", "model", "codebook", "machine")}
        key = key_of(used | ({"train": chosen.train} if joint_steps else {}), inputs)[:16]
        keys.append(f"{key}-{run.name}")
        if keys[-1] in {row["key"] for row in rows}:
            continue
        Console().print(f"run {number} of {len(runs)}: {run.name}")
        row = {"key": keys[-1]} | asdict(run) | {"steps": steps, "joint_steps": joint_steps}
        rows.append(row | measure(run, chosen, forecast=joint_steps > 0))
        with written_whole(target) as partial_file:
            pd.DataFrame(rows).to_csv(partial_file, index=False, float_format="%.5g", lineterminator="\n")
    table = pd.DataFrame(rows)
    return table[table["key"].isin(keys)].reset_index(drop=True)


def draw(table: pd.DataFrame) -> Figure:
    """Draw usage, perplexity and reconstruction error against K, a line per D: mean over the seeds, each seed a dot.

    A dotted line is the error with continuous latents of that width.
    """
    with drawing_style():
        figure = Figure((11.0, 3.5), layout="constrained")
        panels = figure.subplots(1, len(QUANTITIES))
        for axes, (name, title) in zip(panels, QUANTITIES.items(), strict=True):
            axes.set_title(title)
            axes.set(xscale="log", xlabel="codes K")
            for colour, (width, rows) in zip(COLOURS, table.groupby("code_dim"), strict=False):
                _draw_width(axes, rows, name, f"D = {width}", colour)
            numbers = sorted(table.loc[table["num_codes"] > 0, "num_codes"].unique())
            axes.set_xticks(numbers, [f"{number:g}" for number in numbers], minor=False)
            axes.minorticks_off()
        panels[0].set_ylim(0, 1.05)
        panels[1].plot(numbers, numbers, color=INK, lw=0.8, ls=":", zorder=1)
        panels[1].annotate("all alike", (numbers[-1], numbers[-1]), ha="right", va="bottom", fontsize=8)
        handles, texts = panels[2].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=len(texts))
    return figure


def _draw_width(axes: Axes, rows: pd.DataFrame, name: str, label: str, colour: str) -> None:
    discrete = rows[rows["num_codes"] > 0]
    means = discrete.groupby("num_codes")[name].mean()
    axes.plot(means.index, means, color=colour, marker="o", ms=4, label=label)
    axes.plot(discrete["num_codes"], discrete[name], color=colour, ls="", marker=".", ms=4, alpha=0.5)
    without = rows.loc[rows["num_codes"] == 0, name]
    if name == "validation_loss" and len(without):
        axes.axhline(without.mean(), color=colour, ls=":", lw=1.2, label=f"{label}, continuous")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--codes", type=int, nargs="+", help="numbers of codes K")
    parser.add_argument("--widths", type=int, nargs="+", help="widths of the latents D")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120, help="of pretraining")
    parser.add_argument("--forecast", action="store_true", help="train jointly too")
    parser.add_argument("--joint-steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    """Sweep, print, write the table, draw."""
    options = arguments()
    params = load_params(Path("params.yaml"))
    machine = params.machine.model_copy(update={"num_threads": options.threads})
    params = params.model_copy(update={"machine": machine})
    own = params.model
    widths = options.widths or ([own.code_dim] if options.forecast else list(WIDTHS))
    codes = options.codes or ([own.num_codes] if options.forecast else list(CODES))
    runs = list(grid(widths, codes, options.seeds))
    steps, joint_steps = options.steps, options.joint_steps if options.forecast else 0
    target = FORECASTS if options.forecast else TARGET
    table = sweep(runs, params, steps=steps, joint_steps=joint_steps, target=target)
    losses = [name for name in table if str(name).endswith("validation_loss")]
    print(table.groupby(["code_dim", "num_codes"])[losses].agg(["mean", "std"]).to_string(float_format="%.4f"))
    if not options.forecast:
        save(draw(table), FIGURE)
    print(f"{len(table)} runs: {target}")


if __name__ == "__main__":
    main()
