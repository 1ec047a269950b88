"""Looks at files that are not in the archive: what ingest would do with them, and which variables can be read."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from physicnet.config import IngestConfig, Params, VariableConfig
from physicnet.data import times
from physicnet.data.axes import DEGREES, horizontal, is_position
from physicnet.data.budget import Budget
from physicnet.data.catalogue import Catalogue
from physicnet.data.coordinates import with_coordinates
from physicnet.data.ingest import survey_all
from physicnet.data.judge import judge
from physicnet.data.opening import Declarations, Declared, check_size, declarations
from physicnet.data.reading import opened
from physicnet.data.sources import Source, check_file, find_sources, in_order
from physicnet.data.survey import reason_of
from physicnet.data.units import understood
from physicnet.data.workers import Here
from physicnet.fields import DataError

ENDINGS = (".nc", ".nc4", ".h5", ".cdf", ".netcdf")  # of files that are looked at where none matches the pattern
PLACES = {units.lower() for units in DEGREES}  # units of latitudes and longitudes, which are no field
TRIALS = 3  # files in which a variable may be refused before it is left out


@dataclass(frozen=True)
class Candidate:
    """A variable that may be a field: how to read it, what its names say, what the user must check, files with it."""

    settings: VariableConfig
    names: str
    notes: tuple[str, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True, eq=False)
class Inspection:
    """What ingest would do with files, and what suits them.

    `catalogue` is that of the parameters' variables if the files have any of them (`as_in_params`). `suited` are the
    variables that can be read, the parameters' own entries if possible (`are_own`), and `values` the catalogue of
    these. `left_out` says of the others why. `shape` is that of the grid, if any file was understood. `pattern`
    matches all files.
    """

    params: Params
    pattern: str
    catalogue: Catalogue
    as_in_params: bool
    suited: tuple[Candidate, ...]
    are_own: bool
    left_out: Mapping[str, str]
    values: Catalogue
    shape: tuple[int, int] | None


def inspect(params: Params, paths: Sequence[Path]) -> Inspection:
    """Look through files, and folders for what matches `ingest.pattern`, as ingest would; write nothing.

    In a folder where nothing matches, all files that have one of `ENDINGS` are looked at. If no file has any of the
    parameters' variables, those that the files have are taken instead.

    Raises:
        DataError: if a path does not exist, or a folder holds no such file.
    """
    config = params.ingest
    sources = in_order(source for path in paths for source in _sources(path, config.pattern))
    found = _found(sources)
    own = [
        replace(found[variable.name.strip("/")], settings=variable, notes=())
        for variable in config.variables
        if variable.name.strip("/") in found
    ]
    suited, left_out = _readable(own, config)
    are_own = bool(suited)
    if not are_own:
        suited, left_out = _readable(_apart(found.values()), config)
    as_theirs = _reading(config, suited or _apart(found.values())) if found and not are_own else config
    values, shape = _catalogue(params, as_theirs, sources)
    catalogue = _catalogue(params, config, sources)[0] if own and not are_own else values
    pattern = _pattern(sources, config.pattern)
    as_in_params = bool(own) or not found
    return Inspection(params, pattern, catalogue, as_in_params, tuple(suited), are_own, left_out, values, shape)


def _sources(path: Path, pattern: str) -> list[Source]:
    if path.is_dir():
        return [Source(str(path / source.name), source.path, source.root) for source in _in_folder(path, pattern)]
    if not path.exists():
        raise DataError(f"{path} does not exist; name files or folders")
    return [Source(str(path), path.resolve(), path.resolve().parent)]


def _in_folder(folder: Path, pattern: str) -> list[Source]:
    if any(not path.is_dir() for path in folder.glob(pattern)):
        return find_sources(folder, pattern)
    found = [source for source in find_sources(folder, "**/*") if source.path.suffix.lower() in ENDINGS]
    if not found:
        raise DataError(
            f"no file in {folder} matches ingest.pattern = {pattern!r}, and none ends in {', '.join(ENDINGS)}; "
            "name the files themselves"
        )
    return found


def _pattern(sources: Sequence[Source], present: str) -> str:
    """Return the present pattern if it matches all files, else one that does."""
    matched = {path for root in {source.root for source in sources} for path in root.glob(present)}
    if all(source.path in matched for source in sources):
        return present
    inside = [source.path.relative_to(source.root) for source in sources]
    name = _ending(sorted({path.suffix for path in inside}))
    return f"**/{name}" if any(len(path.parts) > 1 for path in inside) else name


def _ending(endings: list[str]) -> str:
    """Return what matches names with any of these endings; an ending may be empty."""
    if len(endings) == 1:
        return f"*{endings[0]}"
    return f"*.[{''.join(sorted({ending[1] for ending in endings}))}]*" if all(endings) else "*"


def _found(sources: Iterable[Source]) -> dict[str, Candidate]:
    """Return the variables of all files by their names with groups, as the first file that has each declares them."""
    found: dict[str, Candidate] = {}
    for source in sources:
        for candidate in discover(source):
            known = found.setdefault(candidate.settings.name, replace(candidate, sources=()))
            found[candidate.settings.name] = replace(known, sources=(*known.sources, source)[:TRIALS])
    return found


def discover(source: Source) -> list[Candidate]:
    """Return the variables of a file that may be fields: numbers on at least two dimensions that are no mere formality.

    Nothing is returned for what is no file or cannot be opened: the catalogue says why.
    """
    try:
        check_file(source)
        told = declarations(source.path)
    except (DataError, OSError):
        return []
    declared = told.variables.values()
    described = {name for variable in declared for name in _described_by(variable)}
    return [
        _candidate(source, told, variable)
        for variable in declared
        if variable.content == "numbers"
        and sum(size > 1 for size in variable.sizes) >= 2
        and variable.name not in described
        and not _is_place_or_time(variable.attributes)
    ]


def _described_by(variable: Declared) -> list[str]:
    """The names of what belongs to a variable: its coordinates, and the bounds of its cells."""
    links = (variable.attributes.get(link, "") for link in ("coordinates", "bounds", "climatology"))
    return [name for link in links if isinstance(link, str) for name in link.split()]


def _is_place_or_time(attributes: Mapping[str, Any]) -> bool:
    is_place = is_position(attributes) or str(attributes.get("units")).lower() in PLACES
    return is_place or times.is_time(attributes)


def _candidate(source: Source, told: Declarations, variable: Declared) -> Candidate:
    units, file_units, doubt = _units(variable.attributes)
    select = _first_of_further(source.path, told, variable)
    taken = [f"{dim} {value:g} is the first of several; take the one you want" for dim, value in select.items()]
    settings = {"name": variable.path, "channel": None, "units": units, "file_units": file_units, "select": select}
    return Candidate(
        VariableConfig.model_validate(settings | {"valid_min": None, "valid_max": None}),
        " ".join([variable.name, *(str(variable.attributes.get(name)) for name in ("standard_name", "long_name"))]),
        tuple(f"{variable.path}: {note}" for note in (doubt, *taken) if note),
        (source,),
    )


def _units(attributes: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """Return the units to ask for, those to state for the file if it does not tell its own, and what to check."""
    told = attributes.get("units")
    if told is not None and understood(told):
        return str(told), None, ""
    alike = {name: str(text) for name, text in attributes.items() if "unit" in name.lower() and name != "units"}
    for name, text in alike.items():
        if understood(text):
            return text, text, f"the file gives {text!r} as {name}, not as units; check that file_units is right"
    trouble = "the file tells no units" if told is None else f"its units, {told!r}, cannot be understood"
    return "1", "1", f"{trouble}, and 1 stands for them; write the right ones as units and file_units"


def _first_of_further(path: Path, told: Declarations, variable: Declared) -> dict[str, float]:
    """Return the first value along each dimension beside time, rows and columns that has several."""
    if len(set(variable.dims)) < len(variable.dims):
        return {}
    try:
        check_size(path, variable, told.size)
        array = with_coordinates(path, told.variables, variable)
        clock = times.locate(path, array)
    except DataError:  # the trial says so
        return {}
    time = str(clock.dims[0]) if clock is not None and clock.ndim else None
    own = {
        str(dim): array.coords[dim] for dim in array.dims if dim in array.coords and array.coords[dim].dims == (dim,)
    }
    long = [str(dim) for dim in array.dims if dim != time and array.sizes[dim] > 1]
    free = [dim for dim in long if horizontal(dim, own[dim].attrs if dim in own else {}) is None]
    further = free[: max(0, len(long) - 2)]
    return {dim: float(own[dim].values[0]) if dim in own else 0.0 for dim in further}


def _apart(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Give variables that would be called alike the names of their groups, too."""
    listed = list(candidates)
    counts = Counter(candidate.settings.channel for candidate in listed)
    taken = {channel for channel, count in counts.items() if count == 1}
    named = []
    for candidate in listed:
        settings = candidate.settings
        if counts[settings.channel] > 1:
            channel = settings.name.replace("/", "_")
            while channel in taken:
                channel += "_"
            taken.add(channel)
            settings = VariableConfig.model_validate(settings.model_dump() | {"channel": channel})
        named.append(replace(candidate, settings=settings))
    return named


