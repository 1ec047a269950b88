"""What does a training step cost? The model beside its peers of about equal size; its profile; how far from the floor.

    python benchmarks/step.py
    python benchmarks/step.py --set smoke -S crops.view=64     # with the parameters of a set of sets/, and overrides

Each model trains on the same random batch (params.yaml: train.batch_size clips, views of crops.view cells) in a process
of its own: median seconds of a step, samples per second, and the peak of resident memory above what was there before
the first step (on a GPU: of its own memory). The models take turns, so that a busy machine slows all.

The floor of a step is what this machine would need for its arithmetic, or for its bytes, if it did nothing else: the
multiplications and additions of all convolutions and matrix products, by the rate of a large matrix product measured
beside; and the tensors that the operations read and write, each once, by the rate of a large copy. No program can do
better with these operations; fusing them would lower the bytes. Writes docs/results/step.csv.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import parameter_sets
import torch
import typer
from peers.convlstm import ConvLSTM
from peers.simvp import SimVP
from peers.unet import UNet
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from physicnet.config import Params, load_params
from physicnet.data.dataset import Batch
from physicnet.fields import written_whole
from physicnet.machine import Machine, machine
from physicnet.model.build import build
from physicnet.model.codebook import Seen
from physicnet.model.physicnet import PhysicNet, Prediction
from physicnet.training.joint import asked_leads, joint_terms
from physicnet.training.losses import of_one, prediction_error
from physicnet.training.step import WARMING, Stepper

TARGET = Path("docs/results/step.csv")
ROUNDS, STEPS = 3, 5  # steps of a round; each process takes some before, to warm up
SIDE = 2048  # of the matrices whose product tells the rate of arithmetic
COPIED = 2**28  # bytes

PEERS: dict[str, Callable[..., nn.Module]] = {
    "unet": partial(UNet, widths=(24, 40, 64, 96)),
    "convlstm": partial(ConvLSTM, width=16, hidden=40, layers=2),
    "simvp": partial(SimVP, width=16, translator=80, blocks=4),
}


class Trainee:
    """A model with a batch: its steps are those of the training loop."""

    def __init__(self, name: str, params: Params, on: Machine) -> None:
        clip, view, window = params.clip, params.crops.view, params.crops.window
        rng = np.random.default_rng(0)
        shape = (params.train.batch_size, clip.frames, len(params.ingest.variables), view, view)
        corners = rng.integers(0, view - window, (shape[0], params.crops.windows_per_clip, 2))
        self.batch = Batch(torch.from_numpy(rng.standard_normal(shape, np.float32)), torch.from_numpy(corners))
        self.params, self.on = params, on
        if name == "physicnet":
            net = build(params.model, clip, variables=shape[2], window=window)
        else:
            sizes: dict[str, Any] = {"variables": shape[2], "frames_out": clip.frames_out}
            net = PEERS[name](**sizes, **({} if name == "convlstm" else {"frames_in": clip.frames_in}))
        self.model = net.to(on.device, memory_format=torch.channels_last).train()
        self._leads = asked_leads(0, params.train, clip).to(on.device) if params.train.one_lead_in > 1 else None
        self._seen: list[Seen] = []
        self._stepper = Stepper(self, params.train, on)

    def step(self) -> None:
        """Forecast, go back, move; when it returns, a GPU is done, too."""
        self._stepper.take(self.batch, 0, rate=1e-5)

    def prepared(self, batch: Batch, step: int) -> Batch:
        """The batch as it is."""
        del step
        return batch

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of each model's loss."""
        past, truth = self._split(batch)
        if not isinstance(self.model, PhysicNet):
            error = partial(prediction_error, squared=self.params.train.squared, average=of_one)
            return {"prediction": error(self.model(past, torch.ones_like(past)), truth, torch.ones_like(truth))}
        leads = truth.shape[1]
        prediction: Prediction = self.model(past, torch.ones_like(past), batch.windows, leads, only=self._leads)
        if self._leads is not None:
            truth = truth.index_select(1, self._leads - 1)
        self._seen = [codes.seen for codes in prediction.codes]
        weight = torch.ones_like(truth) * prediction.inside  # as where nothing is missing
        return joint_terms(prediction, truth, weight, self.params.train, of_one)

    def settle(self) -> None:
        """Codes follow."""
        if isinstance(self.model, PhysicNet):
            self.model.codebook.follow(*self._seen)

    def _split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        t = self.params.clip.frames_in
        return batch.clip[:, :t], batch.clip[:, t:]


class Traffic(TorchDispatchMode):
    """Counts the bytes of all tensors that operations read and write; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count."""
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            touched = {id(leaf): leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)}
            self.bytes += sum(leaf.numel() * leaf.element_size() for leaf in touched.values())
        return result


@contextmanager
def trainee(name: str, params: Params) -> Iterator[Trainee]:
    """A model before its first step, on the machine of the parameters."""
    with machine(params.machine) as on:
        yield Trainee(name, params, on)


