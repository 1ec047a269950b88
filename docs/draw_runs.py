"""Draw what MLflow's pages show of the runs in the store at hand: python docs/draw_runs.py

Serves the store as `physicnet ui` does and lets a headless Chromium (`chromium` on the path) take pictures of the page
that compares, of the settings that differ between the latest executions that were evaluated, and of the latest one's
own page. Writes docs/figures/mlflow_charts.png, mlflow_compare.png and mlflow_run.png.
"""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from physicnet.fields import DataError, written_whole
from physicnet.tracking.store import Store
from physicnet.viewer import HOST, serving, wait_for

FIGURES = Path(__file__).parent / "figures"
MOST = 4  # executions that are compared
WIDTH = 1800  # pixels
PATIENCE = 90_000  # milliseconds of the page's own time, for all its requests
MODEL_TRAINING = "workflowType=machine_learning"


def main() -> None:
    """Take the pictures."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise DataError("no chromium on the path; apt-get install chromium brings it")
    store, port = Store(Path.cwd()), free_port()
    runs = evaluated(store)
    compared = f"runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([store.experiment_id]))}"
    pages = {
        "mlflow_charts": (store.page, 1300),
        "mlflow_compare": (f"/#/compare-runs?{compared}&{MODEL_TRAINING}", 1500),
        "mlflow_run": (f"/#/experiments/{store.experiment_id}/runs/{runs[0]}?{MODEL_TRAINING}", 1300),
    }
    with serving(store, port) as server:
        wait_for(server, port)
        for name, (page, height) in pages.items():
            take(browser, f"http://{HOST}:{port}{page}", FIGURES / f"{name}.png", height)
            print(FIGURES / f"{name}.png")


def evaluated(store: Store) -> list[str]:
    """The latest executions that have test scores, the newest first.

    Raises:
        DataError: if there are none.
    """
    runs = store.client.search_runs([store.experiment_id], "tags.`physicnet.execution` != ''", max_results=100)
    found = [run.info.run_id for run in runs if any(name.startswith("test/") for name in run.data.metrics)]
    if not found:
        raise DataError(f"no execution in {store.place} was evaluated; dvc repro makes one")
    return found[:MOST]


def take(browser: str, address: str, target: Path, height: int) -> None:
    """Take a picture of a page."""
    with written_whole(target) as partial:
        picture = partial.with_suffix(".png")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        size = [f"--window-size={WIDTH},{height}", f"--virtual-time-budget={PATIENCE}", f"--screenshot={picture}"]
        subprocess.run([browser, *options, *size, address], check=True, stderr=subprocess.DEVNULL)
        picture.replace(partial)


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(f"Error: {error}")
