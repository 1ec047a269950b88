"""The machine that a stage runs on: device, precision, threads, and this process among its peers."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from physicnet.config import ConfigError, MachineConfig

# Of mallopt(3): bytes at the top of the heap above which they go back to the system, and the size from which a block is
# the system's own, which is as great as it can be.
TRIM_THRESHOLD, MMAP_THRESHOLD = (-1, 2**31 - 1), (-3, 2**25)


@dataclass(frozen=True)
class Machine:
    """A device and its precision; `rank` of `processes` under `torchrun`, else 0 of 1."""

    device: torch.device
    precision: torch.dtype
    rank: int
    processes: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates and writes."""
        return self.rank == 0

    @property
    def captures(self) -> bool:
        """Whether training steps are captured as a graph: on a GPU that no other process shares a batch with."""
        return self.device.type == "cuda" and self.processes == 1

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in the chosen precision."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        if self.processes > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor /= self.processes

    def mean(self, value: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Mean of a value over the processes; gradients pass to all of them. All must ask for it."""
        if self.processes == 1:
            return value
        total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
        return total / self.processes


class _Sum(torch.autograd.Function):
    """Sum over the processes; the gradient of each reaches all of them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        del ctx  # nothing to remember
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


@contextmanager
def machine(config: MachineConfig) -> Iterator[Machine]:
    """Set up the device, deterministic algorithms, the threads and, under `torchrun`, the group of processes.

    All of it is put back in the end, but for how the process keeps memory.

    Raises:
        ConfigError: if the device is not there.
    """
    device = find_device(config.device)
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to be deterministic
        device = torch.device("cuda", device.index or int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    _keep_freed_memory()
    if processes > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    checks: Any = torch.utils.deterministic
    fill, checks.fill_uninitialized_memory = checks.fill_uninitialized_memory, False  # finds bugs of torch, costs 6 %
    torch.set_num_threads(config.num_threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    try:
        rank = dist.get_rank() if processes > 1 else 0
        yield Machine(device, getattr(torch, config.precision), rank, processes)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        checks.fill_uninitialized_memory = fill
        if processes > 1:
            dist.destroy_process_group()


def _keep_freed_memory() -> None:
    """Have this process keep the memory of tensors that are gone for the next ones, where the C library is GNU's.

    By default it gives the top of its heap back, and gets it again page by page (what that costs: docs/decisions/0032).
    """
    if platform.libc_ver()[0] == "glibc":
        for parameter in (TRIM_THRESHOLD, MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(*parameter)


def find_device(name: str) -> torch.device:
    """The device called `name`.

    Raises:
        ConfigError: if torch knows no such device, or this machine has none.
    """
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"machine.device: {name!r} is not available here ({str(error).splitlines()[0]}); use cpu, "
            "or install a build of torch for the device"
        ) from None
    return torch.device(name)


def describe(config: MachineConfig) -> str:
    """What trains or forecasts here, for people: the name of the GPU, or of the processor and how much of it."""
    if config.device.startswith("cuda"):
        return torch.cuda.get_device_name(config.device)
    return f"{_processor()}, {config.num_threads} threads of {os.cpu_count()}"


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    for line in told.read_text(encoding="utf-8").splitlines() if told.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
