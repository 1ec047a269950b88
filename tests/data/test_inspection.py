from pathlib import Path

import netCDF4
import pytest
import yaml
from archives import fates
from dialects import VALUES, add, fill
from rich.console import Console
from samples import clip_config, ingest_config, raw_dataset, variable

from physicnet.data.inspection import Inspection, discover, inspect, steps_for, suggestion
from physicnet.data.summary import SHOWN, print_inspection
from physicnet.fields import DataError


def look(*paths: Path, **changes: object) -> Inspection:
    return inspect(ingest_config(**changes), clip_config(), paths)


def printed(inspection: Inspection) -> str:
    console = Console(width=200, record=True, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        print_inspection(inspection, console)
    return capture.get()


def test_files_and_folders_are_looked_at_as_ingest_would_and_stay_alone(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    raw_dataset(3, first=8).to_netcdf(raw.parent / "b.nc")
    (raw / "broken.nc").write_text("<html>")
    before = sorted(raw.parent.rglob("*"))
    found = look(raw, raw.parent / "b.nc")
    assert set(fates(found.catalogue).values()) == {"accepted", "quarantined"}
    assert found.catalogue.num_refused == 1
    assert found.catalogue.gaps["missing_frames"].tolist() == [1]
    assert found.as_in_params
    assert sorted(raw.parent.rglob("*")) == before


def test_files_without_the_variables_of_the_parameters_are_read_with_their_own(raw: Path) -> None:
    (raw_dataset() + 270).rename(rate="air").assign(plane=("north", range(6))).to_netcdf(raw / "a.nc")
    found = look(raw)
    assert not found.as_in_params
    assert fates(found.catalogue) == {str(raw / "a.nc"): "accepted"}
    assert "they were read with those they have" in printed(found)


def test_the_suggestion_can_be_pasted_into_the_parameters(raw: Path) -> None:
    raw_dataset().to_netcdf(raw / "a.nc")
    text = suggestion(look(raw, variables=[variable("other", "K")]))
    sections = yaml.safe_load(text)
    assert sections["ingest"] == {"variables": [variable("rate", "mm h-1", channel="rate")], "coarsen": 1}
    assert sections["normalize"] == {
        "transforms": {"rate": [{"kind": "power", "exponent": 0.8}]},
        "standardize": {"rate": "global"},
    }
    assert 0 < sections["evaluate"]["thresholds"]["rate"][0] < float(raw_dataset()["rate"].max())
    assert "kind: power, exponent: 0.8" in printed(look(raw))


@pytest.mark.parametrize(
    ("units", "lowest", "kinds"),
    [("kg m-2 s-1", 0.0, ["power"]), ("mm h-1", -1.0, []), ("K", 200.0, []), ("what?", 0.0, [])],
)
def test_only_rates_that_are_never_negative_get_a_power(units: str, lowest: float, kinds: list[str]) -> None:
    assert [step["kind"] for step in steps_for(units, lowest)] == kinds


def test_variables_in_groups_are_found_and_what_only_describes_them_is_not(raw: Path) -> None:
    with netCDF4.Dataset(raw / "a.nc", "w") as file:
        fill(file.createGroup("radar/low"), coordinates="lat2d lon2d")
        group = file["radar/low"]
        for name in ("lat2d", "lon2d"):
            add(group, name, VALUES[0], ("lat", "lon"), units="degree")
        add(group, "quality", VALUES[0], ("lat", "lon"))
    assert [(found.name, found.channel, found.units, found.file_units) for found in discover(raw / "a.nc")] == [
        ("radar/low/rate", "rate", "mm h-1", None),
        ("radar/low/quality", "quality", "1", "1"),
    ]


def test_nothing_is_discovered_in_what_is_no_netcdf(raw: Path) -> None:
    (raw / "a.nc").write_text("<html>")
    assert discover(raw / "a.nc") == []
    found = look(raw)
    assert fates(found.catalogue) == {str(raw / "a.nc"): "quarantined"}
    assert "Parameters that suit" not in printed(found)


def test_a_long_list_is_cut_and_says_so(raw: Path) -> None:
    for index in range(SHOWN + 2):
        (raw / f"{index}.nc").write_text("<html>")
    assert "and 2 more, in the files of the catalogue" in printed(look(raw))


def test_a_path_that_does_not_exist_is_named(raw: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.nc does not exist; name files or folders"):
        look(raw / "gone.nc")
