"""From sums per model, seed and forecast origin to the tables and the figure of `skill.py`."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from physicnet.config import EvaluateConfig
from physicnet.drawing import drawing_style, save
from physicnet.evaluation import labels, pooling
from physicnet.evaluation.paired import COLUMNS, paired
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

    `value` of errors is ours as a share of the rival's, of CSI ours minus the rival's: see `paired`. There is no row
    before ours is done.
    """
    sums = over_seeds(sums)
    found = [
        paired(*(rows[rows["model"] == name] for name in (ours, rival)), config).assign(
            ours=ours, rival=rival, variable=variable
        )
        for variable, rows in sums.groupby("variable", sort=False)
        for ours in OURS
        if ours in set(rows["model"])
        for rival in rows["model"].unique()
        if rival not in OURS
    ]
    columns = ["ours", "rival", "variable", *COLUMNS]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


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


def literature_table(scores: pd.DataFrame, dataset: str) -> Table:
    """Return the scores of the data set's literature, means over seeds and variables; see `literature.scores_of`."""
    table = Table(title=f"{dataset}: scores of its literature", title_justify="left")
    table.add_column("model")
    means = scores.groupby("model", sort=False).mean(numeric_only=True).drop(columns="seed")
    for name in means:
        table.add_column(str(name), justify="right")
    for model, row in means.iterrows():
        table.add_row(labels.title(str(model)), *(f"{value:#.4g}" for value in row))
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
    tables = [rows for _, rows in scores.groupby("variable", sort=False)]
    names = [["rmse", "mae", *labels.defined(rows, "csi_")] for rows in tables]
    columns = max(map(len, names))
    with drawing_style():
        figure = Figure((4.2 * columns, 3.6 * len(tables) + 0.9), layout="constrained")
        axes = figure.subplots(len(tables), columns, squeeze=False)
        for row, rows, drawn in zip(axes, tables, names, strict=True):
            for panel, name in zip(row, drawn, strict=False):
                _draw_score(panel, rows, name)
            if len(tables) > 1:
                row[0].set_title(rows["variable"].iloc[0], loc="left")
            for panel in row[len(drawn) :]:
                panel.set_visible(False)
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
