"""Whether observations are still like those that the model was trained on.

Both are profiled alike, by frames spread evenly over them: how the values are distributed, how much is missing, and
which codes the model reads from whole frames. The codes are the model's own view of what it sees: weather that it did
not meet in training asks for them in other proportions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int

from physicnet.clock import format_minute
from physicnet.config import DriftConfig
from physicnet.evaluation.training_part import TrainingPart
from physicnet.evaluation.vocabulary import cell_means
from physicnet.fields import DataError, Field

FRAMES = 24  # of which a profile is made, at most
TAILS = (0.0005, 0.9995)  # quantiles of the training values that bound their range: the extremes are single cells'

Bounds = Mapping[str, tuple[float, float]]


@runtime_checkable
class Reader(Protocol):
    """A model that tells which codes it reads."""

    def read_codes(self, past: Field) -> Int[np.ndarray, "i j"]:
        """Return the codes, one per coarse cell of the last frame."""
        ...


@dataclass(frozen=True)
class Profile:
    """What observations are like.

    By variable: the `bounds` of its values, the share of values `beyond` these, the share of cells `missing`. `refused`
    is the share of frames that the model does not take, `codes` are counts of coarse cells, by code. `first` and `last`
    are the times of the frames that were looked at.
    """

    frames: int
    first: str
    last: str
    bounds: dict[str, tuple[float, float]]
    beyond: dict[str, float]
    missing: dict[str, float]
    refused: float
    codes: dict[int, int]

    @property
    def perplexity(self) -> float:
        """How many codes would be as diverse if all were equally common."""
        shares = np.array([count for count in self.codes.values() if count]) / sum(self.codes.values())
        return float(np.exp(-(shares * np.log(shares)).sum()))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Profile":
        """Build what `to_dict` described, also after its way through JSON."""
        codes = {int(code): count for code, count in told["codes"].items()}
        bounds = {name: (low, high) for name, (low, high) in told["bounds"].items()}
        return cls(**{**told, "codes": codes, "bounds": bounds})


class Finding(NamedTuple):
    """One thing that was compared: how it was in training, how it is now, and what may at most be said of it.

    `amount` is what must not exceed `limit`.
    """

    what: str
    training: float
    now: float
    amount: float
    limit: float

    @property
    def is_flagged(self) -> bool:
        """Whether it is beyond its limit."""
        return self.amount > self.limit


def spread(times: Sequence[Any] | np.ndarray) -> list[Any]:
    """Return at most `FRAMES` of them, evenly spread."""
    chosen = np.unique(np.linspace(0, len(times) - 1, min(FRAMES, len(times))).round().astype(int))
    return [times[index] for index in chosen]


def training_clips(training: TrainingPart, frames_in: int) -> Iterator[Field]:
    """Give frames of the training part, each at the end of as many as a forecast starts from."""
    lasts = [last for start, stop in training.segments for last in range(start + frames_in - 1, stop)]
    for last in spread(lasts):
        yield Field(training.record.isel(last + 1 - frames_in, last + 1).dataset.compute())


def profile(model: Reader, clips: Iterable[Field], bounds: Bounds | None = None) -> Profile:
    """Profile the last frames of clips, each as long as the model forecasts from.

    Without `bounds` these are the `TAILS` of the values themselves.

    Raises:
        DataError: if there is no clip, or one of the variables was not observed in any.
    """
    times, frames, refused = [], [], 0
    codes: dict[int, int] = {}
    for clip in clips:
        times.append(clip.times[-1])
        frames.append(clip.frames(clip.shape[0] - 1, clip.shape[0])[0])
        if not np.isfinite(frames[-1]).any():  # the model says nothing of it
            continue
        try:
            _count(codes, model.read_codes(clip), frames[-1][0])
        except DataError:  # values that its transforms do not take
            refused += 1
    if not times:
        raise DataError("there is no frame of which a profile could be made; look at a longer time")
    values = dict(zip(clip.variables, np.stack(frames, axis=1), strict=True))
    within = bounds or {name: _tails(name, each) for name, each in values.items()}
    return Profile(
        len(times),
        format_minute(times[0]),
        format_minute(times[-1]),
        dict(within),
        {name: _beyond(each, *within[name]) for name, each in values.items()},
        {name: float(np.isnan(each).mean()) for name, each in values.items()},
        refused / len(times),
        codes,
    )


def _count(counts: dict[int, int], codes: Int[np.ndarray, "i j"], frame: Float[np.ndarray, "h w"]) -> None:
    """Count the codes of coarse cells that were mostly observed."""
    seen = np.isfinite(cell_means(frame, codes.shape))
    for code, count in zip(*np.unique(codes[seen], return_counts=True), strict=True):
        counts[int(code)] = counts.get(int(code), 0) + int(count)


def _tails(name: str, values: Float[np.ndarray, "t h w"]) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        raise DataError(f"variable {name} was not observed in any of the frames that were looked at; look at others")
    low, high = np.quantile(known, TAILS)
    return float(low), float(high)


def _beyond(values: Float[np.ndarray, "t h w"], low: float, high: float) -> float:
    known = values[np.isfinite(values)]
    return float(((known < low) | (known > high)).mean()) if known.size else 0.0


def compare(training: Profile, now: Profile, config: DriftConfig) -> list[Finding]:
    """Hold the profile of observations, within the bounds of the training's, against that of training."""
    findings = []
    for name in now.beyond:
        beyond, missing = now.beyond[name], now.missing[name]
        low, high = training.bounds[name]
        what = f"share of {name} outside {low:.4g} to {high:.4g}, the range in training"
        findings.append(Finding(what, training.beyond[name], beyond, beyond, config.beyond_range))
        change = abs(missing - training.missing[name])
        findings.append(
            Finding(f"share of cells without {name}", training.missing[name], missing, change, config.missing)
        )
    what = "share of frames with values that the model does not take"
    findings.append(Finding(what, training.refused, now.refused, now.refused, 0.0))
    if now.codes:
        what = "perplexity of the codes; share of cells that would need another"
        moved = distance(training.codes, now.codes)
        findings.append(Finding(what, training.perplexity, now.perplexity, moved, config.codes))
    return findings


def distance(one: Mapping[int, int], other: Mapping[int, int]) -> float:
    """Return the total variation distance of two counts: the share that has to move to make them alike."""
    shares = [_shares(counts, sorted({*one, *other})) for counts in (one, other)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _shares(counts: Mapping[int, int], codes: Sequence[int]) -> Float64[np.ndarray, "n"]:
    found = np.array([counts.get(code, 0) for code in codes], np.float64)
    return found / found.sum()


def as_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return a row per finding."""
    return pd.DataFrame([finding._asdict() | {"flagged": finding.is_flagged} for finding in findings])
