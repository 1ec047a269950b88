"""Clips of a smooth random texture that moves as it is told, exactly: no interpolation is involved."""

import numpy as np
import torch
from torch import Tensor

from physicnet.data.synthetic import Flow, Uniform, Waves


def drift(flow: Flow | tuple[float, float], num_frames: int, size: tuple[int, int], *, seed: int = 0) -> Tensor:
    """Frames (1 t 1 h w) of unit variance, carried by `flow`: a motion, or (x, y) pixels per step."""
    motion = Uniform(*flow) if isinstance(flow, tuple) else flow
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    pattern = Waves(num=24, wavelength=16.0, seed=seed)
    frames = [np.log(pattern.at(*motion.departure(x, y, float(step)))) for step in range(num_frames)]
    return torch.from_numpy(np.stack(frames).astype(np.float32))[None, :, None]


def uniform(flow: tuple[float, float], size: tuple[int, int], *, batch: int = 1) -> Tensor:
    """The same flow everywhere (b 2 h w)."""
    return torch.tensor(flow).view(1, 2, 1, 1).expand(batch, 2, *size).clone()


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers that do not depend on what was drawn before."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def holes(*shape: int, seed: int = 0, share: float = 0.3) -> Tensor:
    """1 where observed, 0 at a random share of the cells."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) >= share).float()