def _readable(candidates: Iterable[Candidate], config: IngestConfig) -> tuple[list[Candidate], dict[str, str]]:
    """Return those that can be read, each alone and beside those before it, and of the others why not."""
    readable: list[Candidate] = []
    left_out = {}
    for candidate in candidates:
        reasons = [
            _refusal(source, [candidate], config) or _refusal(source, [*readable, candidate], config)
            for source in candidate.sources
        ]
        if None in reasons:
            readable.append(candidate)
        else:
            left_out[candidate.settings.name] = str(reasons[0])
    return readable, left_out


def _refusal(source: Source, candidates: Sequence[Candidate], config: IngestConfig) -> str | None:
    try:
        with opened(source, _reading(config, candidates)):
            return None
    except Exception as error:  # files raise any error there is
        return reason_of(source, error)


def _reading(config: IngestConfig, candidates: Sequence[Candidate]) -> IngestConfig:
    variables = [candidate.settings.model_dump() for candidate in candidates]
    return IngestConfig.model_validate(config.model_dump() | {"variables": variables})


def _catalogue(
    params: Params, config: IngestConfig, sources: Sequence[Source]
) -> tuple[Catalogue, tuple[int, int] | None]:
    budget = Budget.within(config.memory_bytes)
    verdict = judge(config, survey_all(sources, config, budget=budget, state=None, workers=Here()))
    shape = verdict.grid.shape if verdict.surveys else None
    return Catalogue.of(verdict, config, params.clip.frames), shape
