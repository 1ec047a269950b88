"""A decision about the champion for people: errors per lead, ratios with intervals, each demand of the rule."""

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from physicnet.config import PromoteConfig
from physicnet.evaluation import labels
from physicnet.evaluation.promotion import POOLED, Decision, worst_of

SHOWN = 5  # leads


def print_decision(decision: Decision, rule: PromoteConfig, verdict: str, console: Console) -> None:
    """Print a decision, the verdict last."""
    for variable, scores in decision.scores.groupby("variable", sort=False):
        console.print(_errors(str(variable), scores, rule))
    for variable, ratios in decision.ratios.groupby("variable", sort=False):
        console.print(_ratios(str(variable), ratios, rule))
    for check in decision.checks:
        mark = ("✓ ", "green") if check.is_met else ("✗ ", "red")
        console.print(Text.assemble(mark, check.text), soft_wrap=True)
    console.print(Text(verdict, style="bold green" if decision.is_promoted else "bold yellow"), soft_wrap=True)


def _errors(variable: str, scores: pd.DataFrame, rule: PromoteConfig) -> Table:
    title = f"{variable}: {labels.score_title(rule.metric, str(scores['units'].iloc[0]))}"
    values = scores.pivot(index="model", columns="lead", values="value").loc[scores["model"].unique()]
    minutes = scores.groupby("lead")["lead_minutes"].first()
    single = sorted(int(lead) for lead in scores["lead"].unique() if lead != POOLED)
    later = [single[place - 1] for place in labels.spread(len(single), SHOWN - 1)]
    shown = dict.fromkeys([single[0], *later])
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for lead in shown:
        table.add_column(labels.lead(float(minutes[lead])), justify="right")
    table.add_column("over the leads", justify="right")
    for model, row in values.iterrows():
        cells = [f"{row[lead]:.3f}" for lead in [*shown, POOLED]]
        table.add_row(labels.title(str(model)), *cells)
    return table


def _ratios(variable: str, ratios: pd.DataFrame, rule: PromoteConfig) -> Table:
    title = f"{variable}: the challenger's {rule.metric.upper()} as a share of that of"
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for name in ("over the leads", "95 % interval", "at the worst lead"):
        table.add_column(name, justify="right")
    for rival, rows in ratios.groupby("against", sort=False):
        pooled = rows[rows["lead"] == POOLED].iloc[0]
        interval = "–" if np.isnan(pooled["low"]) else f"{pooled['low']:.4f} to {pooled['high']:.4f}"
        table.add_row(labels.title(str(rival)), f"{pooled['value']:.4f}", interval, _worst(rows))
    return table


def _worst(rows: pd.DataFrame) -> str:
    if (rows["lead"] == POOLED).all():  # of several variables together
        return ""
    worst = worst_of(rows)
    return f"{worst['value']:.4f} at {labels.lead(float(worst['lead_minutes']))}"
