"""A rehearsal of the service: the observations of the bundled radar day arrive again, in minutes: `make rehearsal`.

In a copy of the project, below `.physicnet/rehearsal`, the first hours train the first champion. The others are dropped
into the inbox one after the other, and the deployments collect, forecast, verify, retrain and promote, each as in
`prefect.yaml` but for the clock: what runs at a time of day or every few minutes is asked for when its time has come
in the play. Networks and trainings are small: what is rehearsed is the operation.
"""

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import xarray as xr
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending
from rich.console import Console

from flows.timeline import Happening, as_table, at_work, happenings, timeline_figure
from physicnet.config import load_params
from physicnet.drawing import save
from physicnet.evaluation.table import result_tables
from physicnet.ports import HOST, free_port
from physicnet.process import end_cleanly_on_sigterm
from physicnet.verification import ledger

FOLDER = Path(".physicnet") / "rehearsal"
COPIED = ("flows", "physicnet", "params.yaml", "dvc.yaml", "prefect.yaml", "pyproject.toml", ".dvcignore", ".gitignore")
MADE = {"project", "arrivals", "timeline.png"}  # in the folder
PATIENCE = 600.0  # seconds for a deployment to do what is expected of it
FASTER = {"PREFECT_WORKER_QUERY_SECONDS": "2"}
SMALL: dict[str, dict[str, Any]] = {
    "ingest": {"pattern": "*.nc", "coarsen": 4},
    "clip": {"frames_out": 6},
    "normalize": {"train_fraction": 0.5, "validation_fraction": 0.22, "gap": 2},
    "crops": {"train_clips": 60},
    "model": {"channels": 16, "code_dim": 16, "num_codes": 64, "hidden": 16},
    "codebook": {"epochs": 1, "steps_per_epoch": 15},
    "train": {"epochs": 2, "steps_per_epoch": 10},
    "evaluate": {"bootstrap_samples": 200},
    "retrain": {"minimum_new_frames": 20},
    "collect": {"settled": 1},
}

console = Console()


class RehearsalError(RuntimeError):
    """The service did not do what was expected of it."""


@dataclass(frozen=True)
class Play:
    """What is rehearsed: the observations, how many frames train the first champion, how many arrive at once.

    `verify_after` so many arrivals, forecasts are verified. `changes` are made to the parameters.
    """

    observations: Path
    first: int
    at_once: int
    verify_after: int
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: SMALL)


def rehearse(play: Play, folder: Path) -> list[Happening]:
    """Play it in a folder, which is made anew; return what happened.

    Raises:
        RehearsalError: if something that had to happen did not.
    """
    arrivals = prepare(play, folder)
    operation = Operation(folder / "project")
    with served(operation.project):
        operation.run("retrain")
        for number, arrival in enumerate(arrivals, 1):
            console.print(f"{number} of {len(arrivals)} arrives: {arrival.name}", highlight=False)
            operation.receive(arrival)
            if number % play.verify_after == 0:
                operation.run("verify")
        operation.rest()
        operation.run("verify")
        happened = happenings()
    check(happened, len(arrivals))
    return happened


def prepare(play: Play, folder: Path) -> list[Path]:
    """Make the project in a folder, with the first frames in `data/raw`; return the files that are to arrive."""
    _clear(folder)
    project = folder / "project"
    project.mkdir(parents=True)
    for name in COPIED:
        _copy(Path(name), project / name)
    _change(project / "params.yaml", play.changes)
    _stop_clocks(project / "prefect.yaml")
    pieces = list(_pieces(play))
    first, *arrivals = [_write(piece, folder / "arrivals") for piece in pieces]
    (project / "data" / "raw").mkdir(parents=True)
    (project / "data" / "inbox").mkdir()
    first.rename(project / "data" / "raw" / first.name)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=project, check=True)
    return arrivals


