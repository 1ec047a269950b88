"""What does the Prefect flow cost above `dvc repro`, which does the same work? Seconds of whole commands.

    PYTHONPATH=tests python benchmarks/flow_overhead.py --repeats 3

The project is the tiny one of the tests: six stages on a record of forty frames. `dvc repro` and `python -m
flows.pipeline` take turns, each in a new project where everything has to run, and then again where nothing has. The
flow speaks to a server that runs, as with `make serve`; where nothing has to run it is also timed without one, when
Prefect starts a temporary server for it. Seconds on the wall are worth something on a machine that does nothing else;
those of the processors, of the command and all that it starts, on others, too; the server that runs is not among them.
Writes docs/results/flow_overhead.csv: a row for each command and repeat, with the machine's load as it began.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import psutil
from rich.console import Console
from rich.table import Table
from tiny_project import ROOT, environment, make_project

from flows.service import is_healthy
from physicnet.fields import written_whole
from physicnet.ports import HOST, free_port

TARGET = Path("docs/results/flow_overhead.csv")
GOAL = 10.0  # seconds above dvc repro, on the whole
PATIENCE = 300.0  # seconds for the server to answer
REPRO = (sys.executable, "-m", "dvc", "repro")
FLOW = (sys.executable, "-m", "flows.pipeline")


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    target = TARGET.absolute()
    with TemporaryDirectory() as name:
        table = measure(Path(name), repeats)
    show(table)
    with written_whole(target) as partial:
        table.to_csv(partial, index=False, float_format="%.2f", lineterminator="\n")
    print(f"written: {TARGET}")


def measure(folder: Path, repeats: int) -> pd.DataFrame:
    """The seconds of each command, by what there is to do."""
    rows = []
    with served(folder / "server") as address:
        runs = {"dvc repro": (REPRO, {}), "flow": (FLOW, address)}
        for repeat in range(repeats):
            order = list(runs) if repeat % 2 == 0 else list(reversed(runs))
            for name in order:
                project = folder / f"{name}_{repeat}".replace(" ", "_")
                project.mkdir()
                make_project(project)
                shutil.copy(ROOT / "pyproject.toml", project)  # Prefect's patience with a temporary server
                for todo in ("everything", "nothing"):
                    rows.append(timed(project, name, todo, *runs[name]))
                if name == "flow":
                    rows.append(timed(project, "flow without a server", "nothing", FLOW, {}))
    return pd.DataFrame(rows)


def timed(project: Path, name: str, todo: str, command: tuple[str, ...], more: Mapping[str, str]) -> dict[str, object]:
    """Run a command in a project."""
    load = os.getloadavg()[0]
    found = {key: value for key, value in environment(project).items() if not key.startswith("PREFECT_")}
    found |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(project / ".prefect"), **more}
    begun, worked = time.perf_counter(), processor_seconds()
    done = subprocess.run(command, cwd=project, env=found, capture_output=True, text=True)
    seconds, worked = time.perf_counter() - begun, processor_seconds() - worked
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed in {project}:\n{done.stdout}{done.stderr}")
    return {"command": name, "to do": todo, "seconds": seconds, "processor_seconds": worked, "load": load}


def processor_seconds() -> float:
    """What all processes took that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def served(home: Path) -> Iterator[dict[str, str]]:
    """A Prefect server on this machine; yields what tells a command of it."""
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)]
    told = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = psutil.Popen(command, env=os.environ | told, **quiet)
    try:
        end = time.monotonic() + PATIENCE
        while not is_healthy(port):
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the Prefect server did not start")
            time.sleep(0.5)
        yield {"PREFECT_API_URL": f"http://{HOST}:{port}/api"}
    finally:
        for process in [*server.children(recursive=True), server]:
            process.terminate()
        server.wait()


def show(table: pd.DataFrame) -> None:
    """Print medians, and how far the flow's lie above those of dvc repro."""
    medians = table.groupby(["to do", "command"], sort=False)[["seconds", "processor_seconds"]].median()
    printed = Table("to do", "command", "median s", f"above dvc repro s (at most {GOAL:.0f})", "ratio", "processors s")
    for (todo, command), row in medians.iterrows():
        repro = medians.loc[(todo, "dvc repro"), "seconds"]
        cells = (f"{row['seconds']:.1f}", f"{row['seconds'] - repro:.1f}", f"{row['seconds'] / repro:.2f}")
        printed.add_row(todo, command, *cells, f"{row['processor_seconds']:.1f}")
    Console().print(printed)


if __name__ == "__main__":
    main()
