"""PhysicNet: a global and a local view, one codebook, experts of flow and of sources, fused cell by cell.

After K. Wang et al., "Modeling Spatio-temporal Dynamical Systems with Neural Discrete Learning and Levels-of-Experts"
(arXiv 2402.05970). The layer tables, the Lagrangian form of the source and the tiling at inference are ours.

| symbol | what |
|---|---|
| past, observed | the observed frames, standardised, 0 where missing; 1 where a value was seen, 0 where not |
| present | the past carried to the time of the last frame along the first flow, and what of it was observed |
| latent, code | what an encoder says of a coarse cell, and the codebook's word for it |
| flow | v, (x, y) in pixels per step (see `warp.py`) |
| features | the last frame and its latest change, split by scale (see `cascade.py`) |
| memory | what is added to the last frame, per lead, before the flow carries it on: the same function of the features
everywhere |
| source | what is added beside it, place by place |
| gate | share of the local level in the source, per cell and lead |
| corners | first row and column of each local window |

Training looks at random local windows, a few of each clip; a forecast lets the local level see the whole frame. Both
levels say of a place what its surroundings tell, so that nothing of this depends on where windows lie.

Axes: b batch, t input frames, k leads, c variables, h w rows and columns, n windows, s the side of a window.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from physicnet.model.cascade import NUM_BASIS, Memory, first_leads, make_features
from physicnet.model.codebook import Codebook, Quantized
from physicnet.model.encoder import Encoded, Encoder
from physicnet.model.flow import FlowExpert, Unrefined
from physicnet.model.motion import estimate_flow, passing_flow
from physicnet.model.smoothing import blur
from physicnet.model.source import Source, SourceExpert
from physicnet.model.warp import carry, sample_observed, trajectories
from physicnet.model.windows import cut, paste

MARGIN = 0.5  # standard deviations; how far a forecast may leave the range of its past
SHARPNESS = 10.0  # of that limit, per standard deviation
INFLOW = (32.0, 16.0, 8.0, 4.0, 2.0)  # cells; standard deviations of the neighbourhoods that continue missing cells
FARAWAY = 0.01  # share of observed neighbours below which a neighbourhood gives way to the next wider, or to the mean
TRACE = 1e-6  # share of observed neighbours below which a neighbourhood is as good as empty


class Present(NamedTuple):
    """The past, seen from the present."""

    flow: Float[Tensor, "b 2 h w"]  # the first, parameter-free estimate
    frames: Float[Tensor, "b t c h w"]
    observed: Float[Tensor, "b t c h w"]


class Level(nn.Module):
    """One level of observation: its encoder, and its experts of motion and of sources."""

    def __init__(self, encoder: Encoder, flow: FlowExpert | Unrefined, source: SourceExpert) -> None:
        super().__init__()
        self.encoder = encoder
        self.flow = flow
        self.source = source

    def encode(self, present: Present) -> Encoded:
        """See the present, values and masks as channels."""
        both = torch.cat((present.frames, present.observed), dim=1)
        return self.encoder(rearrange(both, "b t c h w -> b (t c) h w"))

    def forecast(
        self, encoded: Encoded, code: Quantized, basis: Float[Tensor, "b c m h w"], leads: Int[Tensor, " k"]
    ) -> Source:
        """Sources of some leads, from what was encoded and its code; see `source.py`."""
        return self.source(torch.cat((encoded.features, code.code), dim=1), basis, encoded.seen, leads)


class Range(NamedTuple):
    """The least and the greatest standardised value of each variable."""

    low: Float[Tensor, "b 1 c 1 1"]
    high: Float[Tensor, "b 1 c 1 1"]

    def to(self, device: torch.device) -> "Range":
        """The same on another device."""
        return Range(self.low.to(device), self.high.to(device))


class Closer(NamedTuple):
    """What the local level says, where the frame has it."""

    turn: Float[Tensor, "b 2 h w"]  # what it adds to the flow
    source: Source
    code: Quantized
    presence: Float[Tensor, "b 1 h w"]


class Alone(NamedTuple):
    """What the global level would make of it without the local one."""

    last: Float[Tensor, "b c h w"]
    source: Float[Tensor, "b k c h w"]  # memory included
    within: Range
    flow: Float[Tensor, "b 2 h w"]
    passing: Float[Tensor, "b 2 h w"] | None  # None: nothing moves
    num_leads: int
    only: Int[Tensor, " k"] | None  # of the leads 1..num_leads; None: all


@dataclass(frozen=True, eq=False)
class Prediction:
    """A forecast and what it was made of; what training alone asks for is computed when it does."""

    frames: Float[Tensor, "b k c h w"]
    flow: Float[Tensor, "b 2 h w"]
    gate: Float[Tensor, "b k c h w"]
    codes: tuple[Quantized, Quantized]  # as the global level and as the local one sees it
    limited: Float[Tensor, "b k c"]  # share of the cells whose value `grow` had to hold back
    paths: Float[Tensor, "b k 2 h w"] | None  # see `warp.py`; None: nothing moves
    presence: Float[Tensor, "b 1 h w"]  # how far the local level speaks of a cell of the last frame, 0 to 1
    alone: Alone

    @cached_property
    def global_frames(self) -> Float[Tensor, "b k c h w"]:
        """The forecast without the local level."""
        paths = paths_of(self.alone.flow, self.alone.passing, self.alone.num_leads, self.alone.only)
        return carry(grow(self.alone.last, self.alone.source, self.alone.within), paths)

    @cached_property
    def reach(self) -> Float[Tensor, "b k 1 h w"]:
        """How far the local level speaks of a cell, 0 to 1."""
        return carry(self.presence[:, None].expand(-1, self.frames.shape[1], -1, -1, -1), self.paths)

    @cached_property
    def inside(self) -> Float[Tensor, "b k 1 h w"]:
        """Share of a cell's value that came from within the view."""
        return carry(torch.ones_like(self.gate[:, :, :1]), self.paths, padding="zeros")