def _clear(folder: Path) -> None:
    """Remove an earlier rehearsal, and end its service if it is still there; refuse to remove anything else."""
    if not folder.exists():
        return
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - MADE:
        raise RehearsalError(f"{folder} holds other things than a rehearsal; name another folder, or remove it")
    if (folder / "project" / ".prefect").is_dir():
        subprocess.run([sys.executable, "-m", "flows.service", "stop"], cwd=folder / "project", check=True)
    shutil.rmtree(folder)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _change(path: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, values in changes.items():
        params[section] |= values
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def _stop_clocks(path: Path) -> None:
    """Leave the deployments without schedules; what events ask for stays."""
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    for deployment in told["deployments"]:
        deployment["schedules"] = []
    path.write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")


def _pieces(play: Play) -> Iterator[xr.Dataset]:
    with xr.open_dataset(play.observations, decode_cf=False) as whole:
        num = whole.sizes["time"]
        starts = [0, *range(play.first, num, play.at_once)]
        for start, stop in zip(starts, [*starts[1:], num], strict=True):
            yield whole.isel(time=slice(start, stop)).load()


def _write(piece: xr.Dataset, folder: Path) -> Path:
    """Write a piece of a record under the time of its last frame."""
    folder.mkdir(parents=True, exist_ok=True)
    last = xr.decode_cf(piece)["time"].values[-1]
    path = folder / f"observed_{np.datetime_as_string(last, unit='s').replace(':', '')}Z.nc"
    piece.to_netcdf(path)
    return path


@contextmanager
def served(project: Path) -> Iterator[None]:
    """Serve the deployments of a project at a free port, and let Prefect here speak to that server."""
    port = free_port()
    neither = ("PREFECT_", "MLFLOW_TRACKING_URI")  # the user's own server and registry have no part in it
    environment = {name: value for name, value in os.environ.items() if not name.startswith(neither)}
    environment |= FASTER | {"PYTHONPATH": str(project)}
    service = [sys.executable, "-m", "flows.service"]
    try:
        subprocess.run([*service, "start", "--port", str(port)], cwd=project, env=environment, check=True)
        with temporary_settings({PREFECT_API_URL: f"http://{HOST}:{port}/api"}):
            yield
    finally:
        subprocess.run([*service, "stop"], cwd=project, env=environment, check=True)


@dataclass(frozen=True)
class Operation:
    """The service of a project, and what people and instruments do to it."""

    project: Path

    def run(self, flow: str) -> None:
        """Let the deployment of a flow run now, and wait for its end."""
        with get_client(sync_client=True) as client:
            deployment = client.read_deployment_by_name(f"{flow}/{self.project.name}")
            run = client.create_flow_run_from_deployment(deployment.id)

            def state() -> State:
                return client.read_flow_run(run.id).state or Pending()

            _wait(lambda: state().is_final(), f"the end of {flow}")
            if not state().is_completed():
                raise RehearsalError(f"{flow} did not complete: {state()}; {self.project}/.prefect has the logs")

    def receive(self, arrival: Path) -> None:
        """Drop a file into the inbox, let it be collected, and wait for the forecast from its last frame.

        A file waits in the inbox while a retrain reads those before it, so collect looks until it has taken it.
        """
        waiting = self.project / "data" / "inbox" / arrival.name
        arrival.rename(waiting)
        _wait(lambda: self._is_collected(waiting), f"{arrival.name} to be collected")
        forecast = self.project / "data" / "forecasts" / arrival.name.removeprefix("observed_")
        _wait(forecast.is_file, f"a forecast from {arrival.name}")

    def _is_collected(self, waiting: Path) -> bool:
        """Let collect look, and say whether the file was taken."""
        self.run("collect")
        return not waiting.exists()

    def rest(self) -> None:
        """Wait until nothing is at work or waits for its turn."""
        _wait(lambda: not at_work(), "the end of all runs")


def _wait(condition: Callable[[], bool], for_what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise RehearsalError(f"waited {PATIENCE:.0f} s in vain for {for_what}")
        time.sleep(1)


def check(happened: Sequence[Happening], num_arrivals: int) -> None:
    """Check that all deployments did what they are for.

    Raises:
        RehearsalError: naming what was not as expected.
    """
    failed = [f"{each.flow} {each.state}: {each.message}" for each in happened if not each.has_succeeded]
    states = Counter((each.flow, each.state) for each in happened)
    faults = [f"a run did not succeed: {text}" for text in failed]
    for flow, state, least in (
        ("collect", "Collected", 1),
        ("forecast", "Forecast", num_arrivals),
        ("verify", "Verified", 1),
    ):
        if states[flow, state] < least:
            faults.append(f"{flow} ended as {state} {states[flow, state]} times, not {least}")
    if sum(states["retrain", state] for state in ("Promoted", "Kept")) < 2:
        faults.append("no retrain followed the first")
    if faults:
        raise RehearsalError("; ".join(faults))


def main(
    folder: Annotated[Path, typer.Option(help="made anew; it keeps the project, its service has ended")] = FOLDER,
) -> None:
    """Rehearse with the bundled radar day; print a timeline and the scores, draw both."""
    end_cleanly_on_sigterm()
    play = Play(Path("data/raw/radar_knmi_20100826.nc"), first=64, at_once=4, verify_after=3)
    happened = rehearse(play, folder.resolve())
    console.print(as_table(happened))
    save(timeline_figure(happened), folder / "timeline.png")
    project = folder / "project"
    params = load_params(project / "params.yaml")
    scores = ledger.weekly(ledger.read(project / params.verify.table), 1, params.evaluate)
    for table in result_tables(scores):
        console.print(table)
    console.print(f"Pictures: {folder}/timeline.png", highlight=False)


if __name__ == "__main__":
    try:
        typer.run(main)
    except RehearsalError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", soft_wrap=True)
        sys.exit(1)
