"""Figures of the test part: forecasts beside the truth, scores per lead, spectra, the model's flow.

All functions take plain arrays and tables and return a figure, which `physicnet.drawing.save` writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from physicnet import metrics
from physicnet.drawing import INK, MISSING, Frame, Grid, draw_image, drawing_style, observed_box, ramp, scale_bar
from physicnet.evaluation import labels
from physicnet.transforms import Decibel, Log1p, Power, Transform

SIGNED = 0.25  # from this ratio of the two signs on, zero is the middle of the scale
ARROWS = "#c2255c"
DECADES = 100.0  # ratio of the ends of a logarithmic scale without a threshold
COLOURS = {
    "physicnet": "#b5179e",
    "advection": "#1c7ed6",
    "lucas_kanade": "#2b8a3e",
    "persistence": "#868e96",
    "climatology": "#e67700",
    "persistent_anomaly": "#2f9e8f",
    "damped_anomaly": "#a9711d",
    "day_ago": "#7048e8",
    "eof_var": "#f2b705",
    "local_linear": "#0b3d91",
    "s_prog": "#82c91e",
    "anvil": "#e03131",
    "truth": "#111111",
}


@dataclass(frozen=True)
class Map(Grid):
    """How frames are drawn: their grid, and the scale of the colours."""

    norm: Normalize
    units: str


def palette(norm: Normalize) -> Colormap:
    """Return `ramp` for rates, blue over white to red for a scale about zero, and viridis for any other.

    On other scales, a temperature's, zero is a value like any other: nothing there should look as if nothing was.
    """
    if isinstance(norm, LogNorm):
        return ramp()
    about_zero = norm.vmin is not None and norm.vmin == -(norm.vmax or 0.0)
    return colormaps["RdBu_r" if about_zero else "viridis"].with_extremes(bad=MISSING)


def colour_scale(values: Float[np.ndarray, "..."], transforms: Sequence[Transform]) -> Normalize:
    """Return a scale up to the 99.9th percentile, fit for a quantity that is transformed like this.

    Rates are logarithmic: from the threshold of their decibels, or over two decades where they have none. Values of
    either sign get a scale about zero, if the lesser sign goes at least a quarter as far as the other.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return Normalize(0.0, 1.0)
    low, high = (float(value) for value in np.quantile(known, [0.001, 0.999]))
    first = transforms[0] if transforms else None
    if isinstance(first, Decibel):
        return LogNorm(first.threshold, max(10 * first.threshold, high))
    if isinstance(first, Power | Log1p) and high > 0:
        return LogNorm(high / DECADES, high)
    if min(-low, high) >= SIGNED * max(-low, high) > 0:
        return Normalize(-max(-low, high), max(-low, high))
    return Normalize(low, high if high > low else low + 1.0)


def forecast_figure(
    last: Frame,
    truth: Float[np.ndarray, "k h w"],
    forecasts: Mapping[str, Float[np.ndarray, "k h w"]],
    *,
    now: str,
    titles: Sequence[str],
    chart: Map,
) -> Figure:
    """Draw the last observed frame, then the truth above each forecast, a column for each lead.

    Forecasts are shown where the truth was observed, with their RMSE there. `now` and `titles` name the columns.
    """
    box = observed_box(np.concatenate([last[None], truth]))
    height, width = last[box].shape
    with drawing_style():
        figure = Figure(
            (1.9 * len(truth) + 2.9, 1.9 * chart.aspect * height / width * (1 + len(forecasts)) + 0.5),
            layout="constrained",
        )
        grid = figure.subplots(1 + len(forecasts), 1 + len(truth), squeeze=False)
        _draw_start(grid[:, 0], last[box], now, chart)
        for axes, text in zip(grid[0, 1:], titles, strict=True):
            axes.set_title(text)
        for row, (name, frames) in zip(grid[:, 1:], [("truth", truth), *forecasts.items()], strict=True):
            row[0].set_ylabel(labels.title(name), fontsize=10)
            for axes, frame, expected in zip(row, frames, truth, strict=True):
                draw_map(axes, np.where(np.isnan(expected), np.nan, frame)[box], chart)
                if name != "truth":
                    _note(axes, f"RMSE {frame_rmse(frame, expected):.2f}")
        colour_bar(figure, grid, chart)
    return figure


