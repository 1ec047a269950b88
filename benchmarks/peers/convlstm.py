"""ConvLSTM (Shi et al. 2015): one stack of cells reads the past, another, begun with its states, tells the future.

As in their later work (Shi et al. 2017), the cells sit between convolutions that go down to a quarter of the resolution
and up again; a skip brings the last frame's detail.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from peers.frames import beginning_with_nothing, both, changed, convolution, doubled, padded
from torch import Tensor, nn

State = tuple[Float[Tensor, "b d h w"], Float[Tensor, "b d h w"]]  # hidden, cell


class Cell(nn.Module):
    """One convolutional LSTM cell (their eq. 3, without peepholes)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + hidden, 4 * hidden, 3, padding=1)
        self.hidden = hidden

    def start(self, grid: Float[Tensor, "b d h w"]) -> State:
        """Nothing remembered."""
        nothing = grid.new_zeros(len(grid), self.hidden, *grid.shape[-2:])
        return nothing, nothing

    def forward(self, inputs: Float[Tensor, "b d h w"], state: State) -> State:
        """The next state."""
        hidden, cell = state
        enter, forget, leave, candidate = self.gates(torch.cat((inputs, hidden), dim=1)).chunk(4, dim=1)
        # The 1 lets a young cell remember (Jozefowicz et al. 2015).
        cell = torch.sigmoid(forget + 1) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        return torch.sigmoid(leave) * torch.tanh(cell), cell


class ConvLSTM(nn.Module):
    """The encoding and the forecasting stack, and the convolutions around them."""

    def __init__(self, *, variables: int, frames_out: int, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.frames_out = frames_out
        self.entry = convolution(2 * variables, width)
        self.down = nn.Sequential(convolution(width, 2 * width, stride=2), convolution(2 * width, hidden, stride=2))
        self.reading = nn.ModuleList(Cell(hidden, hidden) for _ in range(layers))
        self.telling = nn.ModuleList(Cell(hidden, hidden) for _ in range(layers))
        self.up = convolution(hidden, width)
        self.join = convolution(2 * width, width)
        self.exit = beginning_with_nothing(width, variables)

    def forward(
        self, past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"]
    ) -> Float[Tensor, "b k c h w"]:
        """Forecast the frames that follow."""
        view = both(past, observed)
        b, t = view.shape[:2]
        fine = self.entry(padded(view.flatten(end_dim=1), 4))
        coarse = rearrange(self.down(fine), "(b t) d h w -> b t d h w", b=b)
        states = [cell.start(coarse[:, 0]) for cell in self.reading]
        for frame in coarse.unbind(dim=1):
            states = _move(self.reading, frame, states)
        skip = fine.unflatten(0, (b, t))[:, -1]
        changes = []
        for _ in range(self.frames_out):
            states = _move(self.telling, states[-1][0], states)
            detail = doubled(self.up(states[-1][0]), skip.shape[-2:])
            changes.append(self.exit(self.join(torch.cat((skip, detail), dim=1))))
        return changed(past, torch.stack(changes, dim=1))


def _move(cells: nn.ModuleList, inputs: Float[Tensor, "b d h w"], states: list[State]) -> list[State]:
    moved = []
    for cell, state in zip(cells, states, strict=True):
        moved.append(cell(inputs, state))
        inputs = moved[-1][0]
    return moved
