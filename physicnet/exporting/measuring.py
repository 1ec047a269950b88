"""The model and an exported program, each forecasting in a process of its own: the numbers and what they cost."""

import json
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from physicnet.exporting import standalone
from physicnet.exporting.program import Inputs
from physicnet.exporting.standalone import Costs
from physicnet.fields import Field
from physicnet.forecasting.loading import machine_here
from physicnet.model.rollout import ModelForecaster

ROUNDS = 5  # forecasts that are timed, after one that warms up
Frames = Float32[np.ndarray, "k c h w"]


class ProgramError(RuntimeError):
    """A program ended before its forecast; the message is what it said."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A forecast, and what it cost in a process of its own."""

    frames: Frames
    threads: int
    size: int  # bytes on disk
    ready: float  # seconds from the start of the process to when it could forecast
    clock: float  # seconds of a forecast, median
    processors: float  # the same, of all processors together
    peak: int  # bytes resident, at most

    @classmethod
    def of(cls, frames: Frames, costs: Costs, *, file: Path, threads: int, begun: float) -> "Measured":
        """Put it together; `begun` is when the process was started, seconds since 1970."""
        clock, processors = median(costs["clock"]), median(costs["processors"])
        return cls(frames, threads, file.stat().st_size, costs["ready"] - begun, clock, processors, costs["peak"])


def measure_model(checkpoint: Path, past: Field, num_leads: int, threads: int) -> Measured:
    """Forecast by a checkpoint in a new process."""
    begun = time.time()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        frames, costs = pool.submit(_forecast, checkpoint, past, num_leads, threads).result()
    return Measured.of(frames, costs, file=checkpoint, threads=threads, begun=begun)


def _forecast(checkpoint: Path, past: Field, num_leads: int, threads: int) -> tuple[Frames, Costs]:
    forecaster = ModelForecaster.load(checkpoint, machine_here("cpu", threads))
    return standalone.measured(lambda: forecaster.forecast(past, num_leads), ROUNDS)


def measure_program(program: Path, inputs: Inputs, threads: int) -> Measured:
    """Forecast by an exported program in a new process that cannot import physicnet.

    Raises:
        ProgramError: if it fails there.
    """
    with TemporaryDirectory() as folder:
        given, made = Path(folder) / "inputs.npz", Path(folder) / "forecast.npy"
        np.savez(given, **inputs)  # type: ignore[arg-type]  # none of them is called allow_pickle
        # -P: else the folder of the script, whose neighbours are of physicnet, could be imported from.
        words = [sys.executable, "-P", standalone.__file__, program, given, made, threads, ROUNDS]
        begun = time.time()
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProgramError(done.stderr.strip())
        costs: Costs = json.loads(done.stdout.splitlines()[-1])
        return Measured.of(np.load(made), costs, file=program, threads=threads, begun=begun)
