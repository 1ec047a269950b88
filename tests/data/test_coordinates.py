from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from dialects import AXES, VALUES, add, fill

from physicnet.data.coordinates import mapping_names, travelling, with_coordinates
from physicnet.data.opening import declarations

GRID = ("lat", "lon")


def stored(path: Path) -> xr.DataArray:
    declared = declarations(path).variables
    return with_coordinates(path, declared, declared["rate"])


@pytest.mark.parametrize(
    ("link", "names"),
    [("crs", ["crs"]), ("crs: x y geo: lat lon", ["crs", "geo"]), ("/grid/crs", ["crs"]), (None, [])],
)
def test_links_to_grid_mappings_are_read_in_both_forms(link: str | None, names: list[str]) -> None:
    assert mapping_names({} if link is None else {"grid_mapping": link}) == names


def test_what_belongs_to_a_variable_is_linked_or_tells_what_it_is(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        fill(file, coordinates="/height pressure lost")
        add(file, "height", 2.0)
        add(file, "pressure", VALUES, ("time", "lat", "lon"))
        add(file, "area", VALUES[0], ("lat", "lon"), units="m2")
        add(file, "true_lat", VALUES[0], ("lat", "lon"), standard_name="latitude")
        add(file, "crs", 0, grid_mapping_name="latitude_longitude")
        add(file, "names", np.array(b"a", "S1"))
    found = stored(tmp_path / "a.nc")
    assert set(found.coords) == {"time", "lat", "lon", "height", "pressure", "true_lat", "crs"}
    assert set(travelling(tmp_path / "a.nc", found, "time", GRID)) == {"lat", "lon", "height", "true_lat", "crs"}


def test_coordinates_are_decoded_but_exact_ones_keep_their_type(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w", format="NETCDF3_CLASSIC") as file:
        fill(file, axes={"lat": AXES["lat"].astype("f4")}, coordinates="lon")
        add(file, "lon", np.arange(5), ("lon",), dtype="i2", scale_factor=0.25, add_offset=-180.0, units="degrees_east")
    found = travelling(tmp_path / "a.nc", stored(tmp_path / "a.nc"), "time", GRID)
    np.testing.assert_array_equal(found["lon"], 0.25 * np.arange(5) - 180)
    assert (found["lat"].dtype, found["lat"].dtype.isnative) == (np.float32, True)
    assert found["lon"].attrs == {"units": "degrees_east"}


def test_other_times_and_leads_stay_behind(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        fill(file, coordinates="run lead")
        add(file, "run", 0, units="hours since 2020-01-01", standard_name="forecast_reference_time")
        add(file, "lead", 6, units="hours", standard_name="forecast_period")
    found = stored(tmp_path / "a.nc")
    assert {"run", "lead"} <= set(found.coords)
    assert set(travelling(tmp_path / "a.nc", found, "time", GRID)) == {"lat", "lon"}
