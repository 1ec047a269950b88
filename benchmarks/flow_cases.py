"""Cases of `flow_truth.py`: patterns carried along flows that are known exactly, seen whole or as a radar sees them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import cos, radians, sin

import numpy as np
from jaxtyping import Float64

from physicnet.data.synthetic import Expansion, Flow, Rotation, Shear, Uniform, Waves, advected_field, velocity
from physicnet.fields import Field

SIZE = (160, 192)  # rows and columns, cells
FRAMES = 4  # that a method sees
SPEEDS = (0.0, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 15.0, 18.0, 24.0)  # cells per step
PATTERNS = (8.0, 16.0, 32.0)  # shortest wavelengths, cells; the longest are four times as long
PATTERN = 16.0  # where only one is taken
SPEED = 6.0  # in the comparison of conditions
SEEDS = (0, 1)
DIRECTION = 30.0, 137.5  # degrees from x towards y: of the first seed, and from seed to seed
NOISE = 0.3  # standard deviation of the logarithm: each value is off by a factor of its own
SECTOR = 40.0  # degrees that are missing, seen from the middle
TURN = 50.0  # degrees by which the missing sector turns from frame to frame

CENTRE = {"x": SIZE[1] / 2 - 0.5, "y": SIZE[0] / 2 - 0.5}
BENT: dict[str, Flow] = {
    "rotation": Rotation(angle=0.03, **CENTRE),
    "fast rotation": Rotation(angle=0.08, **CENTRE),
    "shear": Shear(rate=0.04, y=CENTRE["y"]),
    "expansion": Expansion(rate=0.03, **CENTRE),
    "contraction": Expansion(rate=-0.03, **CENTRE),
}

Frames = Float64[np.ndarray, "t h w"]


@dataclass(frozen=True)
class Case:
    """A motion, a pattern and what is seen of it."""

    motion: str
    speed: float  # cells per step; NaN where it differs from place to place
    flow: Flow
    pattern: float
    condition: str
    seed: int

    def label(self) -> dict[str, object]:
        """What tells the case from others in a table."""
        names = ("motion", "speed", "pattern", "condition", "seed")
        return {name: getattr(self, name) for name in names}


def half_dry(frames: Frames) -> Frames:
    """Rain in about half of the view, none in the rest."""
    return np.maximum(frames - 1, 0)


def noisy(frames: Frames) -> Frames:
    """Each value times a random factor: a radar's errors are relative, and new in each frame."""
    return frames * np.exp(NOISE * np.random.default_rng(1).standard_normal(frames.shape))


def without_a_sector(frames: Frames) -> Frames:
    """The same sector is missing in every frame, as behind a mountain."""
    return np.where(_sector(0.0), np.nan, frames)


def without_a_turning_sector(frames: Frames) -> Frames:
    """A sector is missing that turns from frame to frame, as from a beam that fails."""
    return np.where([_sector(TURN * step) for step in range(len(frames))], np.nan, frames)


def seen_by_radar(frames: Frames) -> Frames:
    """Half dry, noisy, within a circle, and without a sector."""
    x, y = _from_centre()
    circle = np.hypot(x, y) < min(SIZE) / 2 - 2
    return np.where(circle, without_a_sector(noisy(half_dry(frames))), np.nan)


CONDITIONS: dict[str, Callable[[Frames], Frames]] = {
    "whole": lambda frames: frames,
    "half dry": half_dry,
    "noise": noisy,
    "sector": without_a_sector,
    "turning sector": without_a_turning_sector,
    "radar": seen_by_radar,
}


def cases() -> Iterator[Case]:
    """Give all cases."""
    for seed in SEEDS:
        for speed in SPEEDS:
            for pattern in PATTERNS:
                yield straight(speed, pattern, "whole", seed)
            for condition in list(CONDITIONS)[1:] if speed == SPEED else ["radar"]:
                yield straight(speed, PATTERN, condition, seed)
        for motion, flow in BENT.items():
            for condition in CONDITIONS:
                yield Case(motion, np.nan, flow, PATTERN, condition, seed)


def straight(speed: float, pattern: float, condition: str, seed: int) -> Case:
    """Return a case of uniform motion; each seed has its own direction."""
    angle = radians(DIRECTION[0] + DIRECTION[1] * seed)
    return Case("uniform", speed, Uniform(speed * cos(angle), speed * sin(angle)), pattern, condition, seed)


def past_of(case: Case) -> Field:
    """Return the frames that a method sees, as rain rates."""
    pattern = Waves(num=24, wavelength=case.pattern, seed=case.seed)
    field = advected_field(FRAMES, *SIZE, flow=case.flow, pattern=pattern, variable="rain_rate")
    frames = field.frames(0, FRAMES)[:, 0].astype(np.float64)
    seen = CONDITIONS[case.condition](frames).astype(np.float32)
    return Field(field.dataset.assign(rain_rate=field.dataset["rain_rate"].copy(data=seen)))


def truth_of(case: Case) -> Float64[np.ndarray, "2 h w"]:
    """Return the true flow (x, y) in cells per step."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    return velocity(case.flow, x, y)


def _from_centre() -> Float64[np.ndarray, "2 h w"]:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    return np.stack([x - CENTRE["x"], y - CENTRE["y"]])


def _sector(start: float) -> np.ndarray:
    """Return where a sector lies that begins at an angle in degrees."""
    x, y = _from_centre()
    return (np.degrees(np.arctan2(y, x)) - start) % 360 < SECTOR
