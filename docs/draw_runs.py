"""Draw what MLflow's pages show of the runs in the store at hand: python docs/draw_runs.py

Serves the store as `physicnet ui` does and lets a headless Chromium (`chromium` on the path) take pictures of the page
that compares, of the settings that differ between the latest executions that were evaluated, and of the latest one's
own page. Writes docs/figures/mlflow_charts.png, mlflow_compare.png and mlflow_run.png.
"""

import json
import sys
from pathlib import Path
from urllib.parse import quote

from browser import Page, browser

from physicnet.fields import DataError
from physicnet.ports import free_port
from physicnet.tracking.page import arrange
from physicnet.tracking.store import Store
from physicnet.viewer import HOST, serving, wait_for

FIGURES = Path(__file__).parent / "figures"
MOST = 4  # executions that are compared
WIDTH = 1800  # pixels
ASSISTANT = "mlflow.assistant.chat_panel.close"  # MLflow's name of a button
MODEL_TRAINING = "workflowType=machine_learning"


def main() -> None:
    """Take the pictures."""
    store, port = Store(Path.cwd()), free_port()
    runs = evaluated(store)
    compared = f"runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([store.experiment_id]))}"
    with serving(store, port) as server, browser() as page:
        wait_for(server, port)
        draw_charts(page, f"http://{HOST}:{port}{arrange(store)}")
        at = f"http://{HOST}:{port}/#"
        draw_page(page, f"{at}/compare-runs?{compared}&{MODEL_TRAINING}", "Show diff only", "mlflow_compare", 1500)
        one = f"{at}/experiments/{store.experiment_id}/runs/{runs[0]}?{MODEL_TRAINING}"
        draw_page(page, one, "Parameters", "mlflow_run", 1300)


def draw_charts(page: Page, address: str) -> None:
    """The page that compares: the same forecast by each run, and scores by lead time."""
    page.open(address, WIDTH, 1300)
    page.wait_for("document.querySelector('.rc-image-img')", rest=8)
    close_assistant(page)
    write(page, "mlflow_charts")


def draw_page(page: Page, address: str, text: str, name: str, height: int) -> None:
    """A page, once it shows a text."""
    page.open(address, WIDTH, height)
    page.wait_for(shows(text))
    close_assistant(page)
    write(page, name)


def close_assistant(page: Page) -> None:
    """Close what takes a quarter of the width."""
    page.run(f"document.querySelector('[data-component-id=\"{ASSISTANT}\"]')?.click()")
    page.wait_for("true")


def shows(text: str) -> str:
    """The condition that a page shows a text."""
    return f"document.body.innerText.includes({json.dumps(text)})"


def write(page: Page, name: str) -> None:
    """Write a picture."""
    page.draw(FIGURES / f"{name}.png")
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


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(f"Error: {error}")