def outlook_figure(last: Frame, forecast: Mapping[str, Frame], *, now: str, chart: Map) -> Figure:
    """Draw the last observed frame and what is forecast, by titles, where nothing of the truth is known yet."""
    box = observed_box(last[None])
    height, width = last[box].shape
    with drawing_style():
        size = 1.9 * (1 + len(forecast)) + 1.0, 1.9 * chart.aspect * height / width + 0.5
        figure = Figure(size, layout="constrained")
        grid = figure.subplots(1, 1 + len(forecast), squeeze=False)
        _draw_start(grid[:, 0], last[box], now, chart)
        for axes, (title, frame) in zip(grid[0, 1:], forecast.items(), strict=True):
            axes.set_title(title)
            draw_map(axes, frame[box], chart)
        colour_bar(figure, grid, chart)
    return figure


def _draw_start(column: np.ndarray, frame: Frame, now: str, chart: Map) -> None:
    """Draw the last observed frame halfway down the first column, with a bar of the map's scale."""
    for axes in column:
        axes.set_axis_off()
    axes = column[(len(column) - 1) // 2]
    axes.set_axis_on()
    axes.set_title(now)
    draw_map(axes, frame, chart)
    scale_bar(axes, frame.shape[1], chart)


def draw_map(axes: Axes, frame: Frame, chart: Map) -> None:
    """Draw one frame upright: grey where nothing was observed, white below the scale."""
    if isinstance(chart.norm, LogNorm):  # which takes zero for a missing value
        lowest = float(chart.norm.vmin or 0.0)
        frame = np.where(frame < lowest, lowest / 2, frame)
    draw_image(axes, frame, chart, cmap=palette(chart.norm), norm=chart.norm)


def frame_rmse(forecast: Frame, truth: Frame) -> float:
    """Return the RMSE of one frame where the truth was observed."""
    sums = metrics.error_sums(forecast[None], truth[None])
    return float(metrics.rmse(sums["squared_error"], sums["cells"])[0])


def _note(axes: Axes, text: str) -> None:
    box = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5}
    axes.text(0.02, 0.02, text, transform=axes.transAxes, fontsize=7.5, bbox=box)


def colour_bar(figure: Figure, axes: np.ndarray | Axes, chart: Map) -> None:
    """Draw the scale beside the axes."""
    draw_bar(figure, chart, ax=axes, shrink=0.75, aspect=30, pad=0.015, label=labels.pretty(chart.units))


def draw_bar(figure: Figure, chart: Map, **place: Any) -> Colorbar:
    """Draw the scale at a place that is told as `Figure.colorbar` wants it told."""
    extend: Literal["max", "both"] = "max" if isinstance(chart.norm, LogNorm) else "both"
    bar = figure.colorbar(ScalarMappable(chart.norm, palette(chart.norm)), extend=extend, **place)
    bar.outline.set_visible(False)
    if isinstance(chart.norm, LogNorm):
        bar.long_axis.set_major_locator(LogLocator(subs=[1, 2, 5]))
        bar.long_axis.set_major_formatter(lambda value, _: f"{value:g}")
        bar.long_axis.set_minor_locator(NullLocator())
    return bar


