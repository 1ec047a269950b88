"""How long does a forecast take? The model beside pysteps' Lucas-Kanade and the baseline advection, in the same run.

    python benchmarks/inference.py

Each forecasts 12 leads of a field of 320 x 355 cells, of random rain within a radar's circle, in turn, several times.
Prints medians: seconds of the clock, and of processors, which other programs on the machine do not lengthen as much;
and what the parts of the model take. The model is models/model.safetensors, from `dvc repro`; Lucas-Kanade needs the
extra: pip install -e '.[baselines]'. Writes docs/results/inference.csv.
"""

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from comparison import has_lucas_kanade
from rich.console import Console
from rich.table import Table

from physicnet.config import load_params
from physicnet.data.synthetic import Uniform, Waves, advected_field
from physicnet.evaluation.baselines import Advection
from physicnet.evaluation.nowcasting import LucasKanade
from physicnet.fields import Field, written_whole
from physicnet.model import physicnet
from physicnet.model.forecaster import Forecaster
from physicnet.model.rollout import ModelForecaster

MODEL = Path("models/model.safetensors")
TARGET = Path("docs/results/inference.csv")
SIZE = (320, 355)
LEADS = 12
ROUNDS = 5
GOAL = 0.25  # of Lucas-Kanade's time


def rain(num_frames: int) -> Field:
    """Return rain over half of a radar's circle."""
    pattern = Waves(num=24, wavelength=12.0, seed=0)
    field = advected_field(num_frames, *SIZE, flow=Uniform(3.0, -2.0), pattern=pattern, variable="rain_rate")
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    seen = np.hypot(x - SIZE[1] / 2, y - SIZE[0] / 2) < SIZE[0] / 2
    values = np.maximum(field.dataset["rain_rate"].values - 1, 0)
    return Field(field.dataset.assign(rain_rate=field.dataset["rain_rate"].copy(data=np.where(seen, values, np.nan))))


def measure(forecasters: list[Forecaster], past: Field) -> pd.DataFrame:
    """Return seconds of the clock and of processors, a row per forecast; the first round warms up and is left out."""
    rows = []
    for number in range(ROUNDS + 1):
        for forecaster in forecasters:
            clock, processors = time.perf_counter(), time.process_time()
            forecaster.forecast(past, LEADS)
            seconds = {"clock": time.perf_counter() - clock, "processors": time.process_time() - processors}
            rows.append({"round": number, "forecaster": forecaster.name, **seconds})
    table = pd.DataFrame(rows)
    return table[table["round"] > 0]


PARTS: dict[str, tuple[str, ...]] = {
    "first flow, past carried along it": ("observe",),
    "missing cells, memory of scales": ("complete", "scales"),
    "flow of small scales": ("passing_flow",),
    "trajectories": ("trajectories",),
    "source limited": ("grow",),
    "carried along": ("carry",),
}


@contextmanager
def timed(model: ModelForecaster) -> Iterator[Counter[str]]:
    """Count the processor seconds of each part of the model within the context."""
    seconds: Counter[str] = Counter()

    def timing(function: Callable, part: str) -> Callable:
        def call(*args, **kwargs):
            start = time.process_time()
            result = function(*args, **kwargs)
            seconds[part] += time.process_time() - start
            return result

        return call

    with ExitStack() as stack:
        for part, functions in PARTS.items():
            for name in functions:
                stack.enter_context(patch.object(physicnet, name, timing(getattr(physicnet, name), part)))
        for name, level in {"global": model.net.global_level, "local": model.net.local_level}.items():
            stack.enter_context(patch.object(level, "encode", timing(level.encode, f"{name} encoder")))
            stack.enter_context(patch.object(level, "forecast", timing(level.forecast, f"{name} source")))
            stack.enter_context(patch.object(level.flow, "forward", timing(level.flow.forward, f"{name} flow")))
        stack.enter_context(patch.object(model.net.memory, "forward", timing(model.net.memory.forward, "memory")))
        yield seconds


def parts(model: ModelForecaster, past: Field) -> pd.Series:
    """Return the processor seconds of the parts of one forecast, the longest first."""
    with timed(model) as seconds:
        start = time.process_time()
        model.forecast(past, LEADS)
        whole = time.process_time() - start
    seconds["the rest"] = whole - seconds.total()
    return pd.Series(seconds).sort_values(ascending=False)


def show(medians: pd.DataFrame, shares: pd.Series) -> None:
    """Print both tables."""
    table = Table("", "clock s", "processors s", title=f"a forecast of {LEADS} leads, {SIZE[0]} x {SIZE[1]} cells")
    for name, row in medians.iterrows():
        table.add_row(str(name), f"{row['clock']:.2f}", f"{row['processors']:.2f}")
    within = Table("part of the model", "processors s", "share", title="where the model's time goes")
    for part, seconds in shares.items():
        within.add_row(str(part), f"{seconds:.3f}", f"{seconds / shares.sum():.0%}")
    Console().print(table, within)


def main() -> None:
    """Measure, print and write."""
    params = load_params(Path("params.yaml"))
    model = ModelForecaster.load(MODEL, params.machine)
    past = rain(params.clip.frames_in)
    mean = np.zeros(past.shape[1:], np.float32)
    rivals: list[Forecaster] = [Advection(model.normalizer, mean)]
    if has_lucas_kanade():
        import cv2

        cv2.setNumThreads(params.machine.num_threads)
        rivals.append(LucasKanade(model.normalizer, mean))
    table = measure([model, *rivals], past)
    medians = table.groupby("forecaster", sort=False)[["clock", "processors"]].median()
    show(medians, parts(model, past))
    if "lucas_kanade" in medians.index:
        share = medians.loc["physicnet"] / medians.loc["lucas_kanade"]
        print(
            f"model / Lucas-Kanade: {share['clock']:.2f} of the clock, {share['processors']:.2f} of processors ({GOAL})"
        )
    with written_whole(TARGET) as partial_file:
        medians.to_csv(partial_file, float_format="%.3f", lineterminator="\n")
    print(f"{torch.get_num_threads()} threads, {platform.machine()}: {TARGET}")


if __name__ == "__main__":
    main()
