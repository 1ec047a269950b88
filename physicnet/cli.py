"""The commands: one for each stage of dvc.yaml, which alone spells the paths; the results; the history of runs.

Heavy packages are imported inside the commands, so that `physicnet --help` answers at once. Parameters come from
params.yaml in the current folder, but for `forecast`, `hindcast` and `export`, which take them from the checkpoint.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physicnet.source import commands as sources

if TYPE_CHECKING:
    from physicnet.config import Params

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")

app = typer.Typer(
    help="Forecasts of gridded physical fields: the stages of the pipeline, the results, the history of runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(sources.app, name="source")

In = Annotated[Path, typer.Option(exists=True, help="read")]
Out = Annotated[Path, typer.Option(help="written")]
MODEL = "models/model.safetensors"  # where the stage train leaves it
CHAMPION = "models:/physicnet@champion"
Resume = Annotated[Path, typer.Option(help="folder that holds the state of an earlier run, to go on from")]
# Of the commands that forecast.
Observed = Annotated[list[Path], typer.Argument(help="files, such as those that the model was trained on")]
ModelName = Annotated[str, typer.Option(help="a checkpoint, or models:/physicnet@champion")]
Lead = Annotated[str | None, typer.Option(help="2h, 90min or a number of steps; by default as far as trained")]
Regrid = Annotated[bool, typer.Option("--regrid", help="bring another grid spacing to the model's")]
Probabilities = Annotated[bool, typer.Option(help="with quantiles and probabilities of the thresholds")]
Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
Threads = Annotated[int | None, typer.Option(min=1, help="by default one a core")]


@app.command()
def ingest(raw: In, fields: Out, catalogue: Out, resume: Resume) -> None:
    """Read the NetCDF files onto one grid, one clock and one unit per variable; say which were refused."""
    params = _begin()
    from rich.console import Console

    from physicnet.data import ingest as stage
    from physicnet.data.summary import print_summary
    from physicnet.mirror import mirrored

    paths = {"raw": raw, "fields": fields, "catalogue": catalogue, "resume": resume}
    with mirrored("ingest", paths, ingest=params.ingest, clip=params.clip) as mirror:
        result = stage.ingest(params.ingest, params.clip, **paths)
        mirror.show()
        print_summary(result, Console())
        result.refuse_above(params.ingest.max_quarantined)


@app.command()
def inspect(paths: Annotated[list[Path], typer.Argument(help="files, or folders")]) -> None:
    """Say what ingest would do with files and which parameters suit them, and change nothing.

    The exit status is 1 if some of them would be refused.
    """
    from rich.console import Console

    from physicnet.config import load_params
    from physicnet.data import inspection
    from physicnet.data.summary import print_inspection

    result = inspection.inspect(load_params(Path("params.yaml")), paths)
    print_inspection(result, Console())
    if result.catalogue.num_refused:
        raise typer.Exit(1)


@app.command()
def normalize(fields: In, normalized: Out, statistics: Out, maps: Out) -> None:
    """Split the record in time; transform and standardise the values as the training part asks."""
    params = _begin()
    from physicnet.data import normalize as stage
    from physicnet.mirror import mirrored

    paths = {"fields": fields, "normalized": normalized, "statistics": statistics, "maps": maps}
    with mirrored("normalize", paths, normalize=params.normalize, clip=params.clip, ingest=params.ingest) as mirror:
        stage.normalize(params.normalize, params.clip, params.ingest, **paths)
        mirror.show()


@app.command()
def crops(normalized: In, statistics: In, crops: Out, figure: Out) -> None:
    """Draw the clips, and the windows in them, that training and evaluation use, and a figure of where they lie."""
    params = _begin()
    from physicnet.data import crops as stage
    from physicnet.mirror import mirrored

    paths = {"normalized": normalized, "statistics": statistics, "crops": crops, "figure": figure}
    with mirrored("crops", paths, crops=params.crops, clip=params.clip) as mirror:
        stage.draw_crops(params.crops, params.clip, **paths)
        mirror.show()


@app.command()
def codebook(normalized: In, statistics: In, maps: In, crops: In, codebook: Out, history: Out, resume: Resume) -> None:
    """Pretrain the encoders and the codebook."""
    params = _begin()
    from physicnet.mirror import mirrored
    from physicnet.training import pretraining as stage

    sections = {"clip": params.clip, "model": params.model, "machine": params.machine}
    paths = {"normalized": normalized, "statistics": statistics, "maps": maps, "crops": crops}
    paths |= {"codebook": codebook, "history": history, "resume": resume}
    with mirrored("codebook", paths, codebook=params.codebook, **sections) as mirror:
        stage.pretrain(params.codebook, params.clip, params.model, params.machine, **paths, report=mirror.report)
        mirror.show()


@app.command()
def train(
    normalized: In, statistics: In, maps: In, crops: In, codebook: In, checkpoint: Out, history: Out, resume: Resume
) -> None:
    """Train the whole model, from the pretrained codebook on."""
    params = _begin()
    from physicnet.mirror import mirrored
    from physicnet.training import joint as stage

    sections = {"clip": params.clip, "model": params.model, "machine": params.machine}
    paths = {"normalized": normalized, "statistics": statistics, "maps": maps, "crops": crops}
    paths |= {"codebook": codebook, "checkpoint": checkpoint, "history": history, "resume": resume}
    with mirrored("train", paths, train=params.train, **sections) as mirror:
        thresholds = params.evaluate.thresholds
        stage.train(params.train, params.clip, params.model, params.machine, thresholds, **paths, report=mirror.report)
        mirror.show()


@app.command()
def evaluate(fields: In, statistics: In, maps: In, crops: In, checkpoint: In, metrics: Out, results: Out) -> None:
    """Score the model and the baselines on the test part, in physical units, at every lead."""
    params = _begin()
    from physicnet.evaluation import verify as stage
    from physicnet.mirror import mirrored

    paths = {"fields": fields, "statistics": statistics, "maps": maps, "crops": crops}
    paths |= {"checkpoint": checkpoint, "metrics": metrics, "results": results}
    with mirrored("evaluate", paths, evaluate=params.evaluate, clip=params.clip, machine=params.machine) as mirror:
        stage.evaluate(params.evaluate, params.clip, params.machine, **paths)
        mirror.show()


@app.command()
def forecast(
    observations: Observed,
    output: Annotated[Path, typer.Option("--output", "-o", help="CF NetCDF; written")],
    model: ModelName = MODEL,
    lead: Lead = None,
    at: Annotated[str | None, typer.Option(help="forecast from this time (ISO 8601, UTC), not from the newest")] = None,
    sharp: Annotated[bool, typer.Option("--sharp", help="also with the values of the last observed frame")] = False,
    flow: Annotated[bool, typer.Option("--flow", help="also the flow, and the share of the local level")] = False,
    regrid: Regrid = False,
    probabilities: Probabilities = True,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Forecast from the newest frames of observations; a checkpoint is all that is needed."""
    from physicnet.forecasting import cf
    from physicnet.forecasting.loading import load, machine_here
    from physicnet.forecasting.shelf import is_store
    from physicnet.process import end_cleanly_on_sigterm

    end_cleanly_on_sigterm()
    _refuse_to_overwrite(output, [*observations, Path(model)])
    if is_store(output):
        raise typer.BadParameter(
            f"{output} would be a Zarr store, but one forecast is a NetCDF file: name it .nc, or write a store of many "
            "with physicnet hindcast",
            param_hint="--output",
        )
    loaded = load(model, machine_here(device, threads))
    made = loaded.forecast(
        observations, lead=lead, at=at, sharp=sharp, flow=flow, regrid=regrid, probabilities=probabilities
    )
    cf.write(output, made)
    typer.echo(f"{output}: {made.attrs['title']}, {made.sizes['time']} leads")


