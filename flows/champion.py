"""The champion's checkpoint on this machine, with which forecasts go on when the registry cannot be reached."""

from pathlib import Path

from filelock import FileLock
from prefect import get_run_logger

from physicnet.tracking.store import HistoryError, Store

FOLDER = Path(".physicnet") / "champion"
KEPT = 2  # checkpoints: the present one, and that of before, from which a flow may be reading


def champion_at_hand() -> Path | None:
    """Return the champion's checkpoint, fetched if it is not there; None if there is no champion yet.

    Its file is named after its content, and never changes. Where the registry does not answer, it is the champion of
    before, and the log says so.

    Raises:
        HistoryError: if the checkpoint is missing in the registry, or another one than was registered.
    """
    from physicnet.registry import champion_sha256, copy_champion  # torch takes seconds

    store = Store(Path.cwd())
    try:
        sha256 = champion_sha256(store)
    except Exception as error:  # whatever MLflow raises
        return _of_before(store, error)
    if sha256 is None:
        return None
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{sha256}.safetensors"
    with FileLock(FOLDER / "lock"):
        if not path.is_file():
            copy_champion(store, path)
            for former in _at_hand()[KEPT:]:
                former.unlink()
    return path


def _of_before(store: Store, error: Exception) -> Path | None:
    found = _at_hand()
    if found:
        get_run_logger().warning("the registry does not answer, the champion of before forecasts: %s", error)
        return found[0]
    if isinstance(error, HistoryError) and store.is_default:
        return None  # nothing was ever trained here
    raise error


def _at_hand() -> list[Path]:
    """The checkpoints, the latest first."""
    return sorted(FOLDER.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
