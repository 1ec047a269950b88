"""The commands `physicnet source ...`: each writes an archive of observations into a folder.

Heavy packages are imported inside the commands, as in `physicnet.cli`.
"""

from datetime import datetime
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


# Benchmarks and other people's data.


@app.command()
def moving_mnist(
    mnist: Annotated[Path, typer.Option(exists=True, file_okay=False, help="folder of the files of MNIST; read")],
    output: Into,
    train: Annotated[int, typer.Option(min=0, help="sequences to train on")] = 10_000,
    validation: Annotated[int, typer.Option(min=0, help="sequences to choose the model by")] = 1_000,
    test: Annotated[int, typer.Option(min=0, help="sequences to test on")] = 10_000,
    published: Annotated[
        Path | None, typer.Option(exists=True, help="mnist_test_seq.npy of the authors, to test on instead; read")
    ] = None,
    digits: Annotated[int, typer.Option(min=1, help="that move in a sequence")] = 2,
    seed: Seed = 0,
    per_file: PerFile = 1_000,
) -> None:
    """Handwritten digits that bounce inside a square (Srivastava et al., 2015): 20 frames of 64 x 64 cells.

    Training and validation sequences are of training digits, none of which are in both; test sequences of test digits.
    """
    from physicnet.source import moving_mnist as source

    _begin()
    parts = {"train": train, "validation": validation, "test": test}
    if not (sum(parts.values()) or published):
        raise typer.BadParameter("no sequence is asked for", param_hint="--train")
    written = source.write(
        output, mnist, parts=parts, published=published, num_digits=digits, seed=seed, per_file=per_file
    )
    _tell(output, written)


@app.command()
def fire_frames(
    pictures: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of the clips")],
    output: Into,
    pattern: Annotated[
        str, typer.Option(help="of the pictures' paths there, such as clip_{clip}/frame_{frame}.*")
    ] = "{clip}/{frame}.*",
    frames: Annotated[
        int | None, typer.Option(min=1, help="of each clip, the first; by default all, equally many of each")
    ] = None,
    step: Annotated[float, typer.Option(min=1e-6, help="seconds from frame to frame")] = 1 / 24,
    size: Annotated[
        tuple[int, int] | None, typer.Option(min=1, help="rows and columns to reduce them to, by area means")
    ] = None,
    colour: Annotated[bool, typer.Option("--colour", help="variables red, green, blue, in place of luminance")] = False,
    split: Annotated[
        Path | None, typer.Option(exists=True, help="JSON of lists train, val, test of clips; by default no parts")
    ] = None,
    per_file: PerFile = 50,
) -> None:
    """Clips of pictures, PNG or JPEG, such as those of a fire by Chen et al. (2022): folders of numbered frames."""
    from physicnet.source import fire_frames as source

    _begin()
    written = source.write(
        output,
        pictures,
        pattern=pattern,
        num_frames=frames,
        step=step,
        size=size,
        in_colour=colour,
        split=split,
        per_file=per_file,
    )
    _tell(output, written)


SevirImage = Literal["vil", "vil-liquid", "ir069", "ir107", "vis"]


@app.command()
def sevir(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="that holds CATALOG.csv and data/")],
    output: Into,
    image: Annotated[
        SevirImage, typer.Option(help="type of the images; vil is as stored, vil-liquid in kg m-2")
    ] = "vil",
    every: Annotated[int, typer.Option(min=1, help="2: one image in 10 minutes, not in 5")] = 1,
    coarsen: Annotated[int, typer.Option(min=1, help="3: means of 3 x 3 cells")] = 1,
    validate_after: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="events after this date choose the model")
    ] = (datetime(2019, 1, 1)),
    test_after: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="events after this date test it")] = (
        datetime(2019, 6, 1)
    ),
    complete: Annotated[bool, typer.Option("--complete", help="only events without a missing value")] = False,
    there: Annotated[bool, typer.Option("--there", help="only events of files that are there")] = False,
    per_file: PerFile = 10,
) -> None:
    """Storms over the United States, radar or satellite images of four hours each (SEVIR, Veillette et al., 2020)."""
    from physicnet.source import sevir as source
    from physicnet.source.sevir_catalogue import Dates

    _begin()
    written = source.write(
        output,
        folder,
        image=image,
        every=every,
        cells=coarsen,
        dates=Dates(validate_after, test_after),
        complete=complete,
        there=there,
        per_file=per_file,
    )
    _tell(output, written)


