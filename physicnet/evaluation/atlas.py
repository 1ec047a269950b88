"""Figures of the codes: what each stands for, where it is chosen, which go with growth and which with decay.

Growth is orange and decay is blue throughout, which all kinds of colour vision tell apart.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import SymmetricalLogLocator

from physicnet.drawing import INK, MISSING, Frame, draw_image, drawing_style, observed_box, scale_bar
from physicnet.evaluation import labels
from physicnet.evaluation.figures import Map, colour_bar, draw_map
from physicnet.evaluation.vocabulary import AROUND, cell_means

GROWTH, DECAY, NEITHER = "#e8710a", "#1c5fb4", "#9aa0a6"
ARROWS = {GROWTH: " ▲", DECAY: " ▼", NEITHER: ""}
SHOWN = 96  # codes of the atlas
EXTREMES = 8  # codes shown at each end of growth and decay
RARE = 0.001  # share of the coarse cells below which a code's change is not shown


class Row(NamedTuple):
    """What is drawn of a code."""

    code: int
    share: float
    change: float
    low: float
    high: float


def _rows(table: pd.DataFrame) -> list[Row]:
    values = table[["code", "share", "change", "change_low", "change_high"]].to_numpy(np.float64)
    return [Row(int(code), *(float(number) for number in numbers)) for code, *numbers in values]


def atlas_figure(table: pd.DataFrame, patches: Mapping[int, Float[np.ndarray, "s s"]], chart: Map) -> Figure:
    """Draw the mean field around the cells of each code, from the most common code to the rarest.

    `table` is that of `CodeStatistics`. The square in the middle is the coarse cell itself; its colour says growth,
    decay or neither. The text is the code's share of all coarse cells.
    """
    shown = table.head(SHOWN)
    columns = int(np.clip(np.ceil(np.sqrt(2 * len(shown))), 9, 14))
    rows = -(-len(shown) // columns)
    with drawing_style():
        figure = Figure(
            (0.82 * columns + 1.1, 0.82 * chart.aspect * rows + 0.25 * rows + 0.7),
            layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02),
        )
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, row in zip(grid.flat, _rows(shown), strict=False):
            colour = _trend(row.low, row.high)
            _draw_patch(axes, patches[row.code], colour, chart)
            text = _percent(row.share) + ARROWS[colour]
            axes.set_title(text, fontsize=7.5, pad=2, loc="center", color=INK if colour == NEITHER else colour)
        left_out = f" ({len(shown)} are shown)" if len(shown) < len(table) else ""
        figure.suptitle(
            "What each code stands for: mean of the last frame around its cells, and its share of all cells\n"
            f"{len(table)} codes in use in the global view over the test part{left_out}, "
            f"perplexity {_entropy(table['share'].to_numpy()):.1f}",
            fontsize=9.5,
            x=0.01,
            ha="left",
        )
        _explain_colours(figure)
        colour_bar(figure, grid, chart)
    return figure


def ranked(codes: Integer[np.ndarray, "i j"], last: Frame) -> tuple[Float[np.ndarray, "i j"], pd.DataFrame]:
    """Return the rank of each coarse cell's code, and a row per code: `mean` amount in its cells, and their `size`.

    Codes are ranked by the amount, so that their colours have a meaning: dark is little. Only coarse cells of which
    more than half was observed count; the others are NaN.
    """
    amount = cell_means(last, codes.shape)
    seen = np.isfinite(amount)
    cells = pd.DataFrame({"code": codes[seen], "amount": amount[seen]}).groupby("code")["amount"].agg(["mean", "size"])
    cells = cells.sort_values("mean", kind="stable")
    rank = np.full(int(codes.max()) + 1, np.nan)
    rank[cells.index] = np.arange(len(cells))
    return np.where(seen, rank[codes], np.nan), cells


def draw_codes(axes: Axes, ranks: Float[np.ndarray, "i j"], chart: Map) -> None:
    """Draw the codes of coarse cells by their ranks, where something was observed, one colour each."""
    number = int(np.nanmax(ranks, initial=-1)) + 1
    colours, norm = _steps(number)
    draw_image(axes, ranks[observed_box(ranks[None])], chart, cmap=colours, norm=norm)


def codes_figure(codes: Integer[np.ndarray, "i j"], last: Frame, *, now: str, chart: Map) -> Figure:
    """Draw the last frame, which code each of its coarse cells has, and how often each code is chosen."""
    image, cells = ranked(codes, last)
    share = cells["size"].to_numpy() / max(1, cells["size"].sum())
    box = observed_box(last[None])
    colours, norm = _steps(len(cells))
    with drawing_style():
        height = 3.6 * chart.aspect * last[box].shape[0] / last[box].shape[1]
        figure = Figure((12.5, height + 0.9), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.15])
        draw_map(left, last[box], chart)
        left.set_title(f"{now}: last frame")
        scale_bar(left, last[box].shape[1], chart)
        colour_bar(figure, left, chart)
        draw_codes(middle, image, chart)
        middle.set_title("its codes, one colour each")
        right.set_title(f"{len(cells)} codes in use, perplexity {_entropy(share):.1f}")
        right.bar(np.arange(len(cells)), 100 * share, color=colours(norm(np.arange(len(cells)))), width=0.9)
        right.set(yscale="log", ylabel="share of the coarse cells (%)")
        right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        _name_some(right, cells["mean"].to_numpy(), chart)
    return figure


def _explain_colours(figure: Figure) -> None:
    """Say at the bottom which colour means what."""
    meanings = {GROWTH: "▲ grows", DECAY: "▼ decays", NEITHER: "neither, by the 95 % interval"}
    handles = [Line2D([], [], color=colour, marker="s", ls="", mfc="none", mew=1.6) for colour in meanings]
    figure.legend(handles, list(meanings.values()), loc="outside lower left", ncols=3)


def _steps(number: int) -> tuple[Colormap, BoundaryNorm]:
    """One colour of viridis for each code."""
    colours = colormaps["viridis"].resampled(max(2, number)).with_extremes(bad=MISSING)
    return colours, BoundaryNorm(np.arange(max(2, number) + 1) - 0.5, max(2, number))


def _name_some(axes: Axes, means: Float[np.ndarray, "m"], chart: Map) -> None:
    """Write the mean amount below at most seven of the bars."""
    places = np.unique(np.linspace(0, max(0, len(means) - 1), 7).round().astype(int))[: len(means)]
    axes.set_xticks(places, [f"{means[place]:.2g}" for place in places])
    axes.set_xlabel(labels.in_units("codes in order of the mean in their cells", chart.units))


def growth_figure(
    table: pd.DataFrame, patches: Mapping[int, Float[np.ndarray, "s s"]], chart: Map, *, minutes: float
) -> Figure:
    """Draw the mean change of the truth, `minutes` later and along the motion, for each code with its 95 % interval.

    On the left all codes against the mean amount in their cells, on the right those that grow and decay most.
    """
    known = table[(table["share"] >= RARE) & table["change"].notna()].sort_values("change", ignore_index=True)
    with drawing_style():
        figure = Figure((11.0, 6.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
        _draw_changes(left, known["value"].to_numpy(), known, sizes=True)
        if isinstance(chart.norm, LogNorm):
            linear = float(chart.norm.vmin or 1.0)
            left.set_xscale("symlog", linthresh=linear)
            left.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear, subs=[1, 2, 5]))
            left.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        left.set(
            xlabel=labels.in_units("mean in the cells of a code", chart.units),
            ylabel=labels.in_units(f"change after {labels.lead(minutes)}", chart.units),
        )
        left.set_title("every code; larger dots are more common")
        chosen = pd.concat([known.head(EXTREMES), known.tail(EXTREMES)]).drop_duplicates("code").reset_index(drop=True)
        _draw_extremes(right, chosen, patches, chart)
        right.set_title("the codes of most decay and of most growth")
        right.set_xlabel(labels.in_units(f"change after {labels.lead(minutes)}", chart.units))
        figure.suptitle(
            "Which codes go with growth and decay: change of the truth along the motion, mean over the test part, "
            "95 % interval over its origins",
            fontsize=10,
            x=0.01,
            ha="left",
        )
        _explain_colours(figure)
    return figure


def _draw_changes(axes: Axes, places: Float[np.ndarray, "m"], rows: pd.DataFrame, *, sizes: bool) -> None:
    axes.axhline(0, color=INK, lw=0.8, zorder=1)
    for place, row in zip(places, _rows(rows), strict=True):
        colour = _trend(row.low, row.high)
        axes.plot([place, place], [row.low, row.high], color=colour, lw=1.1, alpha=0.6, zorder=2)
        size = 12 + 400 * row.share if sizes else 30
        axes.scatter([place], [row.change], s=size, color=colour, edgecolor="white", lw=0.6, zorder=3)


def _draw_extremes(axes: Axes, rows: pd.DataFrame, patches: Mapping[int, Float[np.ndarray, "s s"]], chart: Map) -> None:
    axes.axvline(0, color=INK, lw=0.8, zorder=1)
    axes.set(ylim=(-0.7, max(1, len(rows)) - 0.3), yticks=[])
    axes.spines["left"].set_visible(False)
    for place, row in enumerate(_rows(rows)):
        colour = _trend(row.low, row.high)
        axes.plot([row.low, row.high], [place, place], color=colour, lw=1.6, alpha=0.6)
        axes.scatter([row.change], [place], s=30, color=colour, zorder=3)
        top, size = (place + 0.7 - 0.25) / (len(rows) + 0.4), 0.9 / (len(rows) + 0.4)
        small = axes.inset_axes((-0.16, top - size / 2 - 0.2 * size, 0.09, size))
        _draw_patch(small, patches[row.code], colour, chart)
        axes.text(
            -0.05, place, _percent(row.share), transform=axes.get_yaxis_transform(), ha="left", va="center", fontsize=7
        )


def _draw_patch(axes: Axes, patch: Float[np.ndarray, "s s"], colour: str, chart: Map) -> None:
    draw_map(axes, patch, chart)
    cell = len(patch) / AROUND
    corner = (len(patch) - cell) / 2 - 0.5
    axes.add_patch(Rectangle((corner, corner), cell, cell, fill=False, ec=colour, lw=1.5))
    inner = (corner + 0.6, corner + 0.6)  # a light line inside makes the colour visible on a dark field
    axes.add_patch(Rectangle(inner, cell - 1.2, cell - 1.2, fill=False, ec="white", lw=0.6))


def _trend(low: float, high: float) -> str:
    """The colour of an interval: of growth above zero, of decay below it."""
    if low > 0:
        return GROWTH
    return DECAY if high < 0 else NEITHER


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share >= 0.0001 else "< 0.01 %"


def _entropy(share: Float[np.ndarray, "m"]) -> float:
    """The perplexity of shares."""
    return float(np.exp(-(share * np.log(share)).sum()))
