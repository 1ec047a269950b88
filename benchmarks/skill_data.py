"""The data sets of `skill.py`, taken through the data stages of the pipeline into .physicnet/benchmarks/skill/.

| name | trained and validated on | tested on |
|---|---|---|
| a set of `sets/` | the files of a folder, by default of data/raw, as in `make set` | their test part |
| knmi | the bundled radar sample, as in params.yaml | its test part |
| radar | KNMI of 26 Aug 2010 and FMI of 28 Sep 2016, 2 km; the end of each validates | FMI of 9 May 2017, whole |
| knmi_to_fmi | KNMI, the frames before the test part of params.yaml | FMI of 28 Sep 2016, whole |
| fmi_to_knmi | FMI of 28 Sep 2016, whole | KNMI, the frames before the test part of params.yaml |

The last two are there to choose by: they tell what of one event holds for another, and leave the event of 2017 alone.
They validate on the clips that they train on, and take the normalisation of `radar`, which is fitted to both events.

FMI: lowest-level reflectivity composites of the Finnish Meteorological Institute (CC BY 4.0), 1 km, 5 minutes, in dBZ.
They become rain rates by Z = 223 R^1.53, the relation that FMI itself uses (Leinonen et al. 2012), as KNMI's are made
by KNMI's own (Z = 200 R^1.6): then 2 mm/h means rain of 2 mm/h in both, as far as each network knows. Rates below
0.1 mm/h are none, for KNMI's files know no smaller ones.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import parameter_sets
import xarray as xr
from literature import LITERATURE, Literature
from safetensors.numpy import save

import physicnet
from physicnet.config import Params, load_params
from physicnet.data.budget import Budget
from physicnet.data.cache import CachedWindows
from physicnet.data.crops import crop_table, draw_crops, starts
from physicnet.data.dataset import ClipDataset, JoinedClips
from physicnet.data.ingest import ingest
from physicnet.data.normalize import normalize, split, without_gaps, write_standardized
from physicnet.data.spacing import Ends, Spacing, mapping_of, place_of, spacing_of
from physicnet.data.workers import Here
from physicnet.digest import content_hash
from physicnet.evaluation.training_part import TrainingPart
from physicnet.evaluation.verify import read_starts
from physicnet.fields import DataError, Field, Segments, written_whole
from physicnet.normalization import Normalizer, Standardization
from physicnet.training.inputs import Inputs
from physicnet.transforms import transform_from_dict

FOLDER = Path(".physicnet/benchmarks/skill")
RAW = Path("data/raw")
Z_R = (223.0, 1.53)  # a and b of Z = a R^b
LEAST_RATE = 0.1  # mm/h
STEP = 0.01  # mm/h: of the packed rates, as in KNMI's files
EVENTS = {"fmi_2016": "radar_fmi_20160928.nc", "fmi_2017": "radar_fmi_20170509.nc"}
VALIDATION_FRAMES = {"knmi": 20, "fmi_2016": 16}  # the end of each training event; 16 frames hold one clip
VALIDATION_STRIDE = 2  # frames between the clips that validate on `radar`, whose frames are large
TEST_STRIDE = 2  # frames between the origins in the event of 2017
TRANSFERS = {"knmi_to_fmi": ("knmi", "fmi_2016"), "fmi_to_knmi": ("fmi_2016", "knmi")}  # trained on, tested on
TRANSFER_STRIDE = 4  # frames between the origins there

RADAR_BASELINES = [
    "persistence",
    "climatology",
    "damped_anomaly",
    "eof_var",
    "local_linear",
    "advection",
    "lucas_kanade",
    "s_prog",
    "anvil",
]
TRANSFER_BASELINES = ["persistence", *RADAR_BASELINES[5:]]  # those that nothing is fitted for cell by cell
HOURLY_BASELINES = [*RADAR_BASELINES[:6], "persistent_anomaly", "day_ago"]
NAMES = ["radar", "knmi", *TRANSFERS, *parameter_sets.names()]


@dataclass(frozen=True)
class Prepared:
    """A data set: what the learned models train on, what the fitted ones are fitted to, what all are tested on."""

    params: Params
    inputs: Inputs
    training: TrainingPart
    record: Field  # whose clips at `starts` are forecast
    starts: list[int]
    baselines: list[str]
    files: list[Path]  # that decide what is learned
    literature: Literature | None = None  # whose scores are told beside ours


def prepare(name: str, data: Path | None, overrides: Sequence[str] = ()) -> Prepared:
    """Read a data set, from earlier work if nothing has changed; `data` is the folder of its files.

    A parameter set takes overrides after its own, as `make set` does; the other data sets have none.

    Raises:
        DataError: if there is no such data set, its files are not there, or it takes no overrides.
        ConfigError: if its parameters cannot be used.
    """
    if name in parameter_sets.names():
        params = parameter_sets.read(name, overrides)
        baselines = HOURLY_BASELINES if name == "temperature" else list(params.evaluate.baselines)
        return _by_the_stages(params, name, data or RAW, baselines)
    if name not in NAMES:
        raise DataError(f"{name}: no such data set; there are {', '.join(NAMES)}")
    if overrides:
        raise DataError(f"{name}: takes no overrides ({', '.join(overrides)}); its parameters are in params.yaml")
    params, folder = load_params(Path("params.yaml")), FOLDER / "radar" / "data"
    if name == "knmi":
        return _by_the_stages(params, name, RAW, RADAR_BASELINES)
    if data is None:
        raise DataError(f"the data set {name} needs the folder with {', '.join(EVENTS.values())}: --data FOLDER")
    _prepare_events(params, data, folder)
    return _transfer(params, folder, *TRANSFERS[name]) if name in TRANSFERS else _radar(params, folder)


def _by_the_stages(params: Params, name: str, raw: Path, baselines: list[str]) -> Prepared:
    folder = FOLDER / name / "data"
    fields, normalized, crops = folder / "fields.zarr", folder / "normalized.zarr", folder / "crops.csv"
    fitted = {"statistics": folder / "statistics.json", "maps": folder / "maps.safetensors"}

    def work() -> None:
        _ingest(params, raw, folder)
        normalize(params.normalize, params.clip, params.ingest, fields=fields, normalized=normalized, **fitted)
        picture = {"statistics": fitted["statistics"], "crops": crops, "figure": folder / "crops.png"}
        draw_crops(params.crops, params.clip, normalized=normalized, **picture)

    _once(folder, params, sorted(raw.glob(params.ingest.pattern)), work)
    record, splits = Field.open(fields), json.loads(fitted["statistics"].read_text(encoding="utf-8"))["splits"]
    return Prepared(
        params,
        Inputs.read(normalized, crops=crops, cache_mib=params.machine.cache_mib, **fitted),
        TrainingPart(record, splits["train"], params.clip),
        record,
        read_starts(crops),
        baselines,
        [fitted["statistics"], fitted["maps"], crops],
        LITERATURE.get(name),
    )


def _prepare_events(params: Params, data: Path, folder: Path) -> None:
    """Ingest all three events; normalise the two that train, and draw their clips."""
    sources = [data / file for file in EVENTS.values()]
    absent = [str(file) for file in sources if not file.is_file()]
    if absent:
        raise DataError(f"{', '.join(absent)}: no such file; --data must name the folder that holds the FMI events")

    def work() -> None:
        for name, file in EVENTS.items():
            write_rates(data / file, folder / "raw" / f"{name}.nc")
            _ingest(_reading(params, f"{name}.nc"), folder / "raw", folder / name)
        _ingest(params, RAW, folder / "knmi")
        _standardise_together(params, folder)

    _once(folder, params, [*sources, *sorted(RAW.glob(params.ingest.pattern))], work)


def _radar(params: Params, folder: Path) -> Prepared:
    parts = {name: _splits(Field.open(folder / name / "fields.zarr"), name, params) for name in VALIDATION_FRAMES}
    records = {name: _normalized(params, folder / name) for name in parts}
    clips, validation = (
        JoinedClips([ClipDataset(records[name], folder / name / "crops.csv", part) for name in parts])
        for part in ("train", "validation")
    )
    tested, fitted_to = (Field.open(folder / name / "fields.zarr") for name in ("fmi_2017", "fmi_2016"))
    return Prepared(
        params,
        Inputs(clips, validation, _normalizer(folder), *_clock_and_grid(tested)),
        # Of one grid only: what is fitted cell by cell knows no other, and the test event has that of 2016.
        TrainingPart(fitted_to, parts["fmi_2016"]["train"], params.clip),
        tested,
        starts([[0, tested.shape[0]]], params.clip.frames, TEST_STRIDE),
        RADAR_BASELINES,
        [folder / "statistics.json", *(folder / name / "crops.csv" for name in parts)],
    )


def _transfer(params: Params, folder: Path, trained_on: str, tested_on: str) -> Prepared:
    learned, tested = (Field.open(folder / name / "fields.zarr") for name in (trained_on, tested_on))
    frames, shown = _before_the_test(learned, trained_on, params), _before_the_test(tested, tested_on, params)
    crops = folder / trained_on / "transfer.csv"
    with written_whole(crops) as partial:
        splits = {"train": frames, "validation": frames, "test": []}
        drawn = params.crops.model_copy(update={"stride": TRANSFER_STRIDE})
        crop_table(Field.open(folder / trained_on / "normalized.zarr"), splits, drawn, params.clip).to_csv(
            partial, index=False
        )
    record = _normalized(params, folder / trained_on)
    clips, validation = (ClipDataset(record, crops, part) for part in ("train", "validation"))
    return Prepared(
        params,
        Inputs(clips, validation, _normalizer(folder), *_clock_and_grid(learned)),
        # What nobody observed, classical methods fill with a mean of this grid: the tested event alone has it.
        TrainingPart(tested, shown, params.clip),
        tested,
        starts(shown, params.clip.frames, TRANSFER_STRIDE),
        TRANSFER_BASELINES,
        [folder / "statistics.json", crops],
    )


def _before_the_test(record: Field, name: str, params: Params) -> Segments:
    """All frames of an event; of the bundled one, those of the training and the validation part of params.yaml."""
    if name != "knmi":
        return without_gaps(record, 0, record.shape[0])
    return without_gaps(record, 0, split(record, params.normalize, params.clip)["validation"][-1][-1])


def _normalized(params: Params, folder: Path) -> CachedWindows:
    return CachedWindows(Field.open(folder / "normalized.zarr"), params.machine.cache_mib * 2**19)


def _normalizer(folder: Path) -> Normalizer:
    return Normalizer.load(folder / "statistics.json", folder / "maps.safetensors")


def _clock_and_grid(record: Field) -> tuple[float, list[Spacing], str | None, list[Ends | None], dict[str, object]]:
    """What Inputs takes beside clips and standardisation; these checkpoints need not read files, so no rules for it."""
    seconds = float(record.step / np.timedelta64(1, "s"))
    return seconds, spacing_of(record), mapping_of(record), place_of(record), {}


def write_rates(source: Path, target: Path) -> None:
    """Write the rain rates (mm/h) that a file of reflectivities (dBZ) means, packed as KNMI's are; see the module."""
    a, b = Z_R
    with xr.open_dataset(source) as dataset, written_whole(target) as partial:
        rates = (10 ** (dataset["reflectivity"] / 10) / a) ** (1 / b)
        rates = rates.where((rates >= LEAST_RATE) | rates.isnull(), 0.0)
        mapping = dataset["reflectivity"].encoding.get(
            "grid_mapping", dataset["reflectivity"].attrs.get("grid_mapping")
        )
        rates.attrs = {"units": "mm h-1", "standard_name": "rainfall_rate"} | (
            {"grid_mapping": mapping} if mapping else {}
        )
        made = f"Z = {a:g} R^{b:g}; {dataset.attrs.get('institution', '')}, {dataset.attrs.get('licence', '')}"
        result = dataset.drop_vars("reflectivity").assign(rain_rate=rates).assign_attrs(source=made)
        packed = {"dtype": "int16", "scale_factor": STEP, "_FillValue": np.int16(-32768), "zlib": True, "complevel": 1}
        result.to_netcdf(partial, engine="netcdf4", encoding={"rain_rate": packed})


