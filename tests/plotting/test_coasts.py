import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from physicnet.fields import Field
from physicnet.plotting import coasts
from physicnet.plotting.coasts import NoCoastsError, coastlines


def field(longitudes: np.ndarray, *, units: tuple[str, str] = ("degrees_north", "degrees_east")) -> Field:
    latitudes = np.array([60.0, 59.0, 58.0, 57.0])
    values = (("time", "lat", "lon"), np.zeros((1, 4, longitudes.size)), {"units": "K"})
    coordinates = {
        "time": np.array(["2020-01-01"], "datetime64[ns]"),
        "lat": ("lat", latitudes, {"units": units[0]}),
        "lon": ("lon", longitudes, {"units": units[1]}),
    }
    return Field(xr.Dataset({"t2m": values}, coordinates))


def install(monkeypatch: pytest.MonkeyPatch, *lines: list[tuple[float, float]], error: OSError | None = None) -> None:
    """Make it look as if cartopy were installed, with these coastlines, or none that it can load."""

    def natural_earth(**asked: str) -> Path:
        assert asked == {"resolution": "50m", "category": "physical", "name": "coastline"}
        if error is not None:
            raise error
        return Path("coastline.shp")

    parts = [SimpleNamespace(coords=line) for line in lines]
    geometries = [SimpleNamespace(geoms=parts[:1]), *parts[1:]]
    reader = SimpleNamespace(geometries=lambda: iter(geometries))
    package, module = ModuleType("cartopy"), ModuleType("cartopy.io")
    module.shapereader = SimpleNamespace(natural_earth=natural_earth, Reader=lambda _: reader)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cartopy", package)
    monkeypatch.setitem(sys.modules, "cartopy.io", module)
    monkeypatch.setattr(coasts, "find_spec", lambda _: package)


def test_without_cartopy_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coasts, "find_spec", lambda _: None)
    with pytest.raises(NoCoastsError, match="^cartopy is not installed$"):
        coastlines(field(np.arange(5.0)))


def test_lines_are_told_in_cells_whichever_way_rows_run(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [(0.0, 60.0), (1.5, 58.5), (4.0, 57.0)], [(90.0, 0.0), (91.0, 0.0)])
    (line,) = coastlines(field(np.arange(5.0)))  # the other lies elsewhere
    assert line.tolist() == [[0.0, 0.0], [1.5, 1.5], [4.0, 3.0]]


def test_what_lies_off_the_grid_is_left_out_but_for_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [(-1.0, 60.0), (-2.5, 60.0), (2.0, 61.0)])
    (line,) = coastlines(field(np.arange(5.0)))
    assert line[0].tolist() == [-1.0, 0.0]
    assert np.isnan(line[1, 0])
    assert line[2].tolist() == [2.0, -1.0]


@pytest.mark.parametrize("first", [-2.0, 358.0])
def test_longitudes_are_counted_as_the_grid_counts_them(monkeypatch: pytest.MonkeyPatch, first: float) -> None:
    install(monkeypatch, [(-1.0, 58.0), (1.0, 58.0)])
    (line,) = coastlines(field(first + np.arange(5.0)))
    assert line.tolist() == [[1.0, 2.0], [3.0, 2.0]]


def test_a_line_that_leaves_at_one_end_of_the_world_does_not_cross_the_map(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [(178.0, 58.0), (-178.0, 58.0)])
    (line,) = coastlines(field(np.arange(-180.0, 180.0)))
    assert line[0].tolist() == [358.0, 2.0]
    assert np.isnan(line[1, 0])


def test_coastlines_that_cannot_be_loaded_are_no_error_of_the_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, error=OSError("no network"))
    with pytest.raises(NoCoastsError, match=r"cartopy could not load them \(no network\)"):
        coastlines(field(np.arange(5.0)))


def test_a_grid_of_no_known_place_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [(0.0, 60.0), (1.0, 60.0)])
    with pytest.raises(NoCoastsError, match="rows and columns have no coordinates"):
        coastlines(Field(field(np.arange(5.0)).dataset.drop_vars("lat")))
    monkeypatch.setitem(sys.modules, "pyproj", SimpleNamespace(CRS=None, Transformer=None))
    monkeypatch.setitem(sys.modules, "pyproj.exceptions", SimpleNamespace(CRSError=RuntimeError))
    with pytest.raises(NoCoastsError, match="the file tells no projection"):
        coastlines(field(np.arange(5.0), units=("m", "m")))


def projected(units: str = "m", cell: float = 1000.0) -> Field:
    metres = field(cell * np.arange(5.0), units=("degrees", units)).dataset.assign_coords(
        crs=((), 0, {"grid_mapping_name": "g"})
    )
    metres["t2m"].encoding["grid_mapping"] = "crs"
    return Field(metres)


def project(monkeypatch: pytest.MonkeyPatch, from_cf: object) -> None:
    """Make it look as if pyproj were installed; its one projection multiplies."""
    transformer = SimpleNamespace(transform=lambda x, y: (1000 * x, y))
    from_crs = SimpleNamespace(from_crs=lambda *_, **__: transformer)
    monkeypatch.setitem(
        sys.modules, "pyproj", SimpleNamespace(CRS=SimpleNamespace(from_cf=from_cf), Transformer=from_crs)
    )
    monkeypatch.setitem(sys.modules, "pyproj.exceptions", SimpleNamespace(CRSError=RuntimeError))


@pytest.mark.parametrize(("units", "cell"), [("m", 1000.0), ("km", 1.0)])
def test_lines_are_brought_to_the_projection_of_the_grid(
    monkeypatch: pytest.MonkeyPatch, units: str, cell: float
) -> None:
    install(monkeypatch, [(1.5, 58.5), (4.0, 57.0)])
    project(monkeypatch, dict)
    (line,) = coastlines(projected(units, cell))
    assert line.tolist() == [[1.5, 1.5], [4.0, 3.0]]


def test_a_projection_that_is_not_understood_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(attributes: dict) -> None:
        raise RuntimeError(f"unknown {attributes['grid_mapping_name']}")

    install(monkeypatch, [(1.5, 58.5), (4.0, 57.0)])
    project(monkeypatch, fail)
    with pytest.raises(NoCoastsError, match=r"the projection crs cannot be understood \(unknown g\)"):
        coastlines(projected())
