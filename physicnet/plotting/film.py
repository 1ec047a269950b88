"""An animation of a forecast, lead by lead: observation, forecast, error and probability side by side."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from physicnet.drawing import INK, MISSING, drawing_style, save
from physicnet.evaluation.animation import animate
from physicnet.evaluation.figures import ARROWS
from physicnet.plotting.maps import Ground, draw_distance
from physicnet.plotting.panel import SMALL, Words, draw_lead, draw_scales, draw_start, legends
from physicnet.plotting.rows import Row

WIDTH = 2.9  # inches of a frame
COLOURS = 256  # of a GIF
GREYS = 32  # of them, for texts


def write_film(path: Path, rows: Sequence[Row], words: Words, ground: Ground) -> None:
    """Write a GIF of all leads, from the last observed frame on if that is known; over and over."""
    first = -1 if any(row.start is not None for row in rows) else 0
    with TemporaryDirectory() as folder:
        pictures = [Path(folder) / f"{number:05}.png" for number in range(len(words.leads) - first)]
        for lead, picture in enumerate(pictures, first):
            save(film_figure(rows, lead, words, ground), picture)
        film = Path(folder) / "film.gif"  # Pillow goes by the end of a name
        animate(pictures, film, shades(rows))
        shutil.copyfile(film, path)


def film_figure(rows: Sequence[Row], lead: int, words: Words, ground: Ground) -> Figure:
    """Draw one picture of the film: that of a lead, counted from 0, or of the last observed frame (-1)."""
    time = words.start if lead < 0 else words.leads[lead]
    with drawing_style():
        figure = Figure((WIDTH * len(rows) + 2.2, WIDTH * ground.ratio + 1.3), layout="constrained")
        figure.suptitle(f"{'   '.join(time.splitlines())}\n{words.title}", x=0.01, ha="left", fontsize=12)
        line = figure.subplots(1, len(rows), squeeze=False)[0]
        for axes, row in zip(line, rows, strict=True):
            axes.set_title(" ".join(row.title.split()))
            if lead < 0:
                draw_start(axes, row, ground, key=row is rows[0])
            else:
                draw_lead(axes, row, lead, ground, key=row is rows[0])
        draw_scales(figure, rows, line)
        draw_distance(line[0], ground)
        figure.supxlabel("; ".join([*legends(rows), words.foot]), x=0.01, ha="left", fontsize=SMALL)
    return figure


def shades(rows: Sequence[Row]) -> list[int]:
    """Return the 256 colours of a film, as red, green and blue in turn: those of its scales, greys, lines."""
    scales = list({id(row.scale): row.scale for row in rows}.values())
    single = [to_rgb(MISSING), to_rgb(INK), to_rgb(ARROWS)]
    share = np.linspace(0, 1, (COLOURS - GREYS - len(single)) // len(scales) // 2 * 2 - 1)  # odd: with the middle
    greys = np.linspace(0, 1, GREYS)[:, None].repeat(3, axis=1)
    colours = np.concatenate([*(scale.colours(share)[:, :3] for scale in scales), greys, single])
    return [round(255 * float(value)) for value in colours.ravel()]
