"""What normalisation needs to know of the training part, in one pass over it, in bounded memory.

The grid is cut into the tiles that the record's chunks are; each is gone through from the first frame to the last, a
block of frames at a time, and added to sums per cell. From these alone follow the cycles, and mean and deviation of
what the cycles leave: nothing is read twice. Tiles and blocks are the same on any machine and under any limit of
memory, and so is the result, to the last bit. As many tiles as memory allows go through dask's threads at once; where
there is a cluster, its workers share them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import dask
import numpy as np
from jaxtyping import Float32, Float64
from scipy import ndimage

from physicnet.calendar import Times, date_number, hour_of_day, month
from physicnet.config import AnomalyConfig, NormalizeConfig
from physicnet.cycles import DAYS_FOR_HOURS, HOURS, Cycles, groups
from physicnet.data.budget import COPIES, SMALLEST, Budget
from physicnet.data.moments import PerCell, Sums, sizes, solve
from physicnet.data.progress import followed
from physicnet.data.workers import Workers
from physicnet.fields import DataError, Field, Segments
from physicnet.normalization import VALID, Normalizer, Standardization, check_domain
from physicnet.transforms import Transform, transform_from_dict

# A cell that hardly varies in training may vary later: its deviation counts as at least this share of the typical one.
SMALLEST_SHARE = 0.1
SUMS_COPIES = 4  # what the sums of a tile cost for each of their bytes, solving included
MAP_COPIES = 3  # what a map of all cells costs for each of its bytes: as found, completed, as written

Map = Float32[np.ndarray, "m h w"]


class Tile(NamedTuple):
    """A window of the grid."""

    rows: slice
    columns: slice


@dataclass(frozen=True, eq=False)
class Recipe:
    """How one variable is summed up."""

    variable: str
    transforms: tuple[Transform, ...]
    anomaly: AnomalyConfig | None
    per_cell: bool
    segments: Segments

    @classmethod
    def of(cls, variable: str, segments: Segments, config: NormalizeConfig) -> "Recipe":
        """Read what the parameters say of a variable."""
        steps = config.transforms[variable]
        return cls(
            variable,
            tuple(transform_from_dict(step.model_dump()) for step in steps if not isinstance(step, AnomalyConfig)),
            next((step for step in steps if isinstance(step, AnomalyConfig)), None),
            config.standardize[variable] == "per_cell",
            segments,
        )

    @property
    def num_groups(self) -> int:
        """Hours that are told apart."""
        return HOURS if self.anomaly and self.anomaly.hour_of_day else 1

    @property
    def num_harmonics(self) -> int:
        """Harmonics of the year."""
        return self.anomaly.harmonics if self.anomaly else 0

    @property
    def maps(self) -> dict[str, int]:
        """What is kept of every cell, and how many numbers of each."""
        cycles = {"hourly": self.num_groups, "yearly": 2 * self.num_harmonics} if self.anomaly else {}
        return cycles | ({"mean": 1, "std": 1} if self.per_cell else {})


@dataclass(frozen=True, eq=False)
class Summary:
    """Moments of the known cells of a tile, and the maps of the recipe; NaN where a cell is not known."""

    number: float  # of values
    mean: float
    square: float  # sum of squared deviations from the mean
    within: float  # sum of squared deviations from each cell's own mean
    maps: dict[str, Map]


def fit(field: Field, segments: Segments, config: NormalizeConfig, *, budget: Budget, workers: Workers) -> Normalizer:
    """Fit the normalisation of each variable over the frames of `segments`; missing values are left out.

    Raises:
        DataError: if a variable is constant, wholly missing or not finite there, holds values that its transforms do
            not take, the frames are too few for the cycles asked for, or the budget is for the sums of a tile.
    """
    recipes = (Recipe.of(name, segments, config) for name in field.variables)
    return Normalizer(tuple(_fit_variable(field, recipe, budget, workers) for recipe in recipes))


def _fit_variable(field: Field, recipe: Recipe, budget: Budget, workers: Workers) -> Standardization:
    times = np.concatenate([field.times[start:stop] for start, stop in recipe.segments])
    if recipe.anomaly:
        _refuse_sequences(field, recipe.variable)
        _check_cycles(recipe.variable, times, recipe.anomaly)
    found = _combined(field, recipe, _summaries(field, recipe, budget, workers))
    if not found.number:
        where = " in all twelve months" if recipe.num_harmonics else ""
        raise DataError(
            f"variable {recipe.variable}: no cell was observed{where} in the training part; add data, or raise "
            "normalize.train_fraction"
        )
    maps = {name: _completed(cells) for name, cells in found.maps.items()}
    cycles = None
    if recipe.anomaly:
        known = np.isin(np.arange(recipe.num_groups), groups(times, recipe.num_groups))
        cycles = Cycles(maps["hourly"], maps["yearly"], known)
    mean, std = found.mean, np.sqrt(found.square / found.number)
    if recipe.per_cell:
        typical = np.float32(np.sqrt(found.within / found.number))
        mean, std = maps["mean"][0], np.maximum(maps["std"][0], np.float32(SMALLEST_SHARE) * typical)
    attributes = field.dataset[recipe.variable].attrs
    valid = {bound: attributes[bound] for bound in VALID if bound in attributes}
    return Standardization(recipe.variable, recipe.transforms, mean, std, cycles, **valid)


def _refuse_sequences(field: Field, variable: str) -> None:
    if field.sequences is not None:
        raise DataError(
            f"variable {variable}: the record is of separate sequences, whose times are counted and of no day or year; "
            "take the anomaly out of normalize.transforms"
        )


def _check_cycles(name: str, times: Times, anomaly: AnomalyConfig) -> None:
    """Check that the training part knows the day and the year that it shall tell of."""
    if anomaly.hour_of_day:
        seen = np.unique(np.stack([hour_of_day(times), date_number(times)]), axis=1)[0]
        hours, days = np.unique(seen, return_counts=True)
        if days.min() < DAYS_FOR_HOURS:
            raise DataError(
                f"variable {name}: the training part has the hour {hours[days.argmin()]} UTC on {days.min()} days, but "
                f"an anomaly against the hour of the day needs {DAYS_FOR_HOURS}: add data, raise "
                "normalize.train_fraction, or set hour_of_day: false in normalize.transforms"
            )
    absent = sorted(set(range(1, 13)) - set(month(times).tolist()))
    if anomaly.harmonics and absent:
        raise DataError(
            f"variable {name}: the training part has no frame in the months {absent}, but an anomaly against the day "
            "of the year needs all twelve: add data, raise normalize.train_fraction, or set harmonics: 0 in "
            "normalize.transforms"
        )


def _summaries(
    field: Field, recipe: Recipe, budget: Budget, workers: Workers
) -> Iterator[tuple[list[Tile], list[Summary]]]:
    """Sum up all tiles, as many at once as the budget allows; the batches come in any order."""
    tiles = list(tiles_of(field))
    largest = max((tile.rows.stop - tile.rows.start) * (tile.columns.stop - tile.columns.start) for tile in tiles)
    sums = 8 * largest * (1 + sum(sizes(recipe.num_groups, recipe.num_harmonics)))
    kept = MAP_COPIES * 4 * sum(recipe.maps.values()) * field.shape[2] * field.shape[3]
    what = f"the normalisation of {recipe.variable}"
    threads = budget.threads_for(COPIES * SMALLEST + SUMS_COPIES * sums, kept, what)
    batches = [tiles[first : first + threads] for first in range(0, len(tiles), threads)]
    work = partial(sum_up, field=field, recipe=recipe, threads=threads)
    return followed(workers.each(work, batches), len(batches), f"summing up {recipe.variable}")


def tiles_of(field: Field) -> Iterator[Tile]:
    """Give the windows that one chunk of each frame covers."""
    (height, width), (rows, columns) = field.shape[2:], field.chunk_shape
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield Tile(slice(top, min(top + rows, height)), slice(left, min(left + columns, width)))


def sum_up(tiles: list[Tile], *, field: Field, recipe: Recipe, threads: int) -> list[Summary]:
    """Sum up some tiles, each in a thread."""
    tasks = [dask.delayed(partial(summary_of, tile, field, recipe), pure=False)() for tile in tiles]  # type: ignore[attr-defined]
    return list(dask.compute(*tasks, scheduler="threads", num_workers=threads))  # type: ignore[attr-defined, no-untyped-call]


def summary_of(tile: Tile, field: Field, recipe: Recipe) -> Summary:
    """Go through the frames of a tile.

    Raises:
        DataError: if a value is not of the domain of the transforms.
    """
    shape = (tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start)
    sums = Sums.none(shape[0] * shape[1], recipe.num_groups, recipe.num_harmonics)
    for times, values in _blocks(field, recipe, tile):
        check_domain(recipe.variable, recipe.transforms, values, times, corner=(tile.rows.start, tile.columns.start))
        for transform in recipe.transforms:
            values = transform.forward(values)
        sums.add(values.reshape(len(times), -1), times)
    found = solve(sums, cycles=recipe.anomaly is not None)
    cells = {
        "hourly": found.hourly,
        "yearly": found.yearly,
        "mean": found.mean[None],
        "std": np.sqrt(found.variance)[None],
    }
    return _summary(found, {name: cells[name].reshape(-1, *shape).astype(np.float32) for name in recipe.maps})


def _blocks(field: Field, recipe: Recipe, tile: Tile) -> Iterator[tuple[Times, Float64[np.ndarray, "t h w"]]]:
    """Read the frames of the training part in a tile, a block at a time, in double precision."""
    rows, columns = field.spatial_dims
    array = field.dataset[recipe.variable].isel({rows: tile.rows, columns: tile.columns})
    size = max(1, SMALLEST // (8 * array[0].size))
    for start, stop in recipe.segments:
        for first in range(start, stop, size):
            frames = slice(first, min(first + size, stop))
            yield field.times[frames], array.isel({field.time_dim: frames}).values.astype(np.float64)


def _summary(found: PerCell, maps: dict[str, Map]) -> Summary:
    number = np.nansum(found.count)
    mean = np.nansum(found.count * found.mean) / max(number, 1.0)
    within = np.nansum(found.count * found.variance)
    square = within + np.nansum(found.count * (found.mean - mean) ** 2)
    return Summary(float(number), float(mean), float(square), float(within), maps)


def _combined(field: Field, recipe: Recipe, batches: Iterator[tuple[list[Tile], list[Summary]]]) -> Summary:
    """Put the tiles together: the maps on the whole grid, the moments as those of one set (Chan et al. 1983)."""
    maps = {name: np.empty((size, *field.shape[2:]), np.float32) for name, size in recipe.maps.items()}
    moments = {}
    for tiles, summaries in batches:
        for tile, summary in zip(tiles, summaries, strict=True):
            moments[tile.rows.start, tile.columns.start] = summary.number, summary.mean, summary.square, summary.within
            for name, cells in summary.maps.items():
                maps[name][:, tile.rows, tile.columns] = cells
    number, mean, square, within = np.array([moments[corner] for corner in sorted(moments)]).T
    total = number.sum()
    overall = (number * mean).sum() / max(total, 1.0)
    square = square.sum() + (number * (mean - overall) ** 2).sum()
    return Summary(float(total), float(overall), float(square), float(within.sum()), maps)


def _completed(cells: Map) -> Map:
    """Give a cell that is not known the values of the nearest known one."""
    unknown = np.isnan(cells).any(axis=0)
    rows, columns = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return cells[:, rows, columns]
