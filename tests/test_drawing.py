import numpy as np
import pytest
import xarray as xr
from skimage.color import rgb2lab

from physicnet.drawing import Grid, ramp
from physicnet.fields import Field


def field(rows: list[float], units: str = "m") -> Field:
    values = (("time", "y", "x"), np.zeros((2, len(rows), 4)), {"units": "1"})
    times = np.datetime64("2020-01-01", "ns") + np.arange(2) * np.timedelta64(5, "m")
    return Field(
        xr.Dataset({"rain": values}, {"time": times, "y": rows, "x": ("x", np.arange(4) * 2e3, {"units": units})})
    )


def test_the_colour_map_is_a_straight_line_in_lightness() -> None:
    lightness = rgb2lab(ramp()(np.arange(256))[None, :, :3])[0, :, 0]
    assert lightness == pytest.approx(np.linspace(95, 18, 256), abs=0.2)


def test_a_grid_reads_direction_and_width_from_the_coordinates() -> None:
    assert Grid.of(field([5.0, 3.0, 1.0])) == Grid(rows_ascend=False, cell=2.0, aspect=1.0)  # km, from metres
    assert Grid.of(field([1.0, 3.0], units="degrees_east")) == Grid(rows_ascend=True, cell=None, aspect=1.0)


def test_rows_without_coordinates_run_down() -> None:
    assert not Grid.of(Field(field([1.0, 3.0]).dataset.drop_vars("y"))).rows_ascend
