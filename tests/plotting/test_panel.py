from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from plotting.pictured import (
    CHANCE,
    ERROR,
    FLOW,
    FORECAST,
    GROUND,
    NUM_LEADS,
    OBSERVED,
    SCALE,
    TRUTH,
    WORDS,
    images,
    words_of,
)

from physicnet.plotting import panel
from physicnet.plotting.panel import panel_figure
from physicnet.plotting.rows import Row


def quivers(figure: Figure) -> int:
    return sum(isinstance(child, Quiver) for axes in figure.axes for child in axes.get_children())


def test_four_leads_are_drawn_after_the_last_observed_frame_and_the_motion() -> None:
    figure = panel_figure([OBSERVED, FORECAST], WORDS, GROUND, FLOW)
    shown = images(figure)
    assert len(shown) == 2 * (1 + panel.COLUMNS)
    assert np.array_equal(shown[0], OBSERVED.start, equal_nan=True)
    for place, lead in enumerate([1, 2, 4, 5]):
        assert np.array_equal(shown[1 + place], TRUTH[lead], equal_nan=True)
        assert np.array_equal(shown[6 + place], TRUTH[lead] + 1, equal_nan=True)
    assert np.array_equal(shown[5], OBSERVED.start, equal_nan=True)  # below the arrows
    assert quivers(figure) == 1


def test_times_leads_units_scale_and_legend_are_told() -> None:
    told = words_of(panel_figure([OBSERVED, FORECAST, ERROR, CHANCE], WORDS, GROUND, FLOW))
    for text in (
        "Rain",
        "last observed\n00:15",
        "+10 min\n00:25 UTC",
        "+30 min\n00:45 UTC",
        "Observed",
        "Motion",
        "RMSE 1.0",
        "rate (mm h⁻¹)",
        "forecast − observed (mm h⁻¹)",
        "P(> 1 mm h⁻¹) (%)",
        "2 km",
        "hatched: far below zero; outlined: observed at or above the threshold; grey: missing; model abab",
    ):
        assert text in told


def test_the_legend_tells_of_what_is_drawn_alone() -> None:
    complete = Row("Forecast", np.ones((NUM_LEADS, 12, 14)), SCALE, "rate")
    assert panel_figure([complete], WORDS, GROUND).get_supxlabel() == "model abab"


def test_rows_that_share_a_scale_share_its_bar() -> None:
    figure = panel_figure([OBSERVED, FORECAST, ERROR], WORDS, GROUND)
    assert [axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>"] == [
        "rate (mm h⁻¹)",
        "forecast − observed (mm h⁻¹)",
    ]


def test_a_forecast_alone_has_columns_of_leads_alone() -> None:
    figure = panel_figure([FORECAST], WORDS, GROUND)
    assert len(images(figure)) == panel.COLUMNS
    assert quivers(figure) == 0


def test_the_motion_of_a_forecast_alone_lies_over_its_first_lead() -> None:
    figure = panel_figure([FORECAST], WORDS, GROUND, FLOW)
    assert np.array_equal(images(figure)[0], FORECAST.frames[0], equal_nan=True)
    assert quivers(figure) == 1


def test_one_row_has_no_place_for_a_start_and_a_motion() -> None:
    assert quivers(panel_figure([OBSERVED], WORDS, GROUND, FLOW)) == 0


def test_no_arrow_lies_where_nothing_is_known() -> None:
    figure = panel_figure([OBSERVED, FORECAST], WORDS, GROUND, FLOW)
    (quiver,) = (child for axes in figure.axes for child in axes.get_children() if isinstance(child, Quiver))
    known = np.isfinite(OBSERVED.start)
    assert known[quiver.Y.astype(int), quiver.X.astype(int)].all()


def test_a_lead_that_was_not_observed_says_so() -> None:
    frames = TRUTH.copy()
    frames[5] = np.nan
    told = words_of(panel_figure([replace(OBSERVED, frames=frames), FORECAST], WORDS, GROUND))
    assert told.count("not observed") == 1


def test_a_vector_has_arrows_on_each_frame_and_one_key() -> None:
    flows = [FLOW] * NUM_LEADS
    rows = [replace(OBSERVED, flows=flows, start_flow=FLOW), replace(FORECAST, flows=flows)]
    figure = panel_figure(rows, WORDS, GROUND)
    assert quivers(figure) == 1 + 2 * panel.COLUMNS
    assert [artist.text.get_text() for axes in figure.axes for artist in axes.artists] == ["4 m s⁻¹"]


def test_the_arrows_of_a_forecast_alone_have_a_key_on_the_first_lead() -> None:
    figure = panel_figure([replace(FORECAST, flows=[FLOW] * NUM_LEADS)], WORDS, GROUND)
    assert [len(axes.artists) for axes in figure.axes if axes.images] == [1, 0, 0, 0]
