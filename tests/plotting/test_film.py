import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence
from plotting.pictured import CHANCE, ERROR, FLOW, FORECAST, GROUND, NUM_LEADS, OBSERVED, SCALE, WORDS, images

from physicnet.plotting import film

ROWS = [OBSERVED, FORECAST, ERROR, CHANCE]


def test_a_picture_shows_the_moment_of_a_lead() -> None:
    figure = film.film_figure(ROWS, 3, WORDS, GROUND)
    for shown, row in zip(images(figure), ROWS, strict=True):
        assert np.array_equal(shown, row.frames[3], equal_nan=True)
    assert figure.get_suptitle() == "+20 min   00:35 UTC\nRain"
    assert {axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()} == {
        "rate (mm h⁻¹)",
        "forecast − observed (mm h⁻¹)",
        "P(> 1 mm h⁻¹) (%)",
    }


def test_the_first_picture_shows_the_last_observed_frame_and_keeps_the_other_places_empty() -> None:
    figure = film.film_figure(ROWS, -1, WORDS, GROUND)
    assert np.array_equal(images(figure)[0], OBSERVED.start, equal_nan=True)
    assert [axes.images[0].get_alpha() for axes in figure.axes if axes.images] == [None, 0.0, 0.0, 0.0]
    assert figure.get_suptitle() == "last observed   00:15\nRain"


def test_arrows_have_one_key_in_every_picture() -> None:
    flows = [FLOW] * NUM_LEADS
    rows = [replace(row, flows=flows, start=OBSERVED.start, start_flow=FLOW) for row in (OBSERVED, FORECAST)]
    for lead in (-1, 0):
        figure = film.film_figure(rows, lead, WORDS, GROUND)
        assert [len(axes.artists) for axes in figure.axes if axes.images] == [1, 0]


def test_a_film_shows_all_leads_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "film"
    short = [replace(row, frames=row.frames[:2]) for row in (OBSERVED, FORECAST)]
    film.write_film(path, short, replace(WORDS, leads=WORDS.leads[:2]), GROUND)
    with Image.open(path) as opened:
        assert (opened.format, opened.info["loop"]) == ("GIF", 0)
        shown = [np.asarray(frame.convert("L"), float) for frame in ImageSequence.Iterator(opened)]
    assert len(shown) == 3
    assert all(np.abs(one - other).mean() > 0.5 for one, other in itertools.pairwise(shown))


def test_a_film_knows_the_colours_of_its_scales_and_of_what_is_missing() -> None:
    shades = film.shades([OBSERVED, FORECAST, ERROR])
    assert len(shades) <= 3 * film.COLOURS
    known = set(zip(shades[::3], shades[1::3], shades[2::3], strict=True))
    classes = {tuple(round(255 * float(part)) for part in colour[:3]) for colour in SCALE.colours(np.arange(8))}
    assert known >= classes | {(255, 255, 255), (0xD9, 0xD9, 0xD9), (247, 247, 247)}
