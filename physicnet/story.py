"""What a run's page tells at first sight: what was read, and what came out.

Everything is read from the files that DVC tracks; no run needs a server for it.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from physicnet.clock import format_time
from physicnet.data.spacing import spacing_of
from physicnet.evaluation import labels
from physicnet.evaluation.table import markdown_table
from physicnet.fields import Field
from physicnet.lineage import Observations

LONGEST = 6000  # characters of tables; MLflow's descriptions end at 8000


def observations(record: Path, statistics: Path, part: str) -> Observations:
    """Describe a part of a record; `statistics` says which frames belong to it."""
    field = Field.open(record)
    segments = json.loads(statistics.read_text(encoding="utf-8"))["splits"][part]
    times, (_, _, height, width) = field.times, field.shape
    rows, columns = spacing_of(field)
    profile = {
        "frames": sum(stop - start for start, stop in segments),
        "first": format_time(times[segments[0][0]]),
        "last": format_time(times[segments[-1][1] - 1]),
        "step_minutes": float(field.step / np.timedelta64(1, "m")),
        "gaps": len(segments) - 1,
        "grid": f"{height} rows of {rows}, {width} columns of {columns}",
    }
    return Observations(record.as_posix(), part, dict(field.units), profile, (height, width))


def results_summary(results: Path) -> str:
    """Say in Markdown how good the model is: from where it was tested, and a table beside the baselines."""
    scores, origins = pd.read_csv(results / "scores.csv"), pd.read_csv(results / "origins.csv")
    times = sorted(origins["time"].unique())
    farthest = labels.lead(float(scores["lead_minutes"].max()))
    tested = f"{len(times)} forecasts of the test part, from {times[0]} to {times[-1]} UTC, up to {farthest} ahead"
    tables = [markdown_table(str(name), rows) for name, rows in scores.groupby("variable", sort=False)]
    shown = [table for table, end in zip(tables, np.cumsum([*map(len, tables)]), strict=True) if end <= LONGEST]
    rest = [f"{len(tables) - len(shown)} more tables: see scores.csv."] if len(shown) < len(tables) else []
    return "\n\n".join([f"{tested}. Best in bold.", *shown, *rest])


def training_summary(history: Path) -> str:
    """Say in one line of Markdown how a training went."""
    rows = pd.read_csv(history)
    best = rows.iloc[int(rows["validation_loss"].argmin())]
    said = [f"Epoch {best['epoch']:.0f} of {len(rows)} validates best: loss {best['validation_loss']:.4g}"]
    if "validation_skill" in rows and np.isfinite(best["validation_skill"]):
        said.append(f"{best['validation_skill']:.0%} of persistence's loss removed")
    said.append(
        f"{best['validation_codebook_usage']:.0%} of the codes in use, "
        f"perplexity {best['validation_codebook_perplexity']:.0f}"
    )
    return "; ".join(said) + "."
