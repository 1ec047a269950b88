"""Training PhysicNet and its peers for `skill.py`: one loop, one loss, one budget; done work is kept and taken up.

A budget is a number of steps, or a time: then a few steps of the untrained model are timed first, and their number is
written down, so that an interrupted training goes on to the end that it would have had. Validation is not counted.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from peers.convlstm import ConvLSTM
from peers.simvp import SimVP
from peers.task import PeerForecaster, PeerTask
from peers.unet import UNet
from skill_data import Prepared
from torch import nn

import physicnet
from physicnet.checkpoint import load_checkpoint, save_checkpoint
from physicnet.config import Params, TrainingConfig
from physicnet.data.dataset import Batch, epoch_batches
from physicnet.digest import content_hash
from physicnet.machine import Machine, machine
from physicnet.model.autoencoder import pretrained_part
from physicnet.model.forecaster import Forecaster
from physicnet.model.rollout import ModelForecaster
from physicnet.training import joint, pretraining
from physicnet.training.loop import Fitted, Task, fit
from physicnet.training.memory import CLIPS, fit_memory
from physicnet.training.step import WARMING, Stepper

EPOCHS = 8  # validations of a training, at most
PRETRAINING = 0.05  # share of PhysicNet's budget that goes to its codebook
TIMED = 6  # steps, after those that warm up
SEED_STEP = 1000


@dataclass(frozen=True)
class Budget:
    """Minutes, or if given, steps; and at which highest rate the peers learn (PhysicNet's is in params.yaml)."""

    minutes: float
    steps: int | None
    learning_rate: float

    def share(self, part: float) -> "Budget":
        """A part of it."""
        steps = None if self.steps is None else max(1, round(part * self.steps))
        return replace(self, minutes=part * self.minutes, steps=steps)


@dataclass(frozen=True)
class Trained:
    """A trained model and what it took."""

    forecaster: Forecaster
    parameters: int
    steps: int
    seconds: float
    validation_loss: float


def peers(prepared: Prepared) -> dict[str, Callable[[], nn.Module]]:
    """The peers by name, of sizes that compare with PhysicNet's."""
    clip, variables = prepared.params.clip, len(prepared.inputs.normalizer.variables)
    sizes: dict[str, Any] = {"variables": variables, "frames_out": clip.frames_out}
    return {
        "unet": partial(UNet, **sizes, frames_in=clip.frames_in, widths=(32, 64, 96, 128)),
        "convlstm": partial(ConvLSTM, **sizes, width=24, hidden=48, layers=2),
        "simvp": partial(SimVP, **sizes, frames_in=clip.frames_in, width=24, translator=120, blocks=4),
    }


def train(name: str, seed: int, prepared: Prepared, budget: Budget, folder: Path) -> Trained:
    """Train a model, or go on, or read what was trained; `folder` is this model's and seed's own."""
    target = folder / "model.safetensors"
    params = _seeded(prepared.params, seed)
    with machine(params.machine) as on:
        if not target.is_file():
            if name == "memory":
                _fit_memory(prepared, params, folder, on)
            elif name == "physicnet":
                _train_physicnet(prepared, params, budget, folder, on)
            else:
                _train_peer(peers(prepared)[name], seed, prepared, params, budget, folder, on)
        metadata = load_checkpoint(target).metadata
        forecaster, net = _read(name, target, prepared, params, on)
    taken = (metadata[part] for part in ("steps", "seconds", "validation_loss"))
    return Trained(forecaster, sum(parameter.numel() for parameter in net.parameters()), *taken)


def _read(name: str, target: Path, prepared: Prepared, params: Params, on: Machine) -> tuple[Forecaster, nn.Module]:
    """A trained model, and what of it was learned."""
    if name in peers(prepared):
        net = peers(prepared)[name]()
        net.load_state_dict(load_checkpoint(target).tensors)
        return PeerForecaster(name, net, prepared.inputs.normalizer, prepared.params.clip, on.device), net
    forecaster = ModelForecaster.load(target, params.machine)
    forecaster.name = name
    return forecaster, forecaster.net if name == "physicnet" else forecaster.net.memory


def key(name: str, seed: int, prepared: Prepared, budget: Budget) -> str:
    """Hash of everything that decides what is learned: data, parameters, budget and the code of model and training."""
    params = _seeded(prepared.params, seed)
    package, here = Path(physicnet.__path__[0]), Path(__file__).parent
    sections = ["clip", "train"]
    if name in ("physicnet", "memory"):
        code = [*(package / "training").glob("*.py"), *(package / "model").glob("*.py")]
        sections += ["model", "codebook"]
        budget = replace(budget, learning_rate=0.0) if name == "physicnet" else Budget(0.0, 0, 0.0)  # its own
    else:
        code = [package / "training" / f"{file}.py" for file in ("loop", "losses", "muon", "step")]
        code += [here / "peers" / f"{file}.py" for file in ("frames", "task", name)]
    content = {
        "budget": vars(budget),
        "params": {part: getattr(params, part).model_dump() for part in sections},
        "device": [params.machine.device, params.machine.precision],
        "files": [content_hash(file) for file in [*prepared.files, *sorted(code)]],
        "training": [EPOCHS, PRETRAINING, name],
    }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _seeded(params: Params, seed: int) -> Params:
    sections = {name: getattr(params, name) for name in ("model", "codebook", "train")}
    moved = {
        name: section.model_copy(update={"seed": section.seed + SEED_STEP * seed}) for name, section in sections.items()
    }
    return params.model_copy(update=moved)


def _train_physicnet(prepared: Prepared, params: Params, budget: Budget, folder: Path, on: Machine) -> None:
    inputs, clip, model = prepared.inputs, params.clip, params.model

    def first() -> pretraining.Pretraining:
        return pretraining.begin(inputs, params.codebook, clip, model, on)

    codes, steps, seconds = _fit(first, prepared, params.codebook, budget.share(PRETRAINING), folder / "codebook", on)
    pretrained = first()
    pretrained.model.load_state_dict(codes.weights)

    def second() -> joint.Joint:
        return joint.begin(inputs, params.train, clip, model, pretrained_part(pretrained.model.net), on)

    fitted, more, longer = _fit(second, prepared, params.train, budget.share(1 - PRETRAINING), folder / "joint", on)
    taken = {"steps": steps + more, "seconds": seconds + longer, "validation_loss": _best(fitted)}
    save_checkpoint(folder / "model.safetensors", fitted.weights | inputs.maps(), inputs.metadata(model, clip) | taken)


def _fit_memory(prepared: Prepared, params: Params, folder: Path, on: Machine) -> None:
    """First flow and all of a fitted memory, with which PhysicNet starts unless it is cautious; all else is silent."""
    inputs, clip, model = prepared.inputs, params.clip, params.model
    task = joint.begin(inputs, params.train, clip, model, pretrained_part(inputs.build(model, clip)), on)
    net, start = task.model, time.perf_counter()
    net.memory.begin_with(fit_memory(inputs.clips.spread(CLIPS), clip.frames_in, net.memory.course, moves=net.moves))
    taken = {"steps": 0, "seconds": time.perf_counter() - start}
    taken["validation_loss"] = task.validate(net)["validation_loss"]
    metadata = inputs.metadata(model, clip) | taken
    save_checkpoint(folder / "model.safetensors", net.state_dict() | inputs.maps(), metadata)


def _train_peer(
    build: Callable[[], nn.Module],
    seed: int,
    prepared: Prepared,
    params: Params,
    budget: Budget,
    folder: Path,
    on: Machine,
) -> None:
    config = params.train.model_copy(update={"learning_rate": budget.learning_rate})

    def task() -> PeerTask:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = build()
        return PeerTask(net, config, params.clip, prepared.inputs, prepared.inputs.validation, on)

    fitted, steps, seconds = _fit(task, prepared, config, budget, folder / "training", on)
    taken = {"steps": steps, "seconds": seconds, "validation_loss": _best(fitted)}
    save_checkpoint(folder / "model.safetensors", fitted.weights, taken)


def _best(fitted: Fitted) -> float:
    return min(row["validation_loss"] for row in fitted.history)


def _fit(
    begin: Callable[[], Task], prepared: Prepared, config: TrainingConfig, budget: Budget, folder: Path, on: Machine
) -> tuple[Fitted, int, float]:
    """Train within the budget; return what was fitted, its steps and their seconds."""
    steps = _planned(begin, prepared, config, budget, folder, on)
    epochs = min(EPOCHS, steps)
    config = config.model_copy(update={"epochs": epochs, "steps_per_epoch": steps // epochs})
    task = _Timed(begin(), folder / "seconds.json")
    fitted = fit(
        task, prepared.inputs.clips, config, machine=on, resume=folder, key="skill", report=lambda *_: task.note()
    )
    return fitted, config.epochs * config.steps_per_epoch, task.seconds


def _planned(
    begin: Callable[[], Task], prepared: Prepared, config: TrainingConfig, budget: Budget, folder: Path, on: Machine
) -> int:
    """How many steps the budget allows; what was found once stays, or a resumed training would differ."""
    if budget.steps is not None:
        return budget.steps
    path = folder / "steps.json"
    if not path.is_file():
        each = _seconds_per_step(begin(), prepared, config, on)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"steps": max(1, int(60 * budget.minutes / each)), "each": each}), encoding="utf-8")
    return int(json.loads(path.read_text(encoding="utf-8"))["steps"])


