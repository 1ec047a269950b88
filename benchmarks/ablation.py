"""What does each part of the model bring? The whole model, and the model without one of its parts, equally trained.

    python benchmarks/ablation.py --seeds 3 --epochs 2

Trains every variant on the record that `dvc repro` has ingested, on the same clips in the same order with the same
steps, from the same pretrained codebook, and scores it on the validation part (no frame of the test part is read). A
variant is kept under .physicnet/benchmarks/ablation as soon as it is trained, so that an interrupted run goes on where
it was. Errors of every variant, seed and lead are written to docs/results/ablation.csv, what each part brings is drawn
in docs/figures/ablation.png. An interval is that of the paired differences over seeds and forecast origins, by
bootstrap.
"""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from physicnet.checkpoint import load_checkpoint, save_checkpoint
from physicnet.config import Params, load_params
from physicnet.data.crops import starts
from physicnet.drawing import INK, drawing_style, save
from physicnet.evaluation.scoring import forecast_case
from physicnet.fields import Field, written_whole
from physicnet.machine import machine
from physicnet.metrics import error_sums
from physicnet.model.flow import Unrefined
from physicnet.model.physicnet import PhysicNet
from physicnet.model.rollout import ModelForecaster
from physicnet.model.source import Source
from physicnet.training.inputs import Inputs, key_of
from physicnet.training.joint import begin
from physicnet.training.loop import finish, fit

DATA, PRETRAINED = Path("data"), Path("models/codebook.safetensors")
NAMES = ("normalized.zarr", "statistics.json", "maps.safetensors", "crops.csv")
KEPT = Path(".physicnet/benchmarks/ablation")
TABLE, FIGURE = Path("docs/results/ablation.csv"), Path("docs/figures/ablation.png")
SILENT = -30.0  # a logit: the share of who says it is zero
SHOWN = (1, 3, 6, 9, 12)  # leads
TICKS = (5, 50)  # per cent
DRAWS = 2000


class Says(nn.Module):
    """An expert that says the same everywhere."""

    def __init__(self, confidence: float) -> None:
        super().__init__()
        self.confidence = confidence

    def forward(self, latent: Tensor, basis: Tensor, _seen: Tensor, leads: Tensor) -> Source:
        """No source, at this confidence."""
        values = basis.new_zeros(len(latent), len(leads), 1, *basis.shape[-2:])
        return Source(values, values + self.confidence)


class SameConfidence(nn.Module):
    """An expert whose sources stay, but that is as confident as every other."""

    def __init__(self, expert: nn.Module) -> None:
        super().__init__()
        self.expert = expert

    def forward(self, latent: Tensor, basis: Tensor, seen: Tensor, leads: Tensor) -> Source:
        """The expert's source at confidence 0."""
        source: Source = self.expert(latent, basis, seen, leads)
        return Source(source.value, torch.zeros_like(source.confidence))


class Forgetful(nn.Module):
    """In the place of the memory: nothing."""

    def forward(self, features: Tensor, leads: Tensor) -> Tensor:
        """What the last frame gains: nothing."""
        b, c, _, h, w = features.shape
        return features.new_zeros(b, len(leads), c, h, w)


def no_local(net: PhysicNet) -> None:
    """The global level alone."""
    net.local_level.source, net.local_level.flow = Says(SILENT), Unrefined()


def no_global(net: PhysicNet) -> None:
    """The local level alone."""
    net.global_level.source, net.global_level.flow = Says(SILENT), Unrefined()


def no_global_flow(net: PhysicNet) -> None:
    """The global level's sources, and the local level."""
    net.global_level.flow = Unrefined()


def no_global_source(net: PhysicNet) -> None:
    """The global level's flow, and the local level."""
    net.global_level.source = Says(SILENT)


def no_sources(net: PhysicNet) -> None:
    """What the memory says, and nothing else, grows and decays."""
    net.global_level.source = net.local_level.source = Says(0.0)


def no_memory(net: PhysicNet) -> None:
    """The experts' sources have to do the memory's work."""
    net.memory = Forgetful()


def fixed_gate(net: PhysicNet) -> None:
    """Both levels have the same say."""
    for level in (net.global_level, net.local_level):
        level.source = SameConfidence(level.source)


def still(past: Tensor, _observed: Tensor) -> Tensor:
    """In the place of the first flow: nothing moves."""
    return past.new_zeros(len(past), 2, *past.shape[-2:])