def measure(name: str, params: Params) -> dict[str, Any]:
    """Time some steps in this process, which has done nothing else."""
    with trainee(name, params) as model:
        before = _peak(model.on)
        for _ in range(WARMING):
            model.step()
        seconds = []
        for _ in range(STEPS):
            started = time.perf_counter()
            model.step()
            seconds.append(time.perf_counter() - started)
        parameters = sum(parameter.numel() for parameter in model.model.parameters())
        clips = len(model.batch.clip)
        return {
            "model": name,
            "parameters": parameters,
            "clips": clips,
            "seconds": seconds,
            "memory": _peak(model.on) - before,
        }


def _peak(on: Machine) -> int:
    if on.device.type == "cuda":
        return torch.cuda.max_memory_allocated(on.device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def floor(params: Params) -> dict[str, float]:
    """Arithmetic and bytes of the model's step, and this machine's rates for both."""
    with trainee("physicnet", params) as model:  # its first three steps are taken operation by operation on a GPU, too
        model.step()
        with FlopCounterMode(display=False) as arithmetic:
            model.step()
        with Traffic() as traffic:
            model.step()
        matrix = torch.randn(SIDE, SIDE, device=model.on.device)
        source = torch.zeros(COPIED // 4, device=model.on.device)
        target = torch.zeros_like(source)
        return {
            "operations": float(arithmetic.get_total_flops()),
            "bytes": float(traffic.bytes),
            "operations_per_second": 2 * SIDE**3 / _quickest(lambda: matrix @ matrix, model.on),
            "bytes_per_second": 2 * COPIED / _quickest(lambda: target.copy_(source), model.on),
        }


def _quickest(work: Callable[[], Any], on: Machine) -> float:
    seconds = []
    for _ in range(8):
        started = time.perf_counter()
        work()
        if on.device.type == "cuda":
            torch.cuda.synchronize(on.device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def kernels(params: Params, rows: int) -> pd.Series:
    """The operations that take most of a step, as shares of their time."""
    with trainee("physicnet", params) as model:
        model.step()
        gpu = model.on.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]) as found:
            model.step()
    times = {
        event.key: event.self_device_time_total if gpu else event.self_cpu_time_total for event in found.key_averages()
    }
    shares = pd.Series(times, dtype=float).sort_values(ascending=False)
    return (shares / shares.sum()).head(rows)


def tell(least: dict[str, float], step: float) -> None:
    """Print the floor and how far a step is from it."""
    arithmetic = least["operations"] / least["operations_per_second"]
    traffic = least["bytes"] / least["bytes_per_second"]
    print(
        f"floor: {least['operations'] / 1e9:.0f} G operations at {least['operations_per_second'] / 1e9:.0f} G/s, "
        f"{arithmetic:.2f} s; {least['bytes'] / 1e9:.1f} GB at {least['bytes_per_second'] / 1e9:.1f} GB/s, "
        f"{traffic:.2f} s; a step takes {step / max(arithmetic, traffic):.1f} times the longer of the two, "
        f"{step / (arithmetic + traffic):.1f} times both"
    )


def main(
    only: Annotated[str | None, typer.Option(help="one model, in this process")] = None,
    named: Annotated[str | None, typer.Option("--set", help="a set of sets/, in place of params.yaml as it is")] = None,
    settings: Annotated[list[str] | None, typer.Option("-S", help="NAME=VALUE, an override after the set's")] = None,
) -> None:
    """Measure, print, and write what is measured with params.yaml as it is."""
    if settings and named is None:
        raise typer.BadParameter("-S goes with --set")
    params = load_params(Path("params.yaml")) if named is None else parameter_sets.read(named, settings or [])
    if only:
        print(json.dumps(measure(only, params)))
        return
    same = [] if named is None else ["--set", named, *(part for each in settings or [] for part in ("-S", each))]
    found = []
    for _ in range(ROUNDS):
        for name in ("physicnet", *PEERS):
            done = subprocess.run(
                [sys.executable, __file__, "--only", name, *same], capture_output=True, text=True, check=True
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
    table = pd.DataFrame(found).explode("seconds").astype({"seconds": float})
    columns = {"parameters": "first", "clips": "first", "seconds": "median", "memory": "max"}
    result = table.groupby("model", sort=False).agg(columns)
    result["samples_per_second"] = result["clips"] / result["seconds"]
    shown = Table("", "parameters", "s a step", "samples/s", "peak memory, MiB", title="training, in turn")
    for name, row in result.iterrows():
        cells = (f"{row.seconds:.2f}", f"{row.samples_per_second:.1f}", f"{row.memory / 2**20:.0f}")
        shown.add_row(str(name), f"{row.parameters:.0f}", *cells)
    Console().print(shown)
    tell(floor(params), float(result.loc["physicnet", "seconds"]))
    for name, share in kernels(params, 10).items():
        print(f"{share:6.1%}  {name}")
    if named is None:
        with written_whole(TARGET) as partial_file:
            result.drop(columns="clips").to_csv(partial_file, float_format="%.4g", lineterminator="\n")
        print(TARGET)
    print(f"{params.machine.num_threads} threads on {params.machine.device}")


if __name__ == "__main__":
    typer.run(main)
