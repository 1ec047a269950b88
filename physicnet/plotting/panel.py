"""One picture of a forecast: rows of observation, forecast, error and probability, a column for each of some leads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physicnet.drawing import Frame, draw_image, drawing_style
from physicnet.evaluation import labels
from physicnet.plotting.forecast import Flow
from physicnet.plotting.maps import (
    Ground,
    draw_arrows,
    draw_bar,
    draw_below,
    draw_distance,
    draw_frame,
    draw_outline,
    typical_speed,
)
from physicnet.plotting.rows import Row
from physicnet.plotting.scales import Scale

COLUMNS = 4  # leads
WIDTH = 1.95  # inches of a frame
SMALL = 8.0  # points
HATCHES = "hatched: far below zero"
OUTLINES = "outlined: observed at or above the threshold"
MISSING = "grey: missing"
BEYOND = "*: beyond the leads that the model was trained for"


@dataclass(frozen=True)
class Words:
    """What stands around the frames: of the whole, of the frame at the start, of each lead, and at the foot."""

    title: str
    start: str
    leads: Sequence[str]
    foot: str


def panel_figure(rows: Sequence[Row], words: Words, ground: Ground, flow: Flow | None = None) -> Figure:
    """Draw the rows at up to four leads, evenly spread and ending with the last.

    In a column before them are the last observed frame, if it is known, and the motion that the forecast goes by, over
    that frame or else the first lead.
    """
    leads = [number - 1 for number in labels.spread(len(words.leads), COLUMNS)]
    first = int(flow is not None or any(row.start is not None for row in rows))
    count = first + len(leads)
    with drawing_style():
        size = WIDTH * count + 2.0, (WIDTH * ground.ratio + 0.12) * len(rows) + 1.25
        figure = Figure(size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05)  # type: ignore[union-attr, call-arg]
        figure.suptitle(words.title, x=0.01, ha="left", fontsize=11, weight="bold")
        grid = figure.subplots(len(rows), count, squeeze=False)
        for number, (row, line) in enumerate(zip(rows, grid, strict=True)):
            line[first].set_ylabel(row.title, fontsize=10)
            for axes, lead in zip(line[first:], leads, strict=True):
                if number == 0:
                    axes.set_title(words.leads[lead], fontsize=9)
                draw_lead(axes, row, lead, ground, key=not first and lead == leads[0])
        if first:
            _draw_start(grid[:, 0], rows, words.start, ground, flow)
        draw_distance(grid[-1, first], ground)
        draw_scales(figure, rows, grid)
        foot = "; ".join([*legends(rows), words.foot])
        figure.supxlabel(foot, x=0.01, ha="left", fontsize=SMALL)
    return figure


def draw_lead(axes: Axes, row: Row, lead: int, ground: Ground, *, key: bool) -> None:
    """Draw the frame of one lead, or say that it was not observed; with the length of a typical arrow if `key`."""
    frame = row.frames[lead]
    draw_frame(axes, frame, ground, row.scale)
    if np.isnan(frame).all():
        axes.text(0.5, 0.5, "not observed", transform=axes.transAxes, ha="center", va="center", fontsize=SMALL)
        return
    if row.events is not None:
        draw_outline(axes, row.events[lead], ground)
    if row.flows:
        draw_arrows(axes, row.flows[lead], ground, typical=row.typical, key=key)
    if row.notes:
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5}
        axes.text(0.02, 0.02, row.notes[lead], transform=axes.transAxes, fontsize=SMALL, bbox=box)


def _draw_start(column: np.ndarray, rows: Sequence[Row], title: str, ground: Ground, flow: Flow | None) -> None:
    """Draw the frame that the forecast starts from, and below it the motion; the other places stay empty."""
    seen = next((row for row in rows if row.start is not None), None)
    below = seen.start if seen is not None and seen.start is not None else rows[0].frames[0]
    if seen is not None:
        column[0].set_title(title, fontsize=9)
        draw_start(column[0], seen, ground, key=True)
    used = int(seen is not None)
    if flow is not None and used < len(column):
        _draw_flow(column[used], flow, below, rows[0].scale, ground)
        used += 1
    for axes in column[used:]:
        axes.set_axis_off()


def draw_start(axes: Axes, row: Row, ground: Ground, *, key: bool) -> None:
    """Draw the frame that the leads of a row start from, or leave its place empty; see `draw_lead`."""
    if row.start is None:
        draw_image(axes, np.zeros(ground.shape), ground.grid, alpha=0.0)
        return
    draw_frame(axes, row.start, ground, row.scale)
    if row.start_flow is not None:
        draw_arrows(axes, row.start_flow, ground, typical=row.typical, key=key)


def _draw_flow(axes: Axes, flow: Flow, frame: Frame, scale: Scale, ground: Ground) -> None:
    axes.set_ylabel("Motion", fontsize=10)
    draw_below(axes, frame, ground, scale)
    known = Flow(np.where(np.isfinite(frame), flow.vectors, np.nan), flow.units)
    draw_arrows(axes, known, ground, typical=typical_speed([known]), key=True)


def draw_scales(figure: Figure, rows: Sequence[Row], grid: np.ndarray) -> None:
    """Draw each scale once, beside the rows that share it."""
    for scale in {id(row.scale): row.scale for row in rows}.values():
        sharing = [number for number, row in enumerate(rows) if row.scale is scale]
        draw_bar(figure, scale, grid[sharing].ravel(), rows[sharing[0]].bar)


def legends(rows: Sequence[Row]) -> list[str]:
    """Return what has to be said of hatches, lines and grey, where there are any."""
    told = {
        HATCHES: any(row.scale.is_about_zero for row in rows),
        OUTLINES: any(row.events is not None for row in rows),
        MISSING: any(np.isnan(row.frames).any() for row in rows),
    }
    return [words for words, is_drawn in told.items() if is_drawn]
