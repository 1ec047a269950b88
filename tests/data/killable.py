"""Runs ingest in processes that are killed.

As a program it reads an order a line and runs it in a fork of itself, with all modules imported and no thread started,
so that a killed run costs what it does and no start of Python. Other programs that do so begin here, too.
"""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

CHANGES = ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate", "os.chmod")
HANGS = 300.0  # seconds; a run takes less than one
ALONE = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}  # so that it has one thread
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Killer:
    """Counts the moments before changes of the file system, from 1 on, and kills the process at one of them.

    A file that is opened to be written has two: before it is there, and when a part of it is.
    """

    def __init__(self, folder: str, fatal: int | None) -> None:
        self.folder, self.fatal = folder, fatal
        self.moments: list[str] = []
        self._lock = threading.RLock()  # what is written last is heard, too

    def hear(self, event: str, arguments: tuple) -> None:
        """Take an audit event of Python."""
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self.write(arguments[0], lambda: os.open(arguments[0], arguments[2], 0o666))
        elif event in CHANGES and self._is_ours(arguments) and _has_effect(event, arguments):
            self._pass(f"{event} {arguments[0]}")

    def write(self, path: Any, opened: Callable[[], int]) -> None:
        """Take the writing of a file."""
        if not self._is_ours((path,)):
            return
        self._pass(f"open {path}")
        self._pass(f"write {path}", lambda: os.write(opened(), b"half"))

    def _is_ours(self, arguments: tuple) -> bool:
        relative = any(isinstance(argument, int) and argument > 2 for argument in arguments[1:] if argument != 0o777)
        return relative or str(arguments[0]).startswith(self.folder)

    def _pass(self, moment: str, last: Callable[[], object] | None = None) -> None:
        with self._lock:
            self.moments.append(moment)
            if len(self.moments) == self.fatal:
                self.fatal = None
                if last is not None:
                    last()
                os.kill(os.getpid(), signal.SIGKILL)


def _has_effect(event: str, arguments: tuple) -> bool:
    """Whether a change will be one: folders are also made where they are, and files removed that are not there."""
    if event == "os.mkdir":
        return not os.path.lexists(arguments[0]) and Path(arguments[0]).parent.is_dir()
    if event == "os.remove":
        try:
            os.stat(arguments[0], dir_fd=arguments[1] if arguments[1] >= 0 else None, follow_symlinks=False)
        except FileNotFoundError:
            return False
    return event != "os.link" or not os.path.lexists(arguments[1])


def _run(raw: str, config: str, folder: str, fatal: int | None) -> None:
    from physicnet.config import ClipConfig, IngestConfig
    from physicnet.data.ingest import ingest

    killer = Killer(folder, fatal)
    to_parquet = pd.DataFrame.to_parquet

    def to_parquet_audibly(table: pd.DataFrame, path: Path, **settings: Any) -> None:
        """Arrow opens files where Python does not hear of it."""
        killer.write(path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
        to_parquet(table, path, **settings)

    pd.DataFrame.to_parquet = to_parquet_audibly  # type: ignore[method-assign, assignment]
    sys.addaudithook(killer.hear)
    out = Path(folder)
    paths = {"fields": out / "fields.zarr", "catalogue": out / "catalogue", "resume": out / "state"}
    ingest(IngestConfig.model_validate_json(config), ClipConfig(frames_in=2, frames_out=1), raw=Path(raw), **paths)
    Path(f"{folder}.moments").write_text(json.dumps(killer.moments))


def _prepare(shard_bytes: int) -> None:
    """Import, and find out, what every run would."""
    import netCDF4  # noqa: F401
    import rich.progress  # noqa: F401
    import xarray as xr
    import zarr.codecs  # noqa: F401

    from physicnet import fields
    from physicnet.data import ingest, state  # noqa: F401

    fields.SHARD_BYTES = shard_bytes
    state.made_by()
    xr.DataArray([0.0]).chunk()


def answer_orders(run: Callable[..., None]) -> None:
    """Run each order that is read in a fork, and answer with how it ended.

    An order is `seconds` after which it is killed (null: never), and the arguments of `run`. One that hangs says where,
    and ends with an error.
    """
    assert psutil.Process().num_threads() == 1, "a fork would wait for ever for what another thread holds now"
    for line in sys.stdin:
        seconds, *arguments = json.loads(line)
        child = os.fork()
        if not child:
            faulthandler.dump_traceback_later(HANGS, exit=True)
            try:
                run(*arguments)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Program:
    """A program that answers orders, as a test sees it."""

    def __init__(self, file: str, *arguments: object) -> None:
        command = [sys.executable, file, *map(str, arguments)]
        path = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ALONE | {"PYTHONPATH": path},
        )

    def order(self, *arguments: object, seconds: float | None = None) -> int:
        """Run, and return the exit status: that of the signal if it was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([seconds, *arguments], default=str) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End."""
        self._process.communicate()


def main(raw: str, config: str, shard_bytes: str) -> None:
    """Ingest `raw` for each order."""
    _prepare(int(shard_bytes))
    answer_orders(partial(_run, raw, config))


class Runner(Program):
    """Runs ingest on a folder in processes that are killed: at a moment (see `Killer`), or after seconds."""

    def __init__(self, raw: Path, config: str, shard_bytes: int) -> None:
        super().__init__(__file__, raw, config, shard_bytes)

    def __call__(self, out: Path, *, moment: int | None = None, patience: float | None = None) -> int:
        """Run, and return the exit status."""
        return self.order(out, moment, seconds=patience)

    def moments(self, out: Path) -> list[str]:
        """Return the moments that an undisturbed run on `out` has had, each with its path below `out`."""
        found: list[str] = json.loads(out.with_name(f"{out.name}.moments").read_text())
        return [moment.replace(f"{out}/", "") for moment in found]


if __name__ == "__main__":
    main(*sys.argv[1:])
