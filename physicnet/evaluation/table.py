"""The table of results for people, on the screen and in Markdown: every model, a few leads, the best in bold."""

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
    leads = shown_leads(scores)
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
    return f"[bold]{_marked(value, '')}[/bold]" if bold else _marked(value, "")


def _marked(value: float, mark: str) -> str:
    """A number between two marks, a dash where there is none."""
    return "–" if np.isnan(value) else f"{mark}{value:.3f}{mark}"


def markdown_table(variable: str, scores: pd.DataFrame) -> str:
    """Return a Markdown table of one variable: a block of rows per score, a row per model, a column per lead."""
    units = str(scores["units"].iloc[0])
    scores = scores[scores["lead"].isin(shown_leads(scores))]
    leads = [labels.lead(float(minutes)) for minutes in sorted(scores["lead_minutes"].unique())]
    lines = [f"| {variable} | | {' | '.join(leads)} |", "|---|---|" + "--:|" * len(leads)]
    for name in ["rmse", "mae", *labels.defined(scores, "csi_")]:
        lines += _score_rows(scores, name, labels.score_title(name, units))
    return "\n".join([*lines, *_skill_rows(scores)])


def _score_rows(scores: pd.DataFrame, name: str, title: str) -> list[str]:
    """Return the rows of one score, the model first; the best of each lead is bold."""
    values = _by_lead(scores, name).round(3)  # equal to the eye is equal
    best = values.min() if name in SMALLER_IS_BETTER else values.max()
    rows: list[str] = []
    for model, row in values.iterrows():
        cells = [_marked(value, "**" if value == limit else "") for value, limit in zip(row, best, strict=True)]
        rows.append(f"| {title if not rows else ''} | {labels.title(str(model))} | {' | '.join(cells)} |")
    return rows


def _skill_rows(scores: pd.DataFrame) -> list[str]:
    """Return the rows of the skill against persistence, each number with its interval."""
    skill, low, high = (_by_lead(scores, name).drop("persistence") for name in ("skill", "skill_low", "skill_high"))
    rows: list[str] = []
    for model in skill.index:
        ends = zip(skill.loc[model], low.loc[model], high.loc[model], strict=True)
        cells = [f"{middle:.2f} ({lower:.2f} to {upper:.2f})" for middle, lower, upper in ends]
        title = "Skill (95 % interval)" if not rows else ""
        rows.append(f"| {title} | {labels.title(str(model))} | {' | '.join(cells)} |")
    return rows


def _by_lead(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one score with a row per model, in the order of the file, and a column per lead."""
    return scores.pivot(index="model", columns="lead", values=name).loc[scores["model"].unique()]


def shown_leads(scores: pd.DataFrame) -> list[int]:
    """Return the first lead, and four more spread evenly to the last."""
    return [1, *(lead for lead in labels.spread(int(scores["lead"].max()), 4) if lead > 1)]
