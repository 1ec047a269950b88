"""Draw what Prefect's pages show of the deployments at work: python docs/draw_flows.py

Lets a headless Chromium (`chromium` on the path) take pictures of the server of PREFECT_API_URL: of its list of runs,
of the stages of the latest one that trained, and of the pages that the latest retrain, forecast and verify have left.
Writes prefect_runs.png, prefect_stages.png, prefect_retrain.png, prefect_forecast.png, prefect_skill.png and
prefect_drift.png to docs/figures/.
"""

import os
import sys
from pathlib import Path

from browser import browser
from prefect.artifacts import Artifact

from physicnet.fields import DataError

FIGURES = Path(__file__).parent / "figures"
WIDTH = 1400  # pixels
PROGRESS = "progress-train"
PAGES = {  # artifacts: what their page shows when it is complete, and its height
    "retrain": ("document.querySelector('img[alt^=RMSE]')", 1700),
    "forecast": ("document.querySelector('img[alt^=Forecast]')", 700),
    "skill": ("document.querySelector('img[alt^=RMSE]')", 1000),
    "drift": ("document.body.innerText.includes('perplexity')", 650),
}
SHOW_ARTIFACTS = """[...document.querySelectorAll('button, a, li')].filter(each => each.innerText.trim() == 'Artifacts')
    .map(each => each.click()) && document.body.innerText.includes('progress-train')"""


def main() -> None:
    """Take the pictures."""
    address = os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    found = {key: Artifact.get(key) if address else None for key in (PROGRESS, *PAGES)}
    missing = [key for key, artifact in found.items() if artifact is None]
    if missing:
        raise DataError(
            f"there is no {', '.join(missing)} to show: make serve, let retrain, forecast and verify end, and set "
            "PREFECT_API_URL as it says"
        )
    pages = {
        "prefect_runs": ("/runs", "document.body.innerText.includes('Hide subflows')", 1100),
        "prefect_stages": (f"/runs/flow-run/{found[PROGRESS].flow_run_id}", SHOW_ARTIFACTS, 1000),
    }
    for key, (condition, height) in PAGES.items():
        pages[f"prefect_{key}"] = f"/artifacts/artifact/{found[key].id}", condition, height
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
