"""The recurrent unit against its equations, written cell by cell."""

import torch
from drifting import noise
from torch import Tensor
from torch.nn import functional as F

from physicnet.model.gru import ConvGRU

INPUTS, HIDDEN, H, W = 3, 5, 4, 7


def make_unit() -> ConvGRU:
    unit = ConvGRU(INPUTS, HIDDEN)
    for seed, parameter in enumerate(unit.parameters()):
        parameter.data = 0.3 * noise(*parameter.shape, seed=seed)
    return unit


def patches(field: Tensor) -> Tensor:
    """The 3 x 3 cells around each cell, zero outside (b h w c i j)."""
    return F.pad(field, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).permute(0, 2, 3, 1, 4, 5)


def at(field: Tensor, weight: Tensor, b: int, row: int, col: int) -> Tensor:
    return (patches(field)[b, row, col] * weight).sum(dim=(1, 2, 3))


def test_the_unit_follows_its_equations_at_every_cell():
    unit, x, state = make_unit(), noise(2, INPUTS, H, W), noise(2, HIDDEN, H, W, seed=1)
    update, reset, wanted = unit.drive.weight.chunk(3)
    bias = unit.drive.bias.chunk(3)
    update_state, reset_state = unit.gates.weight.chunk(2)
    found = unit(state, unit.drive(x))
    cells = torch.cartesian_prod(torch.arange(2), torch.arange(H), torch.arange(W)).tolist()
    kept = torch.empty_like(state)
    for b, row, col in cells:
        r = torch.sigmoid(at(x, reset, b, row, col) + bias[1] + at(state, reset_state, b, row, col))
        kept[b, :, row, col] = r * state[b, :, row, col]
    for b, row, col in cells:
        z = torch.sigmoid(at(x, update, b, row, col) + bias[0] + at(state, update_state, b, row, col))
        new = torch.tanh(at(x, wanted, b, row, col) + bias[2] + at(kept, unit.candidate.weight, b, row, col))
        torch.testing.assert_close(found[b, :, row, col], (1 - z) * state[b, :, row, col] + z * new)


def test_an_input_that_stays_is_convolved_once():
    unit, x, state = make_unit(), noise(1, INPUTS, H, W), noise(1, HIDDEN, H, W, seed=1)
    drive, once, each_time = unit.drive(x), state, state
    for _ in range(3):
        once, each_time = unit(once, drive), unit(each_time, unit.drive(x))
    assert torch.equal(once, each_time)


def test_states_stay_bounded():
    unit, state = make_unit(), torch.zeros(1, HIDDEN, H, W)
    drive = unit.drive(100 * noise(1, INPUTS, H, W))
    for _ in range(20):
        state = unit(state, drive)
    assert state.abs().max() <= 1


def test_gradients_reach_every_parameter():
    unit = make_unit()
    unit(noise(1, HIDDEN, H, W), unit.drive(noise(1, INPUTS, H, W))).sum().backward()
    for name, parameter in unit.named_parameters():
        assert parameter.grad.abs().max() > 0, name