@app.command()
def hindcast(
    observations: Annotated[list[Path], typer.Argument(exists=True, help="files, or folders of files *.nc")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="folder of CF NetCDF, a file for each time; or one store .zarr; written"),
    ],
    model: ModelName = MODEL,
    start: Annotated[str | None, typer.Option(help="first time to forecast from (ISO 8601, UTC)")] = None,
    end: Annotated[str | None, typer.Option(help="last time to forecast from")] = None,
    every: Annotated[
        str | None, typer.Option(help="6h, 30min or a number of steps from one to the next; by default one step")
    ] = None,
    lead: Lead = None,
    regrid: Regrid = False,
    probabilities: Probabilities = True,
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Forecast from every time of an archive; what is there already is not made again."""
    from physicnet.forecasting import hindcast as making
    from physicnet.forecasting.loading import load, machine_here
    from physicnet.process import end_cleanly_on_sigterm

    end_cleanly_on_sigterm()
    counts = making.hindcast(
        load(model, machine_here(device, threads)),
        observations,
        output,
        start=start,
        end=end,
        every=every,
        lead=lead,
        regrid=regrid,
        probabilities=probabilities,
    )
    typer.echo(
        f"{output}: {counts.made} forecasts made, {counts.known} were there, {counts.skipped} times skipped at which "
        "frames are missing"
    )


@app.command()
def export(
    observations: Observed,
    output: Annotated[
        list[Path],
        typer.Option("--output", "-o", help=".pt2 for torch, .onnx for ONNX Runtime; written; may be repeated"),
    ],
    model: ModelName = MODEL,
    lead: Lead = None,
) -> None:
    """Write the model as a program for use without physicnet, for frames of the size of the observations.

    It is kept only if it forecasts from the newest of them what the model does. Prints what both cost on this machine.
    """
    from rich.console import Console

    from physicnet.exporting import export as exporting
    from physicnet.exporting.table import print_costs
    from physicnet.process import end_cleanly_on_sigterm

    end_cleanly_on_sigterm()
    for path in output:
        _refuse_to_overwrite(path, [*observations, Path(model)])
    threads = sorted({1, len(os.sched_getaffinity(0))})
    print_costs(exporting.export(model, observations, output, lead=lead, threads=threads), Console())


@app.command()
def plot(
    forecast: Annotated[Path, typer.Argument(help="a file that `physicnet forecast` wrote, or a store of `hindcast`")],
    observations: Annotated[
        list[Path] | None,
        typer.Option(exists=True, help="a file, or a folder as of ingest, to compare with; can be given several times"),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="folder; by default that of the file")] = None,
    at: Annotated[str | None, typer.Option(help="of a store: the forecast from this time, not the last one")] = None,
) -> None:
    """Draw a forecast: a picture of some leads and an animation of all, beside what was observed.

    Observations are read by params.yaml, as ingest and verify read them. Coastlines are drawn if cartopy is installed.
    """
    from physicnet.config import load_params
    from physicnet.plotting import plot as plotting
    from physicnet.process import end_cleanly_on_sigterm

    end_cleanly_on_sigterm()
    rules = load_params(Path("params.yaml")).ingest if observations else None
    plotted = plotting.plot(forecast, output or forecast.parent, observations or [], rules, at)
    for path in plotted.files:
        typer.echo(path)
    if plotted.no_coasts:
        typer.echo(f"without coastlines: {plotted.no_coasts}")


@app.command()
def verify(
    forecasts: Annotated[
        Path, typer.Argument(exists=True, help="a forecast, a folder or a store .zarr of them, or a folder of such")
    ],
    observations: Annotated[Path, typer.Argument(exists=True, help="a file, or a folder as of ingest")],
    results: Annotated[Path, typer.Option(help="folder of tables and figures; written")] = Path("verification"),
) -> None:
    """Score forecasts in files, anybody's, by what was observed; the baselines are those of the last training here."""
    from physicnet.config import load_params
    from physicnet.evaluation.table import print_table
    from physicnet.process import end_cleanly_on_sigterm
    from physicnet.verification import against

    end_cleanly_on_sigterm()
    params = load_params(Path("params.yaml"))
    verified = against.verify(forecasts, observations, results, params, Path.cwd())
    print_table(results)
    if verified.learned:
        typer.echo(f"{verified.learned} start within what their model learned from: these are no test of it")
    typer.echo(f"{verified.scored} of {verified.num} forecasts were scored; of the others, not all frames are observed")


