"""`physicnet plot`: a picture and an animation of each quantity of a forecast."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from physicnet.clock import format_minute
from physicnet.config import IngestConfig
from physicnet.drawing import observed_box, save
from physicnet.evaluation import labels
from physicnet.fields import written_whole
from physicnet.plotting.coasts import NoCoastsError, coastlines
from physicnet.plotting.film import write_film
from physicnet.plotting.forecast import Forecast
from physicnet.plotting.maps import Ground, Line
from physicnet.plotting.observed import observed
from physicnet.plotting.panel import BEYOND, Words, panel_figure
from physicnet.plotting.rows import Quantity, Row, quantities, rows_of

SHORT = 12  # characters of a SHA-256 that tell a model


class Plotted(NamedTuple):
    """The files that were written, and why there are no coastlines on them, if there are none."""

    files: list[Path]
    no_coasts: str | None


def plot(
    path: Path, folder: Path, observations: Sequence[Path], config: IngestConfig | None, at: str | None = None
) -> Plotted:
    """Draw a forecast, beside what was observed.

    Of each variable, and of the speed of each vector, `folder` gets a picture `<file>_<name>.png` and an animation of
    the same name with the ending .gif; of a store, `<store>_<time>_<name>`.

    Args:
        path: of the forecast, or of a store of forecasts.
        folder: made if need be; files of these names in it are replaced.
        observations: files, or folders.
        config: how to read the observations; None: nothing was observed.
        at: the time (ISO 8601) that the forecast of a store starts from; None: the last one.

    Raises:
        DataError: if there is no such forecast, or observations cannot be compared with it; see `observed`.
    """
    forecast = Forecast.read(path, at)
    seen = None if config is None else observed(forecast, observations, config)
    coasts: list[Line] = []
    reason = None
    try:
        coasts = coastlines(forecast.field)
    except NoCoastsError as error:
        reason = str(error)
    files = []
    for quantity in quantities(forecast, seen):
        files += _draw(folder / f"{forecast.stem}_{quantity.name}", forecast, quantity, coasts)
    return Plotted(files, reason)


def _draw(stem: Path, forecast: Forecast, quantity: Quantity, coasts: Sequence[Line]) -> list[Path]:
    rows, words = rows_of(quantity), _words(forecast, quantity)
    ground = Ground.of(forecast.field, observed_box(_frames(rows)), coasts)
    picture, film = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".gif")
    with written_whole(picture) as partial:
        save(panel_figure(rows, words, ground, forecast.flow()), partial)
    with written_whole(film) as partial:
        write_film(partial, [row for row in rows if row.in_film], words, ground)
    return [picture, film]


def _frames(rows: Sequence[Row]) -> np.ndarray:
    """Return all frames that are drawn, one behind another."""
    starts = [row.start[None] for row in rows if row.start is not None]
    return np.concatenate([*starts, *(row.frames for row in rows)])


def _words(forecast: Forecast, quantity: Quantity) -> Words:
    """Return what stands around the frames; leads beyond those trained have a star."""
    clock, length = labels.clock(float(forecast.minutes[-1]))
    leads = [
        f"+{minutes / length:g} {clock}{'*' if beyond else ''}\n{format_minute(time)}"
        for minutes, time, beyond in zip(forecast.minutes, forecast.field.times, forecast.is_beyond, strict=True)
    ]
    origin = format_minute(forecast.origin)
    model = str(forecast.rest.attrs.get("physicnet_model_sha256", ""))[:SHORT]
    foot = [BEYOND] * any(forecast.is_beyond) + [f"model {model}"] * bool(model) + [forecast.path.name]
    title = quantity.shown.title[:1].upper() + quantity.shown.title[1:]
    return Words(f"{title}, forecast from {origin}", f"last observed\n{origin}", leads, "; ".join(foot))
