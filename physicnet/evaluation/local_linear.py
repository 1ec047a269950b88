"""An iterated local linear model: each cell's next value from its neighbourhood in the last frames, by regression.

| symbol | what |
|---|---|
| φ | features of a cell: its neighbourhood in the last `LAGS` frames, all variables, standardised, and 1 |
| y | the cell's next values, standardised |
| W | weights shared by all cells: ridge regression over all of them |
| w | weights of one cell: ridge regression towards W, as strong as `strength` frames of data would be |

A forecast applies the weights to its own last frames, again and again. Local weights that were fitted to one step may
grow without bound then, so each step is kept within the range of values that training showed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from physicnet.evaluation.extrapolation import last_frame
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field, frames_per_block
from physicnet.normalization import Normalizer

LAGS = 2  # frames looked back; the default clip of temperature and radar has more
RADII = (1, 2)  # cells; choices for the neighbourhood
STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0, np.inf)  # choices; infinite: all cells share their weights
RIDGE = 1e-4  # of W, in mean squares of a feature
MOST_TARGETS = 1000  # training frames that are regressed on, evenly spread
CHECKS = 10  # forecasts by which choices are made
WORK_BYTES = 128 * 2**20  # of features, and of moments, in memory at once

Values = Float32[np.ndarray, "t c h w"]
Weights = Float32[np.ndarray, "i j f c"]  # i j: rows and columns, or 1 1 if shared


class Moments(NamedTuple):
    """Σ φ φᵀ and Σ φ y of each cell."""

    squares: Float64[np.ndarray, "n f f"]
    products: Float64[np.ndarray, "n f c"]

    def plus(self, other: "Moments") -> "Moments":
        """Add up."""
        return Moments(self.squares + other.squares, self.products + other.products)


@dataclass(frozen=True, eq=False)
class LocalLinear:
    """The weights of all cells; see the table of the module.

    Radius and strength are those whose forecasts have the least squared error over all leads on the last fifth of the
    training part, fitted to the rest; then all of it is fitted.
    """

    name = "local_linear"

    normalizer: Normalizer
    mean: Float32[np.ndarray, "c h w"]  # physical, for what was not observed
    weights: Weights
    radius: int
    limits: Float32[np.ndarray, "2 c"]  # lowest and highest standardised value of training

    @classmethod
    def fit(cls, training: TrainingPart, normalizer: Normalizer, mean: Float32[np.ndarray, "c h w"]) -> "LocalLinear":
        """Choose and fit on the training part alone.

        Raises:
            DataError: if the training part is too short, or nowhere observed around a cell.
        """
        fitted, checked = training.halves()
        limits = _limits(training, normalizer)
        choices = list(product(RADII, STRENGTHS))
        errors = []
        for radius in RADII:
            for weights in fit_weights(fitted, normalizer, radius, STRENGTHS):
                errors.append(_error(cls(normalizer, mean, weights, radius, limits), checked))
        radius, strength = choices[int(np.argmin(errors))]
        weights = fit_weights(training, normalizer, radius, (strength,))[0]
        return cls(normalizer, mean, weights, radius, limits)

    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Apply the weights again and again.

        Raises:
            DataError: if `past` has fewer frames than the model looks back.
        """
        have = past.shape[0]
        if have < LAGS:
            raise DataError(f"local_linear looks back {LAGS} frames, {have} are there; give it more observations")
        recent = np.stack([last_frame(past.isel(0, stop), self.mean) for stop in range(have - LAGS + 1, have + 1)])
        frames = self.step_on(np.asarray(self.normalizer.normalize(recent, past.times[-LAGS:]), np.float32), num_leads)
        return np.asarray(self.normalizer.denormalize(frames, past.times_after(num_leads)), np.float32)

    def step_on(self, recent: Values, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Continue standardised, completed frames."""
        frames = list(recent)
        low, high = self.limits[:, :, None, None]
        for _ in range(num_leads):
            features = neighbourhoods(np.stack(frames[-LAGS:]), self.radius)[0]  # h w f
            values = np.einsum("hwf,hwfc->chw", features, np.broadcast_to(self.weights, (*features.shape, len(low))))
            frames.append(np.clip(values, low, high))
        return np.stack(frames[LAGS:])


def neighbourhoods(frames: Values, radius: int) -> Float32[np.ndarray, "n h w f"]:
    """Return the features of each frame that follows `LAGS` of these: n = t - LAGS + 1, the last one's own included.

    Beyond the frame, its outermost cells continue.
    """
    t, channels, height, width = frames.shape
    side = 2 * radius + 1
    padded = np.pad(frames, ((0, 0), (0, 0), (radius, radius), (radius, radius)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))  # t c h w side side
    flat = windows.transpose(0, 2, 3, 1, 4, 5).reshape(t, height, width, channels * side * side)
    lagged = [flat[lag : t - LAGS + 1 + lag] for lag in range(LAGS)]
    one = np.ones((t - LAGS + 1, height, width, 1), frames.dtype)
    return np.concatenate([*lagged, one], axis=-1)


def fit_weights(
    training: TrainingPart, normalizer: Normalizer, radius: int, strengths: tuple[float, ...]
) -> list[Weights]:
    """Return the weights for each strength: shared ones if it is infinite.

    Raises:
        DataError: if no cell was ever observed together with its neighbourhood.
    """
    _, channels, height, width = training.record.shape
    whole = _moments(training, normalizer, radius, slice(0, height), per_cell=False)
    observed = whole.squares[0, -1, -1]  # cells and frames: the last feature is 1
    if not observed:
        raise DataError("no training cell was observed with all its neighbours in successive frames: add data")
    scale = np.diagonal(whole.squares[0]) / observed  # f
    squares = whole.squares[0] + RIDGE * observed * np.diag(scale)
    shared = np.linalg.solve(squares, whole.products[0])  # f c
    weights = [np.empty((height, width, *shared.shape), np.float32) for _ in strengths if np.isfinite(_)]
    rows = max(1, WORK_BYTES // (8 * width * len(shared) * (len(shared) + channels)))
    for top in range(0, height, rows) if weights else ():
        band = slice(top, min(top + rows, height))
        moments = _moments(training, normalizer, radius, band, per_cell=True)
        for each, strength in zip(weights, filter(np.isfinite, strengths), strict=True):
            prior = strength * np.diag(scale)
            solved = np.linalg.solve(moments.squares + prior, moments.products + prior @ shared)
            each[band] = solved.reshape(band.stop - band.start, width, *shared.shape)
    local = iter(weights)
    return [next(local) if np.isfinite(s) else shared[None, None].astype(np.float32) for s in strengths]


def _moments(training: TrainingPart, normalizer: Normalizer, radius: int, band: slice, *, per_cell: bool) -> Moments:
    """Sum over the training frames for each cell of a band of rows, or over its cells too."""
    total: Moments | None = None
    for frames in _blocks(training, normalizer, radius):
        low, high = max(0, band.start - radius), min(frames.shape[2], band.stop + radius)
        features = neighbourhoods(frames[:-1, :, low:high], radius)[:, band.start - low : band.stop - low]
        truth = frames[LAGS:, :, band].transpose(0, 2, 3, 1)  # n h w c
        seen = np.isfinite(features).all(axis=-1) & np.isfinite(truth).all(axis=-1)
        features, truth = (np.where(seen[..., None], part, 0.0) for part in (features, truth))
        block = _products(features, truth, per_cell=per_cell)
        total = block if total is None else total.plus(block)
    if total is None:
        raise DataError(f"no stretch of the training part is longer than {LAGS} frames: add data")
    return total


def _products(
    features: Float32[np.ndarray, "t h w f"], truth: Float32[np.ndarray, "t h w c"], *, per_cell: bool
) -> Moments:
    if per_cell:
        phi, y = (part.reshape(len(part), -1, part.shape[-1]).transpose(1, 0, 2) for part in (features, truth))
    else:
        phi, y = (part.reshape(1, -1, part.shape[-1]) for part in (features, truth))
    turned = phi.transpose(0, 2, 1)
    return Moments((turned @ phi).astype(np.float64), (turned @ y).astype(np.float64))


def _blocks(training: TrainingPart, normalizer: Normalizer, radius: int) -> Iterator[Values]:
    """Give stretches of standardised frames, each `LAGS` frames longer than what is regressed on.

    All frames in turn, or of a long record evenly spread stretches.
    """
    record = training.record
    side = 2 * radius + 1
    size = frames_per_block(4 * int(np.prod(record.shape[1:])) * (LAGS * side**2 + 2), WORK_BYTES)
    blocks = [
        (first - LAGS, min(first + size, stop))
        for start, stop in training.segments
        for first in range(start + LAGS, stop, size)
    ]
    for first, last in blocks[:: max(1, -(-len(blocks) * size // MOST_TARGETS))]:
        yield np.asarray(normalizer.normalize(record.frames(first, last), record.times[first:last]), np.float32)


def _limits(training: TrainingPart, normalizer: Normalizer) -> Float32[np.ndarray, "2 c"]:
    """Return the lowest and the highest standardised value of each variable."""
    lowest, highest = [], []
    for frames in _blocks(training, normalizer, radius=0):
        lowest.append(np.fmin.reduce(frames, axis=(0, 2, 3)))
        highest.append(np.fmax.reduce(frames, axis=(0, 2, 3)))
    return np.stack([np.fmin.reduce(lowest), np.fmax.reduce(highest)]).astype(np.float32)


def _error(model: LocalLinear, checked: TrainingPart) -> float:
    """Mean squared error of standardised values over all leads."""
    errors, clip = [], checked.clip
    for start in checked.starts(CHECKS):
        past = Field(checked.record.isel(start, start + clip.frames_in).dataset.compute())
        times = checked.record.times[start + clip.frames_in : start + clip.frames]
        truth = checked.record.frames(start + clip.frames_in, start + clip.frames)
        forecast, truth = (
            model.normalizer.normalize(frames, times) for frames in (model.forecast(past, clip.frames_out), truth)
        )
        errors.append(np.nanmean((forecast - truth) ** 2))
    return float(np.mean(errors))
