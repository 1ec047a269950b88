"""From sums per model, seed and forecast origin to the tables and the figure of `skill.py`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from physicnet import metrics
from physicnet.config import EvaluateConfig
from physicnet.drawing import drawing_style, save
from physicnet.evaluation import labels, pooling
from physicnet.evaluation.table import result_tables
from physicnet.fields import written_whole

OURS = ("physicnet", "physicnet_sharp")
LEARNED = ("unet", "convlstm", "simvp")
COLOURS = {
    "physicnet": "#1c7ed6",
    "physicnet_sharp": "#74c0fc",
    "unet": "#e67700",
    "convlstm": "#f08c00",
    "simvp": "#ffc078",
}
LEVEL = 0.95  # of the intervals


def per_seed(sums: pd.DataFrame, config: EvaluateConfig) -> pd.DataFrame:
    """Return the scores over all origins, a row per model, seed, variable and lead."""
    reference = sums[sums["model"] == pooling.REFERENCE]
    tables = []
    for (model, seed), rows in sums.groupby(["model", "seed"], sort=False):
        others = [] if model == pooling.REFERENCE else [reference]
        scores = pooling.pooled(pd.concat([rows, *others]).drop(columns="seed"), config)
        tables.append(scores[scores["model"] == model].assign(seed=seed))
    return pd.concat(tables, ignore_index=True)


def over_seeds(sums: pd.DataFrame) -> pd.DataFrame:
    """Return sums that are means over the seeds: what a model of a seed drawn by chance would get."""
    keys = ["model", "origin", "time", *pooling.LEAD]
    return sums.drop(columns="seed").groupby(keys, sort=False).mean().reset_index()


def pairs(sums: pd.DataFrame, config: EvaluateConfig) -> pd.DataFrame:
    """Return ours against every rival with intervals, a row per pair, variable, lead and score.

    Of errors `value` is the ratio ours / rival's (below 1: ours is better), of CSI the difference ours - rival's. Both
    are drawn together, origin by origin in blocks: see `metrics.bootstrap_skill` for what the intervals know of.
    """
    sums = over_seeds(sums)
    found = [
        row | {"variable": variable}
        for variable, rows in sums.groupby("variable", sort=False)
        for ours in OURS
        if ours in set(rows["model"])
        for rival in rows["model"].unique()
        if rival not in OURS
        for row in _pair(rows, ours, rival, config)
    ]
    return pd.DataFrame(
        found, columns=["ours", "rival", "variable", "lead", "lead_minutes", "score", "value", "low", "high"]
    )


def _pair(rows: pd.DataFrame, ours: str, rival: str, config: EvaluateConfig) -> Iterator[dict[str, object]]:
    both = [rows[rows["model"] == name].set_index(["origin", "lead"]).sort_index() for name in (ours, rival)]
    leads = both[0].index.get_level_values("lead").unique()
    minutes = both[0].groupby("lead")["lead_minutes"].first()
    origins = both[0].index.get_level_values("origin").unique().to_numpy()
    block = pooling.block_length(origins, len(leads))
    counts = metrics.draw_blocks(len(origins), block, config.bootstrap_samples, config.seed)
    for score, (value, drawn) in _comparisons(both, counts).items():
        low, high = (
            np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) if len(origins) > 1 else drawn[:2] * np.nan
        )
        for index, lead in enumerate(leads):
            where = {"ours": ours, "rival": rival, "lead": lead, "lead_minutes": minutes[lead], "score": score}
            yield where | {"value": value[index], "low": low[index], "high": high[index]}


Score = Callable[[pd.DataFrame, Float64[np.ndarray, "n o"]], Float64[np.ndarray, "n k"]]
Compared = dict[str, tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, "n k"]]]


def _comparisons(both: list[pd.DataFrame], counts: Float64[np.ndarray, "n o"]) -> Compared:
    """Each score of the pair over all origins, and over those of each draw."""
    everything = np.ones((1, counts.shape[1]))
    results: Compared = {}
    for name, score in _scores(both[0]).items():
        ours, theirs = ([score(each, draw) for draw in (everything, counts)] for each in both)
        compare = np.subtract if name.startswith("csi") else np.divide
        with np.errstate(invalid="ignore", divide="ignore"):
            value, drawn = (compare(mine, other) for mine, other in zip(ours, theirs, strict=True))
        results[name] = value[0], drawn
    return results


def _scores(rows: pd.DataFrame) -> dict[str, Score]:
    thresholds = [name.removeprefix("hits_") for name in labels.defined(rows, "hits_")]
    return {"rmse": _rmse, "mae": _mae} | {f"csi_{t}": partial(_csi, threshold=t) for t in thresholds}


def _drawn(rows: pd.DataFrame, name: str, counts: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n k"]:
    return counts @ rows[name].unstack("lead").to_numpy(np.float64)


def _rmse(rows: pd.DataFrame, counts: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n k"]:
    return metrics.rmse(_drawn(rows, "squared_error", counts), _drawn(rows, "cells", counts))


def _mae(rows: pd.DataFrame, counts: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n k"]:
    return metrics.mean(_drawn(rows, "absolute_error", counts), _drawn(rows, "cells", counts))


def _csi(rows: pd.DataFrame, counts: Float64[np.ndarray, "n o"], *, threshold: str) -> Float64[np.ndarray, "n k"]:
    names = ("hits", "misses", "false_alarms")
    return metrics.csi(*(_drawn(rows, f"{name}_{threshold}", counts) for name in names))


def show(sums: pd.DataFrame, compared: pd.DataFrame, config: EvaluateConfig, console: Console) -> None:
    """Print the scores, means over seeds, and ours against each rival."""
    for table in result_tables(pooling.pooled(over_seeds(sums), config)):
        console.print(table)
    for (variable, ours, score), rows in compared.groupby(["variable", "ours", "score"], sort=False):
        console.print(_pair_table(str(variable), str(ours), str(score), rows))


def _pair_table(variable: str, ours: str, score: str, rows: pd.DataFrame) -> Table:
    leads = [1, *(lead for lead in labels.spread(int(rows["lead"].max()), 4) if lead > 1)]
    minutes = rows.groupby("lead")["lead_minutes"].first()
    kind = "minus" if score.startswith("csi") else "as a share of"
    name = labels.score_title(score, "").strip(" ()")
    table = Table(
        title=f"{variable}: {name} of {labels.title(ours)} {kind} the rival's (95 % interval)", title_justify="left"
    )
    table.add_column("rival")
    for lead in leads:
        table.add_column(labels.lead(float(minutes[lead])), justify="right")
    for rival, mine in rows.groupby("rival", sort=False):
        at = mine.set_index("lead")
        cells = [f"{at['value'][lead]:.3f}\n{at['low'][lead]:.2f} to {at['high'][lead]:.2f}" for lead in leads]
        table.add_row(labels.title(str(rival)), *cells)
    return table


def cost_table(extra: pd.DataFrame) -> Table:
    """Return what each model took, means over its seeds; `extra` has a row per model and seed."""
    table = Table(title="cost", title_justify="left")
    for name in ("model", "parameters", "steps", "seconds of training", "validation loss", "seconds of a forecast"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for model, rows in extra.groupby("model", sort=False):
        mean = rows[["parameters", "steps", "train_seconds", "validation_loss", "forecast_seconds"]].mean()
        cells = (f"{value:{form}}" for value, form in zip(mean, (",.0f", ".0f", ".1f", ".4f", ".2f"), strict=True))
        table.add_row(labels.title(str(model)), *cells)
    return table


def draw(scores: pd.DataFrame, path: Path, title: str) -> None:
    """Draw every score against the lead: ours and the peers with the range of their seeds, the rest thin and dashed."""
    names = ["rmse", "mae", *labels.defined(scores, "csi_")]
    variables = scores["variable"].unique()
    with drawing_style():
        figure = Figure((4.2 * len(names), 3.6 * len(variables) + 0.9), layout="constrained")
        axes = figure.subplots(len(variables), len(names), squeeze=False)
        for row, variable in zip(axes, variables, strict=True):
            rows = scores[scores["variable"] == variable]
            for panel, name in zip(row, names, strict=True):
                _draw_score(panel, rows, name)
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize=8)
        figure.suptitle(title, fontsize=10)
    with written_whole(path) as partial:
        save(figure, partial)


def _draw_score(axes: Axes, scores: pd.DataFrame, name: str) -> None:
    unit, length = labels.clock(float(scores["lead_minutes"].max()))
    for index, (model, rows) in enumerate(scores.groupby("model", sort=False)):
        seeds = rows.pivot(index="lead_minutes", columns="seed", values=name)
        learned = model in (*OURS, *LEARNED)
        colour = COLOURS.get(str(model), f"C{index}")
        style = {"lw": 2.0 if model in OURS else 1.4, "ls": "-"} if learned else {"lw": 1.0, "ls": "--"}
        axes.plot(seeds.index / length, seeds.mean(axis=1), color=colour, label=labels.title(str(model)), **style)
        if seeds.shape[1] > 1:
            axes.fill_between(seeds.index / length, seeds.min(axis=1), seeds.max(axis=1), color=colour, alpha=0.2, lw=0)
    axes.set(
        xlabel=f"lead time ({unit})", ylabel=labels.score_title(name, str(scores["units"].iloc[0])), ylim=(0, None)
    )


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table, whole."""
    with written_whole(path) as partial:
        table.to_csv(partial, index=False, float_format="%.5g", lineterminator="\n")
