"""DVC started before it is needed: it has its imports behind it when its turn comes, while the stage before is at work.

A DVC takes a second to begin, which six stages would wait for one after the other. The one that waits knows only that
it will be needed, not for which stage: it is told its arguments and environment on its standard input, once.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import TracebackType

from flows.process import ProcessGroups

# What `dvc repro` imports when it is at work, and not before.
AHEAD = (
    "dvc.analytics",
    "dvc.cachemgr",
    "dvc.compare",
    "dvc.data_cloud",
    "dvc.repo.reproduce",
    "dvc.rwlock",
    "scmrepo.git",
)


class SpareDvc:
    """Runs DVC; keeps one ready as long as one may be needed, and ends it at the end.

    The first one begins at once: most flows have something to do, and find out what while it imports.
    """

    def __init__(self, groups: ProcessGroups) -> None:
        self.groups = groups
        self._number = 1
        self._lock = Lock()
        self._ready: subprocess.Popen[str] | None = None

    def __enter__(self) -> "SpareDvc":
        self._prepare()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._number = 0
            if self._ready is not None:
                self.groups.end(self._ready)

    def expect(self, number: int) -> None:
        """It will be needed about so often."""
        with self._lock:
            self._number = number

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], object],
        *,
        seconds: float | None = None,
    ) -> int:
        """Run DVC with these arguments; all else as `ProcessGroups.run`. May be called from many threads."""
        with self._lock:
            process = self._ready or self._start()
            self._ready = None
        told = json.dumps({"arguments": list(arguments), "environment": dict(environment)})
        assert process.stdin is not None, "it was asked for"
        with suppress(BrokenPipeError):  # one that was ended tells so by its status
            process.stdin.write(told + "\n")
            process.stdin.close()
        with self._lock:
            self._number -= 1
            self._prepare()
        return self.groups.follow(process, " ".join(["dvc", *arguments]), on_line, seconds=seconds)

    def _prepare(self) -> None:
        if self._number > 0 and self._ready is None:
            self._ready = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return self.groups.start([sys.executable, "-m", "flows.spare"], {}, stdin=subprocess.PIPE)


def wait_and_run() -> int:
    """Be DVC, once told with which arguments; return its exit status. Without any, its flow is gone: do nothing."""
    for name in AHEAD:
        import_module(name)
    from dvc.cli import main
    from dvc.cli.parser import get_main_parser

    get_main_parser()  # imports all commands
    line = sys.stdin.readline()
    if not line:
        return 1
    with Path(os.devnull).open(encoding="ascii") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    told = json.loads(line)
    os.environ.update(told["environment"])
    status: int = main(told["arguments"])
    return status


if __name__ == "__main__":
    sys.exit(wait_and_run())
