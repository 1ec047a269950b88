"""The optical-flow expert: a convolutional GRU that refines a flow step by step.

| symbol | what |
|---|---|
| flow | v, (x, y) in pixels per step (see `warp.py`) |
| evidence | the correction that the frames ask for at the current flow (see `motion.py`) |
| state | what the recurrent unit remembers between refinements |

As RAFT (Teed and Deng 2020) does, the unit looks at the evidence of the current flow, corrects it, and looks again. Its
last layer starts at zero: the untrained expert leaves the flow as it found it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from physicnet.model.gru import ConvGRU
from physicnet.model.motion import lucas_kanade, shrink
from physicnet.model.warp import resize

WINDOW = 3.0  # standard deviation of the windows of evidence, cells of the expert's grid


class FlowExpert(nn.Module):
    """Refines a flow on a grid of `scale` x `scale` cells of the frame."""

    def __init__(self, context: int, hidden: int, *, iterations: int, scale: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.scale = scale
        self.start = nn.Conv2d(context, hidden, 3, padding=1)
        self.gru = ConvGRU(2 + 2 + 1, hidden)
        self.correction = nn.Conv2d(hidden, 2, 3, padding=1)
        for parameter in self.correction.parameters():
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
            evidence = lucas_kanade(frames, seen, flow, WINDOW)
            seen_now = torch.cat((flow.detach() / 4, evidence.step, evidence.firmness), dim=1)
            state = self.gru(state, self.gru.drive(seen_now))
            flow = flow + torch.tanh(self.correction(state))
        return resize(self.scale * flow, past.shape[-2:])


def roughness(flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, ""]:
    """Mean squared difference of neighbouring flow vectors, (pixels per step)²: the smoothness term."""
    return (flow.diff(dim=-1) ** 2).mean() + (flow.diff(dim=-2) ** 2).mean()