@app.command()
def table(results: Annotated[Path, typer.Argument(exists=True)] = Path("results")) -> None:
    """Print the table of results: skill at every lead, the model beside the baselines."""
    from physicnet.evaluation.table import print_table

    print_table(results)


RUN = "two or more: the id of an execution, a training or an evaluation, or its first characters"


@app.command()
def compare(runs: Annotated[list[str], typer.Argument(metavar="RUN", help=RUN)]) -> None:
    """Compare the test scores of runs with those of the first: settings that differ, scores, intervals.

    Runs whose test data differ are refused.
    """
    from rich.console import Console

    from physicnet import history
    from physicnet.config import load_params
    from physicnet.tracking.store import Store

    config = load_params(Path("params.yaml")).evaluate
    history.compare(Store(Path.cwd()), runs, config, Console())


@app.command()
def explain(
    run: Annotated[str, typer.Argument(metavar="RUN", help="the id of a run, or its first characters")],
) -> None:
    """Say what an execution was made of: code, data, parameters, which stages ran and which were unchanged."""
    from rich.console import Console

    from physicnet import history
    from physicnet.tracking.store import Store

    history.explain(Store(Path.cwd()), run, Console())


@app.command()
def mirror() -> None:
    """Bring to the store of runs what is lacking there of the runs in dvc.lock, from the files of this folder.

    The exit status is 1 if something could not be delivered. Nothing is logged twice.
    """
    from rich.console import Console

    from physicnet import replay
    from physicnet.process import end_cleanly_on_sigterm

    end_cleanly_on_sigterm()
    replay.replay(Path.cwd(), Console())


