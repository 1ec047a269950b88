import os
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
import yaml
from archives import fates, reason
from dialects import VALUES, add, fill, write
from looking import levels, look
from rich.console import Console
from samples import raw_dataset, variable

from physicnet.data.inspection import Inspection, discover
from physicnet.data.sources import Source
from physicnet.data.suggestion import suggestion
from physicnet.data.summary import SHOWN, print_inspection
from physicnet.fields import DataError


def printed(inspection: Inspection) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        print_inspection(inspection, console)
    return capture.get()


def discovered(path: Path) -> list[tuple[object, ...]]:
    found = [candidate.settings for candidate in discover(Source(path.name, path, path.parent))]
    return [(one.name, one.channel, one.units, one.file_units, one.select) for one in found]


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


def test_a_folder_without_a_match_is_looked_through_and_a_pattern_suggested(raw: Path) -> None:
    (raw / "2019").mkdir()
    (raw / "read.me").write_text("mine")
    raw_dataset().to_netcdf(raw / "2019" / "a.nc")
    raw_dataset(first=7).to_netcdf(raw / "b.H5", engine="netcdf4")
    found = look(raw, pattern="radar_*.nc")
    assert list(fates(found.catalogue)) == [str(raw / "2019" / "a.nc"), str(raw / "b.H5")]
    assert found.pattern == "**/*.[Hn]*"
    assert {path.name for path in raw.glob(found.pattern) if path.is_file()} == {"a.nc", "b.H5"}
    assert "Not all of them match ingest.pattern, 'radar_*.nc'" in printed(found)
    assert "Not all of them match" not in printed(look(raw, pattern="**/*.[Hn]*"))


def test_a_file_without_an_ending_gets_a_pattern_for_any_name(raw: Path) -> None:
    for name in ("a.nc", "b"):
        raw_dataset().to_netcdf(raw / name, engine="netcdf4")
    assert look(raw / "b").pattern == "*"
    assert look(raw / "a.nc", raw / "b").pattern == "*"


def test_a_folder_without_data_is_refused(raw: Path) -> None:
    (raw / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"no file in .*raw matches ingest.pattern = '\*\.nc', and none ends in \.nc,"):
        look(raw)


def test_what_cannot_be_read_is_left_out_and_does_not_hide_the_rest(raw: Path) -> None:
    one = raw_dataset().assign(mask=(("north", "east"), np.ones((6, 9)), {"units": "1"}))
    coarse = xr.DataArray(np.ones((7, 3, 4)), dims=("time", "row", "column"), attrs={"units": "K"})
    one.assign(coarse=coarse).to_netcdf(raw / "a.nc")
    found = look(raw, variables=[variable("other")])
    assert [candidate.settings.name for candidate in found.suited] == ["rate"]
    assert fates(found.catalogue) == {str(raw / "a.nc"): "accepted"}
    text = printed(found)
    assert "Left out: mask: variable mask has no axis of time" in text
    assert "Left out: coarse: coarse has the dimensions" in text


def test_files_without_any_field_are_told_so(raw: Path) -> None:
    xr.Dataset({"series": ("time", np.arange(4.0))}).to_netcdf(raw / "a.nc")
    text = printed(look(raw))
    assert "No file that can be opened has a variable on two dimensions." in text
    assert "Parameters that suit" not in text


@pytest.mark.parametrize(
    ("attributes", "units", "file_units", "note"),
    [
        ({"units": None}, "1", "1", "# rate: the file tells no units, and 1 stands for them"),
        ({"units": "what?"}, "1", "1", "# rate: its units, 'what?', cannot be understood, and 1 stands for them"),
        ({"units": None, "Unit": "K"}, "K", "K", "# rate: the file gives 'K' as Unit, not as units; check"),
    ],
)
def test_units_that_the_file_does_not_tell_must_be_checked(
    raw: Path, attributes: dict, units: str, file_units: str, note: str
) -> None:
    write(raw / "a.nc", **attributes)
    found = look(raw, variables=[variable("other")])
    assert fates(found.catalogue) == {str(raw / "a.nc"): "accepted"}
    (entry,) = yaml.safe_load(suggestion(found))["ingest"]["variables"]
    assert (entry["units"], entry["file_units"]) == (units, file_units)
    assert note in printed(found)


def test_the_first_value_of_a_further_dimension_is_taken_and_told(raw: Path) -> None:
    levels(raw)
    assert discovered(raw / "a.nc") == [("w", "w", "m s-1", None, {"level": 500.0})]
    assert "# w: level 500 is the first of several; take the one you want" in printed(look(raw))


def test_a_further_dimension_without_coordinate_is_counted(raw: Path) -> None:
    write(raw / "a.nc", np.stack([VALUES, VALUES]), ("member", "time", "lat", "lon"))
    assert discovered(raw / "a.nc") == [("rate", "rate", "mm h-1", None, {"member": 0.0})]


def test_what_has_two_times_is_left_to_the_reader_to_refuse(raw: Path) -> None:
    with netCDF4.Dataset(raw / "a.nc", "w") as file:
        fill(file)
        add(file, "again", np.arange(3), ("lat",), units="hours since 2020-01-01")
    found = look(raw, variables=[variable("other")])
    assert "several axes of time" in found.left_out["rate"]


def test_variables_in_groups_are_found_and_what_only_describes_them_is_not(raw: Path) -> None:
    with netCDF4.Dataset(raw / "a.nc", "w") as file:
        fill(file.createGroup("radar/low"), coordinates="lat2d lon2d")
        group = file["radar/low"]
        for name in ("lat2d", "lon2d"):
            add(group, name, VALUES[0], ("lat", "lon"), units="degree")
        add(group, "quality", VALUES[0], ("lat", "lon"))
        add(group, "sst", VALUES[0], ("lat", "lon"), units="degree_C")
        add(group, "latitude", VALUES[0], ("lat", "lon"), units="Degrees_North")
        add(group, "valid", VALUES[0], ("lat", "lon"), units="hours since 2020-01-01")
    assert discovered(raw / "a.nc") == [
        ("radar/low/rate", "rate", "mm h-1", None, {}),
        ("radar/low/quality", "quality", "1", "1", {}),
        ("radar/low/sst", "sst", "degree_C", None, {}),
    ]


def test_channels_stay_apart_even_from_names_that_look_like_groups(raw: Path) -> None:
    with netCDF4.Dataset(raw / "a.nc", "w") as file:
        fill(file, name="A_p")
        for name in ("A", "B"):
            fill(file.createGroup(name), name="p")
    channels = {one.settings.name: one.settings.channel for one in look(raw).suited}
    assert channels == {"A_p": "A_p", "A/p": "A_p_", "B/p": "B_p"}


def test_nothing_is_discovered_in_what_is_no_netcdf(raw: Path) -> None:
    (raw / "a.nc").write_text("<html>")
    assert discovered(raw / "a.nc") == []
    found = look(raw)
    assert fates(found.catalogue) == {str(raw / "a.nc"): "quarantined"}
    assert "Parameters that suit" not in printed(found)


def test_a_pipe_is_refused_without_waiting_for_it(raw: Path) -> None:
    os.mkfifo(raw / "a.nc")
    assert "no regular file" in reason(look(raw / "a.nc").catalogue, str(raw / "a.nc"))


def test_a_long_list_is_cut_and_says_so(raw: Path) -> None:
    for index in range(SHOWN + 2):
        (raw / f"{index}.nc").write_text("<html>")
    assert "and 2 more, in the files of the catalogue" in printed(look(raw))


def test_a_path_that_does_not_exist_is_named(raw: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.nc does not exist; name files or folders"):
        look(raw / "gone.nc")
