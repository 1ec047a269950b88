"""The pictures of a run in MLflow: its page, and the comparison of runs, show them as series with a slider of steps."""

from collections.abc import Sequence
from pathlib import Path

from physicnet.tracking.holdings import log_once
from physicnet.tracking.store import Store

IMAGES = "images"  # the folder of a run's artifacts that MLflow shows so; all that lies there is shown

Picture = tuple[str, int, Path]  # series, step, file


def show(store: Store, run_id: str, folder: Path, pictures: Sequence[Picture]) -> bool:
    """Show the pictures, which lie in `folder`, in place of all that the run shows, unless these are there."""

    def log() -> None:
        from PIL import Image

        store.delete_artifacts(run_id, IMAGES)
        for series, step, file in pictures:
            with Image.open(file) as image:
                store.client.log_image(run_id, image, key=series, step=step)

    return log_once(store, run_id, folder, log)
