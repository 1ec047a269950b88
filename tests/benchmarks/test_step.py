"""What a training step is said to cost."""

from pathlib import Path

import parameter_sets
import pytest
import step
import torch
from torch.utils.flop_counter import FlopCounterMode

from physicnet.config import load_params
from physicnet.machine import Machine

ROOT = Path(__file__).parents[2]
HERE = Machine(torch.device("cpu"), torch.float32, 0, 1)


def test_traffic_counts_what_is_read_and_written_once_by_hand() -> None:
    a, b = torch.zeros(10, 6), torch.zeros(6, 4)
    with step.Traffic() as traffic:
        (a @ b).view(40)  # reads both, writes the product; the view moves nothing
    assert traffic.bytes == 4 * (60 + 24 + 40)


def test_arithmetic_is_counted_by_hand() -> None:
    with FlopCounterMode(display=False) as counter:
        torch.zeros(10, 6) @ torch.zeros(6, 4)
    assert counter.get_total_flops() == 2 * 10 * 6 * 4


@pytest.mark.parametrize("name", ["physicnet", *step.PEERS])
def test_every_model_has_about_as_many_parameters_and_learns_in_a_step(name: str) -> None:
    params = load_params(ROOT / "params.yaml")
    params = params.model_copy(
        update={
            "crops": params.crops.model_copy(update={"view": 32, "window": 16}),
            "train": params.train.model_copy(update={"batch_size": 1}),
        }
    )
    size = sum(parameter.numel() for parameter in step.Trainee("physicnet", params, HERE).model.parameters())
    trainee = step.Trainee(name, params, HERE)
    assert sum(parameter.numel() for parameter in trainee.model.parameters()) == pytest.approx(size, rel=0.25)
    before = [parameter.clone() for parameter in trainee.model.parameters()]
    trainee.step()
    assert any(not torch.equal(was, now) for was, now in zip(before, trainee.model.parameters(), strict=True))


def test_a_step_of_a_set_asks_for_the_leads_that_its_training_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    params = parameter_sets.read("gray-scott", ["crops.view=32", "crops.window=16", "train.batch_size=1"])
    trainee = step.Trainee("physicnet", params, HERE)
    asked: list[int] = []
    trainee.model.register_forward_hook(lambda _module, _args, prediction: asked.append(prediction.frames.shape[1]))
    trainee.step()
    assert (params.clip.frames_out, params.train.one_lead_in, asked) == (30, 3, [10])
