"""Bring the results of the last run into README.md: python docs/write_results.py.

Fills the lines between the two marks from `results/scores.csv` and `results/origins.csv`, and copies the figure of a
forecast to `docs/figures/`.
"""

import shutil
from pathlib import Path

import pandas as pd

from physicnet.evaluation.table import markdown_table
from physicnet.fields import DataError, written_whole

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results -->", "<!-- /results -->"


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
    tables = [markdown_table(str(name), rows) for name, rows in scores.groupby("variable", sort=False)]
    return "\n\n".join([f"{len(times)} forecast origins, {first} to {last} UTC. Best in bold.", *tables])


if __name__ == "__main__":
    main()
