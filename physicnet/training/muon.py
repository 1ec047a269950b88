"""Muon: weights that are matrices move by the orthogonalised running mean of their gradients.

After Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"
(https://kellerjordan.github.io/posts/muon/).

| symbol | what |
|---|---|
| G | gradient of a weight, as a matrix: a row per output, a column per input and place of the kernel |
| M | running mean of G |
| O | the nearest orthogonal matrix to G + MOMENTUM (M - G), nearly: of its singular values all are about 1 |

All directions in which a weight could move count alike, those in which the loss is steep and those in which it is not.
PyTorch has the same (`torch.optim.Muon`), for matrices alone, one after the other, and with a rate that must not lie on
the device, which a captured step needs. What it is worth: docs/decisions/0033.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOMENTUM = 0.95
POLYNOMIAL = (3.4445, -4.7750, 2.0315)  # of the iteration's odd powers; chosen by Jordan for its slope at 0
ITERATIONS = 5
STRIDE = 6.0  # singular values of the move of a matrix that is not tall, in units of the rate, which is AdamW's
SMALLEST = 16  # rows and columns of a matrix below which there is little to turn, and AdamW moves it


class Muon(torch.optim.Optimizer):
    """Moves weights that are matrices, or convolutions; `lr` may be a tensor on the weights' device."""

    def __init__(self, weights: Iterable[nn.Parameter], *, lr: float | Tensor, weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take a step."""
        for group in self.param_groups:
            for alike in _by_shape(weight for weight in group["params"] if weight.grad is not None):
                turned = self._turned(alike)  # w m n
                moves = group["lr"] * STRIDE * math.sqrt(max(1, turned.shape[1] / turned.shape[2])) * turned
                for weight, move in zip(alike, moves.unbind(), strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(move.view(weight.shape))

    def _turned(self, alike: Sequence[Tensor]) -> Float[Tensor, "w m n"]:
        """O of weights of one shape."""
        ahead = []
        for weight in alike:
            state = self.state[weight]
            if not state:
                state["mean"] = torch.zeros_like(weight)
            assert weight.grad is not None  # `step` has chosen those
            state["mean"].lerp_(weight.grad, 1 - MOMENTUM)
            ahead.append(_matrix(weight.grad.lerp(state["mean"], MOMENTUM)))
        return orthogonal(torch.stack(ahead))


def suits(weight: Tensor) -> bool:
    """Whether a weight is a matrix, or one of a convolution that mixes channels, and large enough."""
    mixes = weight.ndim == 2 or (weight.ndim == 4 and weight.shape[1] > 1)
    return mixes and min(_matrix(weight).shape) >= SMALLEST


def orthogonal(matrices: Float[Tensor, "w m n"]) -> Float[Tensor, "w m n"]:
    """Nearly U Vᵀ of each matrix U S Vᵀ, by an iteration of Newton and Schulz: its singular values end near 1."""
    tall = matrices.shape[1] > matrices.shape[2]
    turned = matrices.mT if tall else matrices
    turned = turned / turned.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    first, third, fifth = POLYNOMIAL
    for _ in range(ITERATIONS):
        square = turned @ turned.mT
        turned = first * turned + (third * square + fifth * (square @ square)) @ turned
    return turned.mT if tall else turned


def _matrix(weight: Tensor) -> Float[Tensor, "m n"]:
    return weight.flatten(start_dim=1)


def _by_shape(weights: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """The weights, those of one shape together: they are turned at once."""
    groups: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        groups.setdefault(weight.shape, []).append(weight)
    yield from groups.values()