@dataclass(frozen=True)
class Variant:
    """A model without one of its parts: other parameters of `model`, or a change of what they build.

    Without `first_flow` nothing moves before the experts have spoken.
    """

    name: str
    change: Callable[[PhysicNet], None] | None = None
    model: dict[str, Any] = field(default_factory=dict)
    first_flow: bool = True
    trained: bool = True


VARIANTS = (
    Variant("whole model"),
    Variant("no local level", no_local),
    Variant("no global level", no_global),
    Variant("no global flow expert", no_global_flow),
    Variant("no global source", no_global_source),
    Variant("gate fixed at one half", fixed_gate),
    Variant("no codebook", model={"quantize": False}),
    Variant("no flow experts", model={"flow": "first"}),
    Variant("no first flow", first_flow=False),
    Variant("no flow at all", model={"flow": "none"}),
    Variant("no sources", no_sources),
    Variant("no memory", no_memory),
    Variant("not trained", trained=False),
)


def trained(variant: Variant, params: Params, inputs: Inputs) -> ModelForecaster:
    """Train a variant, or read it if it was trained before with equal parameters, data and code."""
    config = params.model.model_copy(update=variant.model)
    sections = {"train": params.train, "clip": params.clip, "model": config, "machine": params.machine}
    key = key_of(sections, [*(DATA / name for name in NAMES), PRETRAINED, Path(__file__)])
    folder = KEPT / f"{variant.name} {params.train.seed}".replace(" ", "_")
    stored = folder / f"{key[:16]}.safetensors"
    with machine(params.machine) as on:
        task = begin(inputs, params.train, params.clip, config, load_checkpoint(PRETRAINED).tensors, on)
        if variant.change:
            variant.change(task.model)
        if variant.trained and not stored.exists():
            fitted = fit(
                task, inputs.clips, params.train, machine=on, resume=folder, key=key, report=lambda _epoch, _row: None
            )
            finish(folder)
            save_checkpoint(stored, fitted.weights, {"variant": variant.name})
        if variant.trained:
            task.model.load_state_dict(load_checkpoint(stored).tensors)
        cells = params.machine.tile_cells
        model = ModelForecaster(task.model, inputs.normalizer, params.clip, on.device, tile_cells=cells)
    model.name = variant.name
    return model


def errors(variant: Variant, params: Params, inputs: Inputs, record: Field, origins: list[int]) -> pd.DataFrame:
    """Return sums of errors of a variant, a row per origin, variable and lead."""
    rows = []
    first_flow = nullcontext() if variant.first_flow else patch("physicnet.model.physicnet.estimate_flow", still)
    with first_flow:
        model = trained(variant, params, inputs)
        for start in origins:
            case = forecast_case([model], record, start, params.clip)
            for channel, variable in enumerate(record.variables):
                sums = error_sums(case.forecasts[variant.name][:, channel], case.truth[:, channel])
                leads = {"lead": np.arange(1, params.clip.frames_out + 1)}
                labels = {"variant": variant.name, "seed": params.train.seed, "origin": start, "variable": variable}
                rows.append(pd.DataFrame(labels | leads | sums))
    return pd.concat(rows, ignore_index=True)