def _reading(params: Params, pattern: str) -> Params:
    return params.model_copy(update={"ingest": params.ingest.model_copy(update={"pattern": pattern})})


def _ingest(params: Params, raw: Path, folder: Path) -> None:
    paths = {"fields": folder / "fields.zarr", "catalogue": folder / "catalogue", "resume": folder / "ingest"}
    ingest(params.ingest, params.clip, raw=raw, **paths).refuse_above(params.ingest.max_quarantined)


def _once(folder: Path, params: Params, files: list[Path], work: Callable[[], None]) -> None:
    """Do the work unless it was done with these parameters, files and this code of the data stages."""
    package = Path(physicnet.__path__[0])
    code = [*(package / "data").glob("*.py"), *package.glob("*.py"), Path(__file__)]
    sections = [getattr(params, name).model_dump_json() for name in ("ingest", "clip", "normalize", "crops")]
    content = [*sections, *(content_hash(file) for file in [*files, *sorted(code)])]
    key, mark = sha256("".join(content).encode()).hexdigest(), folder / "key"
    if mark.is_file() and mark.read_text(encoding="utf-8") == key:
        return
    mark.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    work()
    mark.write_text(key, encoding="utf-8")


def _splits(record: Field, name: str, params: Params) -> dict[str, Segments]:
    """The end of an event validates, what comes before it and the gap trains."""
    frames, checked = record.shape[0], VALIDATION_FRAMES[name]
    train = without_gaps(record, 0, frames - checked - params.normalize.gap)
    return {"train": train, "validation": without_gaps(record, frames - checked, frames), "test": []}


