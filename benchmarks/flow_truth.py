"""How far is a flow from the truth? Fields whose motion is known exactly, seen by the model and by other methods.

    python benchmarks/flow_truth.py

Carries random patterns along analytic flows (uniform from standing still to 24 cells per step, rotation, shear,
expansion), exactly, and shows four frames of them to each method: as they are, half dry, with noise, with missing
sectors, and all of that within a radar's circle. Scores the end-point error, the length of estimate minus truth in
cells per step, over the cells that the last frame observed. The trained flow is that of models/model.safetensors, from
`dvc repro`; Lucas-Kanade needs the extra: pip install -e '.[baselines]'. Writes docs/results/flow_truth.csv and
docs/figures/flow_truth.png.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from comparison import has_lucas_kanade
from flow import FlowOf, lucas_kanade_flow, model_flow, tvl1_flow
from flow_cases import PATTERN, SPEED, Case, cases, past_of, truth_of
from flow_drawing import draw
from jaxtyping import Float64
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage.registration import optical_flow_ilk

from physicnet.config import load_params
from physicnet.drawing import save
from physicnet.evaluation.extrapolation import flow_images
from physicnet.fields import Field, written_whole
from physicnet.model import motion
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer

TARGET = Path("docs/results/flow_truth.csv")
FIGURE = Path("docs/figures/flow_truth.png")
MODEL = Path("models/model.safetensors")
RADIUS = 15  # of the windows of ILK, cells; benchmarks/README.md compares its forecasts with this one


def ilk_flow(past: Field, *, normalizer: Normalizer) -> Float64[np.ndarray, "c 2 h w"]:
    """Return scikit-image's iterative Lucas-Kanade flow between the last two frames."""
    before, after = flow_images(past, normalizer)[-2:]
    pairs = zip(before, after, strict=True)
    return np.stack([-optical_flow_ilk(late, early, radius=RADIUS)[::-1] for early, late in pairs]).astype(np.float64)


def trained_flow(past: Field, *, model: ModelForecaster) -> Float64[np.ndarray, "c 2 h w"]:
    """Return the flow of the trained model, one for all variables."""
    return np.repeat(model.explain(past)["flow"][None].astype(np.float64), past.shape[1], axis=0)


def methods(model: ModelForecaster) -> dict[str, FlowOf]:
    """Return the methods that can be had here, by name."""
    normalizer = model.normalizer
    found: dict[str, FlowOf] = {
        "first flow": partial(model_flow, normalizer=normalizer, narrow=motion.NARROW),
        "trained flow": partial(trained_flow, model=model),
        "TV-L1": partial(tvl1_flow, normalizer=normalizer),
        "ILK": partial(ilk_flow, normalizer=normalizer),
    }
    if has_lucas_kanade():
        found["Lucas–Kanade"] = partial(lucas_kanade_flow, normalizer=normalizer)
    return found


def errors(case: Case, flow_of: dict[str, FlowOf]) -> Iterator[dict[str, object]]:
    """Give a row per method: mean, median and 95th percentile of the end-point error over the observed cells."""
    past = past_of(case)
    seen = np.isfinite(past.frames(0, past.shape[0])[-1, 0])
    for name, method in flow_of.items():
        error = np.hypot(*(method(past)[0] - truth_of(case)))[seen]
        low, median, high = error.mean(), np.median(error), np.quantile(error, 0.95)
        scores = {"mean": low, "median": median, "p95": high, "cells": int(seen.sum())}
        yield {**case.label(), "method": name, **scores}


def show(table: pd.DataFrame) -> None:
    """Print the errors of each method: over speeds, over motions, over conditions."""
    straight = table[table["motion"] == "uniform"]
    for size in sorted(straight["pattern"].unique()):
        rows = straight[(straight["pattern"] == size) & (straight["condition"] == "whole")]
        _print(rows, "speed", f"uniform motion, patterns of {size:g} cells and more: mean (95 %) by cells per step")
    radar = straight[straight["condition"] == "radar"]
    _print(radar, "speed", "the same as a radar sees it: half dry, noisy, within a circle, a sector missing")
    turning = table[table["motion"] != "uniform"]
    _print(turning[turning["condition"] == "whole"], "motion", "motions that are not uniform: mean (95 %)")
    _print(turning[turning["condition"] == "radar"], "motion", "the same as a radar sees them")
    judged = table[(table["pattern"] == PATTERN) & ((table["motion"] != "uniform") | (table["speed"] == SPEED))]
    _print(judged, "condition", f"what is seen, at {SPEED:g} cells per step and in the other motions")


def _print(rows: pd.DataFrame, across: str, title: str) -> None:
    means = rows.groupby(["method", across], sort=False)[["mean", "p95"]].mean()
    columns = list(dict.fromkeys(rows[across]))
    table = Table(*["", *(f"{column:g}" if isinstance(column, float) else str(column) for column in columns)])
    table.title = title
    for method in dict.fromkeys(rows["method"]):
        cells = (means.loc[(method, column)] for column in columns)
        table.add_row(method, *(f"{mean:.2f} ({high:.2f})" for mean, high in (tuple(cell) for cell in cells)))
    Console(width=max(120, 14 * len(columns) + 20)).print(table)


def main() -> None:
    """Score every method on every case, print, write and draw."""
    params = load_params(Path("params.yaml"))
    torch.set_num_threads(params.machine.num_threads)
    flow_of = methods(ModelForecaster.load(MODEL, params.machine))
    table = pd.DataFrame([row for case in track(list(cases()), "case by case") for row in errors(case, flow_of)])
    show(table)
    with written_whole(TARGET) as partial_file:
        table.to_csv(partial_file, index=False, float_format="%.4g", lineterminator="\n")
    save(draw(table, flow_of), FIGURE)
    print(f"{len(table)} cases and methods: {TARGET}, {FIGURE}")


if __name__ == "__main__":
    main()
