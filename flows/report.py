"""What a retrain did, as a page in Prefect: what came in, what ran, how well it forecasts, and who is the champion."""

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from prefect.artifacts import create_markdown_artifact

from flows.retrained import Retrained
from physicnet.drawing import INK, drawing_style
from physicnet.evaluation import labels
from physicnet.evaluation.table import shown_leads

OURS = "physicnet"
OVER_LEADS = "RMSE over lead time"
BEFORE, NOW = "#9aa0a6", "#1c5fb4"
APART = 0.06  # of the axis: names of lines do not overlap


def publish(did: Retrained) -> None:
    """Leave the page with the flow's run."""
    create_markdown_artifact(page(did), key="retrain", description="What came, what ran, and who is the champion")


def page(did: Retrained) -> str:
    """The page, in Markdown."""
    parts = [f"**{did.summary}**", *_reasons(did), *_observations(did), *_stages(did), *_skill(did)]
    return "\n".join(parts) + "\n"


def _reasons(did: Retrained) -> list[str]:
    reasons = did.decision.get("reasons")
    if not isinstance(reasons, list) or not reasons:
        return []
    return ["", *(f"- {'' if each['met'] else '**Not met.** '}{each['text']}" for each in reasons), ""]


def _observations(did: Retrained) -> list[str]:
    """What this run took in, and what runs before it have since the last training."""
    known = set() if did.before.files is None else set(did.before.files["path"])
    now, until = did.after.files, did.before.trained_until

    def is_new(row: pd.Series) -> bool:
        if row["path"] not in known:
            return True
        return until is not None and isinstance(row["last"], str) and bool(np.datetime64(row["last"]) > until)

    came = [] if now is None else [row for _, row in now.iterrows() if is_new(row)]
    rows = [
        f"| {row['path']} | {row['status']} | {row['frames']} | {row['first']} to {row['last']} |"
        if isinstance(row["first"], str)
        else f"| {row['path']} | {row['status']}: {row['reason']} | 0 | |"
        for row in came
    ]
    head = ["## Observations", "", "| file | | frames | UTC |", "|---|---|--:|---|"]
    return [*head, *rows, ""] if rows else ["## Observations", "", "None came since the last training.", ""]


def _stages(did: Retrained) -> list[str]:
    rows = [f"| {stage} | {state} |" for stage, state in did.states.items()]
    return ["## Stages", "", "| stage | |", "|---|---|", *rows, ""]


def _skill(did: Retrained) -> list[str]:
    now, before = did.after.scores, did.before.scores
    if now is None:
        return []
    lines = ["## Skill on the test part", ""]
    if before is not None:
        lines += ["The test part moves on with the record: before and now are not scored on the same frames.", ""]
    for variable, rows in now.groupby("variable", sort=False):
        earlier = None if before is None else before[before["variable"] == variable]
        lines += [
            skill_table(str(variable), rows, earlier),
            "",
            picture(skill_figure(rows, earlier), OVER_LEADS),
            "",
        ]
    return lines


def skill_table(variable: str, now: pd.DataFrame, before: pd.DataFrame | None) -> str:
    """RMSE by lead of all models, and of the model before."""
    shown = shown_leads(now)
    minutes = now.set_index("lead")["lead_minutes"].groupby(level=0).first()
    units = labels.pretty(str(now["units"].iloc[0]))
    head = [f"| RMSE of {variable} ({units}) | {' | '.join(labels.lead(float(minutes[lead])) for lead in shown)} |"]
    rows = {labels.title(str(model)): by_lead(now, str(model)) for model in now["model"].unique()}
    if before is not None:
        rows["PhysicNet before"] = by_lead(before, OURS)
    cells = [
        f"| {name} | {' | '.join(f'{values[lead]:.3f}' if lead in values.index else '–' for lead in shown)} |"
        for name, values in rows.items()
    ]
    return "\n".join([*head, "|---|" + "--:|" * len(shown), *cells])


def skill_figure(now: pd.DataFrame, before: pd.DataFrame | None) -> Figure:
    """RMSE over lead time: the model now and before, and the baselines now."""
    unit, length = labels.clock(float(now["lead_minutes"].max()))
    with drawing_style():
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.subplots()
        if before is not None:
            rows = before[before["model"] == OURS]
            axes.plot(rows["lead_minutes"] / length, rows["rmse"], color=BEFORE, lw=4.5, label="PhysicNet before")
            axes.legend(loc="lower right")
        for model in now["model"].unique():
            rows = now[now["model"] == model]
            style: dict[str, Any] = {"color": NOW, "lw": 2.2} if model == OURS else {"color": INK, "lw": 0.9, "ls": ":"}
            axes.plot(rows["lead_minutes"] / length, rows["rmse"], **style)
        ends = now[now["lead"] == now["lead"].max()].sort_values("rmse")
        height = -np.inf
        for row in ends.itertuples():
            height = max(float(row.rmse), height + APART * float(now["rmse"].max()))
            axes.annotate(
                labels.title(str(row.model)),
                (float(row.lead_minutes) / length, height),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set(
            xlabel=f"lead time ({unit})", ylabel=labels.score_title("rmse", str(now["units"].iloc[0])), ylim=(0, None)
        )
    return figure


def by_lead(scores: pd.DataFrame, model: str) -> pd.Series:
    """RMSE of a model by lead."""
    return scores[scores["model"] == model].set_index("lead")["rmse"]


def picture(figure: Figure, title: str) -> str:
    """A figure in Markdown that needs no file beside it."""
    buffer = io.BytesIO()
    with drawing_style():
        figure.savefig(buffer, format="png")
    return f"![{title}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