Places = Literal["degrees", "metres", "cells"]
Counted = Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV or .parquet of time, place and count")]
Series = Annotated[Path, typer.Option("--output", "-o", help="NetCDF, such as data/raw/cases.nc; written")]
PlacesOf = Annotated[Places, typer.Option("--places", help="columns latitude, longitude; or y, x; or row, column")]
Spacing = Annotated[float, typer.Option(min=0, help="side of a cell: degrees, metres or rows")]
Step = Annotated[str, typer.Option(help="from frame to frame, counted from midnight: 30min, 1h, 1D, 7D")]
Named = Annotated[
    list[str] | None, typer.Option("--column", help="time=DATE: what a column is called there; may be repeated")
]
BoxOf = Annotated[
    tuple[float, float, float, float] | None, typer.Option(help="south, west, north, east; by default all places")
]
Numbered = Annotated[
    int | None, typer.Option(min=1, help="columns of the grid, if one column `cell` numbers its cells")
]
Name = Annotated[str, typer.Option(help="of the variable")]


@app.command()
def traffic_grid(
    table: Counted,
    output: Series,
    spacing: Spacing,
    step: Step = "30min",
    places: PlacesOf = "degrees",
    column: Named = None,
    box: BoxOf = None,
    width: Numbered = None,
    name: Name = "vehicles",
    events: Annotated[bool, typer.Option("--events", help="a row is one vehicle: there is no column count")] = False,
) -> None:
    """A table of vehicles, trips or people as a gridded series. What is not told of at a time is none.

    Rows of a cell and step are added up; cells that are never told of are missing, and times of which nothing is told.
    """
    from physicnet.source import grid

    _begin()
    gridding = grid.Gridding.of(places, spacing, step, box, absent_is_zero=True)
    _refuse_to_overwrite(table, output)
    shape = grid.convert(table, output, gridding, _names(column), width=width, is_events=events, name=name)
    _tell_shape(output, shape)


@app.command()
def epidemic_grid(
    table: Counted,
    output: Series,
    spacing: Spacing = 1.0,
    step: Step = "7D",
    places: PlacesOf = "cells",
    column: Named = None,
    box: BoxOf = None,
    width: Numbered = None,
    name: Name = "cases",
) -> None:
    """A table of reported cases as a gridded series. What is not reported at a time is missing.

    Rows of a cell and step are added up; cells that never report are missing, and times at which none does.
    """
    from physicnet.source import grid

    _begin()
    gridding = grid.Gridding.of(places, spacing, step, box, absent_is_zero=False)
    _refuse_to_overwrite(table, output)
    shape = grid.convert(table, output, gridding, _names(column), width=width, is_events=False, name=name)
    _tell_shape(output, shape)


@app.command()
def epidemic_table(
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV for epidemic-grid; written")],
    side: Annotated[int, typer.Option(min=1, help="cells across the island")] = 24,
    years: Annotated[float, typer.Option(min=0.02, help="of weekly reports")] = 6.0,
    seed: Seed = 0,
) -> None:
    """A table of cases that is simulated: a disease like measles that spreads over an island (Lloyd and May, 1996)."""
    from physicnet.source import seir

    _begin()
    seir.write(output, seir.Epidemic(side, years, seed=seed))


def _refuse_to_overwrite(table: Path, output: Path) -> None:
    if table.resolve() == output.resolve():
        raise typer.BadParameter(f"{output} is the table; name another file", param_hint="--output")


def _tell_shape(output: Path, shape: tuple[int, ...]) -> None:
    typer.echo(f"{output}: {shape[0]} frames of {shape[1]} x {shape[2]} cells")


def _names(told: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in told or []]
    wrong = [name + sign for name, sign, column in pairs if not (name and column)]
    if wrong:
        raise typer.BadParameter(f"{wrong[0]} is not of the form time=DATE", param_hint="--column")
    return {name: column for name, _, column in pairs}


def _begin() -> None:
    """End when told to, without leaving half a file."""
    from physicnet.process import end_cleanly_on_sigterm

    end_cleanly_on_sigterm()


def _tell(output: Path, written: "Written") -> None:
    typer.echo(f"{output}: {written.made} files made, {written.known} were there")
