"""How a stage's process ends: promptly when told to, and by itself when the DVC that started it is gone.

DVC starts a stage through the user's shell and leaves it running when it is killed itself; the next `dvc repro` would
then start a second one on the same outputs. A stage therefore watches DVC, not its direct parent: shells replace
themselves by the command only in the simplest case, and a shell in between outlives DVC. (`PR_SET_PDEATHSIG` knows
only the direct parent, which is why `flows/process.py` may use it and a stage may not.) A stage started by hand has no
DVC above it and is left alone: it may outlive its terminal.
"""

import os
import signal
import subprocess
import sys
import time
from threading import Thread
from types import FrameType
from typing import Any

import psutil

WATCH_INTERVAL = 0.2  # seconds between two looks at DVC
GRACE = 20.0  # seconds that a stage or a server may take to tidy up before it is killed


def end_cleanly_on_sigterm() -> None:
    """Turn the first SIGTERM into `SystemExit`, so that `finally` blocks remove half outputs; a second one kills."""

    def leave(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def end_with_dvc() -> None:
    """End this process soon after the DVC that runs it has ended, for whatever reason; do nothing outside DVC.

    The process gets SIGTERM first and, if it has not ended `GRACE` seconds later, SIGKILL.
    """
    if "DVC_STAGE" not in os.environ:
        return
    dvc = dvc_process()
    if dvc is None:
        sys.exit("DVC ended before its stage began; nothing was done")
    Thread(target=_follow, args=(dvc,), name="end-with-dvc", daemon=True).start()


def dvc_process() -> psutil.Process | None:
    """The DVC process that runs this stage: its nearest ancestor that was started without our `DVC_STAGE`.

    None outside DVC. None also when DVC is gone already: the stage then hangs below a process of another session. The
    session that counts is that of the first process of the stage; `torchrun` gives each of its workers one of its own.
    """
    stage = os.environ.get("DVC_STAGE")
    if stage is None:
        return None
    first = psutil.Process()
    for ancestor in psutil.Process().parents():
        if _stage_of(ancestor) != stage:
            return ancestor if os.getsid(ancestor.pid) == os.getsid(first.pid) else None
        first = ancestor
    return None


def end_family(server: subprocess.Popen[Any]) -> None:
    """Ask a process that was started here, and all below it, to end; kill those that have not `GRACE` seconds later."""
    if server.poll() is None:
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        for process in family:
            process.terminate()
        for process in psutil.wait_procs(family, timeout=GRACE)[1]:
            process.kill()
    server.wait()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; a zombie, which only waits to be collected, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stage_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("DVC_STAGE")
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return None


def _follow(dvc: psutil.Process) -> None:
    while is_alive(dvc):
        time.sleep(WATCH_INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)