def pooled(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return RMSE and MAE of the summed sums."""
    total = table.groupby(by, sort=False)[["cells", "absolute_error", "squared_error"]].sum()
    return pd.DataFrame(
        {"rmse": (total["squared_error"] / total["cells"]) ** 0.5, "mae": total["absolute_error"] / total["cells"]}
    )


def ratios(table: pd.DataFrame, lead: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return each variant's RMSE at a lead as a share of the whole model's, with a 90 % interval.

    Seeds and origins are drawn with replacement, the same for a variant and the whole model.
    """
    cells = table[table["lead"] == lead].groupby(["variant", "seed", "origin"], sort=False)["squared_error"].sum()
    squares = cells.unstack("variant")  # of equal cells: every variant is scored on the same truth
    seeds = squares.index.get_level_values("seed").unique()
    origins = squares.index.get_level_values("origin").unique()
    cube = np.stack([squares.xs(seed, level="seed").loc[origins].to_numpy() for seed in seeds])  # s o v
    whole = list(squares.columns).index(VARIANTS[0].name)

    def share(some: np.ndarray) -> np.ndarray:
        total = some.sum(axis=(0, 1))
        return np.asarray(np.sqrt(total / total[whole]))

    draws = [
        share(cube[rng.integers(len(seeds), size=len(seeds))][:, rng.integers(len(origins), size=len(origins))])
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    return pd.DataFrame({"lead": lead, "share": share(cube), "low": low, "high": high}, index=squares.columns)


def figure_of(shares: pd.DataFrame, minutes: float, note: str) -> Figure:
    """Draw what the RMSE becomes without each part, a panel per lead."""
    leads = shares["lead"].unique()
    names = [variant.name for variant in VARIANTS[1:] if variant.name in shares.index]
    with drawing_style():
        figure = Figure(figsize=(10, 0.9 + 0.32 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(leads), sharey=True)
        for axes, lead in zip(panels, leads, strict=True):
            rows = shares[shares["lead"] == lead].loc[names]
            change, low, high = (100 * (rows[name] - 1) for name in ("share", "low", "high"))
            worse = np.where(low > 0, "#b2432f", np.where(high < 0, "#2b6cb0", "#8a8a8a"))
            places = np.arange(len(names))[::-1]
            axes.axvline(0, color=INK, lw=0.8)
            axes.hlines(places, low, high, color=worse, lw=2)
            axes.scatter(change, places, color=worse, s=22, zorder=3)
            axes.set(title=f"{minutes * lead:g} min", yticks=places, yticklabels=names)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            reach = float(np.abs([low.quantile(0.1), high.quantile(0.75)]).max())
            axes.set_xscale("symlog", linthresh=max(1.0, reach))
            axes.set_xticks([0, *TICKS], ["0", *(f"{tick:g}" for tick in TICKS)])
            axes.xaxis.set_minor_locator(NullLocator())
        figure.supxlabel("change of the RMSE against the whole model, % (bars: 90 % intervals)", fontsize=9)
        figure.suptitle(f"What the forecast loses without a part  ({note})", x=0.01, ha="left", fontsize=10)
    return figure


def main(
    seeds: Annotated[int, typer.Option(help="trainings of each variant")] = 3,
    epochs: Annotated[int, typer.Option(help="of train.steps_per_epoch steps")] = 2,
    only: Annotated[list[str] | None, typer.Option(help="names of variants, beside the whole model")] = None,
) -> None:
    """Train, score, print, write, draw."""
    params = load_params(Path("params.yaml"))
    record = Field.open(DATA / "fields.zarr")
    splits = json.loads((DATA / "statistics.json").read_text(encoding="utf-8"))["splits"]
    origins = starts(splits["validation"], params.clip.frames)
    inputs = Inputs.read(*(DATA / name for name in NAMES), cache_mib=params.machine.cache_mib)
    chosen = [variant for variant in VARIANTS if not only or variant.name in {VARIANTS[0].name, *only}]
    parts = []
    for seed in range(seeds):
        changed = params.train.model_copy(update={"epochs": epochs, "seed": params.train.seed + seed})
        for variant in chosen:
            Console().print(f"seed {seed + 1} of {seeds}: {variant.name}")
            parts.append(errors(variant, params.model_copy(update={"train": changed}), inputs, record, origins))
    table = pd.concat(parts, ignore_index=True)
    minutes = float(record.step / np.timedelta64(1, "m"))
    steps = epochs * params.train.steps_per_epoch
    present(table, minutes, f"{steps} steps, {seeds} seeds, {len(origins)} forecasts of the validation part")


def present(table: pd.DataFrame, minutes: float, note: str) -> None:
    """Print the errors, write them and draw the shares."""
    rng = np.random.default_rng(0)
    shares = pd.concat([ratios(table, lead, rng) for lead in SHOWN])
    scores = pooled(table, ["variant", "lead"])
    printed = Table("RMSE (MAE)", *(f"{minutes * lead:g} min" for lead in SHOWN), title=note)
    for name, rows in scores.groupby("variant", sort=False):
        each = rows.droplevel("variant")
        printed.add_row(str(name), *(f"{each.rmse[lead]:.3f} ({each.mae[lead]:.3f})" for lead in SHOWN))
    Console().print(printed)
    with written_whole(TABLE) as partial:
        pooled(table, ["variant", "seed", "lead"]).to_csv(partial, float_format="%.5g", lineterminator="\n")
    with written_whole(FIGURE) as partial:
        save(figure_of(shares, minutes, note), partial)
    print(f"every variant, seed and lead: {TABLE}; drawn: {FIGURE}")


if __name__ == "__main__":
    typer.run(main)
