"""How far a training has come: a bar on a terminal; elsewhere lines, for a log and for whoever reads along.

A line says what `read` makes of it again, so that a program that runs a stage need not know how one is written.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE = re.compile(r"training: step (?P<done>\d+) of (?P<total>\d+)(?:, (?P<text>.+))?")


class Step(NamedTuple):
    """So many steps of a training are done; `text` is what there is to say of the last one."""

    done: int
    total: int
    text: str

    @classmethod
    def read(cls, line: str) -> "Step | None":
        """The step that a line tells of; None if it tells of something else."""
        found = LINE.fullmatch(line)
        return cls(int(found["done"]), int(found["total"]), found["text"] or "") if found else None

    @property
    def percent(self) -> float:
        """The share of the training that is done."""
        return 100 * self.done / self.total

    @property
    def words(self) -> str:
        """Which step it was, and what there is to say of it."""
        return f"step {self.done} of {self.total}{', ' if self.text else ''}{self.text}"

    def __str__(self) -> str:
        return f"training: {self.words}"


@contextmanager
def steps_shown(done: int, total: int, *, is_shown: bool) -> Iterator[Callable[[str], None]]:
    """Show steps on stderr while the block runs; to call what is yielded, with a text, says that one more is done.

    Without a terminal a line comes first of what is done already, and then one for each whole percent at most: a log
    does not grow with the length of a training.
    """
    if not is_shown:
        yield lambda _: None
    elif sys.stderr.isatty():
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[text]}"), console=Console(stderr=True)) as bar:
            task = bar.add_task("training", total=total, completed=done, text="")
            yield lambda text: bar.update(task, advance=1, text=text)
    else:
        yield _Lines(done, total).advance


class _Lines:
    """One line for each whole percent that is reached."""

    def __init__(self, done: int, total: int) -> None:
        self._last = Step(done, total, "")
        print(self._last, file=sys.stderr, flush=True)

    def advance(self, text: str) -> None:
        step = Step(self._last.done + 1, self._last.total, text)
        if int(step.percent) > int(self._last.percent):
            print(step, file=sys.stderr, flush=True)
        self._last = step
