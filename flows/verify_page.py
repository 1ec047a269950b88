"""What a verification has found, as a page in Prefect: skill week by week, and drift."""

from collections.abc import Iterator, Sequence

import pandas as pd

from flows.report import OURS, OVER_LEADS, picture, skill_figure
from physicnet.evaluation import labels
from physicnet.evaluation.table import shown_leads
from physicnet.verification.drift import Finding, Profile


def skill_page(weekly: pd.DataFrame) -> str:
    """RMSE and skill of each week, the newest first; RMSE over lead time of the newest beside that before."""
    lines = ["Forecasts beside what was observed later. Weeks begin on Monday; times are UTC.", ""]
    for variable, rows in weekly.groupby("variable", sort=False):
        lines += [*_table(str(variable), rows), ""]
        newest, *before = (week for _, week in rows.groupby("week", sort=False))
        lines += [picture(skill_figure(newest, before[0] if before else None), OVER_LEADS), ""]
    return "\n".join(lines)


def _table(variable: str, rows: pd.DataFrame) -> Iterator[str]:
    shown = shown_leads(rows)
    minutes = rows.set_index("lead")["lead_minutes"].groupby(level=0).first()
    units = labels.pretty(str(rows["units"].iloc[0]))
    leads = " | ".join(labels.lead(float(minutes[lead])) for lead in shown)
    yield f"| week of | forecasts | {variable}, {units} | {leads} |"
    yield "|---|--:|---|" + "--:|" * len(shown)
    for week, scores in rows.groupby("week", sort=False):
        begin, num = f"{week:%-d %b %Y}", int(scores["forecasts"].iloc[0])
        for model in scores["model"].unique():
            cells = _cells(scores[scores["model"] == model], "rmse", shown)
            yield f"| {begin} | {num} | RMSE, {labels.title(str(model))} | {cells} |"
        ours = _cells(scores[scores["model"] == OURS], "skill", shown)
        yield f"| {begin} | {num} | **Skill against persistence** | {ours} |"


def _cells(scores: pd.DataFrame, name: str, shown: Sequence[int]) -> str:
    values = scores.set_index("lead")[name]
    return " | ".join(f"{values[lead]:.3f}" if lead in values.index else "–" for lead in shown)


def drift_page(findings: Sequence[Finding], training: Profile, now: Profile) -> str:
    """What was compared, and what of it is beyond its limit."""
    flagged = [finding for finding in findings if finding.is_flagged]
    head = "Observations are **no longer** like those of training." if flagged else "Observations are like in training."
    rows = [
        f"| {finding.what} | {finding.training:.4g} | {finding.now:.4g} | {finding.amount:.3g} | {finding.limit:g} | "
        f"{'**beyond**' if finding.is_flagged else ''} |"
        for finding in findings
    ]
    return "\n".join(
        [
            head,
            "",
            f"Training: {training.frames} frames of {training.first} to {training.last}. Now: {now.frames} frames of "
            f"{now.first} to {now.last}.",
            "",
            "| | in training | now | drift | limit | |",
            "|---|--:|--:|--:|--:|---|",
            *rows,
        ]
    )
