from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from physicnet.fields import DataError
from physicnet.source import grid
from physicnet.source.grid import Bins, Box, Gridding
from physicnet.source.table import PLACES

DAILY = Gridding(PLACES["cells"], spacing=1.0, step=86_400, box=None, absent_is_zero=False)
NAN = np.nan


def convert(
    tmp_path: Path, gridding: Gridding, *rows: str, head: str = "time,row,column,count", **changed: Any
) -> xr.DataArray:
    table, output = tmp_path / "table.csv", tmp_path / "raw" / "cases.nc"
    table.write_text("\n".join([head, *rows]) + "\n")
    grid.convert(table, output, gridding, {}, **({"width": None, "is_events": False, "name": "cases"} | changed))
    return xr.load_dataset(output)["cases"]


def test_counts_are_laid_on_the_grid(tmp_path: Path) -> None:
    found = convert(tmp_path, DAILY, "2020-06-01,2,1,5", "2020-06-01,2,3,6", "2020-06-02,3,1,7", "2020-06-02,2,3,0")
    assert found.dims == ("time", "y", "x")
    assert found["y"].values.tolist() == [2.0, 3.0]
    assert found["x"].values.tolist() == [1.0, 2.0, 3.0]
    expected = [[[5, NAN, 6], [NAN, NAN, NAN]], [[NAN, NAN, 0], [7, NAN, NAN]]]
    np.testing.assert_array_equal(found, np.array(expected))


def test_what_is_absent_is_zero_where_anything_was_told_of_at_any_time(tmp_path: Path) -> None:
    gridding = replace(DAILY, absent_is_zero=True)
    found = convert(tmp_path, gridding, "2020-06-01,2,1,5", "2020-06-02,3,1,7", "2020-06-02,2,3,4")
    expected = [[[5, NAN, 0], [0, NAN, NAN]], [[0, NAN, 4], [7, NAN, NAN]]]
    np.testing.assert_array_equal(found, np.array(expected))


def test_rows_of_one_cell_and_step_are_added_up(tmp_path: Path) -> None:
    hours = ("2020-06-01T00:00,0,0,1", "2020-06-01T23:59:59,1,1,2", "2020-06-02T00:00,0,1,4")
    found = convert(tmp_path, replace(DAILY, spacing=2.0), *hours)
    assert found.values.ravel().tolist() == [3.0, 4.0]
    assert found["y"].values.tolist() == [0.5]  # the middle of rows 0 and 1


def test_events_are_counted(tmp_path: Path) -> None:
    rows = ("2020-06-01,0,0", "2020-06-01,0,0", "2020-06-01,1,1")
    found = convert(tmp_path, DAILY, *rows, head="time,row,column", is_events=True)
    np.testing.assert_array_equal(found[0], [[2, NAN], [NAN, 1]])


def test_times_of_which_nothing_is_told_stay_missing(tmp_path: Path) -> None:
    found = convert(tmp_path, replace(DAILY, absent_is_zero=True), "2020-06-01,0,0,1", "2020-06-04,0,0,1")
    assert found["time"].values.astype("datetime64[D]").astype(str).tolist() == ["2020-06-01", "2020-06-04"]


def test_steps_are_counted_from_midnight_of_the_first_day(tmp_path: Path) -> None:
    found = convert(tmp_path, replace(DAILY, step=10 * 3600), "2020-06-01T12:00,0,0,1", "2020-06-02T03:00,0,0,1")
    assert found["time"].values.astype("datetime64[h]").astype(str).tolist() == ["2020-06-01T10", "2020-06-01T20"]


def test_places_on_the_sphere_are_binned_from_whole_multiples_of_the_spacing(tmp_path: Path) -> None:
    gridding = replace(DAILY, place=PLACES["degrees"], spacing=0.1)
    rows = ("2020-06-01,52.3,-0.05,1", "2020-06-01,52.399,0.05,2", "2020-06-01,52.4,0.1,3")
    found = convert(tmp_path, gridding, *rows, head="time,latitude,longitude,count")
    assert found.dims == ("time", "latitude", "longitude")
    np.testing.assert_allclose(found["latitude"], [52.35, 52.45])
    np.testing.assert_allclose(found["longitude"], [-0.05, 0.05, 0.15])
    np.testing.assert_array_equal(found[0], [[1, 2, NAN], [NAN, NAN, 3]])
    assert found["latitude"].attrs["units"] == "degrees_north"


