"""Draw what Prefect's pages show of the deployments at work: python docs/draw_flows.py

Lets a headless Chromium (`chromium` on the path) take pictures of the server of PREFECT_API_URL: of its list of runs,
of the stages of the latest one that trained, and of the page that the latest retrain has left. Writes prefect_runs.png,
prefect_stages.png and prefect_retrain.png to docs/figures/.
"""

import os
import sys
from pathlib import Path

from browser import browser
from prefect.artifacts import Artifact

from physicnet.fields import DataError

FIGURES = Path(__file__).parent / "figures"
WIDTH = 1400  # pixels
SHOW_ARTIFACTS = """[...document.querySelectorAll('button, a, li')].filter(each => each.innerText.trim() == 'Artifacts')
    .map(each => each.click()) && document.body.innerText.includes('progress-train')"""


def main() -> None:
    """Take the pictures."""
    address = os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    report = Artifact.get("retrain") if address else None
    progress = Artifact.get("progress-train") if address else None
    if report is None or progress is None:
        raise DataError("there is no retrain to show: make serve, let one end, and set PREFECT_API_URL as it says")
    pages = {
        "prefect_runs": ("/runs", "document.body.innerText.includes('Hide subflows')", 1100),
        "prefect_stages": (f"/runs/flow-run/{progress.flow_run_id}", SHOW_ARTIFACTS, 1000),
        "prefect_retrain": (f"/artifacts/artifact/{report.id}", "document.querySelector('img[alt^=RMSE]')", 1700),
    }
    with browser() as page:
        for name, (path, condition, height) in pages.items():
            page.open(address + path, WIDTH, height)
            page.wait_for(condition)
            page.draw(FIGURES / f"{name}.png")
            print(FIGURES / f"{name}.png")


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        sys.exit(f"Error: {error}")
