"""The default PhysicNet, from the sizes in `params.yaml`."""

import torch

from physicnet.config import ClipConfig, ModelConfig
from physicnet.model.cascade import NUM_BASIS, Memory
from physicnet.model.codebook import Codebook
from physicnet.model.course import Course, Fading, Spline
from physicnet.model.encoder import Encoder
from physicnet.model.flow import FlowExpert, Unrefined
from physicnet.model.physicnet import Level, PhysicNet
from physicnet.model.source import Drawing, SourceExpert

GLOBAL_STRIDES = (2, 2, 2)  # the global view is seen at half its resolution, and coarser
LOCAL_STRIDES = (1, 2, 2)  # the local windows are seen at their full resolution
GLOBAL_FLOW_SCALE = 4  # cells of the frame per cell of the global flow
LOCAL_FLOW_SCALE = 2


def build(config: ModelConfig, clip: ClipConfig, *, variables: int, window: int) -> PhysicNet:
    """An untrained model: its forecast is the last frame, carried along the first flow."""
    sizes = {"variables": variables, "frames_in": clip.frames_in}
    course: Course = Fading()
    drawing = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.drawing:
            course = Spline(clip.frames_out)
            drawing = Drawing(config.hidden, config.drawing, course, seen=_seen(**sizes), variables=variables)
        return PhysicNet(
            _level(config, GLOBAL_STRIDES, GLOBAL_FLOW_SCALE, drawing=drawing, **sizes),
            _level(config, LOCAL_STRIDES, LOCAL_FLOW_SCALE, drawing=None, **sizes),
            Codebook(
                config.num_codes,
                config.code_dim,
                ema_decay=config.ema_decay,
                revival_threshold=config.revival_threshold,
                seed=config.seed,
                quantize=config.quantize,
            ),
            Memory(variables, course),
            window=window,
            moves=config.flow != "none",
        )


def _level(
    config: ModelConfig,
    strides: tuple[int, ...],
    flow_scale: int,
    *,
    drawing: Drawing | None,
    variables: int,
    frames_in: int,
) -> Level:
    widths = (config.channels, config.channels * 3 // 2, config.channels * 2)
    return Level(
        Encoder(_seen(variables, frames_in), widths, strides, config.code_dim),
        _flow(config, flow_scale),
        SourceExpert(
            widths[-1] + config.code_dim, config.hidden, basis=NUM_BASIS, variables=variables, drawing=drawing
        ),
    )


def _seen(variables: int, frames_in: int) -> int:
    """Channels of a view: frames and masks."""
    return 2 * frames_in * variables


def _flow(config: ModelConfig, scale: int) -> FlowExpert | Unrefined:
    if config.flow != "experts":
        return Unrefined()
    return FlowExpert(config.code_dim, config.hidden // 2, iterations=config.flow_iterations, scale=scale)
