"""Empirical orthogonal functions with a vector autoregression: the linear model of the climate literature.

| symbol | what |
|---|---|
| x | a frame, standardised, less the mean of each cell over the training part |
| E | leading patterns (r of them), orthonormal over all cells and variables (Lorenz 1956) |
| a | coefficients of a frame |
| A_j | matrices of the autoregression, a(t) ≈ Σ_j A_j a(t - j) |
| ρ_k | share of what the patterns leave of a frame that is still there after k steps |

Patterns come from the method of snapshots (Sirovich 1987), so that memory does not grow with the record. Where cells
are missing, the coefficients are those that fit the observed cells best (Everson and Sirovich 1995).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy import linalg

from physicnet.evaluation.extrapolation import last_frame
from physicnet.evaluation.seasonal import continued
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer

SNAPSHOTS = 400  # frames that the patterns are made of, at most
SNAPSHOT_BYTES = 256 * 2**20  # which they may take
NUM_PATTERNS = (3, 5, 10, 20, 50)  # choices; beyond 50 nothing was gained in the prototype
ORDERS = (1, 2, 3)
RIDGES = (1e-4, 1e-2, 1e-1, 1.0)  # of the autoregression, in mean variances of a coefficient
FAINT = 1e-6  # of the largest eigenvalue; a pattern below it is rounding
GAPPY = 1e-3  # ridge of the fit to a frame with missing cells, in shares of the patterns' norm

Coefficients = Float64[np.ndarray, "t r"]
Matrices = Float64[np.ndarray, "p r r"]


@dataclass(frozen=True, eq=False)
class Patterns:
    """Mean and leading patterns of standardised frames."""

    mean: Float32[np.ndarray, " n"]
    patterns: Float32[np.ndarray, "r n"]

    @classmethod
    def fit(cls, training: TrainingPart, normalizer: Normalizer, most: int) -> "Patterns":
        """Return at most `most` patterns of evenly spread training frames; missing cells are at their mean."""
        record, every = training.record, training.targets(0)
        fitting = max(2, SNAPSHOT_BYTES // (4 * int(np.prod(record.shape[1:]))))
        chosen = every[:: -(-len(every) // min(SNAPSHOTS, fitting))]
        frames = np.concatenate([standardised(record, frame, frame + 1, normalizer) for frame in chosen])
        observed = np.isfinite(frames)
        mean = np.where(observed, frames, 0.0).sum(axis=0) / np.maximum(observed.sum(axis=0), 1)
        frames = np.where(observed, frames - mean, 0.0).astype(np.float32)
        values, vectors = np.linalg.eigh(frames.astype(np.float64) @ frames.T.astype(np.float64))
        leading = np.argsort(values)[::-1][:most]
        leading = leading[values[leading] > FAINT * values.max()]
        patterns = (vectors[:, leading] / np.sqrt(values[leading])).T @ frames
        return cls(mean.astype(np.float32), patterns.astype(np.float32))

    def coefficients(self, frames: Float32[np.ndarray, "t n"]) -> Coefficients:
        """Fit the patterns to the observed cells of each frame."""
        found, factor, known = [], None, None
        for frame in frames - self.mean:
            observed = np.isfinite(frame)
            if known is None or (observed != known).any():
                known, factor = observed, self._factor(observed)
            products = self.patterns[:, observed].astype(np.float64) @ frame[observed].astype(np.float64)
            found.append(linalg.cho_solve(factor, products))
        return np.stack(found)

    def frames(self, coefficients: Coefficients) -> Float32[np.ndarray, "t n"]:
        """Return the frames that have these coefficients."""
        return coefficients.astype(np.float32) @ self.patterns + self.mean

    def _factor(self, observed: Bool[np.ndarray, " n"]) -> tuple[np.ndarray, bool]:
        seen = self.patterns[:, observed].astype(np.float64)
        missing = 1 - float(observed.mean())
        factor: tuple[np.ndarray, bool] = linalg.cho_factor(
            seen @ seen.T + (GAPPY * missing + 1e-9) * np.eye(len(seen))
        )
        return factor


def standardised(record: Field, start: int, stop: int, normalizer: Normalizer) -> Float32[np.ndarray, "t n"]:
    """Read frames as standardised values, all variables and cells in one row; NaN where missing."""
    values = normalizer.normalize(record.frames(start, stop), record.times[start:stop])
    return np.asarray(values, np.float32).reshape(stop - start, -1)


@dataclass(frozen=True, eq=False)
class EofVar:
    """Leading patterns moved on by a vector autoregression; what they leave out of the last frame stays, damped by ρ.

    Numbers of patterns, order and ridge are those whose forecasts have the least squared error over all leads on the
    last fifth of the training part, fitted to the rest; then all of it is fitted.
    """

    name = "eof_var"

    normalizer: Normalizer
    mean: Float32[np.ndarray, "c h w"]  # physical, for what was not observed
    basis: Patterns
    matrices: Matrices
    damping: Float64[np.ndarray, "n 1"]  # ρ of the leads of training

    @classmethod
    def fit(cls, training: TrainingPart, normalizer: Normalizer, mean: Float32[np.ndarray, "c h w"]) -> "EofVar":
        """Choose and fit on the training part alone.

        Raises:
            DataError: if the training part is too short to choose on.
        """
        number, order, ridge = _chosen(training, normalizer)
        basis = Patterns.fit(training, normalizer, number)
        matrices = autoregression(_all_coefficients(training, normalizer, basis), order, ridge)
        return cls(normalizer, mean, basis, matrices, _damping(training, normalizer, basis))

    def forecast(self, past: Field, num_leads: int) -> Float32[np.ndarray, "k c h w"]:
        """Move the coefficients of the past frames on.

        Raises:
            DataError: if `past` has fewer frames than the autoregression looks back.
        """
        order, have = len(self.matrices), past.shape[0]
        if have < order:
            raise DataError(f"eof_var looks back {order} frames, {have} are there; give it more observations")
        recent = [last_frame(past.isel(0, stop), self.mean) for stop in range(have - order + 1, have + 1)]
        seen = self.normalizer.normalize(np.stack(recent), past.times[-order:])
        frames = np.asarray(seen, np.float32).reshape(order, -1)
        state = self.basis.coefficients(frames)
        rest = frames[-1] - self.basis.frames(state[-1:])[0]
        values = self.basis.frames(rollout(self.matrices, state, num_leads))
        values = values + continued(self.damping, num_leads).astype(np.float32) * rest
        values = values.reshape(num_leads, *past.shape[1:])
        return np.asarray(self.normalizer.denormalize(values, past.times_after(num_leads)), np.float32)


def autoregression(series: Iterable[Coefficients], order: int, ridge: float) -> Matrices:
    """Fit A_1 … A_p to series without gaps by ridge regression, and keep them from growing.

    If the fit would grow without bound (its companion matrix has an eigenvalue beyond the unit circle), A_j is divided
    by the j-th power of the largest modulus, which brings that to 1.

    Raises:
        DataError: if no series is longer than the order.
    """
    pairs = [(_lagged(each, order), each[order:]) for each in series if len(each) > order]
    if not pairs:
        raise DataError(f"no stretch of the training part is longer than {order} frames: add data")
    before, after = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    gram = before.T @ before
    gram += ridge * (np.trace(gram) / len(gram)) * np.eye(len(gram))
    matrices = np.linalg.solve(gram, before.T @ after).reshape(order, after.shape[1], after.shape[1]).transpose(0, 2, 1)
    growth = float(np.abs(np.linalg.eigvals(_companion(matrices))).max())
    return matrices / max(growth, 1.0) ** np.arange(1, order + 1)[:, None, None]


def rollout(matrices: Matrices, state: Float64[np.ndarray, "p r"], num_leads: int) -> Float64[np.ndarray, "k r"]:
    """Move the last coefficients on, step by step."""
    states = list(state)
    for _ in range(num_leads):
        states.append(sum(matrix @ states[-1 - lag] for lag, matrix in enumerate(matrices)))
    return np.stack(states[len(state) :])


def _lagged(series: Coefficients, order: int) -> Float64[np.ndarray, "n q"]:
    """The frames before each frame, the nearest first."""
    return np.concatenate([series[order - lag : len(series) - lag] for lag in range(1, order + 1)], axis=1)


def _companion(matrices: Matrices) -> Float64[np.ndarray, "q q"]:
    order, size = matrices.shape[:2]
    companion = np.eye(order * size, k=-size)
    companion[:size] = np.concatenate(matrices, axis=1)
    return companion


def _all_coefficients(training: TrainingPart, normalizer: Normalizer, basis: Patterns) -> list[Coefficients]:
    """Return the coefficients of all frames, a series for each range."""
    return [
        np.concatenate(
            [
                basis.coefficients(standardised(training.record, frame, frame + 1, normalizer))
                for frame in range(start, stop)
            ]
        )
        for start, stop in training.segments
    ]


def _damping(training: TrainingPart, normalizer: Normalizer, basis: Patterns) -> Float64[np.ndarray, "k 1"]:
    """Fit ρ by least squares over all pairs of training frames and their observed cells; none is below 0."""
    leads = training.clip.frames_out
    products, squares = np.zeros((2, leads))
    for start, stop in training.segments:
        earlier: deque[Float32[np.ndarray, " n"]] = deque(maxlen=leads)  # the nearest first
        for index in range(start, stop):
            frame = standardised(training.record, index, index + 1, normalizer)
            rest = np.where(np.isfinite(frame), frame - basis.frames(basis.coefficients(frame)), 0.0)[0]
            for lead, before in enumerate(earlier):
                products[lead] += float(before @ rest)
                squares[lead] += float(before @ before)
            earlier.appendleft(rest)
    share = np.divide(products, squares, out=np.zeros(leads), where=squares > 0)
    return np.clip(share, 0.0, 1.0)[:, None]


def _chosen(training: TrainingPart, normalizer: Normalizer) -> tuple[int, int, float]:
    """Return the number of patterns, the order and the ridge that forecast the end of the training part best."""
    fitted, checked = training.halves()
    basis = Patterns.fit(fitted, normalizer, max(NUM_PATTERNS))
    before, after = (_all_coefficients(part, normalizer, basis) for part in (fitted, checked))
    longest = max(len(series) for series in before)
    orders = [order for order in ORDERS if order <= training.clip.frames_in and order < longest]
    numbers = sorted({min(number, len(basis.patterns)) for number in NUM_PATTERNS})
    choices = list(product(numbers, orders, RIDGES))
    errors = []
    for number, order, ridge in choices:
        known, unseen = ([series[:, :number] for series in part] for part in (before, after))
        errors.append(_error(autoregression(known, order, ridge), unseen, checked.clip.frames_out))
    return choices[int(np.argmin(errors))]


def _error(matrices: Matrices, series: Sequence[Coefficients], num_leads: int) -> float:
    """Squared error of all forecasts over all cells, but for the truth's own square, the same for all choices.

    |x - E a|² = |x|² - 2 a·c + |a|² with the truth's coefficients c, for patterns are orthonormal.
    """
    order, total = len(matrices), 0.0
    for each in series:
        for now in range(order, len(each) - num_leads + 1):
            forecast = rollout(matrices, each[now - order : now], num_leads)
            truth = each[now : now + num_leads]
            total += float((forecast**2 - 2 * forecast * truth).sum())
    return total
