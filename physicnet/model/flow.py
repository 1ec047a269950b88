"""The optical-flow expert: a convolutional GRU that refines a flow step by step.

| symbol | what |
|---|---|
| flow | v, (x, y) in pixels per step (see `warp.py`) |
| steps | corrections on offer at the current flow: what the frames ask for in narrow and in wide windows (see \
`motion.py`), and the way to the mean flow of the surroundings |
| gains | how far the flow follows each of them, cell by cell, -1 to 1 |
| state | what the recurrent unit remembers between refinements |

As RAFT (Teed and Deng 2020) does, the unit looks at the evidence of the current flow, corrects it, and looks again. It
chooses among corrections and makes none of its own: what it learns is when to believe which evidence, and no motion of
the record that it was trained on, which free corrections learned instead (docs/decisions/0015). A field turned round
has its flow turned round. Its last layer starts at zero: the untrained expert leaves the flow as it found it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physicnet.model.gru import ConvGRU
from physicnet.model.motion import lucas_kanade, shrink
from physicnet.model.smoothing import mean_around
from physicnet.model.warp import resize

WINDOWS = (3.0, 8.0)  # standard deviations of the windows of evidence, cells of the expert's grid
SURROUNDINGS = 8.0  # standard deviation of the mean flow's window, cells of that grid


class FlowExpert(nn.Module):
    """Refines a flow on a grid of `scale` x `scale` cells of the frame."""

    def __init__(self, context: int, hidden: int, *, iterations: int, scale: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.scale = scale
        offers = len(WINDOWS) + 1
        self.start = nn.Conv2d(context, hidden, 3, padding=1)
        self.gru = ConvGRU(offers + len(WINDOWS), hidden)
        self.gains = nn.Conv2d(hidden, offers, 3, padding=1)
        for parameter in self.gains.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        past: Float[Tensor, "b t c h w"],
        observed: Float[Tensor, "b t c h w"],
        flow: Float[Tensor, "b 2 h w"],
        context: Float[Tensor, "b e i j"],
    ) -> Float[Tensor, "b 2 h w"]:
        """The refined flow.

        Args:
            past: frames in which the flow is to be seen.
            observed: 1 where `past` was observed, 0 where it is missing.
            flow: the flow to start from, pixels of the frame per step.
            context: features of the encoder, on any grid over the same area.
        """
        frames, seen = shrink(past, observed, self.scale)
        size = frames.shape[-2:]
        flow = resize(flow, size) / self.scale  # cells of this grid per step
        state = torch.tanh(self.start(resize(context, size)))
        for _ in range(self.iterations):
            evidence = lucas_kanade(frames, seen, flow, *WINDOWS)
            offers = [*(each.step for each in evidence), mean_around(flow, SURROUNDINGS) - flow]
            steps = torch.stack(offers, dim=1)  # b o 2 h w
            lengths = steps.detach().square().sum(dim=2).sqrt()  # b o h w
            known = torch.cat((lengths, *(each.firmness for each in evidence)), dim=1)
            state = self.gru(state, self.gru.drive(known))
            gains = torch.tanh(self.gains(state))  # b o h w
            flow = flow + (gains[:, :, None] * steps).sum(dim=1)
        return resize(self.scale * flow, past.shape[-2:])


class Unrefined(nn.Module):
    """In the place of the expert: the flow as it came."""

    def forward(
        self,
        _past: Float[Tensor, "b t c h w"],
        _observed: Float[Tensor, "b t c h w"],
        flow: Float[Tensor, "b 2 h w"],
        _context: Float[Tensor, "b e i j"],
    ) -> Float[Tensor, "b 2 h w"]:
        """`flow`."""
        return flow


def roughness(flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
    """Mean squared difference of neighbouring flow vectors, (pixels per step)²: the smoothness term."""
    return (flow.diff(dim=-1) ** 2).mean() + (flow.diff(dim=-2) ** 2).mean()