@app.command()
def promote() -> None:
    """Make the challenger the champion if it forecasts the same test data better, by the rule of params.yaml.

    The exit status is 0 whatever is decided.
    """
    from rich.console import Console

    from physicnet import registry
    from physicnet.config import load_params
    from physicnet.tracking.store import Store

    registry.promote(Store(Path.cwd()), load_params(Path("params.yaml")), Console())


@app.command()
def rollback() -> None:
    """Make the champion of before the last promotion the champion again."""
    from rich.console import Console

    from physicnet import registry
    from physicnet.tracking.store import Store

    registry.rollback(Store(Path.cwd()), Console())


@app.command()
def doctor() -> None:
    """Say what is wrong, or soon will be, in this folder and its service, and what to do; change nothing.

    The exit status is 1 if there is an error.
    """
    from physicnet.doctor import rounds

    if not rounds.make():
        raise typer.Exit(1)


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="of the store that this folder or MLFLOW_TRACKING_URI names")] = CHAMPION,
    port: Annotated[int, typer.Option(help="on this machine alone")] = 5002,
    body: Annotated[int, typer.Option(min=1, help="MiB that a request may have")] = 64,
) -> None:
    """Answer requests for forecasts by MLflow's scoring server, until told to end."""
    from physicnet.tracking import serving
    from physicnet.tracking.store import Store

    serving.serve(Store(Path.cwd()), model, port, body)


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="on this machine alone")] = 5000,
    browser: Annotated[bool, typer.Option(help="open the page, once it can be seen")] = True,
) -> None:
    """Serve the view of all runs (MLflow), and open it where runs are compared."""
    from physicnet.process import end_cleanly_on_sigterm
    from physicnet.tracking.page import arrange
    from physicnet.tracking.store import Store
    from physicnet.viewer import view

    store = Store(Path.cwd())
    if store.uri.startswith("http"):
        typer.echo(f"The runs are on the server of MLFLOW_TRACKING_URI: {store.place}{arrange(store)}")
        return
    end_cleanly_on_sigterm()
    view(store, port, in_browser=browser)


def main() -> None:
    """Run a command; say in one message what a user can mend, and leave all other errors their traceback."""
    try:
        app()
    except ValueError as error:
        if not type(error).__module__.startswith("physicnet."):
            raise
        _complain(error)
        sys.exit(1)


def _begin() -> "Params":
    """What every stage does first: end when told to and when DVC ends; read the parameters."""
    from physicnet.config import load_params
    from physicnet.process import end_cleanly_on_sigterm, end_with_dvc

    end_cleanly_on_sigterm()
    end_with_dvc()
    return load_params(Path("params.yaml"))


def _refuse_to_overwrite(output: Path, inputs: list[Path]) -> None:
    for path in inputs:
        if path.resolve() == output.resolve():
            raise typer.BadParameter(f"{output} is an input, too; name another file", param_hint="--output")


def _complain(error: ValueError) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text("Error: ", style="bold red").append(str(error), style="default"), soft_wrap=True)