def _seconds_per_step(task: Task, prepared: Prepared, config: TrainingConfig, on: Machine) -> float:
    stepper = Stepper(task, config, on)
    batches = epoch_batches(prepared.inputs.clips, config.batch_size, WARMING + TIMED, config.seed, 0)
    for step, batch in enumerate(list(batches)):  # read before: later in a training, reading is not waited for
        if step == WARMING:
            started = time.perf_counter()
        stepper.take(batch, step, rate=1e-6)  # its values are there when it returns: so is all that a GPU did
    return (time.perf_counter() - started) / TIMED


class _Timed:
    """A task that knows how long its steps took, over interruptions too; validation is not counted."""

    def __init__(self, task: Task, path: Path) -> None:
        self._task = task
        self._path = path
        self.model = task.model
        self.seconds = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else 0.0
        self._since = time.perf_counter()

    def prepared(self, batch: Batch, step: int) -> Batch:
        return self._task.prepared(batch, step)

    def terms(self, batch: Batch) -> dict[str, torch.Tensor]:
        return self._task.terms(batch)

    def settle(self) -> None:
        self._task.settle()

    def epoch_values(self) -> dict[str, float]:
        self.seconds += time.perf_counter() - self._since
        return self._task.epoch_values()

    def validate(self, model: nn.Module) -> Mapping[str, float]:
        return self._task.validate(model)

    def note(self) -> None:
        """The epoch is kept: so is its time."""
        self._path.write_text(json.dumps(self.seconds), encoding="utf-8")
        self._since = time.perf_counter()
