"""Looks at files that are not in the archive: what ingest would do with them, and which parameters would suit them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import yaml
from cf_units import Unit

from physicnet.config import ClipConfig, IngestConfig, VariableConfig
from physicnet.data.budget import Budget
from physicnet.data.catalogue import Catalogue
from physicnet.data.ingest import survey_all
from physicnet.data.judge import judge
from physicnet.data.opening import Declared, declarations
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
        declared = declarations(path).variables
    except DataError:
        return []
    described = {name for variable in declared.values() for name in _described_by(variable)}
    return [
        _settings(variable)
        for variable in declared.values()
        if variable.content == "numbers"
        and sum(size > 1 for size in variable.sizes) >= 2
        and variable.name not in described
    ]


def _described_by(variable: Declared) -> list[str]:
    """The names of what belongs to a variable: its coordinates, and the bounds of its cells."""
    links = (variable.attributes.get(link, "") for link in ("coordinates", "bounds", "climatology"))
    return [name for link in links if isinstance(link, str) for name in link.split()]


def _settings(variable: Declared) -> VariableConfig:
    units = variable.attributes.get("units")
    return VariableConfig.model_validate(
        {
            "name": variable.path,
            "channel": None,
            "units": units if isinstance(units, str) else "1",
            "file_units": None if isinstance(units, str) else "1",
            "select": {},
            "valid_min": None,
            "valid_max": None,
        }
    )


def suggestion(inspection: Inspection) -> str:
    """Return the sections of params.yaml that suit the variables that the files have, as YAML."""
    channels = [variable.channel for variable in inspection.variables]
    transforms = {
        variable.channel: steps_for(variable.units, min(_ends(inspection.catalogue, variable.channel), default=-inf))
        for variable in inspection.variables
    }
    sections = {
        "ingest": {"variables": [variable.model_dump() for variable in inspection.variables], "coarsen": 1},
        "normalize": {"transforms": transforms, "standardize": dict.fromkeys(channels, "global")},
        "evaluate": {"thresholds": {channel: _middle(inspection.catalogue, channel) for channel in channels}},
    }
    return yaml.safe_dump(sections, sort_keys=False, default_flow_style=None, width=110)


def steps_for(units: str, lowest: float) -> list[dict[str, object]]:
    """Return the transform of a variable: a power for rain rates that are never negative, else none."""
    try:
        unit = Unit(units)
    except ValueError:
        return []
    if lowest >= 0 and any(unit.is_convertible(rate) for rate in RATES):
        return [{"kind": "power", "exponent": 0.8}]
    return []


def _ends(catalogue: Catalogue, variable: str) -> list[float]:
    """The least and the greatest value of each frame."""
    frames = catalogue.frames[catalogue.frames["variable"] == variable]
    return [float(value) for column in ("min", "max") for value in frames[column].dropna()]


def _middle(catalogue: Catalogue, variable: str) -> list[float]:
    """An event that happens in the files and is no constant; which ones matter only the user knows."""
    values = _ends(catalogue, variable)
    return [float(f"{(min(values) + max(values)) / 2:.3g}")] if values else []
