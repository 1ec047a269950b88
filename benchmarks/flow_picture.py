"""The trained flow and pysteps' Lucas-Kanade flow over the same real frame, with arrows, and how far they differ.

    python benchmarks/flow_picture.py

Shows the first forecast origin of the test part. The model is models/model.safetensors, from `dvc repro`; needs the
extra: pip install -e '.[baselines]'. Writes docs/figures/flow_real.png.
"""

import json
from pathlib import Path

import numpy as np
import torch
from flow import lucas_kanade_flow
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import LogLocator

from physicnet.clock import format_minute
from physicnet.config import load_params
from physicnet.drawing import Frame, draw_image, drawing_style, observed_box, ramp, save, scale_bar
from physicnet.evaluation.figures import Map, draw_arrows
from physicnet.evaluation.gallery import chart_of
from physicnet.evaluation.labels import pretty
from physicnet.fields import Field
from physicnet.model.rollout import ModelForecaster

MODEL = Path("models/model.safetensors")
FIGURE = Path("docs/figures/flow_real.png")
LONG = 5.0  # cells per step, the speed of a long arrow


def picture(past: Field, flows: dict[str, Float[np.ndarray, "2 h w"]], chart: Map) -> Figure:
    """Draw each flow over the last frame, and the length of the difference of both."""
    last = past.frames(past.shape[0] - 1, past.shape[0])[0, 0]
    box = observed_box(last[None])
    seen = np.isfinite(last[box])
    difference = np.where(seen, np.hypot(*np.subtract(*flows.values()))[box], np.nan)
    with drawing_style():
        figure = Figure((15.0, 5.3), layout="constrained")
        *maps, right = figure.subplots(1, 1 + len(flows))
        for axes, (name, flow) in zip(maps, flows.items(), strict=True):
            rain = draw_rain(axes, last[box], chart)
            draw_arrows(axes, flow[:, box[0], box[1]], seen, typical=LONG)
            axes.set_title(f"{format_minute(past.times[-1])}: {name}")
        scale_bar(maps[0], seen.shape[1], chart)
        image = draw_image(right, difference, chart, cmap=ramp(), vmin=0.0, vmax=2.0)
        wet = seen & (last[box] >= float(chart.norm.vmin or 0.0))
        right.set_title("length of their difference")
        text = f"mean {difference[seen].mean():.2f}, where it rains {difference[wet].mean():.2f}"
        right.text(0.0, -0.03, text, transform=right.transAxes, va="top")
        for axes, shown, label in ((maps, rain, pretty(chart.units)), (right, image, "cells per step")):
            bar = figure.colorbar(shown, ax=axes, shrink=0.72, aspect=30, pad=0.01, extend="max", label=label)
            if shown is rain:
                bar.locator = LogLocator(subs=[1, 2, 5])
            bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            bar.outline.set_visible(False)
    return figure


def draw_rain(axes: Axes, frame: Frame, chart: Map) -> AxesImage:
    """Draw the frame: grey where nothing was observed, white below the scale."""
    lowest = float(chart.norm.vmin or 0.0)
    return draw_image(axes, np.where(frame < lowest, lowest / 2, frame), chart, cmap=ramp(), norm=chart.norm)


def main() -> None:
    """Estimate both flows and draw them."""
    params = load_params(Path("params.yaml"))
    torch.set_num_threads(params.machine.num_threads)
    start = json.loads(Path("data/statistics.json").read_text(encoding="utf-8"))["splits"]["test"][0][0]
    model = ModelForecaster.load(MODEL, params.machine)
    past = Field.open(Path("data/fields.zarr")).isel(start, start + params.clip.frames_in)
    flows = {
        "PhysicNet, trained": model.explain(past)["flow"].astype(np.float64),
        "pysteps' Lucas–Kanade": lucas_kanade_flow(past, normalizer=model.normalizer)[0],
    }
    save(picture(past, flows, chart_of(past, 0, past.frames(0, past.shape[0])[:, 0], model.normalizer)), FIGURE)
    print(FIGURE)


if __name__ == "__main__":
    main()
