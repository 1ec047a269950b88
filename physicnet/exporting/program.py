"""The whole forecast as one program of `torch.export`: physical values in, physical values out.

What a program needs is in its file: weights, normalisation, and the size of a frame and the number of leads, which
were fixed when it was traced.

| symbol | what |
|---|---|
| past | the observed frames, in the model's units, NaN where missing: t c h w |
| clock | hour of the day (UTC, 0 to 23) and share of the year that has passed, of each frame of both: n 2 |
| frames | the forecast, in the model's units: k c h w |

Only a model of anomalies takes a clock.
"""

from copy import deepcopy
from dataclasses import replace
from math import tau

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.export import ExportedProgram

from physicnet.calendar import hour_of_day, year_fraction
from physicnet.fields import Field
from physicnet.model.physicnet import PhysicNet
from physicnet.model.rollout import ModelForecaster
from physicnet.model.smoothing import nothing_kept
from physicnet.normalization import Normalizer, Standardization

Inputs = dict[str, np.ndarray]  # by name, in the order in which the program takes them
# What a trace tells of where each operation comes from: with it the file is larger by a half and names folders.
SOURCES = ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node")


class Program(nn.Module):
    """Normalisation, model and back, for frames of one size."""

    def __init__(self, net: PhysicNet, normalizer: Normalizer, num_leads: int) -> None:
        super().__init__()
        self.net = deepcopy(net).requires_grad_(False)
        channels = normalizer.channels
        self.cycles = nn.ModuleDict(
            {str(index): Cycle(channel) for index, channel in enumerate(channels) if channel.cycles is not None}
        )
        self.normalizer = Normalizer(tuple(replace(channel, cycles=None) for channel in channels))
        self.num_leads = num_leads

    def forward(
        self, past: Float[Tensor, "t c h w"], clock: Float[Tensor, "n 2"] | None = None
    ) -> Float[Tensor, "k c h w"]:
        """Forecast `num_leads` frames; see the table of the module."""
        num_frames, observed = len(past), past.isfinite()
        cycles = self._cycles(past, clock)
        standardised = self.normalizer.normalize(past, _any_times(num_frames)) - cycles[:num_frames]
        seen = torch.where(observed, standardised, 0.0)
        frames = self.net(seen[None], observed.to(seen)[None], None, self.num_leads).frames[0]
        return self.normalizer.denormalize(frames + cycles[num_frames:], _any_times(self.num_leads))

    def _cycles(self, past: Float[Tensor, "t c h w"], clock: Float[Tensor, "n 2"] | None) -> Float[Tensor, "n c i j"]:
        """What is taken off the past and put on the forecast; 0 where a variable has no cycles."""
        num_frames = len(past) + self.num_leads
        if clock is None:
            return past.new_zeros(num_frames, 1, 1, 1)
        none = past.new_zeros(num_frames, *past.shape[2:])
        parts = {int(index): cycle(clock) for index, cycle in self.cycles.items()}
        return torch.stack([parts.get(index, none) for index in range(past.shape[1])], dim=1)


class Cycle(nn.Module):
    """The regular cycles of a variable (`cycles.py`), in its standard deviations."""

    hourly: Float[Tensor, "g h w"]
    yearly: Float[Tensor, "j h w"]

    def __init__(self, channel: Standardization) -> None:
        super().__init__()
        assert channel.cycles is not None
        for name in ("hourly", "yearly"):
            share = np.asarray(getattr(channel.cycles, name) / channel.std, np.float32)
            self.register_buffer(name, torch.from_numpy(share))

    def forward(self, clock: Float[Tensor, "n 2"]) -> Float[Tensor, "n h w"]:
        """Return the cycles' values at each time."""
        hour, passed = clock.unbind(dim=1)
        angles = tau * torch.outer(passed, torch.arange(1, len(self.yearly) // 2 + 1))  # n j/2
        waves = torch.stack((angles.cos(), angles.sin()), dim=2).flatten(1)  # n j
        season = torch.einsum("nj,jhw->nhw", waves, self.yearly)
        return self.hourly[hour.to(torch.int64) % len(self.hourly)] + season


def inputs_of(forecaster: ModelForecaster, past: Field, num_leads: int) -> Inputs:
    """Return what a program takes to forecast from the last frames of `past`."""
    have, times = past.shape[0], np.concatenate((past.times, past.times_after(num_leads)))
    inputs = {"past": past.frames(have - forecaster.frames_in, have)}
    if any(channel.cycles is not None for channel in forecaster.normalizer.channels):
        own = times[have - forecaster.frames_in :]
        inputs["clock"] = np.stack((hour_of_day(own), year_fraction(own)), axis=1).astype(np.float32)
    return inputs


def trace(forecaster: ModelForecaster, inputs: Inputs, num_leads: int) -> ExportedProgram:
    """Trace the forecast of `num_leads` frames from inputs of this size.

    The program holds neither the inputs nor where in which source file an operation comes from.
    """
    program = Program(forecaster.net, forecaster.normalizer, num_leads).eval()
    with torch.no_grad(), nothing_kept():
        exported = torch.export.export(program, tuple(torch.from_numpy(array) for array in inputs.values()))
    for module in exported.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            for key in SOURCES:
                node.meta.pop(key, None)
    exported.example_inputs = None
    return exported


def _any_times(num: int) -> np.ndarray:
    """Times that nobody looks at: the normalizer of a program has no cycles."""
    return np.empty(num, "datetime64[ns]")
