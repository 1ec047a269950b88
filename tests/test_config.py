import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from physicnet.config import ConfigError, IngestConfig, Params, load_params

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def content() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))


def load(content: object, folder: Path) -> Params:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_params(path)


def changed(content: dict[str, Any], dotted: str, value: object) -> dict[str, Any]:
    """Return a copy with one parameter set; `DELETE` takes it out."""
    copy = deepcopy(content)
    *sections, key = dotted.split(".")
    section = copy
    for name in sections:
        section = section[name]
    if value is DELETE:
        del section[key]
    else:
        section[key] = value
    return copy


DELETE = object()
RAIN = {
    "name": "radar/rain_rate",
    "channel": None,
    "units": "mm h-1",
    "file_units": None,
    "select": {},
    "valid_min": None,
    "valid_max": None,
}

HIGH_FLOOR = {"kind": "decibel", "threshold": 0.1, "floor": -10.0}
DECIBEL = HIGH_FLOOR | {"floor": -15.0}
POWER = {"kind": "power", "exponent": 0.5}
HOURLY = {"kind": "anomaly", "hour_of_day": True, "harmonics": 0}
NOTHING = HOURLY | {"hour_of_day": False}


def test_the_repository_params_are_valid() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    assert params.clip.frames == params.clip.frames_in + params.clip.frames_out


@pytest.mark.parametrize(("text", "size"), [("512 KiB", 2**19), ("1.5 GiB", 3 * 2**29), ("2 TiB", 2**41)])
def test_a_limit_of_memory_is_in_bytes(content: dict[str, Any], tmp_path: Path, text: str, size: int) -> None:
    assert load(changed(content, "ingest.memory_limit", text), tmp_path).ingest.memory_bytes == size


