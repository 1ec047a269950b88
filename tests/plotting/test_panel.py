from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from plotting import drawn

from physicnet.plotting import film, panel
from physicnet.plotting.forecast import Flow
from physicnet.plotting.maps import Ground
from physicnet.plotting.panel import Words, panel_figure
from physicnet.plotting.rows import Row
from physicnet.plotting.scales import RAIN, classes, errors, probability

RECORD = drawn.record("rate")
NUM_LEADS = 6
TRUTH = RECORD.dataset["rate"].values[4 : 4 + NUM_LEADS].astype(np.float64)
SCALE = classes(RAIN, "mm h⁻¹")
OBSERVED = Row("Observed", TRUTH, SCALE, "rate", start=RECORD.dataset["rate"].values[3])
FORECAST = Row("Forecast", TRUTH + 1, SCALE, "rate")
ERROR = Row(
    "Error", np.ones_like(TRUTH), errors(TRUTH, "mm h⁻¹"), "forecast − observed", notes=["RMSE 1.0"] * NUM_LEADS
)
CHANCE = Row("Probability\n> 1 mm h⁻¹", np.full_like(TRUTH, 30.0), probability(), "P(> 1 mm h⁻¹)", events=TRUTH > 1)
WORDS = Words("Rain", "last observed\n00:15", [f"+{5 * n} min\n00:{15 + 5 * n} UTC" for n in range(1, 7)], "model abab")
GROUND = Ground.of(RECORD, (slice(0, 12), slice(0, 14)))
FLOW = Flow(np.full((2, 12, 14), 3.0), "m s-1")


def images(figure: Figure) -> list[np.ndarray]:
    """What is shown of frames, left to right and top to bottom."""
    return [np.ma.filled(axes.images[0].get_array(), np.nan) for axes in figure.axes if axes.images]


def words_of(figure: Figure) -> str:
    found = [text.get_text() for axes in figure.axes for text in [*axes.texts, axes.title, axes.yaxis.label]]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return "\n".join([*found, *titles, figure.get_suptitle(), figure.get_supxlabel()])


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
        "hatched: far below zero; red line: where it was observed; grey, within a line: missing; model abab",
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


@pytest.mark.parametrize("lead", [-1, 3])
def test_a_picture_of_the_film_shows_one_moment(lead: int) -> None:
    figure = film.film_figure([OBSERVED, FORECAST, ERROR, CHANCE], lead, WORDS, GROUND)
    shown = images(figure)
    if lead < 0:
        assert len(shown) == 1
        assert np.array_equal(shown[0], OBSERVED.start, equal_nan=True)
        assert figure.get_suptitle() == "last observed   00:15\nRain"
    else:
        assert [
            np.array_equal(one, row.frames[3], equal_nan=True)
            for one, row in zip(shown, [OBSERVED, FORECAST, ERROR, CHANCE], strict=True)
        ] == [True] * 4
        assert figure.get_suptitle() == "+20 min   00:35 UTC\nRain"
    assert {axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()} == {
        "rate (mm h⁻¹)",
        "forecast − observed (mm h⁻¹)",
        "P(> 1 mm h⁻¹) (%)",
    }


def test_a_film_knows_the_colours_of_its_scales_and_of_what_is_missing(tmp_path: Path) -> None:
    shades = film.shades([OBSERVED, FORECAST, ERROR])
    assert len(shades) <= 3 * film.COLOURS
    known = set(zip(shades[::3], shades[1::3], shades[2::3], strict=True))
    classes = {tuple(round(255 * float(part)) for part in colour[:3]) for colour in SCALE.colours(np.arange(8))}
    assert known >= classes | {(255, 255, 255), (0xD9, 0xD9, 0xD9), (247, 247, 247)}
