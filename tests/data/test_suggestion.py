from pathlib import Path

import netCDF4
import numpy as np
import pytest
import yaml
from archives import fates, reason
from dialects import VALUES, fill, write
from looking import PARAMS, levels, look
from samples import raw_dataset, variable

from physicnet.config import Params, load_params
from physicnet.data.inspection import inspect
from physicnet.data.suggestion import steps_for, suggestion

WHOLE = ("transforms", "standardize", "thresholds")  # mappings that are replaced, not merged


def pasted(text: str, folder: Path, over: Path = PARAMS) -> Params:
    """Parameters, the repository's at first, with the suggestion pasted over them, as a user would, and loaded."""

    def put(new: dict, present: dict) -> None:
        for key, value in new.items():
            if isinstance(value, dict) and key not in WHOLE:
                put(value, present[key])
            else:
                present[key] = value

    content = yaml.safe_load(over.read_text())
    put(yaml.safe_load(text), content)
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    return load_params(folder / "params.yaml")


def rain(path: Path) -> None:
    raw_dataset(height=40, width=50).rename(rate="rain").to_netcdf(path / "a.nc")


def temperature(path: Path) -> None:
    (raw_dataset() + 270).rename(rate="t2m").assign_coords(raw_dataset().coords).to_netcdf(path / "2019.nc4")
    with netCDF4.Dataset(path / "2019.nc4", "a") as file:
        file["t2m"].units = "K"


def groups(path: Path) -> None:
    (path / "deep").mkdir()
    with netCDF4.Dataset(path / "deep" / "a.h5", "w") as file:
        for name in ("A", "B"):
            fill(file.createGroup(name), name="p", units="Pa")


@pytest.mark.parametrize(
    ("files", "pattern", "channels", "transforms", "train", "crops"),
    [
        (rain, "*.nc", ["rain"], ["power"], (2.0, True), (50, 32)),
        (temperature, "*.nc4", ["t2m"], [], (1.0, False), (9, 4)),
        (groups, "**/*.h5", ["A_p", "B_p"], [], (1.0, False), (5, 3)),
        (levels, "*.nc", ["w"], [], (1.0, False), (5, 3)),
    ],
)
def test_the_suggestion_pasted_into_params_yaml_reads_the_files(
    raw: Path, tmp_path: Path, files, pattern: str, channels: list[str], transforms: list[str], train, crops
) -> None:
    files(raw)
    params = pasted(suggestion(inspect(load_params(PARAMS), [raw])), tmp_path)
    assert params.ingest.pattern == pattern
    assert params.ingest.coarsen == 1
    assert [one.channel for one in params.ingest.variables] == channels
    assert [step.kind for steps in params.normalize.transforms.values() for step in steps] == transforms
    assert (params.train.rescale, params.train.mirror) == train
    assert (params.crops.view, params.crops.window) == crops
    again = inspect(params, [raw])
    assert set(fates(again.catalogue).values()) == {"accepted"}
    assert pasted(suggestion(again), tmp_path, tmp_path / "params.yaml") == params
    frames = again.catalogue.frames
    for (event,) in params.evaluate.thresholds.values():
        assert frames["min"].min() < event < frames["max"].max()


def test_entries_of_the_parameters_that_match_are_kept(raw: Path) -> None:
    raw_dataset().rename(rate="rain").assign(other=raw_dataset()["rate"]).to_netcdf(raw / "a.nc")
    ours = variable("rain", "m s-1", channel="mine", valid_max=9.0)
    sections = yaml.safe_load(suggestion(look(raw, variables=[ours, variable("gone")], coarsen=2)))
    assert sections["ingest"] == {"pattern": "*.nc", "variables": [ours], "coarsen": 2}
    assert sections["normalize"] == {"transforms": {"mine": []}, "standardize": {"mine": "global"}}
    assert sections["evaluate"] == {"thresholds": {"mine": [7.5]}}
    assert "train" not in sections


def test_entries_of_the_parameters_that_the_files_contradict_are_found_anew(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    found = look(raw, variables=[variable("rate", "K")])
    assert "cannot be converted to 'K'" in reason(found.catalogue, str(raw / "a.nc"))
    sections = yaml.safe_load(suggestion(found))
    assert sections["ingest"]["variables"] == [variable("rate", "mm h-1", channel="rate")]
    assert sections["evaluate"]["thresholds"]["rate"][0] > 0


@pytest.mark.parametrize(
    ("units", "names", "lowest", "kinds"),
    [
        ("kg m-2 s-1", "pr precipitation_flux None", 0.0, ["power"]),
        ("mm h-1", "rain_rate", 0.0, ["power"]),
        ("mm h-1", "R None Snowfall rate", 0.0, ["power"]),
        ("mm h-1", "rain_rate", -1.0, []),
        ("m s-1", "wind_speed", 0.0, []),
        ("m s-1", "terrain_velocity", 0.0, []),
        ("kg m-2 s-1", "evaporation", 0.0, []),
        ("K", "rain_temperature", 200.0, []),
    ],
)
def test_only_rain_rates_that_are_never_negative_get_a_power(
    units: str, names: str, lowest: float, kinds: list[str]
) -> None:
    assert [step["kind"] for step in steps_for(units, names, lowest)] == kinds


def test_an_event_lies_within_a_narrow_range(raw: Path) -> None:
    write(raw / "a.nc", 101325 + VALUES / 60, dtype="f8", units="Pa")
    sections = yaml.safe_load(suggestion(look(raw, variables=[variable("other")])))
    assert sections["evaluate"]["thresholds"] == {"rate": [pytest.approx(101325 + 59 / 120, abs=0.01)]}


def test_a_constant_is_its_own_event_and_what_is_missing_has_none(raw: Path) -> None:
    with netCDF4.Dataset(raw / "a.nc", "w") as file:
        fill(file, 0 * VALUES + 3, name="constant")
        fill(file, 0 * VALUES + np.nan, name="missing")
    sections = yaml.safe_load(suggestion(look(raw, variables=[variable("other")])))
    assert sections["evaluate"]["thresholds"] == {"constant": [3.0], "missing": []}