def test_sections_cannot_be_changed() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.crops.view = 7


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("crops.veiw", 128, r"crops\.veiw: Extra inputs are not permitted \(found 128\)"),
        ("extra", {}, r"extra: Extra inputs"),
        ("crops.view", DELETE, r"crops\.view: Field required"),
        ("crops", DELETE, r"crops: Field required"),
        ("crops.view", "128", r"crops\.view: Input should be a valid integer \(found '128'\)"),
        ("crops.view", 0, r"crops\.view: Input should be greater than or equal to 1 \(found 0\)"),
        ("crops.min_coverage", 1.5, r"crops\.min_coverage: Input should be less than or equal to 1"),
        ("crops.window", 999, r"crops\.window \(999\) must not exceed crops\.view \(128\)"),
        ("clip.frames_in", 1, r"clip\.frames_in: .*greater than or equal to 2"),
        ("normalize.gap", -1, r"normalize\.gap: .*greater than or equal to 0"),
        ("normalize.validation_fraction", 0.9, r"must be below 1: the rest is the test part"),
        ("normalize.transforms.rain_rate", [{"kind": "cube"}], r"normalize\.transforms\.rain_rate\.0: .*'cube'"),
        ("normalize.transforms.rain_rate", [HIGH_FLOOR], r"floor -10\.0 dB must lie below the threshold, -10\.00 dB"),
        (
            "normalize.transforms.rain_rate",
            [POWER | {"exponent": 1.0}],
            r"rain_rate\.0\.power\.exponent: .*less than 1",
        ),
        (
            "normalize.transforms.rain_rate",
            [NOTHING],
            r"an anomaly against nothing: set hour_of_day: true, or harmonics",
        ),
        ("normalize.transforms.rain_rate", [POWER, DECIBEL], r"rain_rate: decibel must come first"),
        ("normalize.transforms.rain_rate", [DECIBEL, POWER], r"rain_rate: decibels are negative, power takes no such"),
        ("normalize.transforms.rain_rate", [HOURLY, POWER], r"must come last, and once; found \['anomaly', 'power'\]"),
        (
            "normalize.transforms.rain_rate",
            [HOURLY, HOURLY],
            r"must come last, and once; found \['anomaly', 'anomaly'\]",
        ),
        (
            "normalize.transforms.rain_rate",
            [HOURLY],
            r"train\.rescale is 2, but rain_rate .*write train\.rescale: 1\.0",
        ),
        ("normalize.standardize.rain_rate", "per_cell", r"train\.rescale is 2, but rain_rate .* or per cell"),
        ("normalize.standardize.rain_rate", "pixel", r"standardize\.rain_rate: Input should be 'global' or 'per_cell'"),
        ("normalize.standardize", {}, r"normalize\.standardize names \[\], but ingest\.variables names"),
        ("normalize.transforms", {}, r"normalize\.transforms names \[\], but ingest\.variables names \['rain_rate'\]"),
        ("evaluate.thresholds.wind", [1.0], r"evaluate\.thresholds names \['rain_rate', 'wind'\]"),
        ("ingest.variables", [], r"ingest\.variables: List should have at least 1 item"),
        ("ingest.variables", [RAIN, RAIN], r"ingest: .*names a channel twice: \['rain_rate', 'rain_rate'\]; set chann"),
        ("ingest.time_from_name", "%H%M.nc", r"ingest: .*'%H%M\.nc', does not tell year, month and day"),
        ("ingest.time_from_name", "%Y%m%d_%Q.nc", r"ingest: .*'%Y%m%d_%Q\.nc', does not tell year, month and day"),
        (
            "ingest.variables",
            [RAIN | {"valid_min": 2.0, "valid_max": 2.0}],
            r"rain_rate: valid_min 2\.0 must lie below",
        ),
        ("ingest.memory_limit", "2 GB", r"memory_limit is '2 GB'; write a number and one of KiB, MiB, GiB, TiB"),
        ("ingest.memory_limit", "GiB", r"memory_limit is 'GiB'"),
        ("train.learns", "fusion", r"train: .*train\.init_from is null: .*; name a checkpoint in train\.init_from"),
        ("train.learns", "codes", r"train\.learns: Input should be 'all' or 'fusion'"),
        ("train.init_from", {"checkpoint": "m.safetensors"}, r"train\.init_from\.sha256: Field required"),
        ("promote.leads", [6, 13], r"promote\.leads names \[13\], but clip\.frames_out is 12; leave these leads out"),
        ("promote.leads", [], r"promote\.leads: List should have at least 1 item"),
        ("promote.minimum_gain", 1.0, r"promote\.minimum_gain: Input should be less than 1"),
        ("promote.must_beat", ["hope"], r"promote\.must_beat\.0: Input should be 'persistence'"),
        (
            "collect.settled",
            1000,
            r"collect\.stalled \(900\) must not be below collect\.settled \(1000\): a file is not",
        ),
        ("collect.source", "", r"collect\.source: String should have at least 1 character"),
        ("ingest.on_conflict", "oldest", r"ingest\.on_conflict: Input should be 'newest' or 'refuse'"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_path(
    content: dict[str, Any], tmp_path: Path, dotted: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(changed(content, dotted, value), tmp_path)


def test_a_channel_is_called_by_the_last_part_of_its_name_unless_told(content: dict[str, Any], tmp_path: Path) -> None:
    variables = [RAIN, RAIN | {"channel": "rate"}]
    sections = {"normalize.transforms": [], "normalize.standardize": "global", "evaluate.thresholds": [1.0]}
    for section, value in sections.items():
        content = changed(content, section, dict.fromkeys(("rain_rate", "rate"), value))
    params = load(changed(content, "ingest.variables", variables), tmp_path)
    assert [variable.channel for variable in params.ingest.variables] == ["rain_rate", "rate"]


@pytest.mark.parametrize("pattern", ["radar_%Y%m%d%H%M.nc", "%y%j.nc", "a_%d-%b-%Y_%H%z.nc"])
def test_a_pattern_for_names_tells_the_day(content: dict[str, Any], tmp_path: Path, pattern: str) -> None:
    assert load(changed(content, "ingest.time_from_name", pattern), tmp_path).ingest.time_from_name == pattern


def test_transforms_may_be_none_or_several_and_an_anomaly_forbids_rescaling_alone(
    content: dict[str, Any], tmp_path: Path
) -> None:
    log1p = {"kind": "log1p", "scale": 0.1}
    for steps in ([], [DECIBEL], [POWER, log1p]):
        load(changed(content, "normalize.transforms.rain_rate", steps), tmp_path)
    for steps in ([HOURLY], [DECIBEL, HOURLY], [log1p, POWER, HOURLY]):
        anomalies = changed(content, "normalize.transforms.rain_rate", steps)
        load(changed(anomalies, "train.rescale", 1.0), tmp_path)


def test_every_wrong_parameter_is_listed(content: dict[str, Any], tmp_path: Path) -> None:
    wrong = changed(changed(content, "crops.view", 0), "clip.frames_out", 0)
    with pytest.raises(ConfigError, match=r"(?s)params\.yaml cannot be used:.*clip\.frames_out.*crops\.view"):
        load(wrong, tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml does not exist; run the command in the folder"):
        load_params(tmp_path / "params.yaml")


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("crops: [1,")
    with pytest.raises(ConfigError, match=r"params\.yaml is not YAML"):
        load_params(tmp_path / "params.yaml")


def test_a_file_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml must hold one mapping of sections, not list"):
        load([1, 2], tmp_path)


def test_rules_are_what_decides_the_values_of_a_file(content: dict[str, Any]) -> None:
    own = Params.model_validate(content).ingest
    rules = json.loads(json.dumps(own.rules()))
    there = IngestConfig.of_rules(rules, "1 GiB")
    assert there.rules() == rules
    assert (there.variables, there.coarsen, there.memory_limit) == (own.variables, own.coarsen, "1 GiB")
    assert own.model_copy(update={"memory_limit": "9 GiB", "pattern": "*"}).rules() == rules
