"""Runs an exported program where there is no physicnet, and says what that costs.

    python standalone.py PROGRAM INPUTS FORECAST THREADS ROUNDS

INPUTS is an npz of the program's inputs, by name and in their order; FORECAST becomes an npy. Prints `Costs` as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

Forecast = Callable[[dict[str, np.ndarray]], np.ndarray]


class Costs(TypedDict):
    """What a way to forecast costs in a process of its own."""

    ready: float  # seconds since 1970: when it could begin to forecast
    clock: list[float]  # seconds of each forecast but the first, which warms up
    processors: list[float]  # the same, of all processors together: what other programs lengthen least
    peak: int  # bytes, the most that were resident


def measured(forecast: Callable[[], Any], rounds: int) -> tuple[Any, Costs]:
    """Return the last of several forecasts, and what they cost; call it when all is ready for them."""
    ready, result = time.time(), forecast()
    costs: Costs = {"ready": ready, "clock": [], "processors": [], "peak": 0}
    for _ in range(rounds):
        clock, processors = time.perf_counter(), time.process_time()
        result = forecast()
        costs["clock"].append(time.perf_counter() - clock)
        costs["processors"].append(time.process_time() - processors)
    return result, costs | {"peak": peak_memory()}


def peak_memory() -> int:
    """Return the most bytes that this process has had resident, as Linux counts.

    `getrusage` would count those of the process that started it, too.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def load_pt2(path: str, threads: int) -> Forecast:
    """Load a program of torch.export; torch is all that it needs."""
    import torch

    torch.set_num_threads(threads)
    program = torch.export.load(path).module()

    def forecast(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(program(*map(torch.from_numpy, inputs.values())).numpy())

    return forecast


def load_onnx(path: str, threads: int) -> Forecast:
    """Load an ONNX model; onnxruntime is all that it needs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, inputs)[0])


LOADERS = {".pt2": load_pt2, ".onnx": load_onnx}


def main() -> None:
    """Load, forecast, write and print."""
    sys.modules["physicnet"] = None  # type: ignore[assignment]  # whoever imports it now fails
    program, given, made, threads, rounds = sys.argv[1:]
    with np.load(given) as arrays:
        inputs = dict(arrays)
    forecast = LOADERS[Path(program).suffix](program, int(threads))
    frames, costs = measured(lambda: forecast(inputs), int(rounds))
    np.save(made, frames)
    print(json.dumps(costs))


if __name__ == "__main__":
    main()
