"""Looks at files that are not in the archive: what ingest would do with them, and which parameters would suit them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import xarray as xr
import yaml
from cf_units import Unit

from physicnet.config import ClipConfig, IngestConfig, VariableConfig
from physicnet.data.budget import Budget
from physicnet.data.catalogue import Catalogue
from physicnet.data.ingest import survey_all
from physicnet.data.judge import judge
from physicnet.data.sources import Source, find_sources, in_order
from physicnet.data.workers import Here
from physicnet.fields import DataError

RATES = (Unit("mm h-1"), Unit("kg m-2 s-1"))  # of rain; their transform is that of decision 8


@dataclass(frozen=True, eq=False)
class Inspection:
    """The catalogue of the files; the variables that they were read with and whether those are the parameters' own."""

    catalogue: Catalogue
    variables: tuple[VariableConfig, ...]
    as_in_params: bool


def inspect(config: IngestConfig, clip: ClipConfig, paths: Sequence[Path]) -> Inspection:
    """Look through files, and folders for what matches `config.pattern`, as ingest would; write nothing.

    If no file has any of the parameters' variables, those that the files have are taken instead.

    Raises:
        DataError: if a path does not exist, or a folder holds no file that matches.
    """
    sources = in_order(source for path in paths for source in _sources(path, config.pattern))
    found = {variable.name: variable for source in sources for variable in discover(source.path)}
    ours = not found or any(variable.name in found for variable in config.variables)
    settings = config if ours else config.model_copy(update={"variables": list(found.values())})
    budget = Budget.within(config.memory_bytes)
    surveys = survey_all(sources, settings, budget=budget, state=None, workers=Here())
    catalogue = Catalogue.of(judge(settings, surveys), settings, clip.frames)
    return Inspection(catalogue, tuple(found.values()), ours)


def _sources(path: Path, pattern: str) -> list[Source]:
    if path.is_dir():
        return [Source(str(path / source.name), source.path, source.root) for source in find_sources(path, pattern)]
    if not path.exists():
        raise DataError(f"{path} does not exist; name files or folders")
    return [Source(str(path), path.resolve(), path.resolve().parent)]


def discover(path: Path) -> list[VariableConfig]:
    """Return the variables of a file that may be fields: numbers on at least two dimensions that are no mere formality.

    Nothing is returned for a file that cannot be opened: the catalogue says why.
    """
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False, decode_coords="all") as dataset:
            return [
                VariableConfig(name=str(name), units=str(array.attrs.get("units", "1")), valid_min=None, valid_max=None)
                for name, array in dataset.data_vars.items()
                if array.dtype.kind in "iuf" and sum(size > 1 for size in array.shape) >= 2
            ]
    except (OSError, ValueError, RuntimeError):
        return []


def suggestion(inspection: Inspection) -> str:
    """Return the sections of params.yaml that suit the variables that the files have, as YAML."""
    names = [variable.name for variable in inspection.variables]
    transforms = {
        variable.name: transform_for(variable.units, min(_ends(inspection.catalogue, variable.name), default=-inf))
        for variable in inspection.variables
    }
    sections = {
        "ingest": {"variables": [variable.model_dump() for variable in inspection.variables], "coarsen": 1},
        "normalize": {"transforms": transforms},
        "evaluate": {"thresholds": {name: _middle(inspection.catalogue, name) for name in names}},
    }
    return yaml.safe_dump(sections, sort_keys=False, default_flow_style=None, width=110)


def transform_for(units: str, lowest: float) -> dict[str, object]:
    """Return the transform of a variable: a power for rain rates that are never negative, else none."""
    try:
        unit = Unit(units)
    except ValueError:
        return {"kind": "identity"}
    if lowest >= 0 and any(unit.is_convertible(rate) for rate in RATES):
        return {"kind": "power", "exponent": 0.7}
    return {"kind": "identity"}


def _ends(catalogue: Catalogue, variable: str) -> list[float]:
    """The least and the greatest value of each frame."""
    frames = catalogue.frames[catalogue.frames["variable"] == variable]
    return [float(value) for column in ("min", "max") for value in frames[column].dropna()]


def _middle(catalogue: Catalogue, variable: str) -> list[float]:
    """An event that happens in the files and is no constant; which ones matter only the user knows."""
    values = _ends(catalogue, variable)
    return [float(f"{(min(values) + max(values)) / 2:.3g}")] if values else []
