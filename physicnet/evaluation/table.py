"""The table of results for people: every model, a few leads, the best of each in bold."""

from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from physicnet.evaluation import labels
from physicnet.fields import DataError

SMALLER_IS_BETTER = ("rmse", "mae")


def print_table(results: Path, console: Console | None = None) -> None:
    """Print the tables of a folder of results, one per variable.

    Raises:
        DataError: if the folder has no scores.
    """
    path = results / "scores.csv"
    if not path.is_file():
        raise DataError(f"{path} does not exist; run the stage that writes it (dvc repro)")
    scores = pd.read_csv(path)
    console = console or Console()
    for table in result_tables(scores):
        console.print(table)
    console.print("Skill: share of persistence's squared error that is removed. Best in bold.", style="dim")
    console.print(f"Intervals, FSS, SSIM, sharpness and every lead: {path}", style="dim", soft_wrap=True)


def result_tables(scores: pd.DataFrame) -> list[Table]:
    """Return a table per variable: a block of rows per score, a row per model, a column per lead."""
    return [_table(str(name), rows) for name, rows in scores.groupby("variable", sort=False)]


def _table(variable: str, scores: pd.DataFrame) -> Table:
    units = str(scores["units"].iloc[0])
    leads = [1, *(lead for lead in labels.spread(int(scores["lead"].max()), 4) if lead > 1)]
    minutes = scores.set_index("lead")["lead_minutes"].groupby(level=0).first()
    table = Table(title=f"{variable}: scores per lead time", title_justify="left")
    table.add_column("score")
    table.add_column("model")
    for lead in leads:
        table.add_column(labels.lead(float(minutes[lead])), justify="right")
    for name in ["rmse", "mae", "skill", *labels.defined(scores, "csi_")]:
        values = scores.pivot(index="model", columns="lead", values=name).loc[scores["model"].unique(), leads]
        _add_block(table, labels.score_title(name, units), values, smaller=name in SMALLER_IS_BETTER)
    return table


def _add_block(table: Table, title: str, values: pd.DataFrame, *, smaller: bool) -> None:
    shown = values.round(3)  # equal to the eye is equal
    best = (shown.min() if smaller else shown.max()).to_numpy()
    for index, (model, row) in enumerate(shown.iterrows()):
        cells = [_cell(value, bold=bool(value == limit)) for value, limit in zip(row, best, strict=True)]
        table.add_row(title if index == 0 else "", labels.title(str(model)), *cells)
    table.add_section()


def _cell(value: float, *, bold: bool) -> str:
    if np.isnan(value):
        return "–"
    return f"[bold]{value:.3f}[/bold]" if bold else f"{value:.3f}"
