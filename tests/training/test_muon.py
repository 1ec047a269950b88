"""Muon: moves that are orthogonal, as long as they should be, and those of PyTorch's own."""

import pytest
import torch
from torch import Tensor, nn

from physicnet.training.muon import SMALLEST, STRIDE, Muon, orthogonal, suits

RATE, DECAY = 0.01, 0.1
SHAPES = [(24, 40), (40, 24), (32, 32)]
CONVOLUTION = (16, 20, 3, 3)
TALL = (40, 16, 1, 1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def moved(optimizer: torch.optim.Optimizer, weight: nn.Parameter, *gradients: Tensor) -> list[Tensor]:
    """The weight after each step."""
    seen = []
    for gradient in gradients:
        weight.grad = gradient.clone(memory_format=torch.preserve_format)
        optimizer.step()
        seen.append(weight.detach().clone())
    return seen


@pytest.mark.parametrize("shape", SHAPES)
def test_a_matrix_is_turned_into_one_whose_singular_values_are_about_one(shape: tuple[int, int]) -> None:
    matrices = torch.stack([noise(*shape, seed=seed) for seed in range(3)])
    turned = orthogonal(matrices)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    within = left.mT @ turned @ right.mT
    values = within.diagonal(dim1=1, dim2=2)
    assert 0.5 < values.min() < values.max() < 1.3
    torch.testing.assert_close(within, torch.diag_embed(values), rtol=0, atol=1e-3)


def test_nothing_is_turned_into_nothing() -> None:
    assert (orthogonal(torch.zeros(2, 20, 30)) == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_its_steps_are_those_of_pytorch(shape: tuple[int, int]) -> None:
    """PyTorch turns in half precision."""
    gradients = [noise(*shape, seed=seed) for seed in range(1, 5)]
    ours, theirs = (nn.Parameter(noise(*shape)) for _ in range(2))
    found = moved(Muon([ours], lr=RATE, weight_decay=DECAY), ours, *gradients)
    expected = moved(torch.optim.Muon([theirs], lr=RATE * STRIDE, weight_decay=DECAY / STRIDE), theirs, *gradients)
    length = (found[0] - noise(*shape)).norm()
    for mine, other in zip(found, expected, strict=True):
        assert (mine - other).norm() < 0.05 * length


@pytest.mark.parametrize("shape", [CONVOLUTION, TALL])
def test_a_convolution_moves_as_the_matrix_of_its_outputs_however_it_lies_in_memory(shape: tuple[int, ...]) -> None:
    gradient = noise(*shape, seed=1)
    matrix = nn.Parameter(noise(*shape).flatten(1))
    (expected,) = moved(Muon([matrix], lr=RATE, weight_decay=DECAY), matrix, gradient.flatten(1))
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(noise(*shape).contiguous(memory_format=layout))
        optimizer = Muon([weight], lr=RATE, weight_decay=DECAY)
        (found,) = moved(optimizer, weight, gradient.contiguous(memory_format=layout))
        torch.testing.assert_close(found.flatten(1), expected)
        assert weight.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_move_is_as_long_whatever_the_gradient(scale: float) -> None:
    weight = nn.Parameter(torch.zeros(CONVOLUTION))
    (found,) = moved(Muon([weight], lr=RATE, weight_decay=0.0), weight, scale * noise(*CONVOLUTION))
    lengths = torch.linalg.svdvals(found.flatten(1)) / (RATE * STRIDE)
    assert 0.5 < lengths.min() < lengths.max() < 1.3


def test_weights_of_one_shape_do_not_mix_and_those_without_a_gradient_stay() -> None:
    weights = [nn.Parameter(noise(*CONVOLUTION, seed=seed)) for seed in range(3)]
    alone = nn.Parameter(weights[1].detach().clone())
    for index in (0, 1):
        weights[index].grad = noise(*CONVOLUTION, seed=9 + index)
    alone.grad = weights[1].grad.clone()
    Muon(weights, lr=RATE, weight_decay=DECAY).step()
    Muon([alone], lr=RATE, weight_decay=DECAY).step()
    torch.testing.assert_close(weights[1], alone)
    assert torch.equal(weights[2], noise(*CONVOLUTION, seed=2))
    assert not torch.equal(weights[0], noise(*CONVOLUTION, seed=0))


def test_the_rate_may_be_a_tensor() -> None:
    number, tensor = (nn.Parameter(noise(*CONVOLUTION)) for _ in range(2))
    (expected,) = moved(Muon([number], lr=RATE, weight_decay=DECAY), number, noise(*CONVOLUTION, seed=1))
    (found,) = moved(Muon([tensor], lr=torch.tensor(RATE), weight_decay=DECAY), tensor, noise(*CONVOLUTION, seed=1))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((SMALLEST, SMALLEST), True),
        ((SMALLEST, 2, 3, 3), True),
        ((SMALLEST, 1, 5, 5), False),  # of one channel each
        ((SMALLEST, 1, 3, 3), False),
        ((SMALLEST - 1, 32, 3, 3), False),
        ((64,), False),
        ((16, 16, 16), False),
    ],
)
def test_large_matrices_and_convolutions_suit(shape: tuple[int, ...], expected: bool) -> None:
    assert suits(torch.zeros(shape)) == expected
