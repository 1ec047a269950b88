"""The figure of how far probabilities can be trusted: coverage, rank histogram, reliability diagram and CRPS."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physicnet.drawing import INK, drawing_style
from physicnet.evaluation import labels
from physicnet.evaluation.figures import COLOURS
from physicnet.evaluation.probabilistic import INTERVALS

STYLES = ("-", "--", ":", "-.")  # of thresholds
TOLERANCE = 0.05  # shaded about what an interval claims


def uncertainty_figure(scores: pd.DataFrame, ranks: pd.DataFrame, reliability: pd.DataFrame) -> Figure:
    """Draw one variable's tables, as of `ProbabilityBoard`: a colour per model, all leads together but for scores."""
    clock, minutes = labels.clock(float(scores["lead_minutes"].max()))
    units = labels.pretty(str(scores["units"].iloc[0]))
    with drawing_style():
        figure = Figure((10.5, 7.0), layout="constrained")
        (coverage, histogram), (diagram, error) = figure.subplots(2, 2)
        for model, rows in scores.groupby("model", sort=False):
            colour, leads = COLOURS.get(str(model)), rows["lead_minutes"] / minutes
            for interval in INTERVALS:
                name = f"coverage_{interval}"
                coverage.plot(leads, rows[name], color=colour)
                coverage.fill_between(leads, rows[f"{name}_low"], rows[f"{name}_high"], color=colour, alpha=0.15, lw=0)
            error.plot(leads, rows["crps"], color=colour, label=labels.title(str(model)))
            shares = ranks[ranks["model"] == model].groupby("rank")["share"].mean().to_numpy(np.float64)
            edges = np.arange(len(shares) + 1) / len(shares)
            histogram.stairs(shares * len(shares), edges, color=colour, lw=2.0, baseline=None)
            _draw_reliability(diagram, reliability[reliability["model"] == model], units, colour)
        for interval in INTERVALS:
            coverage.axhspan(interval / 100 - TOLERANCE, interval / 100 + TOLERANCE, color=INK, alpha=0.08, lw=0)
            coverage.axhline(interval / 100, color=INK, lw=0.8, ls=":")
        histogram.axhline(1.0, color=INK, lw=0.8, ls=":")
        histogram.set(title="rank histogram, mean over the leads (1 is flat)", xlabel="rank", xlim=(0, 1))
        histogram.set_ylim(0, max(2.0, histogram.get_ylim()[1]))
        coverage.set(title="observations within 50, 80 and 90 % intervals", xlabel=f"lead ({clock})", ylim=(0, 1))
        error.set(title=labels.in_units("CRPS", str(scores["units"].iloc[0])), xlabel=f"lead ({clock})", ylim=(0, None))
        diagram.set(title="reliability", xlabel="probability", ylabel="frequency", xlim=(0, 1), ylim=(0, 1))
        diagram.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
        handles, texts = error.get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=len(texts))
    return figure


def _draw_reliability(axes: Axes, reliability: pd.DataFrame, units: str, colour: str | None) -> None:
    for style, (threshold, rows) in zip(STYLES, reliability.groupby("threshold"), strict=False):
        weighed = rows[["probability", "frequency"]].mul(rows["cells"], axis=0).assign(bin=rows["bin"])
        cells = rows.groupby("bin")["cells"].sum()
        means = weighed.groupby("bin").sum().div(cells, axis=0)
        axes.plot(means["probability"], means["frequency"], color=colour, ls=style, marker="o", ms=3)
        axes.plot([], [], color=INK, ls=style, label=f"{threshold:g} {units}".strip())
    handles, texts = axes.get_legend_handles_labels()
    unique = dict(zip(texts, handles, strict=True))
    if unique:
        axes.legend(unique.values(), unique.keys(), loc="upper left")
