"""The champion's checkpoint on this machine, with which forecasts go on when the registry cannot be reached."""

from pathlib import Path

from prefect import get_run_logger

from physicnet.checkpoint import content_hash
from physicnet.tracking.store import HistoryError, Store

CHECKPOINT = Path(".physicnet") / "champion.safetensors"


def champion_at_hand() -> Path | None:
    """Return the champion's checkpoint, fetched if it is another than before; None if there is no champion yet.

    Where the registry does not answer, it is the champion of before, and the log says so.

    Raises:
        HistoryError: if the checkpoint is missing or another one than was registered.
    """
    from physicnet.registry import champion_sha256, copy_champion  # torch takes seconds

    store = Store(Path.cwd())
    try:
        sha256 = champion_sha256(store)
        if sha256 is not None and not (CHECKPOINT.is_file() and content_hash(CHECKPOINT) == sha256):
            copy_champion(store, CHECKPOINT)
    except Exception as error:  # whatever MLflow raises
        if not CHECKPOINT.is_file():
            if isinstance(error, HistoryError) and store.is_default:
                return None  # nothing was ever trained here
            raise
        get_run_logger().warning("the registry does not answer, the champion of before forecasts: %s", error)
        return CHECKPOINT
    return None if sha256 is None else CHECKPOINT
