"""The figure of `smoothness.py`."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physicnet.drawing import drawing_style

PANELS = {
    "end_point_error": "end-point error against known truth\n(cells per step)",
    "validation_loss": "loss on the validation part",
    "roughness": "roughness of the flow on the validation part\n(cells per step)²",
    "crossing": "share of the view where paths cross\nwithin 4 × the horizon",
    "largest": "largest value within 4 × the horizon,\nas a share of the largest observed",
    "deviation": "standard deviation at 4 × the horizon,\nas a share of the last frame's",
}


def draw(table: pd.DataFrame) -> Figure:
    """Draw each measure against the weight: the mean over the seeds as a line, every seed as a point."""
    weights = sorted(table["smoothness"].unique())
    place = {weight: float(index) for index, weight in enumerate(weights)}
    with drawing_style():
        figure = Figure((11.0, 6.2), layout="constrained")
        for axes, (name, title) in zip(figure.subplots(2, 3).flat, PANELS.items(), strict=True):
            means = table.groupby("smoothness")[name].mean()
            axes.plot(np.arange(len(weights)), means.loc[weights], color="#b5179e", lw=2)
            axes.plot(table["smoothness"].map(place), table[name], "o", color="#b5179e", ms=4, alpha=0.5)
            axes.set_title(title, fontsize=9)
            axes.set_xticks(np.arange(len(weights)), [f"{weight:g}" for weight in weights])
            axes.set_xlabel("weight of the smoothness term")
            axes.set_ylim(0, 1.25 * float(table[name].max()) or 1.0)  # from 0: differences look as large as they are
        first = table.iloc[0]
        clips = int(first["epochs"] * first["steps"] * first["batch"])
        figure.suptitle(
            f"{clips} clips per training (epochs: {first['epochs']:g}, steps of each: {first['steps']:g}, "
            f"clips of each: {first['batch']:g}), {table['seed'].nunique()} seeds",
            x=0.01,
            ha="left",
            fontsize=10,
        )
    return figure
