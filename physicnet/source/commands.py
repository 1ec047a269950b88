"""The commands `physicnet source ...`: each writes an archive of observations into a folder.

Heavy packages are imported inside the commands, as in `physicnet.cli`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from physicnet.source.sequences import Written

app = typer.Typer(
    help="Write observations for data/raw: simulations, benchmarks, tables, folders of pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Into = Annotated[Path, typer.Option("--output", "-o", help="folder of NetCDF, such as data/raw; written")]
PerFile = Annotated[int, typer.Option(min=1, help="sequences of a file, which are in memory at once")]
Seed = Annotated[int, typer.Option(min=0, help="of all that is drawn")]


# Simulations.

Sequences = Annotated[int, typer.Option(min=1, help="each with a beginning of its own")]
Frames = Annotated[int, typer.Option(min=2, help="of each sequence")]
Cells = Annotated[int, typer.Option(min=32, help="a side")]
System = Literal["lambda-omega", "gray-scott", "fitzhugh-nagumo"]
Regime = Literal["gliders", "bubbles", "maze", "worms", "spirals", "spots"]


@app.command()
def reaction_diffusion(
    output: Into,
    system: Annotated[System, typer.Option(help="spiral waves, patterns of many kinds, or labyrinths")],
    regime: Annotated[Regime | None, typer.Option(help="of gray-scott; gliders by default")] = None,
    sequences: Sequences = 100,
    frames: Frames = 100,
    cells: Cells = 128,
    seed: Seed = 0,
    per_file: PerFile = 10,
) -> None:
    """Simulate two substances that react and spread."""
    from physicnet.source.reaction_diffusion import REGIMES, SYSTEMS
    from physicnet.source.simulation import write_simulation

    if regime and system != "gray-scott":
        raise typer.BadParameter(f"{system} has no regimes, gray-scott has", param_hint="--regime")
    _begin()
    chosen = dict(zip(("feed", "kill"), REGIMES[regime], strict=True)) if regime else {}
    simulation = SYSTEMS[system](num_cells=cells, **chosen)
    _tell(output, write_simulation(output, simulation, sequences, frames, seed=seed, per_file=per_file))


@app.command()
def shallow_water(
    output: Into,
    sequences: Sequences = 100,
    frames: Frames = 100,
    cells: Cells = 128,
    seed: Seed = 0,
    per_file: PerFile = 10,
) -> None:
    """Simulate vortices and gravity waves of a rotating layer of water, hour by hour."""
    from physicnet.source.shallow_water import ShallowWater
    from physicnet.source.simulation import write_simulation

    _begin()
    written = write_simulation(output, ShallowWater(cells), sequences, frames, seed=seed, per_file=per_file)
    _tell(output, written)


@app.command()
def smoke(
    output: Into,
    sequences: Sequences = 100,
    frames: Frames = 100,
    cells: Cells = 128,
    seed: Seed = 0,
    per_file: PerFile = 10,
) -> None:
    """Simulate smoke of fires that rises around obstacles in a closed room."""
    from physicnet.source.simulation import write_simulation
    from physicnet.source.smoke import Smoke

    _begin()
    _tell(output, write_simulation(output, Smoke(cells), sequences, frames, seed=seed, per_file=per_file))


def _begin() -> None:
    """End when told to, without leaving half a file."""
    from physicnet.process import end_cleanly_on_sigterm

    end_cleanly_on_sigterm()


def _tell(output: Path, written: "Written") -> None:
    typer.echo(f"{output}: {written.made} files made, {written.known} were there")
