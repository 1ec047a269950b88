from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from physicnet.drawing import save
from physicnet.evaluation import atlas, figures
from physicnet.transforms import Decibel

GENERATOR = np.random.default_rng(4)
LAST = np.where(np.arange(40) < 25, GENERATOR.random((30, 40)), np.nan)
CHART = figures.Map(
    rows_ascend=False, cell=2.0, aspect=1.0, norm=figures.colour_scale(LAST, [Decibel(0.1, -15.0)]), units="mm h-1"
)
PATCHES = {code: GENERATOR.random((6, 6)) for code in range(5)}


def table(changes: list[float], *, spread: float = 0.1, share: float = 0.2) -> pd.DataFrame:
    change = np.array(changes)
    ends = {"change": change, "change_low": change - spread, "change_high": change + spread}
    return pd.DataFrame({"code": np.arange(len(change)), "share": share, "value": np.arange(len(change)) * 1.0} | ends)


def draw_atlas() -> Figure:
    return atlas.atlas_figure(table([0.5, -0.5, 0.0, 0.2, 0.05]), PATCHES, CHART)


def draw_growth() -> Figure:
    return atlas.growth_figure(table([0.5, -0.5, 0.0, 0.2, 0.05]), PATCHES, CHART, minutes=30.0)


def draw_codes() -> Figure:
    return atlas.codes_figure(np.arange(7 * 10).reshape(7, 10) % 5, LAST, now="now", chart=CHART)


@pytest.mark.parametrize("draw", [draw_atlas, draw_growth, draw_codes])
def test_equal_input_gives_equal_bytes_whatever_the_user_has_set(
    draw: Callable[[], Figure], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(draw(), tmp_path / "first.png")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 31.0)
    save(draw(), tmp_path / "second.png")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()


def test_the_frame_of_a_patch_says_growth_or_decay_where_the_interval_excludes_zero() -> None:
    patches = [axes for axes in draw_atlas().axes if axes.images]
    colours = [matplotlib.colors.to_hex(axes.patches[0].get_edgecolor()) for axes in patches]
    assert colours == [atlas.GROWTH, atlas.DECAY, atlas.NEITHER, atlas.GROWTH, atlas.NEITHER]


def test_an_unknown_interval_says_neither() -> None:
    rows = table([0.5]).assign(change_low=np.nan, change_high=np.nan)
    (axes,) = (axes for axes in atlas.atlas_figure(rows, PATCHES, CHART).axes if axes.images)
    assert matplotlib.colors.to_hex(axes.patches[0].get_edgecolor()) == atlas.NEITHER


def test_arrows_say_growth_and_decay_too() -> None:
    titles = [axes.get_title(loc="center") for axes in draw_atlas().axes if axes.images]
    assert titles == ["20 % ▲", "20 % ▼", "20 %", "20 % ▲", "20 %"]


def test_every_code_of_the_atlas_has_its_share() -> None:
    rows = table([0.0, 0.0]).assign(share=[0.98765, 0.01235])
    titles = [axes.get_title(loc="center") for axes in atlas.atlas_figure(rows, PATCHES, CHART).axes if axes.images]
    assert titles == ["99 %", "1.2 %"]


def test_a_large_codebook_shows_its_most_common_codes_and_says_so() -> None:
    rows = table([0.0] * 100, share=0.01)
    figure = atlas.atlas_figure(rows, dict.fromkeys(range(100), PATCHES[0]), CHART)
    assert sum(bool(axes.images) for axes in figure.axes) == atlas.SHOWN
    assert "100 codes in use" in figure.get_suptitle()
    assert "(96 are shown)" in figure.get_suptitle()


def test_rare_codes_are_not_among_those_of_growth_and_decay() -> None:
    rows = table([0.5, -0.5, 9.0]).assign(share=[0.5, 0.4995, 0.0005])
    figure = atlas.growth_figure(rows, PATCHES, CHART, minutes=30.0)
    drawn = [float(dots.get_offsets()[0, 1]) for dots in figure.axes[0].collections]
    assert drawn == [-0.5, 0.5]


def test_codes_are_counted_where_the_last_frame_was_observed() -> None:
    last = np.full((4, 8), np.nan)
    last[:, :4] = 1.0
    last[2:, 2:4] = 0.5  # the cell of code 2 has less
    grid = np.array([[7, 7, 0, 0], [7, 2, 0, 0]])
    figure = atlas.codes_figure(grid, last, now="now", chart=CHART)
    bars = figure.axes[2]
    assert [patch.get_height() for patch in bars.patches] == [25, 75]
    assert [text.get_text() for text in bars.get_xticklabels()] == ["0.5", "1"]
    perplexity = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert bars.get_title(loc="left") == f"2 codes in use, perplexity {perplexity:.1f}"


def test_a_last_frame_without_observations_can_be_drawn(tmp_path: Path) -> None:
    nothing = np.full((30, 40), np.nan)
    save(atlas.codes_figure(np.zeros((3, 4), int), nothing, now="now", chart=CHART), tmp_path / "codes.png")
    assert (tmp_path / "codes.png").stat().st_size > 0
