"""The frames that a forecast is made from: out of files or a dataset, by the ingest rules that a checkpoint carries."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import xarray as xr

from physicnet.clock import calendar_of, is_clock, to_milliseconds
from physicnet.config import IngestConfig, VariableConfig
from physicnet.data.archive import template
from physicnet.data.judge import Verdict
from physicnet.data.recent import Last, found, judged, moment, named, read_stretch
from physicnet.data.sources import Source
from physicnet.data.spacing import compare_spacing, spacing_of
from physicnet.data.state import State
from physicnet.data.units import understood
from physicnet.fields import DataError, Field
from physicnet.forecasting.kind import Kind
from physicnet.forecasting.regridding import interpolated, whole_cells

ALL = "*.nc"  # the files of a folder
Observations = xr.Dataset | str | Path | Sequence[str | Path]  # or files: one, or several


@dataclass(frozen=True)
class Reader:
    """Reads the frames that a model needs.

    `rules` are those of ingest that the checkpoint carries, `kind` is what frames must be like.
    """

    rules: Mapping[str, Any]
    kind: Kind

    def read(self, observations: Observations, at: str | None, *, regrid: bool) -> tuple[Field, list[str]]:
        """Return the last frames that the model needs, or the last up to the time `at`, as the model takes them.

        Beside them, what was done to their grid beyond the rules, a line each; nothing is unless `regrid`.

        Raises:
            DataError: if files or dataset cannot be used, or a frame that is needed is not there.
        """
        with self._sources(observations, at) as (sources, config):
            return self.last(judged(sources, config), config, at, regrid=regrid)

    def archive(self, files: Sequence[Path], state: State) -> tuple[Verdict, IngestConfig]:
        """Look through the files of an archive for `last`, which reads frames of it; what `state` knows, it is told.

        Raises:
            DataError: if files cannot be used.
        """
        config = IngestConfig.of_rules(self.rules, _memory())
        return judged(found(files, ALL), config, state=state), config

    def last(self, verdict: Verdict, config: IngestConfig, at: str | None, *, regrid: bool) -> tuple[Field, list[str]]:
        """Return the last frames of files that were looked through; see `read`."""
        last = Last(self.kind.frames_in, self.kind.step, at)
        part = verdict.within(*last.ends(verdict))
        fitting, notes = self._coarsened(part, config, regrid=regrid)
        past = read_stretch(part, fitting, last)
        if fitting.coarsen > 1:
            past = _averaged(past)
        if regrid and compare_spacing(spacing_of(past), self.kind.grid).differences:
            past, note = interpolated(past, self.kind.grid)
            notes.append(note)
        for dim in [past.spatial_dims[axis] for axis in self.kind.turned(past)] if regrid else []:
            past = Field(past.dataset.isel({dim: slice(None, None, -1)}))
            notes.append(f"{dim} was turned round")
        return past, notes

    @contextmanager
    def _sources(self, observations: Observations, at: str | None) -> Iterator[tuple[list[Source], IngestConfig]]:
        config = IngestConfig.of_rules(self.rules, _memory())
        if not isinstance(observations, xr.Dataset):
            files = [observations] if isinstance(observations, str | Path) else observations
            yield named([Path(file) for file in files]), config
            return
        with TemporaryDirectory() as folder:
            path = Path(folder).resolve() / "dataset.nc"
            _store(self._recent(observations, at), path)
            yield [Source("the dataset", path, path.parent)], _names_of(observations, config)

    def _recent(self, dataset: xr.Dataset, at: str | None) -> xr.Dataset:
        """Leave out of a dataset, which may be a long record, the frames that cannot be needed."""
        axes = [coord for coord in dataset.coords.values() if coord.dims == (coord.name,) and is_clock(coord.values)]
        if len(axes) != 1:
            return dataset
        times = to_milliseconds(axes[0].values)
        end = int(times.max()) if at is None else moment(at, calendar_of(axes[0].values))
        reach = self.kind.frames_in * int(self.kind.step / np.timedelta64(1, "ms"))
        near = (times >= end - reach) & (times <= end)
        return dataset.isel({axes[0].name: near}) if near.any() else dataset

    def _coarsened(self, verdict: Verdict, config: IngestConfig, *, regrid: bool) -> tuple[IngestConfig, list[str]]:
        """Return the rules with the number of cells that make one of the model's: what was averaged before stays."""
        differences = {}
        for cells in (config.coarsen, 1):
            fitting = config.model_copy(update={"coarsen": cells})
            differences[cells] = compare_spacing(spacing_of(template(verdict, fitting)), self.kind.grid).differences
            if not differences[cells]:
                return fitting, []
        if not regrid:
            raise DataError(
                "the grid of the observations (here) is not like the one that the model was trained on (there): "
                f"{'; '.join(differences[config.coarsen])}; ask to regrid them (--regrid), or give others"
            )
        single = config.model_copy(update={"coarsen": 1})
        cells = whole_cells(spacing_of(template(verdict, single)), self.kind.grid)
        if cells == 1:
            return single, []
        return config.model_copy(update={"coarsen": cells}), [f"{cells} x {cells} cells were averaged into one"]


def _averaged(past: Field) -> Field:
    """Say of each variable that its values are means over cells."""
    told = {name: str(past.dataset[name].attrs.get("cell_methods", "")) for name in past.variables}
    means = {
        name: past.dataset[name].assign_attrs(cell_methods=f"{methods} area: mean".strip())
        for name, methods in told.items()
        if "area:" not in methods
    }
    return Field(past.dataset.assign(means))


def _memory() -> str:
    """What reading may take: all that is free beside what the process has."""
    free = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    return f"{free // 2**20} MiB"


def _store(dataset: xr.Dataset, path: Path) -> None:
    links = {name: array.encoding["grid_mapping"] for name, array in dataset.data_vars.items() if _linked(array)}
    bare = dataset.drop_encoding()
    for name, link in links.items():
        bare[name].attrs["grid_mapping"] = link
    try:
        bare.to_netcdf(path, engine="netcdf4")
    except (ValueError, TypeError, NotImplementedError) as error:
        raise DataError(
            f"the dataset cannot be read as a NetCDF file can ({error}); leave out what such files do not hold"
        ) from error


def _linked(array: xr.DataArray) -> bool:
    return "grid_mapping" in array.encoding


def _names_of(dataset: xr.Dataset, config: IngestConfig) -> IngestConfig:
    """Return the rules for a dataset in memory: variables may be called as in the files or by their channels."""
    variables = [_name_of(dataset, variable).model_dump() for variable in config.variables]
    return IngestConfig.model_validate(config.model_dump() | {"variables": variables, "time_from_name": None})


def _name_of(dataset: xr.Dataset, variable: VariableConfig) -> VariableConfig:
    """Return how to read a variable: file_units and select hold for files that lack units, and have such dimensions."""
    last = variable.name.rsplit("/", 1)[-1]
    name = next((name for name in (last, variable.channel) if name in dataset.data_vars), last)
    if name not in dataset.data_vars:
        return variable
    array = dataset[name]
    select = {dim: value for dim, value in variable.select.items() if dim in array.dims}
    told = understood(array.attrs.get("units")) is not None
    changes = {"name": name, "select": select, "file_units": None if told else variable.file_units}
    return variable.model_copy(update=changes)
