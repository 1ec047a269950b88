from collections.abc import Callable
from pathlib import Path
from typing import get_args

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from physicnet.config import BaselineName
from physicnet.drawing import save
from physicnet.evaluation import figures
from physicnet.transforms import Decibel, Log1p, Power, Transform

GENERATOR = np.random.default_rng(0)
LAST = np.where(
    np.hypot(*(np.mgrid[:30, :40] - np.array([15, 20])[:, None, None])) < 12, GENERATOR.random((30, 40)), np.nan
)
TRUTH = LAST * np.array([1.0, 0.5])[:, None, None]
CHART = figures.Map(
    rows_ascend=False, cell=2.0, aspect=1.0, norm=figures.colour_scale(TRUTH, [Decibel(0.1, -15.0)]), units="mm h-1"
)


def forecasts() -> Figure:
    made = {"physicnet": np.nan_to_num(TRUTH) + 0.25, "advection": np.nan_to_num(TRUTH)}
    return figures.forecast_figure(LAST, TRUTH, made, now="now", titles=["+5 min", "+10 min"], chart=CHART)


def skill() -> Figure:
    rows = {"lead": [1, 2] * 2, "lead_minutes": [5.0, 10.0] * 2, "rmse": [1.0, 2.0, 2.0, 3.0], "mae": 1.0, "skill": 0.5}
    scores = pd.DataFrame({"model": ["physicnet"] * 2 + ["persistence"] * 2, "units": "mm h-1"} | rows)
    return figures.skill_figure(
        scores.assign(**{"csi_0.5": 0.5, "csi_9": np.nan, "sharpness": 1.0, "skill_low": -3.0, "skill_high": 0.6})
    )


def spectra() -> Figure:
    table = pd.DataFrame(
        {"model": ["truth"] * 4 + ["other"] * 4, "lead": 3, "wavelength": [40, 20, 4, 2] * 2, "variance": 0.5}
    )
    return figures.spectra_figure(table, titles={3: "+15 min"}, chart=CHART)


def flow() -> Figure:
    return figures.flow_figure(LAST, np.ones((2, 30, 40)), np.full((2, 30, 40), 0.5), now="now", chart=CHART)


