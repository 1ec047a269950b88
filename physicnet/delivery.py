"""Requests to MLflow that never hold up or fail what makes them.

A server that is slow, failing or gone costs seconds: requests wait in a queue, are repeated once a minute, and what
could not be delivered at the end is named on the screen.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from physicnet.tracking.store import one_line

RETRY_INTERVAL = 60.0  # seconds between two tries while the server fails
LAST_TRY = 10.0  # seconds that the end may wait for the server


@dataclass
class Queue:
    """Requests in their order. After a failure they wait, and are tried again at the first request a minute later."""

    waiting: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    reason: str = ""
    is_open: bool = True
    _next_try: float = 0.0

    def add(self, what: str, request: Callable[[], object]) -> None:
        """Queue a request; send all that wait unless one has failed within the last minute."""
        if not self.is_open:
            return
        self.waiting.append((what, request))
        while self.waiting and time.monotonic() >= self._next_try:
            if self._succeeds(self.waiting[0][1]):
                self.waiting.pop(0)
            else:
                self._next_try = time.monotonic() + RETRY_INTERVAL

    def finish(self) -> None:
        """Try each waiting request once more, for a few seconds; what still fails stays in `waiting`."""
        end = time.monotonic() + LAST_TRY
        self.waiting = [entry for entry in self.waiting if time.monotonic() > end or not self._succeeds(entry[1])]

    def report(self, place: str) -> None:
        """Try a last time; then say what was not delivered, where and why."""
        self.finish()
        if not self.waiting:
            return
        missing = Counter(what for what, _ in self.waiting)
        names = ", ".join(what if count == 1 else f"{what} ({count} times)" for what, count in missing.items())
        print(
            f"Not mirrored to MLflow at {place}: {names}.\n"
            f"  Reason: {self.reason}\n"
            "  All files are complete; only the history in MLflow lacks this.",
            file=sys.stderr,
        )

    def _succeeds(self, request: Callable[[], object]) -> bool:
        try:
            request()
        except Exception as error:  # whatever fails here, the stage goes on
            self.reason = f"{type(error).__name__}: {one_line(error)}"
            return False
        return True