class PhysicNet(nn.Module):
    """Both levels, the codebook that they share, their fusion, and the memory that all places have in common.

    With `moves` off, nothing of the frames is taken for motion.
    """

    def __init__(
        self,
        global_level: Level,
        local_level: Level,
        codebook: Codebook,
        memory: Memory,
        *,
        window: int,
        moves: bool = True,
    ) -> None:
        super().__init__()
        self.global_level = global_level
        self.local_level = local_level
        self.codebook = codebook
        self.memory = memory
        self.window = window
        self.moves = moves

    def forward(
        self,
        past: Float[Tensor, "b t c h w"],
        observed: Float[Tensor, "b t c h w"],
        corners: Int[Tensor, "b n 2"] | None,
        num_leads: int,
        *,
        only: Int[Tensor, " k"] | None = None,
        within: Range | None = None,
    ) -> Prediction:
        """Forecast `num_leads` frames, with local windows at `corners` (None: the local level sees the whole frame).

        `only` names the leads among 1..num_leads that are asked for, instead of all.
        `within` is the range of the whole frame, where `past` is a part of it.
        """
        within = within or range_of(past)
        leads = first_leads(num_leads, past) if only is None else only
        present = observe(past, observed, moves=self.moves)  # b t c h w, twice
        last = complete(past[:, -1], observed[:, -1])  # b c h w
        features = scales(last, present)  # b c f h w
        basis = features[:, :, :NUM_BASIS]
        view = self.global_level.encode(present)
        view_code = self.quantize(view, present)
        flow = self.global_level.flow(past, observed, present.flow, view.latent)  # b 2 h w
        source = self.global_level.forecast(view, view_code, basis, leads)

        local = self.look_closer(present, flow, basis, corners, leads)
        gate = local.presence[:, None] * torch.sigmoid(local.source.confidence - source.confidence)  # b k c h w
        fused_flow = flow + local.presence * local.turn
        memory = self.memory(features, leads)
        fused_source = memory + torch.lerp(source.value, local.source.value, gate)
        passing = passing_flow(past, observed, fused_flow) if self.moves else None  # b 2 h w
        paths = paths_of(fused_flow, passing, num_leads, only)  # b k 2 h w
        return Prediction(
            frames=carry(grow(last, fused_source, within), paths),
            flow=fused_flow,
            gate=gate,
            codes=(view_code, local.code),
            limited=held_back(last, fused_source, within),
            paths=paths,
            presence=local.presence,
            alone=Alone(last, memory + source.value, within, flow, passing, num_leads, only),
        )

    def read(self, past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"]) -> Quantized:
        """The codes of the global view alone."""
        present = observe(past, observed, moves=self.moves)
        return self.quantize(self.global_level.encode(present), present)

    def look_closer(
        self,
        present: Present,
        flow: Float[Tensor, "b 2 h w"],
        basis: Float[Tensor, "b c m h w"],
        corners: Int[Tensor, "b n 2"] | None,
        leads: Int[Tensor, " k"],
    ) -> Closer:
        """What the local level adds to the global one, in windows at `corners` or everywhere."""
        if corners is None:
            added = Present(flow - present.flow, present.frames, present.observed)
            return Closer(*self._look(added, basis, leads), torch.ones_like(flow[:, :1]))
        turn, source, code = self._look(self.crop(present, flow, corners), cut(basis, corners, self.window), leads)
        (turn, presence), (value, _), (confidence, _) = (
            paste(part, corners, flow.shape[-2:]) for part in (turn, *source)
        )
        return Closer(turn, Source(value, confidence), code, presence)

    def _look(
        self, crops: Present, basis: Float[Tensor, "n c m s r"], leads: Int[Tensor, " k"]
    ) -> tuple[Float[Tensor, "n 2 s r"], Source, Quantized]:
        local = self.local_level.encode(crops)
        code = self.quantize(local, crops)
        turn = self.local_level.flow(crops.frames, crops.observed, crops.flow, local.latent) - crops.flow
        return turn, self.local_level.forecast(local, code, basis, leads), code

    def quantize(self, encoded: Encoded, present: Present) -> Quantized:
        """The codes of a view; latents of cells that were mostly missing teach the codebook nothing."""
        return self.codebook(
            encoded.latent, mostly_observed(present, (encoded.latent.shape[-2], encoded.latent.shape[-1]))
        )

    def crop(self, present: Present, flow: Float[Tensor, "b 2 h w"], corners: Int[Tensor, "b n 2"]) -> Present:
        """The present as the local windows see it; its flow is what the global level adds to the first flow."""
        parts = (flow - present.flow, present.frames, present.observed)
        return Present(*(cut(part, corners, self.window) for part in parts))


@torch.no_grad()
def observe(past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"], *, moves: bool = True) -> Present:
    """Estimate the first flow (none unless it `moves`) and carry every frame along it to the time of the last."""
    b, t, _, h, w = past.shape
    if not moves:
        return Present(past.new_zeros(b, 2, h, w), past, observed)
    flow = estimate_flow(past, observed)
    paths = trajectories(flow, t - 1)  # b t-1 2 h w, of ages 1..t-1
    frames, masks = [past[:, -1]], [observed[:, -1]]
    for age in range(1, t):
        frame, mask = sample_observed(past[:, -1 - age], observed[:, -1 - age], paths[:, age - 1])
        frames.insert(0, frame)
        masks.insert(0, mask)
    return Present(flow, torch.stack(frames, dim=1), torch.stack(masks, dim=1))


@torch.no_grad()
def scales(last: Float[Tensor, "b c h w"], present: Present) -> Float[Tensor, "b c f h w"]:
    """Features of the completed last frame and the one before it by scale, for the memory."""
    return make_features(last, complete(present.frames[:, -2], present.observed[:, -2]))


def paths_of(
    flow: Float[Tensor, "b 2 h w"],
    passing: Float[Tensor, "b 2 h w"] | None,
    num_leads: int,
    only: Int[Tensor, " k"] | None = None,
) -> Float[Tensor, "b k 2 h w"] | None:
    """The trajectories of a flow at all leads or `only` some; none without the passing flow: then nothing moves."""
    if passing is None:
        return None
    paths = trajectories(flow, num_leads, passing=passing)
    return paths if only is None else paths.index_select(1, only - 1)


class FirstGuess(NamedTuple):
    """What is known of a forecast before anything is learned: frame + memory(features), carried along the paths."""

    frame: Float[Tensor, "b c h w"]
    features: Float[Tensor, "b c f h w"]
    paths: Float[Tensor, "b k 2 h w"] | None  # None: nothing moves


@torch.no_grad()
def first_guess(
    past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"], num_leads: int, *, moves: bool = True
) -> FirstGuess:
    """The last frame, its scales, and the trajectories of the first flow, if it `moves`."""
    present = observe(past, observed, moves=moves)
    paths = paths_of(present.flow, passing_flow(past, observed, present.flow) if moves else None, num_leads)
    last = complete(past[:, -1], observed[:, -1])
    return FirstGuess(last, scales(last, present), paths)


def complete(frame: Float[Tensor, "b c h w"], observed: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Continue a frame from what was observed into what was not, fading to the mean (0) far away.

    Something must flow in from beyond the coverage; the observed neighbourhood is its best guess: the cells at the edge
    for what lies next to it, an ever wider mean for what lies farther out.
    """
    guess = torch.zeros_like(frame)
    for width in INFLOW:
        share = blur(observed, width).to(frame)
        near = blur(frame * observed, width).to(frame) / share.clamp(min=TRACE)
        guess = torch.lerp(guess, near, share / (share + FARAWAY))
    return torch.lerp(guess, frame, observed)


def range_of(past: Float[Tensor, "b t c h w"]) -> Range:
    """The range of a past whose missing values are 0."""
    return Range(*(extreme(past, dim=(1, 3, 4), keepdim=True) for extreme in (torch.amin, torch.amax)))


def grow(
    last: Float[Tensor, "b c h w"], source: Float[Tensor, "b k c h w"], within: Range
) -> Float[Tensor, "b k c h w"]:
    """The completed last frame with the source of each lead, softly kept within the past's range and a MARGIN.

    A few cells of a young model would otherwise explode, and physical values are exponential in ours.
    """
    low, high = within.low - MARGIN, within.high + MARGIN
    value = last[:, None] + source
    return high - F.softplus(high - low - F.softplus(value - low, SHARPNESS), SHARPNESS)


@torch.no_grad()
def held_back(
    last: Float[Tensor, "b c h w"], source: Float[Tensor, "b k c h w"], within: Range
) -> Float[Tensor, "b k c"]:
    """The share of the cells whose value, before `grow` limits it, lies more than MARGIN outside of the range.

    The limit hides a model that explodes; this tells of it.
    """
    value = last[:, None] + source
    outside = (value < within.low - MARGIN) | (value > within.high + MARGIN)
    return outside.to(value).mean(dim=(-2, -1))


def mostly_observed(present: Present, size: tuple[int, int]) -> Bool[Tensor, "b i j"]:
    """The cells of a coarser grid of which more than half was observed, over all frames and variables."""
    share = present.observed.mean(dim=(1, 2))[:, None]  # b 1 h w
    return F.adaptive_avg_pool2d(share, size)[:, 0] > 0.5
