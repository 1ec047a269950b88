"""What does the smoothness of the flow do to accuracy and stability? Joint training with different weights of the term.

    python benchmarks/smoothness.py                                   # the budget of params.yaml, hours
    python benchmarks/smoothness.py --epochs 1 --steps 40 --batch 2   # a small one

Trains with `train.losses.smoothness` at 0, 0.005, 0.05, 0.5 and 5, two seeds each, everything else equal, and measures

- the error of the trained flow against known truth (end-point error, cells per step; `flow_cases.py`),
- the loss on the validation part, and how rough the flow is there,
- four times the trained horizon from each validation origin: the share of the view where paths cross (parcels
  that would have to pass through one another), and what becomes of the forecast's largest value, mean and deviation.

A finished training is kept in .physicnet/benchmarks/smoothness/, an unfinished one goes on from its last epoch; each
belongs to its parameters, data and code. Reads data/ and models/codebook.safetensors from `dvc repro`, no frame of the
test part. Writes docs/results/smoothness.csv and docs/figures/smoothness.png.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from flow_cases import BENT, PATTERN, Case, past_of, straight, truth_of
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from rich.table import Table
from smoothness_drawing import draw
from torch import Tensor

from physicnet.checkpoint import load_checkpoint, save_checkpoint
from physicnet.config import Params, TrainConfig, load_params
from physicnet.data.crops import starts
from physicnet.drawing import save
from physicnet.fields import Field, written_whole
from physicnet.machine import machine
from physicnet.model.autoencoder import load_pretrained
from physicnet.model.cascade import Fit
from physicnet.model.flow import roughness
from physicnet.model.rollout import ModelForecaster
from physicnet.model.warp import trajectories
from physicnet.training.inputs import Inputs, key_of
from physicnet.training.joint import Joint
from physicnet.training.loop import finish, fit
from physicnet.training.memory import first_memory

WEIGHTS = (0.0, 0.005, 0.05, 0.5, 5.0)
SEEDS = 2
HORIZON = 4  # times the trained one
NORMALIZED, STATISTICS, MAPS = Path("data/normalized.zarr"), Path("data/statistics.json"), Path("data/maps.safetensors")
CROPS, CODEBOOK, FIELDS = Path("data/crops.csv"), Path("models/codebook.safetensors"), Path("data/fields.zarr")
KEPT = Path(".physicnet/benchmarks/smoothness")
TARGET = Path("docs/results/smoothness.csv")
FIGURE = Path("docs/figures/smoothness.png")
KNOWN = [
    *(Case(motion, np.nan, flow, PATTERN, "radar", 0) for motion, flow in BENT.items()),
    *(straight(speed, PATTERN, "radar", 0) for speed in (0.0, 2.0, 6.0, 15.0)),
]


def with_weight(config: TrainConfig, weight: float, seed: int, budget: argparse.Namespace) -> TrainConfig:
    """Return the parameters of one training."""
    changed = {"epochs": budget.epochs, "steps_per_epoch": budget.steps, "batch_size": budget.batch}
    losses = config.losses.model_copy(update={"smoothness": weight})
    return config.model_copy(update={**changed, "seed": config.seed + seed, "losses": losses})


def kept(config: TrainConfig, params: Params) -> tuple[Path, str]:
    """Return where the checkpoint of a training is kept, and the key of all that decides it."""
    sections = {"train": config, "clip": params.clip, "model": params.model}
    key = key_of(sections, [NORMALIZED, STATISTICS, MAPS, CROPS, CODEBOOK])
    return KEPT / f"{key[:16]}.safetensors", key


def learn(config: TrainConfig, params: Params, inputs: Inputs, memory: Fit) -> None:
    """Train as the stage `train` does, and keep the checkpoint; nothing to do if it is kept already."""
    path, key = kept(config, params)
    if path.is_file():
        return
    with machine(params.machine) as on:
        net = inputs.build(params.model, params.clip)
        load_pretrained(net, load_checkpoint(CODEBOOK).tensors)
        net.memory.begin_with(memory)
        task = Joint(net.to(on.device), config, params.clip, inputs.normalizer, inputs.validation, on)
        resume = KEPT / key[:16]
        fitted = fit(task, inputs.clips, config, machine=on, resume=resume, key=key, report=lambda *_: None)
    loss = min(row["validation_loss"] for row in fitted.history)
    KEPT.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        path, fitted.weights | inputs.maps(), inputs.metadata(params.model, params.clip) | {"validation_loss": loss}
    )
    finish(resume)


def errors(model: ModelForecaster) -> dict[str, float]:
    """Return the mean end-point error over what was observed of motions that are known."""
    each = []
    for case in KNOWN:
        past = past_of(case)
        seen = np.isfinite(past.frames(0, past.shape[0])[-1, 0])
        each.append(np.hypot(*(model.explain(past)["flow"] - truth_of(case)))[seen].mean())
    return {"end_point_error": float(np.mean(each))}


def stability(model: ModelForecaster, past: Field, num_leads: int) -> dict[str, float]:
    """Return how rough the flow is, whether its paths cross, and what becomes of the forecast at the last lead."""
    frames, flow = model.forecast(past, num_leads), torch.from_numpy(model.explain(past)["flow"])[None]
    last = past.frames(0, past.shape[0])
    seen = np.isfinite(last[-1])
    return {
        "roughness": roughness(flow).item(),
        "crossing": crossing(trajectories(flow, num_leads)[:, -1]).item(),
        "largest": float(frames.max() / np.nanmax(last)),
        "mean": float(frames[-1][seen].mean() / last[-1][seen].mean()),
        "deviation": float(frames[-1][seen].std() / last[-1][seen].std()),
    }


def crossing(displacement: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
    """Share of the cells where the map x + displacement(x) turns the plane over: paths have crossed on the way."""
    along_x, along_y = displacement.diff(dim=-1)[..., :-1, :], displacement.diff(dim=-2)[..., :-1]
    determinant = (1 + along_x[:, 0]) * (1 + along_y[:, 1]) - along_x[:, 1] * along_y[:, 0]
    return (determinant <= 0).float().mean()


def judge(config: TrainConfig, params: Params, origins: list[int]) -> dict[str, float]:
    """Return everything measured of one training."""
    path, _ = kept(config, params)
    model, record = ModelForecaster.load(path, params.machine), Field.open(FIELDS)
    pasts = (record.isel(start, start + params.clip.frames_in) for start in origins)
    stable = pd.DataFrame([stability(model, past, HORIZON * params.clip.frames_out) for past in pasts]).mean()
    loss = load_checkpoint(path).metadata["validation_loss"]
    return {"validation_loss": loss, **errors(model), **stable.to_dict()}


def sweep(params: Params, budget: argparse.Namespace) -> pd.DataFrame:
    """Train and measure all: a row for each weight and seed."""
    inputs = Inputs.read(NORMALIZED, STATISTICS, MAPS, CROPS, cache_mib=params.machine.cache_mib)
    configs = {
        (weight, seed): with_weight(params.train, weight, seed, budget) for seed in range(SEEDS) for weight in WEIGHTS
    }
    if not all(kept(config, params)[0].is_file() for config in configs.values()):
        net = inputs.build(params.model, params.clip)
        memory = first_memory(net, inputs.clips, params.clip.frames_in)
        for config in configs.values():
            learn(config, params, inputs, memory)
    splits = json.loads(STATISTICS.read_text(encoding="utf-8"))["splits"]
    origins = list(starts(splits["validation"], params.clip.frames))
    rows = []
    for (weight, seed), config in track(configs.items(), "measuring"):
        rows.append({"smoothness": weight, "seed": seed, **vars(budget), **judge(config, params, origins)})
    return pd.DataFrame(rows).sort_values(["smoothness", "seed"])


def show(table: pd.DataFrame) -> None:
    """Print the mean over the seeds, and each seed's value in brackets."""
    shown = list(table.columns[table.columns.get_loc("validation_loss") :])
    printed = Table("smoothness", *shown, title="mean over the seeds (each)")
    for weight, rows in table.groupby("smoothness"):
        cells = (f"{rows[name].mean():.4g} ({', '.join(f'{each:.4g}' for each in rows[name])})" for name in shown)
        printed.add_row(f"{weight:g}", *cells)
    Console(width=200).print(printed)


def main() -> None:
    """Train what is missing, measure, print, write and draw."""
    params = load_params(Path("params.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=params.train.epochs)
    parser.add_argument("--steps", type=int, default=params.train.steps_per_epoch)
    parser.add_argument("--batch", type=int, default=params.train.batch_size)
    table = sweep(params, parser.parse_args())
    show(table)
    with written_whole(TARGET) as partial_file:
        table.to_csv(partial_file, index=False, float_format="%.5g", lineterminator="\n")
    save(draw(table), FIGURE)
    print(f"{len(table)} trainings: {TARGET}, {FIGURE}")


if __name__ == "__main__":
    main()
