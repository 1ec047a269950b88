"""The convolutional gated recurrent unit (Ballas et al. 2016, eq. 2 to 5)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ConvGRU(nn.Module):
    """One cell: moves the state of a grid on, driven by an input on the same grid, which enters by `drive`."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.drive = nn.Conv2d(inputs, 3 * hidden, 3, padding=1)
        self.gates = nn.Conv2d(hidden, 2 * hidden, 3, padding=1, bias=False)
        self.candidate = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)

    def forward(self, state: Float[Tensor, "b d h w"], drive: Float[Tensor, "b e h w"]) -> Float[Tensor, "b d h w"]:
        """The next state; `drive` is what `self.drive` makes of the input, e = 3 d."""
        width = 2 * state.shape[1]
        update, reset = torch.sigmoid(drive[:, :width] + self.gates(state)).chunk(2, dim=1)
        return torch.lerp(state, torch.tanh(drive[:, width:] + self.candidate(reset * state)), update)