@pytest.mark.parametrize("draw", [forecasts, skill, spectra, flow])
def test_equal_input_gives_equal_bytes_whatever_the_user_has_set(
    draw: Callable[[], Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(draw(), tmp_path / "first.png")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 31.0)
    monkeypatch.setitem(matplotlib.rcParams, "savefig.dpi", 20.0)
    save(draw(), tmp_path / "second.png")
    content = (tmp_path / "first.png").read_bytes()
    assert content == (tmp_path / "second.png").read_bytes()
    assert b"Software" not in content


def test_forecasts_are_shown_with_their_error_and_only_where_the_truth_was_observed() -> None:
    axes = [panel for panel in forecasts().axes if panel.texts and panel.images]
    assert [panel.texts[0].get_text() for panel in axes[1:]] == ["RMSE 0.25", "RMSE 0.25", "RMSE 0.00", "RMSE 0.00"]
    shown = np.ma.filled(axes[1].images[0].get_array(), np.nan)
    assert np.isfinite(shown).sum() == np.isfinite(LAST).sum()


def test_the_map_is_cut_to_what_was_observed_and_upright() -> None:
    figure = forecasts()
    image = next(panel for panel in figure.axes if panel.images).images[0]
    assert image.get_array().shape == (23 + 6, 23 + 6)
    assert image.origin == "upper"


def test_a_rate_gets_a_logarithmic_scale_from_its_threshold() -> None:
    scale = figures.colour_scale(np.array([0.0, 40.0, np.nan]), [Decibel(0.1, -15.0)])
    assert isinstance(scale, LogNorm)
    assert scale.vmin == 0.1
    assert scale.vmax == pytest.approx(39.96)


def test_values_of_either_sign_get_a_scale_about_zero_and_its_colours() -> None:
    scale = figures.colour_scale(np.array([-4.0, 10.0]), [])
    assert scale.vmin == -scale.vmax == pytest.approx(-10, rel=1e-2)
    middle = figures.palette(scale)(scale(0.0))
    assert np.ptp(middle[:3]) < 0.02
    lopsided = figures.colour_scale(np.array([-1.0, 10.0]), [])
    assert lopsided.vmin == pytest.approx(-1, abs=0.02)
    assert figures.palette(lopsided).name == "viridis"
    assert figures.palette(CHART.norm).name == "amount"


def test_long_leads_are_counted_in_hours() -> None:
    hours = {"lead": [1, 2], "lead_minutes": [360.0, 720.0], "rmse": 1.0, "mae": 1.0, "skill": 0.5, "sharpness": 1.0}
    scores = pd.DataFrame({"model": "physicnet", "units": "K", "skill_low": 0.1, "skill_high": 0.6} | hours)
    panels = figures.skill_figure(scores).axes
    assert panels[0].lines[0].get_xdata().tolist() == [6, 12]
    assert "lead (h)" in {panel.get_xlabel() for panel in panels}


def test_other_values_get_a_linear_scale() -> None:
    scale = figures.colour_scale(np.array([270.0, 280.0]), [])
    assert (scale.vmin, scale.vmax) == (pytest.approx(270.01), pytest.approx(279.99))


@pytest.mark.parametrize("transform", [Power(0.5), Log1p(1.0)])
def test_rates_without_a_threshold_get_two_decades(transform: Transform) -> None:
    scale = figures.colour_scale(np.array([0.0, 40.0, np.nan]), [transform])
    assert isinstance(scale, LogNorm)
    assert (scale.vmin, scale.vmax) == (pytest.approx(0.3996), pytest.approx(39.96))


@pytest.mark.parametrize(
    ("values", "transforms"),
    [
        (np.full(3, 4.0), []),
        (np.full(3, np.nan), []),
        (np.full(3, 0.0), [Power(0.5)]),
        (np.full(3, np.nan), [Power(0.5)]),
    ],
)
def test_a_scale_has_two_different_ends_even_for_constant_and_for_missing_values(
    values: np.ndarray, transforms: list[Transform]
) -> None:
    scale = figures.colour_scale(values, transforms)
    assert scale.vmax == scale.vmin + 1


def test_zero_rain_is_white_and_not_taken_for_missing() -> None:
    frame = np.zeros((30, 40))
    figure = figures.flow_figure(frame, np.ones((2, 30, 40)), np.ones((1, 30, 40)), now="now", chart=CHART)
    image = figure.axes[0].images[0]
    assert tuple(image.to_rgba(image.get_array())[0, 0]) == (1, 1, 1, 1)


def test_a_last_frame_without_observations_can_be_drawn(tmp_path: Path) -> None:
    nothing = np.full((30, 40), np.nan)
    figure = figures.forecast_figure(nothing, TRUTH, {}, now="now", titles=["a", "b"], chart=CHART)
    save(figure, tmp_path / "forecast.png")
    figure = figures.flow_figure(nothing, np.ones((2, 30, 40)), np.ones((1, 30, 40)), now="now", chart=CHART)
    save(figure, tmp_path / "flow.png")


@pytest.mark.parametrize(("speed", "title"), [(1.0, "now: flow of the model"), (0.0, "now: nothing is carried")])
def test_arrows_are_of_what_moves(speed: float, title: str) -> None:
    figure = figures.flow_figure(LAST, np.full((2, 30, 40), speed), np.ones((1, 30, 40)), now="now", chart=CHART)
    left = figure.axes[0]
    assert left.get_title(loc="left") == title
    assert any(isinstance(drawn, Quiver) for drawn in left.collections) == (speed > 0)


def test_every_baseline_has_a_colour_of_its_own() -> None:
    colours = [figures.COLOURS[name] for name in ("physicnet", "truth", *get_args(BaselineName))]
    assert len(set(colours)) == len(colours)


def test_skill_far_below_persistence_leaves_the_panel() -> None:
    assert skill().axes[2].get_ylim() == (-0.5, 1.0)


def test_a_threshold_of_another_variable_has_no_panel() -> None:
    titles = [axes.get_title(loc="left") for axes in skill().axes]
    assert "CSI 0.5 mm h⁻¹" in titles
    assert not any("9" in title for title in titles)
