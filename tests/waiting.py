"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], bool], seconds: float = 20, every: float = 0.05) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(every)
    return condition()


def pid_in(path: Path) -> int:
    """What a process has written that may have had much to import before."""
    assert wait_until(lambda: path.exists() and path.read_text() != "", seconds=120), f"{path} was never written"
    return int(path.read_text())
