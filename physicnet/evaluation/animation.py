"""Pictures of one case, lead by lead: the truth, the model's forecast and its error, and an animation of them.

They are made to be laid beside those of other runs: size, cut and colours depend on what was observed alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.colors import LogNorm, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from physicnet.clock import format_minute
from physicnet.drawing import INK, MISSING, Frame, drawing_style, observed_box, save
from physicnet.evaluation import labels
from physicnet.evaluation.figures import Map, draw_bar, draw_map, frame_rmse, palette
from physicnet.evaluation.gallery import chart_of
from physicnet.evaluation.scoring import Case
from physicnet.normalization import Normalizer

SIZE = (8.2, 3.3)  # inches: 902 x 363 pixels
LARGE, SMALL = 16.0, 14.0  # points, to be read at a third of the size
LEFT = (0.01, 0.343, 0.676)  # of the panels, in widths of the picture
WIDTH = 0.314
ROOM = 27  # letters of a variable's name and units that fit beside the time
STEP, PAUSE = 330, 1500  # milliseconds that a picture stays, and the last one; a GIF counts in tens of them
SHADES, GREYS = 111, 32  # colours of an animation: of each scale, odd for the one in the middle, and of texts


def draw_leads(folder: Path, case: Case, normalizer: Normalizer) -> None:
    """Write `frames/<variable>/<lead>.png` for the first forecaster, and `figures/forecast.gif` of them.

    Lead 0 is the last observed frame, from which the forecast starts: MLflow shows a series of pictures from step 0 on.
    With several variables the animation's name ends in the variable's.
    """
    model = next(iter(case.forecasts))
    last = case.past.frames(case.past.shape[0] - 1, case.past.shape[0])[0]
    minutes = np.arange(len(case.truth) + 1) * float(case.past.step / np.timedelta64(1, "m"))
    times = [labels.origin(case.past)] * (1 + len(case.truth))
    if case.past.sequences is None:
        times[1:] = [format_minute(time) for time in case.past.times_after(len(case.truth))]
    for channel, variable in enumerate(case.past.variables):
        chart = chart_of(case.past, channel, case.truth[:, channel], normalizer)
        errors = error_chart(chart, case.truth[:, channel], last[channel])
        truth, forecast = (
            np.concatenate([last[None, channel], frames[:, channel]]) for frames in (case.truth, case.forecasts[model])
        )
        box = observed_box(truth)
        paths = [folder / "frames" / variable / name for name in file_names(minutes)]
        paths[0].parent.mkdir(parents=True)
        for lead, path in enumerate(paths):
            title = ("+" + labels.lead(minutes[lead]), times[lead], labels.in_units(variable, chart.units))
            frames = (truth[lead][box], forecast[lead][box])
            save(lead_figure(*frames, model=model, title=title, chart=chart, errors=errors), path)
        suffix = f"_{variable}" if len(case.past.variables) > 1 else ""
        animate(paths, folder / "figures" / f"forecast{suffix}.gif", colours(chart, errors))


def file_names(minutes: Float[np.ndarray, "k"]) -> list[str]:
    """Return a name for each lead, in minutes, or in steps where minutes are not whole; they sort as the leads do."""
    counted = (minutes if (minutes % 1 == 0).all() else np.arange(len(minutes))).astype(np.int64)
    return [f"lead_{lead:0{max(3, len(str(counted[-1])))}}.png" for lead in counted]


def error_chart(chart: Map, truth: Float[np.ndarray, "k h w"], last: Frame) -> Map:
    """Return how to draw errors: about zero, as far as the truth moves away from the last observed frame.

    That is the RMSE of persistence over all leads, rounded up to 1, 2 or 5 times a power of ten; 1 if nothing moves.
    """
    change = truth - last
    known = change[np.isfinite(change)]
    far = float(np.sqrt(np.mean(np.square(known)))) if known.any() else 1.0
    power = 10 ** np.floor(np.log10(far))
    end = power * min(step for step in (1, 2, 5, 10) if step * power >= far)
    return replace(chart, norm=Normalize(-end, end))


def lead_figure(
    truth: Frame, forecast: Frame, *, model: str, title: tuple[str, str, str], chart: Map, errors: Map
) -> Figure:
    """Draw the truth, a forecast where the truth was observed, and its error there: red where there is too much.

    `title` are the lead, its time and the variable.
    """
    panels = [
        (labels.title("truth"), truth, chart),
        (labels.title(model), np.where(np.isnan(truth), np.nan, forecast), chart),
        (f"Error, RMSE {frame_rmse(forecast, truth):.3g}", forecast - truth, errors),
    ]
    with drawing_style():
        figure = Figure(SIZE)
        _write_title(figure, *title)
        for left, (name, frame, scale) in zip(LEFT, panels, strict=True):
            axes = figure.add_axes((left, 0.16, WIDTH, 0.66))
            axes.set_title(name, fontsize=SMALL, loc="center", pad=4)
            draw_map(axes, frame, scale)
        _draw_scales(figure, chart, errors)
    return figure


def _write_title(figure: Figure, lead: str, time: str, variable: str) -> None:
    figure.text(LEFT[0], 0.985, lead, fontsize=LARGE, va="top", weight="bold")
    figure.text(0.2, 0.985, time, fontsize=LARGE, va="top")
    size = LARGE * min(1.0, ROOM / len(variable))
    figure.text(0.99, 0.985, variable, fontsize=size, va="top", ha="right")


def _draw_scales(figure: Figure, chart: Map, errors: Map) -> None:
    """Draw one scale below the first two panels, and one below the error."""
    shared = figure.add_axes((LEFT[0] + 0.08, 0.1, LEFT[1] + WIDTH - LEFT[0] - 0.16, 0.04))
    bar = draw_bar(figure, chart, cax=shared, orientation="horizontal")
    if not isinstance(chart.norm, LogNorm):
        bar.long_axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        bar.long_axis.set_major_formatter(lambda value, _: _number(value))  # no power of ten set apart
    own = figure.add_axes((LEFT[2] + 0.04, 0.1, WIDTH - 0.08, 0.04))
    ticks = draw_bar(figure, errors, cax=own, orientation="horizontal", ticks=MaxNLocator(2)).long_axis
    ticks.set_major_formatter(lambda value, _: ("+" if value > 0 else "") + _number(value))
    for axes in (shared, own):
        axes.tick_params(labelsize=SMALL, length=3, pad=2)


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def colours(chart: Map, errors: Map) -> list[int]:
    """Return the 256 colours of an animation, as red, green and blue in turn: equal for all runs."""
    share = np.linspace(0, 1, SHADES)
    scales = [palette(scale.norm)(share)[:, :3] for scale in (chart, errors)]
    greys = np.linspace(0, 1, GREYS)[:, None].repeat(3, axis=1)
    shades = np.concatenate([*scales, greys, [to_rgb(MISSING), to_rgb(INK)]])
    return [round(255 * float(value)) for value in shades.ravel()]


def animate(paths: Sequence[Path], target: Path, shades: list[int]) -> None:
    """Write a GIF that shows the pictures over and over, in these colours and no others."""
    chest = Image.new("P", (1, 1))  # Pillow takes colours from an image alone
    chest.putpalette(shades)
    pictures = []
    for path in paths:
        with Image.open(path) as picture:
            pictures.append(picture.convert("RGB").quantize(palette=chest, dither=Image.Dither.NONE))
    lasting = [STEP] * (len(pictures) - 1) + [PAUSE]
    pictures[0].save(target, save_all=True, append_images=pictures[1:], duration=lasting, loop=0)
