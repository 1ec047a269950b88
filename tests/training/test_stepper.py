import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import pytest
import torch
from training.conftest import CLIP, CODEBOOK, MACHINE, MODEL, TRAIN, Data

from physicnet.config import TrainConfig, TrainingConfig
from physicnet.data.dataset import epoch_batches
from physicnet.machine import Machine, machine
from physicnet.model.autoencoder import pretrained_part
from physicnet.training import joint, pretraining
from physicnet.training.loop import Task
from physicnet.training.muon import suits
from physicnet.training.step import Replayed, Row, Stepper, optimizers

STEPS = 12
THINNED = TRAIN.model_copy(update={"one_lead_in": 2})
TURNED = TRAIN.model_copy(update={"optimizer": "muon"})


def pretraining_task(data: Data, on: Machine) -> Task:
    return pretraining.begin(data.inputs, CODEBOOK, CLIP, MODEL, on)


def joint_task(data: Data, on: Machine, config: TrainConfig = TRAIN) -> Task:
    return joint.begin(data.inputs, config, CLIP, MODEL, pretrained_part(data.inputs.build(MODEL, CLIP)), on)


def steps_of(task: Task, data: Data, config: TrainingConfig, on: Machine) -> list[Row]:
    stepper = Stepper(task, config, on)
    task.model.train()
    batches = epoch_batches(data.inputs.clips, config.batch_size, STEPS, config.seed, 0)
    return [stepper.take(batch, index, config.learning_rate) for index, batch in enumerate(batches)]


def test_a_step_tells_its_terms_their_sum_and_the_gradient(data: Data) -> None:
    with machine(MACHINE) as on:
        rows = steps_of(joint_task(data, on), data, TRAIN, on)
    for row in rows:
        assert row.keys() == {*TRAIN.losses.model_fields_set, "loss", "gradient_norm"}
        terms = [row[name] for name in TRAIN.losses.model_fields_set]
        assert row["loss"] == pytest.approx(math.fsum(terms), rel=1e-5)
        assert row["gradient_norm"] > 0


def test_a_step_settles_with_what_it_saw(data: Data) -> None:
    with machine(MACHINE) as on:
        task = pretraining_task(data, on)
        steps_of(task, data, CODEBOOK, on)
    assert task.model.net.codebook.updates == 2 * STEPS  # of the global view, and of the windows
    assert 0 < task.epoch_values()["codebook_usage"] <= 1


def test_a_step_is_taken_at_the_rate_it_is_told(data: Data) -> None:
    with machine(MACHINE) as on:
        task = pretraining_task(data, on)
        stepper = Stepper(task, CODEBOOK, on)
        before = [parameter.clone() for parameter in task.model.parameters()]
        (batch,) = epoch_batches(data.inputs.clips, CODEBOOK.batch_size, 1, CODEBOOK.seed, 0)
        stepper.take(batch, 0, 0.0)
        assert all(map(torch.equal, before, task.model.parameters()))
        stepper.take(batch, 1, 0.01)
        assert not all(map(torch.equal, before, task.model.parameters()))


@pytest.mark.parametrize(("config", "kinds"), [(TRAIN, ["AdamW"]), (TURNED, ["AdamW", "Muon"])])
def test_each_weight_that_learns_has_one_optimizer(data: Data, config: TrainConfig, kinds: list[str]) -> None:
    with machine(MACHINE) as on:
        model = joint_task(data, on).model
        model.local_level.encoder.requires_grad_(False)
        chosen = optimizers(model, config, on)
    assert [type(each).__name__ for each in chosen] == kinds
    moved = [weight for each in chosen for group in each.param_groups for weight in group["params"]]
    assert sorted(map(id, moved)) == sorted(id(weight) for weight in model.parameters() if weight.requires_grad)
    for each in chosen[1:]:
        assert all(suits(weight) for weight in each.param_groups[0]["params"])
    assert any(suits(weight) for weight in chosen[0].param_groups[0]["params"]) == (len(kinds) == 1)


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize(
    ("begin", "config"),
    [
        (pretraining_task, CODEBOOK),
        (joint_task, TRAIN),
        (partial(joint_task, config=THINNED), THINNED),
        (partial(joint_task, config=TURNED), TURNED),
    ],
)
def test_a_step_of_one_stepper_is_the_step_of_another(
    data: Data, begin: Callable[[Data, Machine], Task], config: TrainingConfig, device: str
) -> None:
    """On a GPU, one that replays the same graph again and again, and new ones, which launch kernel by kernel."""
    with machine(MACHINE.model_copy(update={"device": device})) as on:
        task, other = begin(data, on), begin(data, on)
        stepper = Stepper(task, config, on)
        for index, batch in enumerate(epoch_batches(data.inputs.clips, config.batch_size, STEPS, config.seed, 0)):
            beside = Stepper(other, config, on)  # sums on a GPU have no order of their own: every step starts alike
            other.model.load_state_dict(task.model.state_dict())
            for optimizer, like in zip(beside.optimizers, stepper.optimizers, strict=True):
                optimizer.load_state_dict(deepcopy(like.state_dict()))
            taken, expected = (each.take(batch, index, config.learning_rate) for each in (stepper, beside))
            assert taken == pytest.approx(expected, rel=1e-3, abs=1e-6)
            learned, wanted = (dict(each.model.named_parameters()) for each in (task, other))
            moves = torch.cat([(learned[name] - wanted[name]).flatten() for name in learned])
            assert moves.square().mean().sqrt() < 0.05 * config.learning_rate
    assert on.captures == (isinstance(stepper._work, Replayed))
