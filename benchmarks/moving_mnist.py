"""Clips of Moving MNIST per second on one core, drawn alone, and drawn and written.

    python benchmarks/moving_mnist.py FOLDER     # of the files of MNIST

Seconds are those of the processor, so that other work on the machine hardly counts.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from physicnet.source import mnist
from physicnet.source.moving_mnist import Drawn, write

NUM_DIGITS, PER_FILE = 2, 1_000


def clips_per_second(num: int, job: Callable[[], object]) -> float:
    """Do a job that makes `num` clips."""
    begin = time.process_time()
    job()
    return num / (time.process_time() - begin)


def main(
    digits: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="folder of the files of MNIST")],
    clips: Annotated[int, typer.Option(min=1)] = 5_000,
) -> None:
    """Print both rates."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    drawn = Drawn(mnist.read(digits, mnist.TRAIN), NUM_DIGITS, (0, 0))
    starts = range(0, clips, PER_FILE)

    def draw() -> None:
        for start in starts:
            drawn(range(start, min(start + PER_FILE, clips)))

    print(f"drawn:             {clips_per_second(clips, draw):6.0f} clips per second")
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": clips, "validation": 0, "test": 0}

        def write_all() -> None:
            write(Path(folder), digits, parts=parts, published=None, num_digits=NUM_DIGITS, seed=0, per_file=PER_FILE)

        rate = clips_per_second(clips, write_all)
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / clips
    print(f"drawn and written: {rate:6.0f} clips per second, {size / 1e3:.1f} kB each")


if __name__ == "__main__":
    typer.run(main)
