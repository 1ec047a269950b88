"""Stage 3: the table of clips, global views and local windows, drawn where the field moves.

A clip is `clip.frames` consecutive frames. Its global view is one window through all of them, and so are its local
windows, which lie inside the view. Training views are drawn from all clips and all positions; in validation and test
the view is the whole frame.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64

from physicnet.config import ClipConfig, CropsConfig
from physicnet.data.activity import Activity, ActivityReader
from physicnet.data.sampling import sampling_figure
from physicnet.drawing import save
from physicnet.fields import DataError, Field, Segments, written_whole

COLUMNS = ["clip", "split", "start", "frames", "level", "row", "col", "height", "width"]


@dataclass(frozen=True)
class Box:
    """A window in cells of the whole frame."""

    row: int
    col: int
    height: int
    width: int


@dataclass(frozen=True)
class Clip:
    """A row of level `global` (the view) and the rows of level `local` that belong to it."""

    split: str
    start: int
    view: Box
    windows: tuple[Box, ...] = ()


def draw_crops(
    config: CropsConfig, clip: ClipConfig, *, normalized: Path, statistics: Path, crops: Path, figure: Path
) -> None:
    """Write the table of clips and a figure of it; equal data, parameters and seed give equal bytes.

    Raises:
        DataError: if the grid is smaller than a local window, or no training view is covered enough.
    """
    field = Field.open(normalized)
    splits: dict[str, Segments] = json.loads(statistics.read_text(encoding="utf-8"))["splits"]
    height, width = field.shape[2:]
    if min(height, width) < config.window:
        raise DataError(
            f"{normalized} has a grid of {height} x {width} cells, smaller than a local window of {config.window}: "
            "lower crops.window or ingest.coarsen"
        )
    table = crop_table(field, splits, config, clip)
    with written_whole(crops) as file, written_whole(figure) as picture:
        table.to_csv(file, index=False, lineterminator="\n")
        save(sampling_figure(field, splits, table), picture)


def crop_table(field: Field, splits: Mapping[str, Segments], config: CropsConfig, clip: ClipConfig) -> pd.DataFrame:
    """Return the table of clips of a normalised record; a part of the split may be empty.

    Raises:
        DataError: if no training view is covered enough.
    """
    drawer = Drawer(config, clip.frames, ActivityReader(field, clip.frames), np.random.default_rng(config.seed))
    whole = Box(0, 0, *field.shape[2:])
    tested = (Clip("test", start, whole) for start in starts(splits["test"], clip.frames, config.stride))
    clips = chain(drawer.training(splits["train"]), drawer.validation(splits["validation"], whole), tested)
    rows = [row for index, drawn in enumerate(clips) for row in _rows(index, drawn, clip.frames)]
    return pd.DataFrame(rows, columns=COLUMNS)


def starts(segments: Segments, frames: int, stride: int = 1) -> list[int]:
    """Return the first frames of clips of `frames` frames that lie inside one segment.

    The first begins with its segment, each other `stride` frames after the one before: so separate sequences all give
    as many, from the same places.
    """
    return [start for first, stop in segments for start in range(first, stop - frames + 1, stride)]


def _rows(index: int, clip: Clip, frames: int) -> list[tuple[int | str, ...]]:
    boxes = [("global", clip.view), *(("local", window) for window in clip.windows)]
    return [(index, clip.split, clip.start, frames, level, b.row, b.col, b.height, b.width) for level, b in boxes]


@dataclass(frozen=True)
class Drawer:
    """Draws views and local windows by their importance, a share of them evenly, and none with too little coverage.

    Importance is activity^activity_exponent times coverage^coverage_exponent.
    """

    config: CropsConfig
    frames: int
    activity: ActivityReader
    rng: np.random.Generator

    def training(self, segments: Segments) -> Iterator[Clip]:
        """Draw `train_clips` views, with replacement, from all clips and positions.

        First each clip's total decides how often it is drawn, then its map decides where: the probabilities are those
        of one draw from all windows at once, but only one clip's map is in memory.

        Raises:
            DataError: if no view reaches `min_coverage`.
        """
        candidates = starts(segments, self.frames)
        totals, best = self._totals(candidates)
        if not totals[:, 1].any():
            raise DataError(
                f"no training view of {self.config.view} cells has crops.min_coverage = {self.config.min_coverage} of "
                f"its values; the best has {best:.3f}: lower crops.min_coverage or crops.view"
            )
        grand = totals.sum(axis=0)
        counts = self.rng.multinomial(
            self.config.train_clips, _normalized(self._weights(totals[:, 0], totals[:, 1], grand))
        )
        for start, count in zip(candidates, counts, strict=True):
            if count:
                yield from self._views(start, int(count), grand)

    def validation(self, segments: Segments, whole: Box) -> Iterator[Clip]:
        """Give the clips that start every `stride` frames, seen as a whole, with local windows drawn inside."""
        for start in starts(segments, self.frames, self.config.stride):
            yield Clip("validation", start, whole, self._windows(self.activity.read(start), whole))

    def _totals(self, candidates: list[int]) -> tuple[Float64[np.ndarray, "clips 2"], float]:
        """Return each clip's sum of importance over its covered views and their number, and the best coverage."""
        totals, best = np.zeros((len(candidates), 2)), 0.0
        for index, start in enumerate(candidates):
            activity, coverage = self.activity.read(start).of_windows(self.config.view)
            covered = coverage >= self.config.min_coverage
            totals[index] = self._importance(activity, coverage)[covered].sum(), covered.sum()
            best = max(best, float(coverage.max()))
        return totals, best

    def _views(self, start: int, count: int, grand: Float64[np.ndarray, "2"]) -> Iterator[Clip]:
        """Draw `count` views of the clip at `start`, each with its local windows."""
        cells = self.activity.read(start)
        activity, coverage = cells.of_windows(self.config.view)
        covered = coverage >= self.config.min_coverage
        weights = self._weights(self._importance(activity, coverage), covered, grand)
        height, width = (min(self.config.view, size) for size in cells.shape)
        for row, col in self._positions(weights, count):
            view = Box(row, col, height, width)
            yield Clip("train", start, view, self._windows(cells, view))

    def _windows(self, cells: Activity, view: Box) -> tuple[Box, ...]:
        """Draw local windows inside the view; where none reaches `min_coverage`, among those covered best."""
        size = self.config.window
        inside = cells.inside(view.row, view.col, view.height, view.width)
        activity, coverage = inside.of_windows(size)
        covered = coverage >= min(self.config.min_coverage, coverage.max())
        importance = self._importance(activity, coverage)
        grand = np.array([importance[covered].sum(), covered.sum()])
        positions = self._positions(self._weights(importance, covered, grand), self.config.windows_per_clip)
        return tuple(Box(view.row + row, view.col + col, size, size) for row, col in positions)

    def _importance(
        self, activity: Float64[np.ndarray, "p q"], coverage: Float64[np.ndarray, "p q"]
    ) -> Float64[np.ndarray, "p q"]:
        return activity**self.config.activity_exponent * coverage**self.config.coverage_exponent

    def _weights(
        self,
        importance: Float64[np.ndarray, "*n"],
        covered: Float64[np.ndarray, "*n"] | Bool[np.ndarray, "*n"],
        grand: Float64[np.ndarray, "2"],
    ) -> Float64[np.ndarray, "*n"]:
        """Return the probability of windows whose `importance` and number or presence, `covered`, sum up to `grand`."""
        even: np.ndarray = covered / grand[1]
        if grand[0] == 0:  # nothing moves anywhere
            return even
        floor = self.config.activity_floor
        moving: np.ndarray = np.where(covered > 0, importance, 0.0) / grand[0]
        return floor * even + (1 - floor) * moving

    def _positions(self, weights: Float64[np.ndarray, "h w"], count: int) -> list[tuple[int, int]]:
        chosen = self.rng.choice(weights.size, size=count, p=_normalized(weights.ravel()))
        rows, cols = np.unravel_index(chosen, weights.shape)
        return list(zip(rows.tolist(), cols.tolist(), strict=True))


def _normalized(weights: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    shares: np.ndarray = weights / weights.sum()
    return shares
