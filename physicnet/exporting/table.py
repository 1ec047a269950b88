"""What programs cost beside the model that they were made of, as a table to read."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from physicnet.exporting.export import TOLERANCE, Compared
from physicnet.exporting.measuring import ROUNDS, Measured

RUNTIMES = {".pt2": "torch", ".onnx": "ONNX Runtime"}


def print_costs(compared: Sequence[Compared], console: Console) -> None:
    """Print size, time and memory of the model and of each program, a row for each number of threads."""
    heads = ("threads", "disk, MB", "start, s", "forecast, s", "processors, s", "memory, MiB", "difference")
    table = Table("", *(Column(head, justify="right", overflow="fold") for head in heads))
    for each in compared:
        table.add_row("the model", *_costs(each.model), "")
    for output in compared[0].programs:
        name = f"{output.name}, by {RUNTIMES[output.suffix]}"
        for each in compared:
            table.add_row(name, *_costs(each.programs[output]), f"{each.differences[output]:.1g}")
    table.caption = (
        f"each in a process of its own: its start, a forecast (median of {ROUNDS}) by the clock and of all processors "
        "together, the most memory; difference: from the model's forecast, as a share of the range of the "
        f"observations, {TOLERANCE:g} at most"
    )
    console.print(table)


def _costs(measured: Measured) -> tuple[str, ...]:
    return (
        str(measured.threads),
        f"{measured.size / 1e6:.1f}",
        f"{measured.ready:.1f}",
        f"{measured.clock:.2f}",
        f"{measured.processors:.2f}",
        f"{measured.peak / 2**20:.0f}",
    )
