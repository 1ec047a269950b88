"""The one training loop, for the codebook and for the whole model.

What a loop does is decided by parameters, inputs, code, seed and step alone: batches come from seed and epoch, the
learning rate from the step, the codebook's draws from its own counters. So an interrupted training goes on from its
last whole epoch to exactly the weights that the uninterrupted one would have reached.

Under `torchrun`, every process sees its share of each batch, gradients and losses are averaged, process 0 validates
and writes: what one process learns from a batch, several learn that share it, but for rounding.
"""

import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from physicnet.checkpoint import load_checkpoint, save_checkpoint
from physicnet.config import TrainingConfig
from physicnet.data.dataset import Clips, epoch_batches
from physicnet.fields import written_whole
from physicnet.machine import Machine
from physicnet.progress import steps_shown
from physicnet.training.step import Row, Stepped, Stepper

Report = Callable[[int, Mapping[str, float]], None]

WARMUP = 0.1  # share of the steps in which the learning rate rises
AVERAGING = 0.97  # of the running mean of the weights, which is what is validated and kept
STATE = "state.safetensors"


@runtime_checkable
class Task(Stepped, Protocol):
    """What is to be learned, and the score that chooses the best epoch."""

    def epoch_values(self) -> Row:
        """What else is worth knowing of the epoch that ends, e.g. the usage of the codebook."""
        ...

    def validate(self, model: nn.Module) -> Row:
        """Scores on the validation part of `model`, which has averaged weights.

        `validation_loss` chooses the best epoch, lower is better.
        """
        ...


class Fitted(NamedTuple):
    """The weights of the best epoch, its number, and one row per epoch."""

    weights: dict[str, Tensor]
    best_epoch: int
    history: list[Row]


def fit(
    task: Task,
    dataset: Clips,
    config: TrainingConfig,
    *,
    machine: Machine,
    resume: Path,
    key: str,
    report: Report,
) -> Fitted:
    """Train to the end, from the beginning or from the state that an interrupted run of the same `key` left.

    Args:
        task: what is learned; its model is on the machine's device, parameters that need no gradient stay as they are.
        dataset: the training clips.
        config: length, batch and rate.
        machine: device, precision, and this process among its peers.
        resume: folder that holds the state of an unfinished training; it is removed by `finish`.
        key: hash of everything that decides the result; a state of another key is not used.
        report: called after every epoch with the epoch's number (from 1) and values.

    Raises:
        FloatingPointError: if the loss is not finite, naming epoch, step and terms.
    """
    stepper = Stepper(task, config, machine)
    averaged = AveragedModel(task.model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING))  # type: ignore[no-untyped-call]
    done = _restore(resume / STATE, key, task.model, averaged, stepper.optimizers)
    total, restored = config.epochs * config.steps_per_epoch, len(done.history) * config.steps_per_epoch
    with steps_shown(restored, total, is_shown=machine.leads) as advance:
        for epoch in range(len(done.history), config.epochs):
            started = time.monotonic()
            row = _train_epoch(task, dataset, config, stepper, averaged, machine, epoch, advance)
            if machine.leads:
                row = {"epoch": epoch + 1.0} | row | task.validate(averaged.module)
                done = _judge(done, row, averaged.module)
                _keep(resume / STATE, key, task.model, averaged, stepper.optimizers, done)
                seconds = time.monotonic() - started
                clips = config.steps_per_epoch * config.batch_size
                report(epoch + 1, row | {"samples_per_second": clips / seconds})
    return done


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Rate of a step: a linear rise, then half a cosine down to zero (Loshchilov and Hutter 2017, eq. 5)."""
    progress = (step + 1) / (config.epochs * config.steps_per_epoch)
    if progress < WARMUP:
        return config.learning_rate * progress / WARMUP
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - WARMUP) / (1 - WARMUP)))


def write_history(path: Path, fitted: Fitted) -> None:
    """Write one row per epoch, as CSV."""
    with written_whole(path) as partial:
        pd.DataFrame(fitted.history).to_csv(partial, index=False, float_format="%.6g")


def finish(resume: Path) -> None:
    """Forget the state of a training whose outputs are written."""
    shutil.rmtree(resume, ignore_errors=True)


def _train_epoch(
    task: Task,
    dataset: Clips,
    config: TrainingConfig,
    stepper: Stepper,
    averaged: AveragedModel,
    machine: Machine,
    epoch: int,
    advance: Callable[[str], None],
) -> Row:
    task.model.train()
    sums: Row = {}
    batches = epoch_batches(
        dataset,
        config.batch_size,
        config.steps_per_epoch,
        config.seed,
        epoch,
        rank=machine.rank,
        world_size=machine.processes,
    )
    for index, batch in enumerate(batches):
        step = epoch * config.steps_per_epoch + index
        terms = stepper.take(batch, step, learning_rate(config, step))
        averaged.update_parameters(task.model)
        if not all(math.isfinite(value) for value in terms.values()):
            raise FloatingPointError(f"the loss is not finite in epoch {epoch + 1}, step {index + 1}: {terms}")
        sums = {name: sums.get(name, 0.0) + value for name, value in terms.items()}
        advance(f"loss {terms['loss']:.3f}")
    means = {name: value / config.steps_per_epoch for name, value in sums.items()}
    return {**means, "learning_rate": learning_rate(config, step), **task.epoch_values()}


def _judge(done: Fitted, row: Row, model: nn.Module) -> Fitted:
    """Take the epoch's weights if no earlier epoch validated as well."""
    best = min((past["validation_loss"] for past in done.history), default=math.inf)
    history = [*done.history, row]
    if row["validation_loss"] < best:
        return Fitted(_copy(model), len(history), history)
    return Fitted(done.weights, done.best_epoch, history)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _keep(
    path: Path,
    key: str,
    model: nn.Module,
    averaged: AveragedModel,
    optimizers: Sequence[torch.optim.Optimizer],
    done: Fitted,
) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average/{name}": tensor for name, tensor in averaged.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in done.weights.items()}
    for place, optimizer in enumerate(optimizers):
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{place}/{number}/{name}": value for name, value in state.items()}
    rows = [list(row.items()) for row in done.history]  # a checkpoint keeps no order of keys
    save_checkpoint(path, tensors, {"key": key, "best_epoch": done.best_epoch, "history": rows})


def _restore(
    path: Path, key: str, model: nn.Module, averaged: AveragedModel, optimizers: Sequence[torch.optim.Optimizer]
) -> Fitted:
    if not path.is_file():
        return Fitted(_copy(model), 0, [])
    state = load_checkpoint(path)
    if state.metadata["key"] != key:
        return Fitted(_copy(model), 0, [])
    model.load_state_dict(_under("model/", state.tensors))
    averaged.load_state_dict(_under("average/", state.tensors))
    for place, optimizer in enumerate(optimizers):
        _restore_optimizer(optimizer, _under(f"optimizer/{place}/", state.tensors))
    history = [dict(row) for row in state.metadata["history"]]
    return Fitted(_under("best/", state.tensors), state.metadata["best_epoch"], history)


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, moment = name.partition("/")
        moments.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    for parameter, of_one in optimizer.state.items():  # laid out as the weights are: both are walked as they lie
        like = {name: torch.empty_like(parameter) for name, value in of_one.items() if value.shape == parameter.shape}
        of_one.update({name: place.copy_(of_one[name]) for name, place in like.items()})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
