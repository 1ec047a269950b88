"""The figure of `flow_truth.py`."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from flow import FlowOf
from flow_cases import BENT, PATTERN, SIZE, Case, past_of, straight, truth_of
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from physicnet.drawing import INK, MISSING, Grid, draw_image, drawing_style, ramp

STYLES = {
    "first flow": ("#f06fc9", 1.6),
    "trained flow": ("#b5179e", 2.2),
    "TV-L1": ("#1c7ed6", 1.3),
    "ILK": ("#e67700", 1.3),
    "Lucas–Kanade": ("#2b8a3e", 1.3),
}
APART = 16  # cells between arrows
WORST = 2.0  # cells per step, the end of the colours of errors
REACH = 15.0  # cells per step that must be within reach
SHOWN = {
    "uniform, 15 cells per step": straight(15.0, PATTERN, "radar", 0),
    "rotation": Case("rotation", np.nan, BENT["rotation"], PATTERN, "radar", 0),
    "shear": Case("shear", np.nan, BENT["shear"], PATTERN, "radar", 0),
    "expansion": Case("expansion", np.nan, BENT["expansion"], PATTERN, "radar", 0),
}


def draw(table: pd.DataFrame, methods: Mapping[str, FlowOf]) -> Figure:
    """Draw arrows over fields and errors, a row for each motion, above the error against the speed."""
    with drawing_style():
        figure = Figure((13.5, 14.0), layout="constrained")
        top, bottom = figure.subfigures(2, 1, height_ratios=[len(SHOWN) * 2.55, 3.5])
        _draw_maps(top, methods)
        _draw_curves(bottom, table)
    return figure


def _draw_maps(figure: Figure, methods: Mapping[str, FlowOf]) -> None:
    panels = figure.subplots(len(SHOWN), 1 + len(methods))
    for row, (name, case) in zip(panels, SHOWN.items(), strict=True):
        past, truth = past_of(case), truth_of(case)
        last = past.frames(0, past.shape[0])[-1, 0]
        seen, grid = np.isfinite(last), Grid(rows_ascend=False, cell=None, aspect=1.0)
        longest = float(np.quantile(np.hypot(*truth)[seen], 0.99))
        rain = draw_image(row[0], np.where(last < 0.1, 0.05, last), grid, cmap=ramp(), norm=LogNorm(0.1, 10.0))
        _arrows(row[0], truth, seen, longest)
        row[0].set_ylabel(name, fontsize=10)
        for axes, flow_of in zip(row[1:], methods.values(), strict=True):
            flow = flow_of(past)[0]
            error = np.hypot(*(flow - truth))
            scale = {"cmap": colormaps["YlOrRd"].with_extremes(bad=MISSING), "norm": Normalize(0.0, WORST)}
            wrong = draw_image(axes, np.where(seen, error, np.nan), grid, **scale)
            _arrows(axes, flow, seen, longest)
            axes.set_xlabel(f"mean error {error[seen].mean():.2f}", fontsize=9, labelpad=2)
    for axes in panels.flat:
        axes.set_xlim((SIZE[1] - SIZE[0]) / 2, (SIZE[1] + SIZE[0]) / 2)  # as the circle of the radar
    for axes, method in zip(panels[0], ["truth", *methods], strict=True):
        axes.set_title(method)
    bars = {"rain rate (mm h⁻¹)": (rain, "both", 0), "end-point error (cells per step)": (wrong, "max", 1)}
    for label, (image, extend, first) in bars.items():
        shown = panels[:, :1] if first == 0 else panels[:, 1:]
        bar = figure.colorbar(
            image,
            ax=shown,
            location="bottom",
            extend=extend,
            aspect=22 if not first else 70,
            shrink=0.95 if not first else 0.6,
            pad=0.02,
            label=label,
        )
        bar.outline.set_visible(False)


def _arrows(axes: Axes, flow: Float64[np.ndarray, "2 h w"], seen: np.ndarray, longest: float) -> None:
    """Draw an arrow every few cells that were observed; one of the longest true speed spans the way to the next."""
    height, width = seen.shape
    rows, columns = np.mgrid[APART // 2 : height : APART, APART // 2 : width : APART].reshape(2, -1)
    rows, columns = rows[seen[rows, columns]], columns[seen[rows, columns]]
    x, y = flow[:, rows, columns]
    axes.quiver(
        columns,
        rows,
        x,
        y,
        angles="xy",
        scale_units="xy",
        scale=longest / (1.1 * APART),
        color=INK,
        width=0.006,
        pivot="mid",
    )


def _draw_curves(figure: Figure, table: pd.DataFrame) -> None:
    straight_on = table[table["motion"] == "uniform"]
    whole = straight_on[straight_on["condition"] == "whole"]
    panels = {f"patterns of {size:g} cells and more": rows for size, rows in whole.groupby("pattern")}
    panels["of 16 and more, as a radar sees them"] = straight_on[straight_on["condition"] == "radar"]
    row = figure.subplots(1, len(panels), sharey=True)
    for axes, (title, rows) in zip(row, panels.items(), strict=True):
        for method, scores in rows.groupby("method", sort=False):
            errors = scores.groupby("speed")["mean"].mean()
            colour, width = STYLES[str(method)]
            axes.plot(errors.index, errors, color=colour, lw=width, marker="o", ms=3, label=method)
        axes.axvline(REACH, color=INK, lw=0.8, ls=":")
        axes.set(title=title, xlabel="speed (cells per step)", yscale="log", xlim=(-0.5, 24.5), ylim=(0.004, 60))
        axes.set_xticks([0, 5, 10, 15, 20])
    row[0].set_ylabel("mean end-point error (cells per step)")
    row[0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    handles, texts = row[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper left", ncols=len(texts))
