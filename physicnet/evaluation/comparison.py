"""Runs beside each other for people: settings that differ, scores per lead, and which errors differ beyond chance."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from physicnet.config import EvaluateConfig
from physicnet.evaluation import labels, pooling
from physicnet.evaluation.paired import paired
from physicnet.evaluation.scored import CASE, WRITTEN, ScoredRun, refuse_unlike, what_was_tested
from physicnet.evaluation.table import result_tables, shown_leads


def print_comparison(runs: Sequence[ScoredRun], config: EvaluateConfig, console: Console) -> None:
    """Print the first run beside the others.

    Raises:
        DataError: if their test data differ.
    """
    for other in runs[1:]:
        refuse_unlike(runs[0], other)
    for run in runs:
        console.print(f"[bold]{run.label}[/bold]  {run.name}  {run.about}", highlight=False, soft_wrap=True)
    console.print(f"Tested on {what_was_tested(runs[0])}.\n", highlight=False, markup=False)
    settings = differing([run.settings for run in runs])
    console.print(_settings_table(runs, settings) if settings else "No setting differs.")
    console.print()
    for table in result_tables(pooling.pooled(together(runs), config)):
        console.print(table)
    console.print("Skill: share of persistence's squared error that is removed. Best in bold.\n", style="dim")
    _print_ratios(runs, config, console)


def differing(settings: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the values of each setting that is not the same in all runs; a dash where a run has none."""
    names = dict.fromkeys(name for each in settings for name in each)
    values = {name: [each.get(name, "–") for each in settings] for name in names}
    return {name: each for name, each in values.items() if len(set(each)) > 1}


def together(runs: Sequence[ScoredRun]) -> pd.DataFrame:
    """Return one table of sums: the model of each run, named with the run's label, then every baseline once.

    A baseline that does not have the same errors in all runs (another training part, other code) follows as well, with
    the label of its run. Frames are counted as in the first run.
    """
    counted = runs[0].truth.drop_duplicates("time").set_index("time")["origin"]
    models: list[pd.DataFrame] = []
    baselines: dict[str, pd.DataFrame] = {}
    for run in runs:
        origins = run.origins.assign(origin=run.origins["time"].map(counted))
        for name in map(str, origins["model"].unique()):
            rows = origins[origins["model"] == name]
            if name == run.model:
                models.append(rows.assign(model=f"{labels.title(run.model)} {run.label}"))
            elif name not in baselines:
                baselines[name] = rows
            elif not _alike(baselines[name], rows):
                baselines[f"{name} {run.label}"] = rows.assign(model=f"{labels.title(name)} {run.label}")
    return pd.concat([*models, *baselines.values()], ignore_index=True)


def ratios(one: ScoredRun, other: ScoredRun, config: EvaluateConfig) -> pd.DataFrame:
    """Return the RMSE of `other` as a share of that of `one`, with intervals, a row per variable and lead.

    Numbers have three digits, so that what is judged is what is shown.
    """
    sums = together([one, other])
    first, second = list(dict.fromkeys(sums["model"]))[:2]
    tables = [
        paired(rows[rows["model"] == second], rows[rows["model"] == first], config).assign(variable=variable)
        for variable, rows in sums.groupby("variable", sort=False)
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[table["score"] == "rmse"].reset_index(drop=True).round({"value": 3, "low": 3, "high": 3})


def verdict(rows: pd.DataFrame, one: str, other: str) -> str:
    """Say in words at which leads which of two is better; `rows` are the ratios other / one of one variable."""
    pair = f"RMSE of {other} against {one}"
    if rows["low"].isna().all():
        return f"{pair}: no interval, for too few forecast origins"
    kinds = {
        f"{other} is better": rows["high"] < 1,
        f"{one} is better": rows["low"] > 1,
        "no difference beyond chance": ~(rows["high"] < 1) & ~(rows["low"] > 1),
    }
    said = [f"{kind} {_in_words(rows, where.to_numpy())}" for kind, where in kinds.items() if where.any()]
    return f"{pair}: {'; '.join(said)}"


def _in_words(rows: pd.DataFrame, where: np.ndarray) -> str:
    """Name the marked leads: stretches of neighbours by their ends."""
    if where.all():
        return "at every lead"
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]])))
    named = [labels.lead(float(minutes)) for minutes in rows["lead_minutes"]]
    stretches = zip(edges[::2], edges[1::2] - 1, strict=True)
    return "at " + ", ".join(
        named[begin] if begin == end else f"{named[begin]} to {named[end]}" for begin, end in stretches
    )


def _settings_table(runs: Sequence[ScoredRun], settings: Mapping[str, Sequence[str]]) -> Table:
    table = Table(title="settings that differ", title_justify="left")
    table.add_column("setting", no_wrap=True)
    for run in runs:
        table.add_column(run.label, overflow="fold")
    for name, values in settings.items():
        table.add_row(name, *map(escape, values))
    return table


def _print_ratios(runs: Sequence[ScoredRun], config: EvaluateConfig, console: Console) -> None:
    one = runs[0]
    found = pd.concat([ratios(one, other, config).assign(label=other.label) for other in runs[1:]])
    for variable, rows in found.groupby("variable", sort=False):
        console.print(_ratio_table(str(variable), one.label, rows))
        for label, mine in rows.groupby("label", sort=False):
            console.print(f"{verdict(mine.reset_index(drop=True), one.label, str(label))}.", highlight=False)
    times = one.truth.drop_duplicates("time")["origin"].to_numpy()
    block = pooling.block_length(times, one.truth["lead"].nunique())
    console.print(
        f"Below 1: smaller error than {one.label}. In bold: the interval excludes 1. It comes from "
        f"{config.bootstrap_samples} draws of the same forecast origins for all runs, in blocks of {block}; it knows "
        "nothing of other days, nor of what another seed of the training would change.",
        style="dim",
        highlight=False,
    )


def _ratio_table(variable: str, one: str, rows: pd.DataFrame) -> Table:
    table = Table(title=f"{variable}: RMSE as a share of {one}'s, 95 % interval", title_justify="left")
    leads = shown_leads(rows)
    minutes = rows.groupby("lead")["lead_minutes"].first()
    table.add_column("run")
    for lead in leads:
        table.add_column(labels.lead(float(minutes[lead])), justify="right", no_wrap=True)
    for label, mine in rows.groupby("label", sort=False):
        table.add_row(str(label), *(_ratio_cell(mine[mine["lead"] == lead].iloc[0]) for lead in leads))
    return table


def _ratio_cell(row: pd.Series) -> str:
    if np.isnan(row["low"]):
        return "–" if np.isnan(row["value"]) else f"{row['value']:.3f}\n–"
    cell = f"{row['value']:.3f}\n{row['low']:.3f}–{row['high']:.3f}"
    return f"[bold]{cell}[/bold]" if row["high"] < 1 or row["low"] > 1 else cell


def _alike(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    errors = [rows.sort_values(CASE)["squared_error"].to_numpy() for rows in (one, other)]
    return bool(np.allclose(errors[0], errors[1], rtol=WRITTEN, atol=0))
