"""Prints the catalogue, in short."""

import pandas as pd
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from physicnet.data.catalogue import ABSENT, Catalogue
from physicnet.data.inspection import ENDINGS, Inspection
from physicnet.data.judge import ACCEPTED, DUPLICATE, QUARANTINED, SUPERSEDED
from physicnet.data.suggestion import suggestion

SHOWN = 20  # rows of a table; the files of the catalogue hold all
STYLES = {ACCEPTED: "green", DUPLICATE: "default", SUPERSEDED: "yellow", QUARANTINED: "bold red"}


def print_summary(catalogue: Catalogue, console: Console) -> None:
    """Print how many files and frames were accepted or not, the files that were not as a whole, and the gaps."""
    counts = catalogue.files["status"].value_counts()
    frames = catalogue.frames["status"].value_counts()
    table = Table("", *STYLES, ABSENT, title="Files and frames", title_justify="left")
    table.add_row("files", *(str(counts.get(status, 0)) for status in STYLES), "")
    table.add_row("frames", *(str(frames.get(status, 0)) for status in (*STYLES, ABSENT)))
    console.print(table)
    notable = catalogue.files[catalogue.files["reason"] != ""]
    _print_table(console, notable, ["path", "status", "reason"])
    _print_table(console, catalogue.gaps, ["after", "before", "missing_frames", "clips_lost"])


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Print what is in the files, what ingest would do with them, and the parameters that suit them."""
    files = inspection.catalogue.files
    _print_table(console, files, ["path", "status", "variables", "shape", "first", "last", "step_seconds"])
    _print_table(console, files, ["path", "missing", "invalid", "min", "max"])
    print_summary(inspection.catalogue, console)
    for line in _remarks(inspection):
        console.print(Text(line), soft_wrap=True)
    if inspection.suited:
        console.print("Parameters that suit them, in the place of those in params.yaml:")
        console.print("(thresholds: choose the events that matter to you)")
        console.print(Text(suggestion(inspection)), soft_wrap=True)


def _remarks(inspection: Inspection) -> list[str]:
    present = inspection.params.ingest.pattern
    lines = [f"Left out: {name}: {reason}" for name, reason in inspection.left_out.items()]
    if not inspection.suited and not inspection.left_out:
        lines.append("No file that can be opened has a variable on two dimensions.")
    if inspection.pattern != present:
        lines.append(
            f"Not all of them match ingest.pattern, {present!r}; in a folder where none does, all that end in "
            f"{', '.join(ENDINGS)} were looked at."
        )
    if not inspection.as_in_params:
        lines.append("None has a variable of ingest.variables, so they were read with those they have.")
    return lines


def _print_table(console: Console, rows: pd.DataFrame, columns: list[str]) -> None:
    if rows.empty:
        return
    table = Table(*(Column(name, overflow="fold") for name in columns))
    for row in rows[columns].head(SHOWN).itertuples(index=False):
        texts = ("" if pd.isna(value) else str(value) for value in row)
        table.add_row(*(Text(text, style=STYLES.get(text, "default")) for text in texts))
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"and {len(rows) - SHOWN} more, in the files of the catalogue")