def skill_figure(scores: pd.DataFrame) -> Figure:
    """Draw every score of one variable against lead time, a line per model; the skill with its 95 % interval."""
    names = ["rmse", "mae", "skill", *labels.defined(scores, "csi_"), "sharpness"]
    units = str(scores["units"].iloc[0])
    clock, minutes = labels.clock(float(scores["lead_minutes"].max()))
    rows = -(-len(names) // 3)
    with drawing_style():
        figure = Figure((10.5, 2.9 * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, 3, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            axes.set_title(labels.score_title(name, units))
            for model, lines in scores.groupby("model", sort=False):
                _draw_score(axes, lines, str(model), name, minutes)
            axes.set_xlim(0)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel(f"lead ({clock})")
        grid[0, 2].set_ylim(max(-0.5, grid[0, 2].get_ylim()[0]), 1.0)  # far below persistence is just far below
        grid.flat[len(names) - 1].axhline(1.0, color=INK, lw=0.8, ls=":", zorder=1)
        handles, texts = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=len(texts))
    return figure


def _draw_score(axes: Axes, rows: pd.DataFrame, model: str, score: str, minutes: float) -> None:
    leads = rows["lead_minutes"] / minutes
    first = model == "physicnet"
    colour = COLOURS.get(model)
    axes.plot(
        leads,
        rows[score],
        color=colour,
        label=labels.title(model),
        lw=2.2 if first else 1.4,
        marker="o" if first else None,
        ms=3.5,
        zorder=3 if first else 2,
    )
    if score == "skill" and model != "persistence":
        axes.fill_between(leads, rows["skill_low"], rows["skill_high"], color=colour, alpha=0.18, lw=0)


def spectra_figure(spectra: pd.DataFrame, *, titles: Mapping[int, str], chart: Map) -> Figure:
    """Draw variance against wavelength for one variable, a panel for each lead in `titles`.

    The shaded side is what `sharpness` sums up: waves shorter than 16 cells.
    """
    cell = chart.cell or 1.0
    with drawing_style():
        figure = Figure((3.5 * len(titles), 3.3), layout="constrained")
        panels = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
        for axes, (lead, text) in zip(panels, titles.items(), strict=True):
            for model, rows in spectra[spectra["lead"] == lead].groupby("model", sort=False):
                style = {"lw": 2.2, "zorder": 3} if model in ("truth", "physicnet") else {"lw": 1.2}
                waves = cell * rows["wavelength"]
                axes.plot(
                    waves, rows["variance"], color=COLOURS.get(str(model)), label=labels.title(str(model)), **style
                )
            axes.set(xscale="log", yscale="log", title=text, xlabel=f"wavelength ({'km' if chart.cell else 'cells'})")
            axes.axvspan(2 * cell, metrics.SMALL_SCALE * cell, color=MISSING, alpha=0.4, lw=0, zorder=0)
            axes.set_xlim(cell * spectra["wavelength"].max(), 2 * cell)
            axes.xaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_locator(NullLocator())
        squared = f"({labels.pretty(chart.units)})²" if labels.pretty(chart.units) else ""
        panels[0].set_ylabel(f"variance {squared}".strip())
        _floor(panels[0], spectra)
        handles, texts = panels[0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=len(texts))
    return figure


def _floor(axes: Axes, spectra: pd.DataFrame) -> None:
    """End the axis a thousandth below the truth's smallest variance: what lies deeper is numerical dust."""
    truth = spectra.loc[spectra["model"] == "truth", "variance"]
    if (truth > 0).any():
        axes.set_ylim(bottom=truth[truth > 0].min() / 1000)


def flow_figure(
    last: Frame,
    flow: Float[np.ndarray, "2 h w"],
    gate: Float[np.ndarray, "k h w"],
    *,
    now: str,
    chart: Map,
) -> Figure:
    """Draw the model's flow (x, y in pixels per step) over the last frame, and the local expert's share beside it."""
    box = observed_box(last[None])
    seen = np.isfinite(last[box])
    height, width = seen.shape
    with drawing_style():
        figure = Figure((10.0, 4.6 * chart.aspect * height / width + 0.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        draw_map(left, last[box], chart)
        left.set_title(f"{now}: {'flow of the model' if flow.any() else 'nothing is carried'}")
        if flow.any():
            draw_arrows(left, flow[:, box[0], box[1]], seen)
        scale_bar(left, width, chart)
        colour_bar(figure, left, chart)
        right.set_title("share of the local expert, mean over leads")
        share = np.where(seen, gate.mean(axis=0)[box], np.nan)
        image = draw_image(right, share, chart, cmap=ramp(), vmin=0.0, vmax=1.0)
        figure.colorbar(image, ax=right, shrink=0.75, aspect=30, pad=0.015).outline.set_visible(False)
    return figure


def draw_arrows(
    axes: Axes, flow: Float[np.ndarray, "2 h w"], seen: Bool[np.ndarray, "h w"], *, typical: float | None = None
) -> None:
    """Draw about twenty arrows along the longer side, where the frame was observed, and the length of a long one.

    Arrows lie with their middle on the cell they are of. `typical` is the speed (cells per step) of a long one, as
    rounded from the flow if it is not given.
    """
    if not seen.any():
        return
    height, width = seen.shape
    apart = max(1, max(height, width) // 20)
    rows, columns = np.mgrid[apart // 2 : height : apart, apart // 2 : width : apart].reshape(2, -1)
    rows, columns = rows[seen[rows, columns]], columns[seen[rows, columns]]
    x, y = flow[:, rows, columns]
    typical = typical or float(f"{max(np.quantile(np.hypot(x, y), 0.9), 1e-3):.1g}")
    arrows = axes.quiver(
        columns,
        rows,
        x,
        y,
        angles="xy",
        scale_units="xy",
        scale=typical / (1.1 * apart),
        pivot="mid",
        color=ARROWS,
        width=0.0045,
        edgecolor="white",
        linewidth=0.35,
    )
    axes.quiverkey(arrows, 0.8, -0.05, typical, f"{typical:g} cells per step", labelpos="E", coordinates="axes")
