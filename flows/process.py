"""Commands that end with the flow that runs them: when it is cancelled, when it fails, when it is killed.

Each command gets a session of its own, so that one signal reaches all that it starts. A flow that is killed cannot send
one: its command therefore begins as this module, which asks the kernel for a SIGTERM at the flow's death (Linux only)
and then becomes the command. The stage below sees DVC go and ends itself (`physicnet/process.py`).
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Lock, Thread, Timer
from types import TracebackType

import psutil

PR_SET_PDEATHSIG = 1  # linux/prctl.h
BOUND = (sys.executable, "-m", "flows.process")  # and our number, before each command
PATIENCE = ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))  # seconds before the next signal


class ProcessGroups:
    """The commands that run within a `with` block. When the block is left, for whatever reason, they are ended."""

    def __init__(self) -> None:
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._lock = Lock()
        self._closed = Event()
        self._starter = ThreadPoolExecutor(1)  # the kernel ends what a thread has started with the thread

    def __enter__(self) -> "ProcessGroups":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._closed.set()
            running = list(self._running.values())
        for process in running:
            end_group(process)
        self._starter.shutdown()

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        on_line: Callable[[str], object],
        *,
        seconds: float | None = None,
    ) -> int:
        """Run a command, hand on each line that it prints, return its exit status. May be called from many threads.

        The environment is added to ours; what was installed beside this Python is found first, for a worker may have
        been started without it. When the block has been left, `InterruptedError` is raised; `TimeoutError` when the
        command has taken `seconds` and was ended.
        """
        return self.follow(self.start(command, environment), " ".join(command), on_line, seconds=seconds)

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], *, stdin: int | None = None
    ) -> subprocess.Popen[str]:
        """Start a command, as `run` does, and leave it alone; `stdin` is as for `Popen`."""
        found = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        with self._lock:
            if self._closed.is_set():
                raise InterruptedError("the flow has ended")
            begin = partial(
                subprocess.Popen,
                [*BOUND, str(os.getpid()), *command],
                env={**os.environ, "PATH": found, "PYTHONUNBUFFERED": "1", **environment},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            process: subprocess.Popen[str] = self._starter.submit(begin).result()
            self._running[process.pid] = process
            return process

    def follow(
        self,
        process: subprocess.Popen[str],
        command: str,
        on_line: Callable[[str], object],
        *,
        seconds: float | None = None,
    ) -> int:
        """Hand on what a started command prints and return its exit status, as `run` does; `command` is its name."""
        assert process.stdout is not None, "it was asked for"
        late = Event()

        def end_late() -> None:
            late.set()
            end_group(process)

        clock = None if seconds is None else Timer(seconds, end_late)
        # What a command leaves behind holds its output open, and would be waited for.
        Thread(target=end_with, args=(process,), daemon=True).start()
        try:
            if clock is not None:
                clock.start()
            for line in process.stdout:
                on_line(line.rstrip())
            status = process.wait()
            if late.is_set():
                raise TimeoutError(f"{command} took more than {seconds:g} seconds and was ended")
            return status
        finally:
            if clock is not None:
                clock.cancel()
            self.end(process)

    def end(self, process: subprocess.Popen[str]) -> None:
        """End a started command and forget it."""
        end_group(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        with self._lock:
            del self._running[process.pid]

    def pause(self, seconds: float) -> None:
        """Wait; raises `InterruptedError` when the block is left meanwhile."""
        if self._closed.wait(seconds):
            raise InterruptedError("the flow has ended")


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process and all others of its group: ask as Ctrl-C does, then firmly, then by force."""
    for number, seconds in PATIENCE:
        if not _members(process.pid):
            break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        _wait_until(lambda: not _members(process.pid), seconds)
    process.wait()


def end_with(process: subprocess.Popen[str]) -> None:
    """Wait for the end of a process, and end all others of its group then."""
    process.wait()
    end_group(process)


def bind_to_parent(parent: int) -> None:
    """Let the kernel send SIGTERM to this process when the thread that started it ends; Linux only.

    The binding survives `exec`. A parent that died before it was made is noticed by its number.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the flow ended before its command began; nothing was done")


def _members(group: int) -> list[int]:
    """The living processes of a group; zombies have nothing left to end."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:  # as most often: then all processes of the machine need not be looked at
        return []
    return [process.pid for process in psutil.process_iter() if _is_member(process, group)]


def _is_member(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return False


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)


if __name__ == "__main__":
    bind_to_parent(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a script's background commands ignore SIGINT; ours must not
    os.execvp(sys.argv[2], sys.argv[2:])
