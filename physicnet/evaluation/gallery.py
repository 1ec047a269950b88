"""All figures of a test part, from one case, the tables and what the model tells of itself, as PNG files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physicnet.drawing import Grid, save
from physicnet.evaluation import atlas, figures, labels
from physicnet.evaluation.reliability import uncertainty_figure
from physicnet.evaluation.scoring import Case
from physicnet.evaluation.vocabulary import CodeStatistics
from physicnet.fields import Field
from physicnet.normalization import Normalizer


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
    now = labels.origin(case.past)
    for channel, variable in enumerate(case.past.variables):
        suffix = f"_{variable}" if len(case.past.variables) > 1 else ""
        chart = chart_of(case.past, channel, case.truth[:, channel], normalizer)
        mine = scores[scores["variable"] == variable]
        waves = spectra[spectra["variable"] == variable]
        titles = {int(lead): "+" + labels.lead(minutes) for lead, minutes in mine[["lead", "lead_minutes"]].to_numpy()}
        figure = _forecasts(case, channel, past[-1, channel], titles, now, chart)
        save(figure, folder / f"forecast{suffix}.png")
        save(figures.skill_figure(mine), folder / f"skill{suffix}.png")
        ends = {lead: titles[lead] for lead in labels.spread(len(titles), 3)}
        save(figures.spectra_figure(waves, titles=ends, chart=chart), folder / f"spectra{suffix}.png")
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
    save(flow, folder / "flow.png")
    save(atlas.codes_figure(explanation["codes"], last, now=now, chart=chart), folder / "codes.png")


def draw_codes(folder: Path, codes: CodeStatistics, table: pd.DataFrame, case: Case, normalizer: Normalizer) -> None:
    """Write the atlas of the codes and what they say of growth and decay; `table` is that of `codes`."""
    patches = codes.means()
    grid, channel = Grid.of(case.past), normalizer.channels[0]
    # An amount that is not physical has no transform: its scale is linear.
    norm = figures.colour_scale(np.stack([*patches.values()]), channel.transforms if channel.is_pointwise else [])
    chart = figures.Map(grid.rows_ascend, grid.cell, grid.aspect, norm=norm, units=codes.amount.units)
    save(atlas.atlas_figure(table, patches, chart), folder / "atlas.png")
    minutes = codes.lead * float(case.past.step / np.timedelta64(1, "m"))
    save(atlas.growth_figure(table, patches, chart, minutes=minutes), folder / "growth.png")


def draw_uncertainty(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write a figure per variable of the tables `uncertainty`, `ranks` and `reliability`."""
    variables = tables["uncertainty"]["variable"].unique()
    for variable in variables:
        parts = (tables[name][tables[name]["variable"] == variable] for name in ("uncertainty", "ranks", "reliability"))
        suffix = f"_{variable}" if len(variables) > 1 else ""
        save(uncertainty_figure(*parts), folder / f"uncertainty{suffix}.png")


def chart_of(field: Field, channel: int, truth: np.ndarray, normalizer: Normalizer) -> figures.Map:
    """How to draw a variable."""
    grid = Grid.of(field)
    return figures.Map(
        grid.rows_ascend,
        grid.cell,
        grid.aspect,
        norm=figures.colour_scale(truth, normalizer.channels[channel].transforms),
        units=field.units[field.variables[channel]],
    )