@given(st.integers(-1000, 1000), st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.3, 1 / 3, 2.5, 1000.0]))
def test_a_place_on_an_edge_belongs_to_the_cell_that_begins_there(number: int, width: float) -> None:
    bins = Bins.over(np.array([number * width]), 0.0, width)
    assert (bins.first, bins.num) == (number, 1)
    np.testing.assert_allclose(bins.middles(), (number + 0.5) * width)


def test_a_box_says_what_the_grid_spans(tmp_path: Path) -> None:
    gridding = replace(DAILY, place=PLACES["metres"], spacing=500.0, box=Box(-250.0, 0.0, 750.0, 1500.0))
    found = convert(tmp_path, gridding, "2020-06-01,0,1499,4", head="time,y,x,count")
    assert found["y"].values.tolist() == [0.0, 500.0]
    assert found["x"].values.tolist() == [250.0, 750.0, 1250.0]
    np.testing.assert_array_equal(found[0], [[NAN, NAN, 4], [NAN, NAN, NAN]])


@pytest.mark.parametrize(
    ("place", "message"),
    [("750,0", r"y is 750\.0, outside of the box from -250 to 750"), ("0,-1", r"x is -1\.0, outs")],
)
def test_a_place_outside_of_the_box_is_named(tmp_path: Path, place: str, message: str) -> None:
    gridding = replace(DAILY, place=PLACES["metres"], spacing=500.0, box=Box(-250.0, 0.0, 750.0, 1500.0))
    with pytest.raises(DataError, match=rf"table\.csv, line 3: {message}"):
        convert(tmp_path, gridding, "2020-06-01,0,0,4", f"2020-06-01,{place},4", head="time,y,x,count")


def test_a_grid_that_a_place_far_off_makes_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"would become 1 frames of 1000001 x 1000001 cells, none or too many; choose ot"
    ):
        convert(tmp_path, DAILY, "2020-06-01,0,0,4", "2020-06-01,1000000,1000000,4")


def test_a_box_without_cells_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="would become 1 frames of 0 x 5 cells, none or too many"):
        convert(tmp_path, replace(DAILY, box=Box(0.0, 0.0, 0.0, 5.0)), "2020-06-01,0,0,4")


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    convert(tmp_path, DAILY, "2020-06-01,0,0,4", head="# Simulated cases\n# by hand\n# twice\ntime,row,column,count")
    found = xr.load_dataset(tmp_path / "raw" / "cases.nc")
    assert (found.attrs["title"], found.attrs["source"]) == ("Simulated cases", "by hand; twice")
    assert found["cases"].attrs["units"] == "1"
    assert found["cases"].attrs["cell_methods"] == "time: sum area: sum"
    assert found["time"].attrs["standard_name"] == "time"


def test_a_table_without_comments_gives_its_name(tmp_path: Path) -> None:
    convert(tmp_path, DAILY, "2020-06-01,0,0,4")
    assert xr.load_dataset(tmp_path / "raw" / "cases.nc").attrs["title"] == "cases on a grid, from table.csv"


@pytest.mark.parametrize(("step", "seconds"), [("30min", 1800), ("1h", 3600), ("7D", 604_800)])
def test_a_step_is_read(step: str, seconds: int) -> None:
    assert Gridding.of("degrees", 0.1, step, (1.0, 2.0, 3.0, 4.0), absent_is_zero=True) == Gridding(
        PLACES["degrees"], 0.1, seconds, Box(1.0, 2.0, 3.0, 4.0), absent_is_zero=True
    )


@pytest.mark.parametrize(("spacing", "step"), [(0.0, "1h"), (1.0, "0s"), (1.0, "-1h"), (1.0, "1500ms")])
def test_a_spacing_or_step_of_nothing_is_refused(spacing: float, step: str) -> None:
    with pytest.raises(DataError, match=rf"the spacing is {spacing:g} and the step {step}; neither may be 0"):
        Gridding.of("cells", spacing, step, None, absent_is_zero=True)


def test_a_step_that_is_none_is_named() -> None:
    with pytest.raises(DataError, match=r"'now and then' is no time step \(.*\); write 30min, 1h, 1D or 7D"):
        Gridding.of("cells", 1.0, "now and then", None, absent_is_zero=True)
