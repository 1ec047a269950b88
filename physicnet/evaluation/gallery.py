"""All figures of a test part, from one case, the tables and what the model tells of itself, as PNG files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physicnet.evaluation import figures, labels
from physicnet.evaluation.scoring import Case
from physicnet.fields import Field
from physicnet.normalization import Normalizer

KILOMETRES = {"m": 1e-3, "metre": 1e-3, "meter": 1e-3, "km": 1.0}


def draw_gallery(
    folder: Path,
    case: Case,
    scores: pd.DataFrame,
    spectra: pd.DataFrame,
    normalizer: Normalizer,
    explanation: Mapping[str, np.ndarray] | None,
) -> None:
    """Write the figures into `folder`; with several variables the files' names end in the variable's.

    The forecast figure shows the first forecaster and the advection, or the last baseline where there is none.
    """
    past = case.past.frames(0, case.past.shape[0])
    now = case.past.label(-1)[:16].replace("T", " ") + " UTC"
    for channel, variable in enumerate(case.past.variables):
        suffix = f"_{variable}" if len(case.past.variables) > 1 else ""
        chart = chart_of(case.past, channel, case.truth[:, channel], normalizer)
        mine = scores[scores["variable"] == variable]
        waves = spectra[spectra["variable"] == variable]
        titles = {int(lead): "+" + labels.lead(minutes) for lead, minutes in mine[["lead", "lead_minutes"]].to_numpy()}
        figure = _forecasts(case, channel, past[-1, channel], titles, now, chart)
        figures.save(figure, folder / f"forecast{suffix}.png")
        figures.save(figures.skill_figure(mine), folder / f"skill{suffix}.png")
        ends = {lead: titles[lead] for lead in labels.spread(len(titles), 3)}
        figures.save(figures.spectra_figure(waves, titles=ends, chart=chart), folder / f"spectra{suffix}.png")
        if explanation and channel == 0:
            _explain(folder, explanation, past[-1, 0], now, chart)


def _forecasts(
    case: Case, channel: int, last: np.ndarray, titles: Mapping[int, str], now: str, chart: figures.Map
) -> Figure:
    model, *rivals = case.forecasts
    shown = [model, *(["advection"] if "advection" in rivals else rivals[-1:])]
    leads = labels.spread(len(case.truth), 4)
    chosen = np.array(leads) - 1
    return figures.forecast_figure(
        last,
        case.truth[chosen, channel],
        {name: case.forecasts[name][chosen, channel] for name in shown},
        now=now,
        titles=[titles[lead] for lead in leads],
        chart=chart,
    )


def _explain(
    folder: Path, explanation: Mapping[str, np.ndarray], last: np.ndarray, now: str, chart: figures.Map
) -> None:
    flow = figures.flow_figure(last, explanation["flow"], explanation["gate"], now=now, chart=chart)
    figures.save(flow, folder / "flow.png")
    figures.save(figures.codes_figure(explanation["codes"], last, now=now, chart=chart), folder / "codes.png")


def chart_of(field: Field, channel: int, truth: np.ndarray, normalizer: Normalizer) -> figures.Map:
    """Read from the coordinates how to draw a variable: which way is up, and how wide a cell is."""
    rows, columns = (field.dataset[dim] for dim in field.spatial_dims)
    length = KILOMETRES.get(columns.attrs.get("units", ""))
    return figures.Map(
        rows_ascend=bool(rows.name in field.dataset.coords and rows[-1] > rows[0]),
        cell=None if length is None or columns.size < 2 else abs(float(columns[1] - columns[0])) * length,
        norm=figures.colour_scale(truth, normalizer.channels[channel].transform),
        units=field.units[field.variables[channel]],
    )
