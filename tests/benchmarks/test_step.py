"""What a training step is said to cost."""

from pathlib import Path

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
