"""Bring the results of the last run into README.md: python docs/write_results.py.

Fills the lines between the two marks from `results/scores.csv` and `results/origins.csv`, and copies the figure of a
forecast to `docs/figures/`.
"""

import shutil
from pathlib import Path

import pandas as pd

from physicnet.evaluation import labels
from physicnet.fields import DataError, written_whole

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results -->", "<!-- /results -->"
MINUTES = (5, 15, 30, 45, 60)
SMALLER_IS_BETTER = ("rmse", "mae")


def main() -> None:
    """Rewrite README.md and copy the figure."""
    results, readme = ROOT / "results", ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    with written_whole(readme) as partial:
        partial.write_text(filled(text, report(results)), encoding="utf-8")
    shutil.copyfile(results / "figures" / "forecast.png", ROOT / "docs" / "figures" / "forecast.png")


def filled(text: str, block: str) -> str:
    """Return the text with `block` between the marks.

    Raises:
        DataError: if the text has not exactly one pair of marks.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise DataError(f"README.md must hold {BEGIN} and then {END}, once each")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def report(results: Path) -> str:
    """Return the tables of all variables, and from where the forecasts start.

    Raises:
        DataError: if there are no results.
    """
    if not (results / "scores.csv").is_file():
        raise DataError(f"{results / 'scores.csv'} does not exist; run the stage that writes it (dvc repro)")
    scores = pd.read_csv(results / "scores.csv")
    times = pd.to_datetime(pd.read_csv(results / "origins.csv")["time"]).sort_values().unique()
    first, last = (f"{pd.Timestamp(time):%Y-%m-%d %H:%M}" for time in (times[0], times[-1]))
    tables = [table(str(name), rows) for name, rows in scores.groupby("variable", sort=False)]
    return "\n\n".join([f"{len(times)} forecast origins, {first} to {last} UTC. Best in bold.", *tables])


def table(variable: str, scores: pd.DataFrame) -> str:
    """Return a Markdown table of one variable: a block of rows per score, a row per model, a column per lead."""
    units = str(scores["units"].iloc[0])
    scores = scores[scores["lead_minutes"].isin(MINUTES)]
    leads = [labels.lead(float(minutes)) for minutes in sorted(scores["lead_minutes"].unique())]
    lines = [f"| {variable} | | {' | '.join(leads)} |", "|---|---|" + "--:|" * len(leads)]
    for name in ["rmse", "mae", *labels.defined(scores, "csi_")]:
        lines += score_rows(scores, name, labels.score_title(name, units))
    return "\n".join([*lines, *skill_rows(scores)])


def score_rows(scores: pd.DataFrame, name: str, title: str) -> list[str]:
    """Return the rows of one score, the model first; the best of each lead is bold."""
    values = by_lead(scores, name).round(3)  # equal to the eye is equal
    best = values.min() if name in SMALLER_IS_BETTER else values.max()
    rows = []
    for model, row in values.iterrows():
        cells = [f"**{value:.3f}**" if value == best[lead] else f"{value:.3f}" for lead, value in row.items()]
        rows.append(f"| {title if not rows else ''} | {labels.title(str(model))} | {' | '.join(cells)} |")
    return rows


def skill_rows(scores: pd.DataFrame) -> list[str]:
    """Return the rows of the skill against persistence, each number with its interval."""
    skill, low, high = (by_lead(scores, name).drop("persistence") for name in ("skill", "skill_low", "skill_high"))
    rows = []
    for model in skill.index:
        ends = zip(skill.loc[model], low.loc[model], high.loc[model], strict=True)
        cells = [f"{middle:.2f} ({lower:.2f} to {upper:.2f})" for middle, lower, upper in ends]
        title = "Skill (95 % interval)" if not rows else ""
        rows.append(f"| {title} | {labels.title(str(model))} | {' | '.join(cells)} |")
    return rows


def by_lead(scores: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return one score with a row per model, in the order of the file, and a column per lead."""
    return scores.pivot(index="model", columns="lead_minutes", values=name).loc[scores["model"].unique()]


if __name__ == "__main__":
    main()
