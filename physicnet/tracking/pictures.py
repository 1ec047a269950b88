"""The pictures of a run in MLflow, which its page and the comparison of runs show as series."""

from pathlib import Path

from physicnet.tracking.store import Store


def show(store: Store, run_id: str, key: str, step: int, picture: Path) -> bool:
    """Log a picture of a series: the page of a run, and the comparison of runs, show it by its step."""
    from PIL import Image

    begin = f"images/{key.replace('/', '~')}+step+{step}+"
    if any(file.path.startswith(begin) for file in store.client.list_artifacts(run_id, "images")):
        return False
    with Image.open(picture) as image:
        store.client.log_image(run_id, image, key=key, step=step)
    return True
