"""Prints the catalogue, in short."""

import pandas as pd
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from physicnet.data.catalogue import ABSENT, Catalogue
from physicnet.data.inspection import Inspection, suggestion
from physicnet.data.judge import ACCEPTED, DUPLICATE, QUARANTINED, SUPERSEDED

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
    if not inspection.as_in_params:
        console.print("None has a variable of ingest.variables, so they were read with those they have.")
    if inspection.variables:
        console.print("Parameters that suit them (params.yaml; thresholds: choose the events that matter to you):")
        console.print(Text(suggestion(inspection)), soft_wrap=True)


def _print_table(console: Console, rows: pd.DataFrame, columns: list[str]) -> None:
    if rows.empty:
        return
    table = Table(*(Column(name, overflow="fold") for name in columns))
    for row in rows[columns].head(SHOWN).itertuples(index=False):
        table.add_row(*(Text(str(value), style=STYLES.get(str(value), "default")) for value in row))
    console.print(table)
    if len(rows) > SHOWN:
        console.print(f"and {len(rows) - SHOWN} more, in the files of the catalogue")