def _standardise_together(params: Params, folder: Path) -> None:
    """Write the normalised records and crops of both training events, under one normalisation fitted to both."""
    records = {name: Field.open(folder / name / "fields.zarr") for name in VALIDATION_FRAMES}
    splits = {name: _splits(record, name, params) for name, record in records.items()}
    normalizer = pooled_normalizer({name: (records[name], splits[name]["train"]) for name in records}, params)
    content = {"variables": normalizer.to_dict(), "splits": splits}
    (folder / "statistics.json").write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")
    (folder / "maps.safetensors").write_bytes(save(normalizer.maps()))
    crops = params.crops.model_copy(update={"stride": VALIDATION_STRIDE})
    for name, record in records.items():
        with written_whole(folder / name / "normalized.zarr") as store:
            write_standardized(record, normalizer, store, Budget.within(params.ingest.memory_bytes), Here())
        table = crop_table(Field.open(folder / name / "normalized.zarr"), splits[name], crops, params.clip)
        table.to_csv(folder / name / "crops.csv", index=False)


def pooled_normalizer(parts: Mapping[str, tuple[Field, Segments]], params: Params) -> Normalizer:
    """Fit one mean and deviation of the transformed values to the training frames of several records."""
    (variable,) = params.normalize.transforms
    steps = tuple(transform_from_dict(step.model_dump()) for step in params.normalize.transforms[variable])
    number = total = squares = 0.0
    for record, segments in parts.values():
        for start, stop in segments:
            for frame in record.each_frame(start, stop):
                values = frame.astype(np.float64)
                for step in steps:
                    values = step.forward(values)
                values = values[np.isfinite(values)]
                number, total, squares = number + values.size, total + values.sum(), squares + (values**2).sum()
    mean = total / number
    return Normalizer((Standardization(variable, steps, float(mean), float(np.sqrt(squares / number - mean**2))),))
