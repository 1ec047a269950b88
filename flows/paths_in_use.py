"""DVC's list of paths in use, .dvc/tmp/rwlock: DVC writes it in place, and a full disk cuts it off.

After that every command of DVC stops at it, for good. A list that cannot be read locks nothing; it is emptied here when
nobody is at work whose entries would be lost. One that can be read is DVC's alone.
"""

import json
from pathlib import Path

from dvc.lock import LockError, make_lock
from dvc.repo import Repo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK, SCHEMA
from voluptuous import Invalid

from physicnet.doctor.findings import first
from physicnet.doctor.leftovers import at_work
from physicnet.doctor.locks import describe


def mend() -> bool:
    """Empty the list of the current folder if it was cut off; return whether it was.

    Raises:
        LockError: if it was, and another process works here; or if another DVC edits it.
    """
    with Repo(".") as repo:
        folder, hardlink = Path(repo.tmp_dir), repo.config["core"].get("hardlink_lock", False)
    path = folder / RWLOCK_FILE
    if _is_whole(path):
        return False
    with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder), hardlink_lock=hardlink):
        if _is_whole(path):  # by now
            return False
        others = at_work(Path.cwd())
        if others:
            raise LockError(
                f"{path} was cut off, and may be mended when these have ended: {first(map(describe, others))}"
            )
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text("{}", encoding="utf-8")
        partial.replace(path)
    return True


def _is_whole(path: Path) -> bool:
    try:
        SCHEMA(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return True
    except (ValueError, Invalid):
        return False
    return True
