"""What does mirroring to MLflow cost a training? Seconds of its requests as a share of the training's own.

    python benchmarks/mirroring.py

A training as in params.yaml reports its epochs to three stores in turn: SQLite in a new folder, a server on this
machine above such a folder, and a server that is not there. The run itself, its parameters and its end are counted as
well. What the training would take is measured beside: a few of its steps, times their number. The import of mlflow and
the creation of a store are named apart, for they come once.
Writes docs/results/mirroring.csv.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from step import Trainee

from physicnet.config import Params, load_params
from physicnet.fields import written_whole
from physicnet.machine import machine
from physicnet.mirror import mirrored
from physicnet.ports import free_port
from physicnet.tracking.store import Store
from physicnet.viewer import HOST, serving, wait_for

TARGET = Path("docs/results/mirroring.csv")
GOAL = 0.02  # of the training's time
STEPS = 6  # of the training that are timed, after one that warms up
VALUES = 20  # numbers of an epoch, as a training has
VARIABLE = "MLFLOW_TRACKING_URI"


def seconds_of_training(params: Params) -> float:
    """Return what the steps of a training take; its validation, which comes on top, is left out."""
    with machine(params.machine) as on:
        trainee = Trainee("physicnet", params, on)
        trainee.step()
        start = time.perf_counter()
        for _ in range(STEPS):
            trainee.step()
        each = (time.perf_counter() - start) / STEPS
    return each * params.train.epochs * params.train.steps_per_epoch


def seconds_of_mirroring(params: Params) -> float:
    """Return what the mirror of such a training takes."""
    start = time.perf_counter()
    with mirrored("crops", {}, train=params.train, clip=params.clip, model=params.model) as mirror:
        for epoch in range(1, params.train.epochs + 1):
            mirror.report(epoch, {f"value_{number}": 1.0 / epoch for number in range(VALUES)})
    return time.perf_counter() - start


@contextmanager
def in_folder(params_file: Path) -> Iterator[Path]:
    """Work in a new folder that has the parameters."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(params_file.read_text(encoding="utf-8"), encoding="utf-8")
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a store of its own; yield the address."""
    folder.mkdir()
    port = free_port()
    with serving(Store(folder), port) as server:
        wait_for(server, port)
        yield f"http://{HOST}:{port}"


def measure(params: Params, params_file: Path) -> pd.DataFrame:
    """Return the seconds of each store: to open it for the first time, and of one training's mirror."""
    rows = []
    with in_folder(params_file) as folder, served(folder / "served") as address:
        stores = {"SQLite": None, "server": address, "no server": f"http://{HOST}:{free_port()}"}
        for name, uri in stores.items():
            os.environ.pop(VARIABLE, None)
            if uri is not None:
                os.environ[VARIABLE] = uri
            start = time.perf_counter()
            if name != "no server":
                assert Store(folder).experiment_id
            opening = time.perf_counter() - start
            rows.append({"store": name, "opening": opening, "mirroring": seconds_of_mirroring(params)})
    return pd.DataFrame(rows).set_index("store")


def main() -> None:
    """Measure, print and write."""
    params_file = Path("params.yaml")
    params = load_params(params_file)
    target = TARGET.absolute()
    training = seconds_of_training(params)
    table = measure(params, params_file.absolute()).assign(training=training)
    table["share"] = table["mirroring"] / table["training"]
    printed = Table("store", "opened s", "mirrored s", "training s", f"share ({GOAL:.0%} at most)")
    for name, row in table.iterrows():
        seconds = (f"{row[column]:.2f}" for column in ("opening", "mirroring", "training"))
        printed.add_row(str(name), *seconds, f"{row['share']:.2%}")
    Console().print(printed)
    with written_whole(target) as partial:
        table.to_csv(partial, float_format="%.4g", lineterminator="\n")
    print(f"written: {TARGET}")


if __name__ == "__main__":
    main()
