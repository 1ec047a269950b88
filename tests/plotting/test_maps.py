import numpy as np
import pytest
import xarray as xr
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from plotting import drawn

from physicnet.fields import Field
from physicnet.plotting import maps, scales
from physicnet.plotting.forecast import Flow
from physicnet.plotting.maps import Ground

RAIN = drawn.record("rate")
ALL = slice(None), slice(None)


def geographic(latitudes: np.ndarray) -> Field:
    values = (("time", "lat", "lon"), np.zeros((1, latitudes.size, 5)), {"units": "K"})
    coordinates = {
        "time": np.array(["2020-01-01"], "datetime64[ns]"),
        "lat": ("lat", latitudes, {"units": "degrees_north"}),
        "lon": ("lon", np.arange(5) * 0.5, {"units": "degrees_east"}),
    }
    return Field(xr.Dataset({"t2m": values}, coordinates))


def test_a_cell_of_degrees_is_as_wide_as_its_latitude_makes_it() -> None:
    ground = Ground.of(geographic(np.linspace(59, 61, 5)), ALL)
    assert ground.grid.cell == pytest.approx(0.5 * 111.195 * 0.5)  # half as wide at 60 degrees as at the equator
    assert ground.latitude == 60


@pytest.mark.parametrize(("latitudes", "text"), [([59, 61], "20 km at 60° N"), ([-31, -29], "50 km at 30° S")])
def test_the_scale_bar_says_where_it_holds(latitudes: list[float], text: str) -> None:
    axes = Figure().subplots()
    maps.draw_distance(axes, Ground.of(geographic(np.array(latitudes, float)), ALL))
    assert [label.get_text() for label in axes.texts] == [text]


def test_a_rotated_latitude_is_not_told() -> None:
    rotated = geographic(np.linspace(-1, 1, 5)).dataset
    rotated["lat"].attrs = {"units": "degrees", "standard_name": "grid_latitude"}
    ground = Ground.of(Field(rotated), ALL)
    assert ground.grid.cell == pytest.approx(0.5 * 111.195)
    assert ground.latitude is None


def test_the_scale_bar_of_kilometres_holds_everywhere_and_there_is_none_without_a_length() -> None:
    axes = Figure().subplots()
    maps.draw_distance(axes, Ground.of(RAIN, ALL))
    assert [label.get_text() for label in axes.texts] == ["2 km"]
    maps.draw_distance(axes, Ground.of(Field(RAIN.dataset.drop_vars("x")), ALL))
    assert len(axes.texts) == 1


def test_a_part_of_the_frame_is_drawn() -> None:
    ground = Ground.of(RAIN, (slice(2, 9), slice(3, 80)))
    assert ground.shape == (7, 11)
    axes = Figure().subplots()
    frame = np.arange(12 * 14.0).reshape(12, 14)
    maps.draw_frame(axes, frame, ground, scales.amount([frame], "K"))
    assert np.array_equal(axes.images[0].get_array(), frame[2:9, 3:])


def hatches(frame: np.ndarray) -> list[ContourSet]:
    axes = Figure().subplots()
    maps.draw_frame(axes, frame, Ground.of(RAIN, ALL), scales.about_zero(4.0, "K"))
    return [each for each in axes.collections if isinstance(each, ContourSet) and each.hatches == [maps.HATCH]]


def test_what_is_far_below_zero_is_hatched() -> None:
    frame = np.zeros((12, 14))
    frame[3:6, 4:7] = 3.0
    assert hatches(frame) == []
    (hatched,) = hatches(-frame)
    assert hatched.get_paths()[0].get_extents().bounds == (3.5, 2.5, 3.0, 3.0)


def test_a_line_goes_around_what_is_missing() -> None:
    axes = Figure().subplots()
    frame = RAIN.dataset["rate"].values[0]
    maps.draw_frame(axes, frame, Ground.of(RAIN, ALL), scales.classes(scales.RAIN, "mm h⁻¹"))
    (line,) = axes.collections
    reach = line.get_paths()[0].get_extents()
    assert (reach.x1, reach.y1) == (2.5, 2.5)


def test_an_event_has_an_outline_where_it_has_an_end() -> None:
    axes = Figure().subplots()
    event = np.zeros((12, 14), bool)
    maps.draw_outline(axes, event, Ground.of(RAIN, ALL))
    maps.draw_outline(axes, ~event, Ground.of(RAIN, ALL))
    assert len(axes.collections) == 0
    event[3:6, 4:7] = True
    maps.draw_outline(axes, event, Ground.of(RAIN, ALL))
    assert len(axes.collections) == 1


def arrows(flow: Flow, *, key: bool = True) -> tuple[Quiver, list[str]]:
    figure = Figure()
    axes = figure.subplots()
    maps.draw_arrows(axes, flow, Ground.of(RAIN, ALL), typical=2.0, key=key)
    (quiver,) = (child for child in axes.get_children() if isinstance(child, Quiver))
    return quiver, [artist.text.get_text() for artist in axes.artists]


def test_arrows_are_where_the_flow_is_known_with_a_key_in_its_units() -> None:
    vectors = np.ones((2, 12, 14)) * np.array([2.0, -1.0])[:, None, None]
    vectors[:, :, :7] = np.nan
    quiver, keys = arrows(Flow(vectors, "m s-1"))
    assert quiver.X.min() >= 7
    assert set(quiver.U) == {2.0}
    assert set(quiver.V) == {-1.0}
    assert keys == ["2 m s⁻¹"]
    assert arrows(Flow(vectors, "cells per step"), key=False)[1] == []


def test_a_typical_speed_is_round_and_shared() -> None:
    slow, fast = (Flow(np.full((2, 3, 4), value), "m s-1") for value in (1.0, 30.0))
    assert maps.typical_speed([slow, fast]) == 40.0  # 30 in both directions is 42
    assert maps.typical_speed([Flow(np.full((2, 3, 4), np.nan), "m s-1")]) == 1.0
    assert maps.typical_speed([Flow(np.zeros((2, 3, 4)), "m s-1")]) == 0.001


def test_coasts_do_not_widen_the_map() -> None:
    line = np.array([[-40.0, -3.0], [5.0, 6.0], [90.0, 70.0]])
    axes = Figure().subplots()
    frame = np.zeros((12, 14))
    maps.draw_frame(axes, frame, Ground.of(RAIN, (slice(2, 12), slice(0, 14)), [line]), scales.amount([frame], "K"))
    assert axes.lines[0].get_xydata()[1].tolist() == [5.0, 4.0]
    assert axes.get_xlim() == (-0.5, 13.5)
    assert axes.get_ylim() == (-0.5, 9.5)  # rows of the record ascend


def test_a_scale_says_what_it_is_of_and_in_which_units() -> None:
    figure = Figure()
    axes = figure.subplots()
    rain = maps.draw_bar(figure, scales.classes(scales.RAIN, "mm h⁻¹"), [axes], "rate")
    assert rain.ax.get_ylabel() == "rate (mm h⁻¹)"
    assert [label.get_text() for label in rain.ax.get_yticklabels()] == [f"{bound:g}" for bound in scales.RAIN]
    plain = maps.draw_bar(figure, scales.about_zero(2.0, ""), [axes], "index")
    assert plain.ax.get_ylabel() == "index"
    (hatched,) = (patch for patch in plain.ax.patches if patch.get_hatch())
    assert (hatched.get_y(), hatched.get_y() + hatched.get_height()) == (-2.0, -0.5)
