"""A PhysicNet small enough for tests, before and after its silent last layers were given a voice."""

import torch
from drifting import noise
from torch import Tensor

from physicnet.config import ClipConfig, ModelConfig
from physicnet.model.build import build
from physicnet.model.physicnet import PhysicNet

WINDOW = 8
CONFIG = {
    "seed": 3,
    "channels": 4,
    "code_dim": 5,
    "num_codes": 7,
    "ema_decay": 0.9,
    "revival_threshold": 0.0,
    "hidden": 6,
    "quantize": True,
    "flow": "experts",
    "flow_iterations": 2,
    "drawing": 4,
}


def small_net(
    *, variables: int = 1, frames_in: int = 3, frames_out: int = 6, seed: int = 3, **changes: object
) -> PhysicNet:
    config = ModelConfig.model_validate(CONFIG | {"seed": seed} | changes)
    clip = ClipConfig(frames_in=frames_in, frames_out=frames_out)
    return build(config, clip, variables=variables, window=WINDOW).eval()


def speaking_net(*, variables: int = 1, frames_in: int = 3, seed: int = 3, scale: float = 0.2) -> PhysicNet:
    """A net of which no layer is zero: as if it had been trained."""
    net = small_net(variables=variables, frames_in=frames_in, seed=seed)
    for level in (net.global_level, net.local_level):
        drawing = level.source.drawing
        layers = [level.flow.gains, level.source.confidence, level.source.amounts if drawing is None else drawing.out]
        for index, layer in enumerate(layers):
            layer.weight.data = scale * noise(*layer.weight.shape, seed=index)
            layer.bias.data = scale * noise(*layer.bias.shape, seed=index + 3)
    net.memory.fitted.copy_(0.2 * scale * noise(*net.memory.fitted.shape, seed=4))
    return net


def corners_of(*pairs: tuple[int, int], batch: int = 1) -> Tensor:
    return torch.tensor(pairs).expand(batch, len(pairs), 2).clone()
