"""Writes the record as a Zarr store, shard by shard; shards that an earlier run has made are not made again."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from jaxtyping import Float32, Int64

from physicnet.clock import from_milliseconds
from physicnet.config import IngestConfig, VariableConfig
from physicnet.data.budget import Budget
from physicnet.data.coarsening import coarsen
from physicnet.data.judge import Verdict
from physicnet.data.progress import followed
from physicnet.data.reading import blocks, opened, read, settings_of
from physicnet.data.sources import Source, Stamp
from physicnet.data.state import State
from physicnet.data.survey import NONE, NOT_OF_A_FILE, Refusal, check_unchanged, refusal_of
from physicnet.data.workers import Workers
from physicnet.fields import PART, SEQUENCE, DataError, Field, Part

CELLS = "_cells"  # stands for the values while the coordinates are averaged


class Run(NamedTuple):
    """Frames `start` to `stop` of a file, that follow each other in the record too, from frame `at` of a shard on."""

    at: int
    source: Source
    sha256: str
    stamp: Stamp
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Shard:
    """A file of the store: its variable, what it holds, and where that comes from. What is in no run is missing."""

    variable: VariableConfig
    part: Part
    sizes: dict[str, int]  # of a whole frame, by the names of its rows and columns
    runs: tuple[Run, ...]

    @property
    def file(self) -> Path:
        """The file in the store."""
        return Path(self.variable.channel) / self.part.file

    def recipe(self, config: IngestConfig) -> list[object]:
        """Return what decides the bytes of the file, wherever in the record it lies.

        The names of rows and columns tell whether the variable is turned: all are as the first one that a file holds,
        and which are read is not in the variable's own settings.
        """
        frames, rows = self.part.frames, self.part.rows
        settings = config.model_dump(exclude={"variables", *NOT_OF_A_FILE}) | self.variable.model_dump()
        content = [(run.at, run.sha256, run.start, run.stop) for run in self.runs]
        return [
            "shard",
            config.coarsen,
            settings,
            frames.stop - frames.start,
            rows.start,
            rows.stop,
            list(self.sizes.items()),
            content,
        ]


def write_archive(
    verdict: Verdict, config: IngestConfig, store: Path, *, budget: Budget, state: State, workers: Workers
) -> tuple[set[str], list[Refusal]]:
    """Write the record to `store`; return the keys of its shards in the state, and the files that could not be read.

    If there are such files, the store is not complete: judge again without them, and write again.
    """
    field = template(verdict, config)
    field.create(store)
    keys = {shard: state.key(*shard.recipe(config)) for shard in plan(verdict, field, config)}
    missing = [shard for shard, key in keys.items() if not state.lend(key, store / shard.file)]
    write = partial(write_shard, store=store.resolve(), config=config, budget=budget)
    broken = []
    for shard, refusal in followed(workers.each(write, missing), len(missing), "writing the record"):
        if refusal is not None:
            broken.append(refusal)
        elif (store / shard.file).exists():  # Zarr writes nothing where all is missing
            state.keep_file(keys[shard], store / shard.file)
    return set(keys.values()), broken


def template(verdict: Verdict, config: IngestConfig) -> Field:
    """Return the record with its coordinates and attributes, but without values.

    Each variable has the attributes of the first file that gives it, the others those of the first file.

    Raises:
        DataError: if no file gives one of the variables, or one is called as a coordinate or dimension of the record.
    """
    first, grid = verdict.surveys[0].header, verdict.grid
    _check_names(verdict, config)
    fine = grid.coordinates.drop_attrs(deep=False).assign({CELLS: (grid.dims, da.zeros(grid.shape))})
    coordinates = coarsen(fine, grid.dims, config.coarsen).drop_vars(CELLS)
    times = (first.time_dim, from_milliseconds(verdict.times, verdict.calendar), first.time_attributes)
    shape = (len(verdict.times), *(size // config.coarsen for size in grid.shape))
    values = da.zeros(shape, dtype=np.float32, chunks=shape)  # never computed
    arrays = {}
    for variable in config.variables:
        header = verdict.header_of(variable.channel)
        if header is None:
            raise DataError(f"no file gives {variable.channel}; add files or take it out of ingest.variables")
        arrays[variable.channel] = xr.DataArray(
            values,
            dims=(first.time_dim, *grid.dims),
            attrs=header.variables[variable.channel] | variable.valid_range,
        )
        arrays[variable.channel].encoding = {"grid_mapping": header.grid_mappings.get(variable.channel)}
    told = {name: verdict.of_frames(name) for name in (SEQUENCE, PART)}
    labels = {name: (first.time_dim, values) for name, values in told.items() if (values != NONE).any()}
    dataset = xr.Dataset(arrays, coordinates.coords, first.attributes)
    return Field(dataset.assign_coords({first.time_dim: times, **labels}))


def _check_names(verdict: Verdict, config: IngestConfig) -> None:
    """Check here what no file alone shows: that a variable of one is called as a coordinate of another."""
    first = verdict.surveys[0]
    taken = {SEQUENCE, PART, first.header.time_dim, *first.grid.dims, *map(str, first.grid.coordinates.coords)}
    for variable in config.variables:
        if variable.channel in taken:
            raise DataError(
                f"{variable.channel} is a channel of ingest.variables, and a coordinate or dimension of the record, "
                f"which has those of {first.source.name}; set channel to another name for the variable {variable.name}"
            )


def plan(verdict: Verdict, field: Field, config: IngestConfig) -> Iterator[Shard]:
    """Give the shards of the store."""
    sizes = dict(zip(verdict.grid.dims, field.shape[2:], strict=True))
    for name in field.variables:
        origins = verdict.origins(name)
        for part in field.shards():
            runs = tuple(_runs(verdict, origins[part.frames]))
            yield Shard(settings_of(config, name), part, sizes, runs)


def _runs(verdict: Verdict, origins: Int64[np.ndarray, "t 2"]) -> Iterator[Run]:
    follows = (np.diff(origins[:, 0]) == 0) & (np.diff(origins[:, 1]) == 1)
    for run in np.split(np.arange(len(origins)), np.flatnonzero(~follows) + 1):
        file, first = origins[run[0]].tolist()
        if file >= 0:
            survey = verdict.surveys[file]
            yield Run(int(run[0]), survey.source, survey.sha256, survey.stamp, first, first + len(run))


def write_shard(shard: Shard, *, store: Path, config: IngestConfig, budget: Budget) -> Refusal | None:
    """Write one shard into the store; return the file that could not be read, if there is one."""
    values = read_shard(shard, config, budget)
    if isinstance(values, Refusal):
        return values
    zarr.open_array(store / shard.variable.channel, mode="r+")[shard.part.frames, shard.part.rows] = values
    return None


def read_shard(shard: Shard, config: IngestConfig, budget: Budget) -> Float32[np.ndarray, "t h w"] | Refusal:
    """Return the values of one shard, or the file that could not be read."""
    frames, rows = shard.part.frames, shard.part.rows
    _, width = shard.sizes.values()
    values = np.full((frames.stop - frames.start, rows.stop - rows.start, width), np.nan, np.float32)
    for run in shard.runs:
        try:
            with opened(run.source, config) as dataset:
                _fill(values, dataset[shard.variable.channel], run, shard, config.coarsen, budget)
            check_unchanged(run.source, run.stamp)
        except Exception as error:  # any, as in the survey: the file was readable then
            return refusal_of(run.source, error, run.sha256)
    return values


def _fill(
    values: Float32[np.ndarray, "t h w"], array: xr.DataArray, run: Run, shard: Shard, factor: int, budget: Budget
) -> None:
    """Put the frames of a run into the values of a shard, block by block."""
    rows = shard.part.rows
    _, row, column = array.dims
    for span, _ in blocks(array, budget):
        start, stop = max(span.start, run.start), min(span.stop, run.stop)
        if start >= stop:
            continue
        height = max(1, budget.block // (8 * (stop - start) * array.shape[2] * factor))
        for top in range(rows.start, rows.stop, height):
            bottom = min(top + height, rows.stop)
            block, _ = read(array, slice(start, stop), slice(top * factor, bottom * factor), shard.variable, budget)
            at = run.at + start - run.start
            values[at : at + stop - start, top - rows.start : bottom - rows.start] = coarsen(
                block.reset_coords(drop=True), (str(row), str(column)), factor
            )
