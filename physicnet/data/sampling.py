"""What the stage `crops` drew, as a figure: where and when the field moves, and how often training sees it there."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter

from physicnet.clock import day_and_minute
from physicnet.data.activity import Frame
from physicnet.drawing import INK, MISSING, Grid, draw_image, drawing_style, observed_box, ramp, scale_bar
from physicnet.fields import Field, Segments

MOST_BARS = 240  # along time; of a longer record, several frames share one
SEEN = "#1c7ed6"
LINES = "#e67700"
NAMES = {"train": "training", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Movement:
    """Mean absolute change from the frame before, standard deviations; NaN where there is none."""

    of_cells: Float[np.ndarray, "h w"]  # over the training part
    of_frames: Float[np.ndarray, "n"]  # over the frame; unknown from the test part on


def movement(field: Field, splits: Mapping[str, Segments]) -> Movement:
    """Read the training and the validation part once; no pair of frames reaches across a gap."""
    change, pairs = np.zeros(field.shape[2:]), np.zeros(field.shape[2:])
    of_frames = np.full(max(stop for segments in splits.values() for _, stop in segments), np.nan)
    for part in ("train", "validation"):
        for first, stop in splits[part]:
            for index, (before, values) in enumerate(pairwise(field.each_frame(first, stop)), start=first + 1):
                frame = Frame.of(values, before)
                if frame.pairs.any():
                    of_frames[index] = frame.change.sum() / frame.pairs.sum()
                if part == "train":
                    change += frame.change
                    pairs += frame.pairs
    return Movement(np.divide(change, pairs, out=np.full_like(change, np.nan), where=pairs > 0), of_frames)


def cells_seen(boxes: pd.DataFrame, shape: tuple[int, ...]) -> Int[np.ndarray, "h w"]:
    """Count in how many boxes (row, col, height, width) each cell lies."""
    counts = np.zeros((shape[0] + 1, shape[1] + 1), np.int64)  # of the boxes' corners, then summed along both axes
    top, left, height, width = boxes[["row", "col", "height", "width"]].to_numpy(np.int64).T
    for row, col, sign in (
        (top, left, 1),
        (top + height, left, -1),
        (top, left + width, -1),
        (top + height, left + width, 1),
    ):
        np.add.at(counts, (row, col), sign)
    seen: np.ndarray = counts.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]
    return seen


def frames_seen(clips: pd.DataFrame, num_frames: int) -> Int[np.ndarray, "n"]:
    """Count in how many clips (start, frames) each frame lies."""
    ends = np.zeros(num_frames + 1, np.int64)
    np.add.at(ends, clips["start"].to_numpy(), 1)
    np.add.at(ends, (clips["start"] + clips["frames"]).to_numpy(), -1)
    seen: np.ndarray = ends.cumsum()[:-1]
    return seen


def sampling_figure(field: Field, splits: Mapping[str, Segments], table: pd.DataFrame) -> Figure:
    """Draw the training part's change per cell beside how often its views and windows show each cell; below, time.

    Args:
        field: the normalised record, which ends where the test part begins.
        splits: ranges of frames of each part.
        table: the clips, as in crops.csv.
    """
    moved = movement(field, splits)
    box = observed_box(moved.of_cells[None])
    height, width = moved.of_cells[box].shape
    training = table[table["split"] == "train"]
    with drawing_style():
        figure = Figure((10.5, 3.0 * height / width + 3.6), layout="constrained")
        upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=[3.0 * height / width + 0.7, 2.9]))
        maps = upper.subplots(1, 3)
        shares = {
            level: _share(training[training["level"] == level], field.shape[2:])[box] for level in ("global", "local")
        }
        _draw_map(maps[0], moved.of_cells[box], field, "mean change per step (std); lines: local windows")
        _draw_contours(maps[0], shares["local"])
        scale_bar(maps[0], width, Grid.of(field))
        unknown = np.isnan(moved.of_cells[box])
        for axes, level, name in zip(maps[1:], shares, ("training views", "local windows"), strict=True):
            shown = np.where(unknown, np.nan, shares[level])
            _draw_map(axes, shown, field, f"share of the {name} that show a cell (%)")
        _draw_time(lower.subplots(), field, splits, table[table["level"] == "global"], moved.of_frames)
    return figure


def _share(boxes: pd.DataFrame, shape: tuple[int, ...]) -> Float[np.ndarray, "h w"]:
    share: np.ndarray = 100 * cells_seen(boxes, shape) / len(boxes)
    return share


def _draw_map(axes: Axes, image: Float[np.ndarray, "h w"], field: Field, title: str) -> None:
    highest = float(np.nanquantile(image, 0.999)) or 1.0
    drawn = draw_image(axes, image, Grid.of(field), cmap=ramp(), vmin=0.0, vmax=highest)
    axes.set_title(title, fontsize=8.5)
    axes.figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=30, pad=0.02).outline.set_visible(False)


def _draw_contours(axes: Axes, share: Float[np.ndarray, "h w"]) -> None:
    """Draw lines where the share, smoothed a little, is a quarter, half and three quarters of its highest."""
    smooth = gaussian_filter(share, max(share.shape) / 60)
    if min(share.shape) > 1 and smooth.min() < 0.75 * smooth.max():
        levels = smooth.max() * np.array([0.25, 0.5, 0.75])
        axes.contour(smooth, levels=levels, colors=LINES, linewidths=[0.7, 1.1, 1.6])


def _draw_time(
    axes: Axes,
    field: Field,
    splits: Mapping[str, Segments],
    clips: pd.DataFrame,
    change: Float[np.ndarray, "n"],
) -> None:
    """Bars: training views that show a frame. Line: change. Behind them the parts, between them what nobody reads."""
    num_frames = len(change)
    apart = -(-num_frames // MOST_BARS)
    lefts = np.arange(0, num_frames, apart)
    seen = frames_seen(clips[clips["split"] == "train"], num_frames)
    bars = np.add.reduceat(seen, lefts) / np.diff([*lefts, num_frames])
    axes.bar(lefts, bars, width=apart, align="edge", color=SEEN, alpha=0.75, lw=0)
    axes.set(
        xlim=(0, num_frames),
        ylabel="training views of it",
        xlabel=f"frame, and its {'time' if field.sequences is None else 'sequence'}",
    )
    axes.yaxis.label.set_color(SEEN)
    for part, name in NAMES.items():
        number = int((clips["split"] == part).sum())
        _mark_part(axes, splits[part], f"{name}: {number} {'views' if part == 'train' else 'clips'}")
        if field.sequences is None:
            _mark_gaps(axes, splits[part])
        else:
            axes.axvline(splits[part][0][0], color=INK, lw=0.9)
    for before, after in pairwise(splits[part] for part in NAMES):
        axes.axvspan(before[-1][1], after[0][0], facecolor="none", edgecolor=MISSING, hatch="////", lw=0, zorder=0)
    line = axes.twinx()
    line.plot(np.arange(num_frames) + 0.5, change, color=INK, lw=1.3)
    line.set(ylabel="its mean change (std)", ylim=(0, 1.1 * np.nanmax(change) or 1.0))
    line.spines["right"].set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.xaxis.set_major_formatter(lambda frame, _: _label(int(frame), field))


def _mark_part(axes: Axes, segments: Segments, text: str) -> None:
    """Shade a part and name it above the axes."""
    first, last = segments[0][0], segments[-1][1]
    axes.axvspan(first, last, color=MISSING, alpha=0.3, lw=0, zorder=0)
    axes.annotate(text, ((first + last) / 2, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8.5)


def _mark_gaps(axes: Axes, segments: Segments) -> None:
    for start, _ in segments[1:]:
        axes.axvline(start, color=INK, lw=0.9, ls="--")


def _label(frame: int, field: Field) -> str:
    """Return the frame's number over its time, or its sequence; beyond the store, in the test part, the number."""
    if not 0 <= frame < len(field.times):
        return f"{frame}\n"
    if field.sequences is not None:
        return f"{frame}\n{field.sequences[frame]}"
    day, minute = day_and_minute(field.times[frame])
    return f"{frame}\n{day}\n{minute}" if frame == 0 else f"{frame}\n{minute}"
