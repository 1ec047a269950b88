"""What will be observed where something is forecast: a distribution for every cell and lead.

At each lead cells are parted by the value of their forecast into *regimes*, equally full. Each regime keeps what was
observed in it when such forecasts came true:

| symbol | what                                                                                                |
|--------|-----------------------------------------------------------------------------------------------------|
| f, y   | forecast and observation of a cell, both standardised (`physicnet/normalization.py`)                  |
| p0, p1 | share of y at the lowest value that the variable can take, such as no rain; and at the highest        |
| R(u)   | quantile function of y - f over all other y: a table at the levels `TABLE`                            |
| q(v)   | quantile of level v: lowest for v <= p0, highest for v > 1 - p1, else f + R((v - p0) / (1 - p0 - p1)) |

R is widened about its median, lead by lead, until each half of the forecasts that were learned from would hold for the
other half: errors of one day are alike, and those of another day are not known.

So errors are carried over to other weather as differences, but "it stays dry" is a probability of its own: differences
alone, cut off at zero, say too seldom that it does. Distributions of rain in two parts: Sloughter et al. 2007;
quantiles of errors by the value of the forecast: Bremnes 2004. What was compared: docs/decisions/0024-uncertainty.md.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from physicnet.calendar import Times
from physicnet.config import ClipConfig
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer, Standardization

REGIMES = 10  # of a lead: on the training part 6 to 15 do alike, more do worse on weather that was not learned from
FEWEST = 500  # pairs of forecast and observation to a regime; with fewer than ten times that, there are fewer regimes
TABLE = np.linspace(0.0, 1.0, 201)  # levels at which errors are kept
ORIGINS = 96  # forecasts that are learned from, at most, evenly spread
CELLS = 16_384  # of a frame that are learned from, at most, evenly spread: neighbours err alike
LEVELS = np.arange(1, 20) / 20  # of quantiles: what is observed falls between two of them equally often
HELD = 0.8  # of the observations that one half of the forecasts must hold, by what the other half has taught
WIDENINGS = np.arange(20, 61) / 20  # factors that are tried until it does, 1.00 to 3.00
NEAR = 1e-3  # standard deviations within which a value, rounded as it is, lies at a bound
ARRAYS = ("edges", "lowest", "highest", "errors")

Read = Callable[[int, int], Field]  # the frames `start` to `stop` (half open) of a record, physical units
Forecast = Callable[[Field, int], np.ndarray]  # as of `Forecaster.forecast`


@dataclass(frozen=True, eq=False)
class Calibration:
    """The regimes of one variable; n is the number of regimes, s that of the levels in `TABLE`.

    Where a lead has fewer regimes than another, the edges that are too many are infinite, and no cell lies beyond them.
    """

    channel: Standardization
    edges: Float32[np.ndarray, "k m"]  # between the n = m + 1 regimes: standardised forecasts, ascending
    lowest: Float32[np.ndarray, "k n"]  # p0
    highest: Float32[np.ndarray, "k n"]  # p1
    errors: Float32[np.ndarray, "k n s"]  # R, standard deviations

    @property
    def num_leads(self) -> int:
        """Leads that it knows, from the first on."""
        return len(self.edges)

    def quantiles(
        self, lead: int, frame: Float[np.ndarray, "h w"], time: Times, levels: Float64[np.ndarray, "q"]
    ) -> Float32[np.ndarray, "q h w"]:
        """Return the quantiles of what will be observed at a lead (from 1 on), physical units.

        `frame` is the forecast, physical units; `time` holds its valid time alone; `levels` ascend. NaN where the
        forecast is.
        """
        standardised = self.channel.normalize(frame[None], time)[0]
        values = standardised + self._offsets(lead, levels)[:, self._regimes(lead, standardised)]
        return np.concatenate([self.channel.denormalize(each[None], time) for each in values]).astype(np.float32)

    def exceedance(
        self, lead: int, frame: Float[np.ndarray, "h w"], time: Times, threshold: float
    ) -> Float32[np.ndarray, "h w"]:
        """Return the probability that what is observed is not below the threshold, physical units; see `quantiles`."""
        low, high = self.channel.bounds
        if threshold <= low or threshold > high:
            return np.where(np.isnan(frame), np.nan, float(threshold <= low)).astype(np.float32)
        pair = np.stack([frame, np.full_like(frame, threshold)])
        standardised, limit = (self.channel.normalize(each[None], time)[0] for each in pair)
        regimes, index = self._regimes(lead, standardised), lead - 1
        probability = np.empty(frame.shape, np.float32)
        for regime in np.unique(regimes):
            cells = regimes == regime
            falls_short = np.interp((limit - standardised)[cells], self.errors[index, regime], TABLE, left=0.0)
            lowest, highest = self.lowest[index, regime], self.highest[index, regime]
            probability[cells] = highest + (1 - lowest - highest) * (1 - falls_short)
        return probability

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is fitted, by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    def _regimes(self, lead: int, standardised: Float[np.ndarray, "h w"]) -> Int[np.ndarray, "h w"]:
        """Number the regime of each cell."""
        regimes = np.searchsorted(self.edges[lead - 1], standardised, side="right")
        return np.where(np.isnan(standardised), 0, regimes)

    def _offsets(self, lead: int, levels: Float64[np.ndarray, "q"]) -> Float32[np.ndarray, "q n"]:
        """Return q - f of each level and regime; infinite where q is a bound."""
        offsets = []
        parts = (self.lowest[lead - 1], self.highest[lead - 1], self.errors[lead - 1])
        for lowest, highest, errors in zip(*parts, strict=True):
            inner = np.clip((levels - lowest) / max(1 - lowest - highest, np.finfo(np.float32).eps), 0.0, 1.0)
            own = np.where(levels <= lowest, -np.inf, np.interp(inner, TABLE, errors))
            offsets.append(np.where(levels > 1 - highest, np.inf, own))
        return np.stack(offsets, axis=1).astype(np.float32)


def origins_of(ranges: Iterable[Sequence[int]], frames_in: int) -> list[tuple[int, int]]:
    """Return the first frame of each forecast that is learned from, and the frame where what is known after it ends.

    A forecast starts wherever a half-open range has `frames_in` frames and one after them, so that short leads have
    more of them than long ones; there are at most `ORIGINS`.
    """
    found = [(start, stop) for first, stop in ranges for start in range(first, stop - frames_in)]
    return found[:: max(1, -(-len(found) // ORIGINS))]


def fit(
    forecast: Forecast, read: Read, origins: Sequence[tuple[int, int]], clip: ClipConfig, normalizer: Normalizer
) -> dict[str, Calibration]:
    """Learn the distributions of every variable from forecasts that came true, at the leads of a clip.

    Args:
        forecast: what is calibrated.
        read: the record; frames from an origin's end on are never read.
        origins: as of `origins_of`; those without any observation in the last frame are passed over.
        clip: frames before and after.
        normalizer: in whose standardised values forecasts and errors are compared.

    Raises:
        DataError: if a variable was never observed at a lead.
    """
    gathered: dict[tuple[int, int], list[np.ndarray]] = {}
    for start, stop in origins:
        past = read(start, start + clip.frames_in)
        if np.isfinite(past.frames(clip.frames_in - 1, clip.frames_in)).any():
            truth = read(start + clip.frames_in, min(stop, start + clip.frames))
            frames = forecast(past, clip.frames_out)[: truth.shape[0]]
            for place, pairs in _pairs(frames, truth, normalizer):
                gathered.setdefault(place, []).append(pairs)
    return {
        channel.variable: _calibration(channel, [gathered.get((index, lead), []) for lead in range(clip.frames_out)])
        for index, channel in enumerate(normalizer.channels)
    }


def _pairs(
    frames: Float[np.ndarray, "k c h w"], truth: Field, normalizer: Normalizer
) -> Iterator[tuple[tuple[int, int], Float32[np.ndarray, "4 n"]]]:
    """Give by channel and lead forecasts, observations and their distances to both bounds, where there are any."""
    observed = truth.frames(0, truth.shape[0])
    for index, channel in enumerate(normalizer.channels):
        for lead in range(len(frames)):
            time, shape = truth.times[lead : lead + 1], frames.shape[2:]
            known = np.flatnonzero(np.isfinite(observed[lead, index]))
            known = known[:: max(1, -(-known.size // CELLS))]
            low, high = (_standardised_bound(channel, bound, time, shape) for bound in channel.bounds)
            forecast, value = (
                channel.normalize(each[None], time)[0] for each in (frames[lead, index], observed[lead, index])
            )
            parts = (forecast, value, value - low, high - value)
            yield (index, lead), np.stack([part.ravel()[known] for part in parts]).astype(np.float32)


def _standardised_bound(
    channel: Standardization, bound: float, time: Times, shape: tuple[int, ...]
) -> float | Float[np.ndarray, "h w"]:
    """Return a bound of the variable as it is in every cell; infinite if there is none."""
    return channel.normalize(np.full((1, *shape), bound, np.float32), time)[0] if np.isfinite(bound) else bound


def _calibration(channel: Standardization, by_lead: Sequence[Sequence[Float32[np.ndarray, "4 _"]]]) -> Calibration:
    leads = []
    for lead, pairs in enumerate(by_lead, 1):
        if not sum(part.shape[1] for part in pairs):
            raise DataError(
                f"nothing was observed of {channel.variable} in the validation part {lead} steps after any frame, so "
                "nothing tells how far such forecasts err: raise normalize.validation_fraction, or add data"
            )
        leads.append(_regimes_of(np.concatenate(pairs, axis=1)).widened(_widening(pairs)))
    return Calibration(channel, *(np.stack(parts) for parts in zip(*leads, strict=True)))


class Regimes(NamedTuple):
    """The regimes of one lead, as those of `Calibration`."""

    edges: Float32[np.ndarray, "m"]
    lowest: Float32[np.ndarray, "n"]
    highest: Float32[np.ndarray, "n"]
    errors: Float32[np.ndarray, "n s"]

    def widened(self, factor: float) -> "Regimes":
        """Return them with errors that lie `factor` times as far from their median."""
        median = self.errors[:, TABLE.size // 2, None]
        return self._replace(errors=(median + factor * (self.errors - median)).astype(np.float32))

    def held(self, pairs: Float32[np.ndarray, "4 p"]) -> float:
        """Return the share of observations in the central `HELD` of the distributions, ties by equal shares."""
        forecast, value, above, below = pairs
        regimes = np.searchsorted(self.edges, forecast, side="right")
        start, stop = np.empty((2, forecast.size))  # of the probability that each observation takes
        for regime in np.unique(regimes):
            mine = regimes == regime
            error, down, up = (value - forecast)[mine], above[mine], below[mine]
            lowest, highest = float(self.lowest[regime]), float(self.highest[regime])
            falls_short = (
                lowest + (1 - lowest - highest) * np.interp(each, self.errors[regime], TABLE, left=0.0)
                for each in (error, error - down, error + up)
            )
            here, at_lowest, at_highest = falls_short
            start[mine] = np.where(down <= NEAR, 0.0, np.where(up <= NEAR, at_highest, here))
            stop[mine] = np.where(down <= NEAR, at_lowest, np.where(up <= NEAR, 1.0, here))
        low, high = (1 - HELD) / 2, (1 + HELD) / 2
        inside = np.clip(np.minimum(stop, high) - np.maximum(start, low), 0.0, None)
        point = stop - start < np.finfo(np.float32).eps
        whole = (low <= start) & (start <= high)
        return float(np.where(point, whole, inside / np.where(point, 1.0, stop - start)).mean())


def _widening(pairs: Sequence[Float32[np.ndarray, "4 _"]]) -> float:
    """Return by how much errors are too alike, by two halves of the forecasts, each of which is to hold for the other.

    Forecasts near in time err alike. What was learned from a few days, and tried on these days, claims too much.
    """
    halves = [list(half) for half in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :])]
    one, other = (np.concatenate(half, axis=1) if half else np.empty((4, 0), np.float32) for half in halves)
    if not (one.size and other.size):
        return 1.0
    fitted = [(_regimes_of(one), other), (_regimes_of(other), one)]
    for factor in WIDENINGS:
        if np.mean([regimes.widened(factor).held(rest) for regimes, rest in fitted]) >= HELD:
            break
    return float(factor)


def _regimes_of(pairs: Float32[np.ndarray, "4 p"]) -> Regimes:
    """Return edges, p0, p1 and R of one lead; see `_pairs`.

    Forecasts of one value are of one regime, however many they are.
    """
    forecast, value, above, below = pairs
    num = min(REGIMES, max(1, forecast.size // FEWEST))
    edges = np.unique(np.quantile(forecast, np.arange(1, num) / num, method="inverted_cdf"))
    edges = edges[edges > forecast.min()]
    regimes = np.searchsorted(edges, forecast, side="right")
    lowest, highest = np.zeros((2, REGIMES), np.float32)
    errors = np.zeros((REGIMES, TABLE.size), np.float32)
    for regime in range(len(edges) + 1):
        mine = regimes == regime
        at_lowest, at_highest = above[mine] <= NEAR, below[mine] <= NEAR
        lowest[regime], highest[regime] = at_lowest.mean(), at_highest.mean()
        between = (value - forecast)[mine][~(at_lowest | at_highest)]
        if between.size:
            errors[regime] = np.quantile(between, TABLE)
    padded = np.full(REGIMES - 1, np.inf, np.float32)
    padded[: len(edges)] = edges
    return Regimes(padded, lowest, highest, errors)


def from_arrays(normalizer: Normalizer, arrays: Mapping[str, np.ndarray]) -> dict[str, Calibration]:
    """Build the calibrations whose `arrays` are here by `<variable>/<name>`.

    Raises:
        KeyError: if one of them is absent.
    """
    return {
        channel.variable: Calibration(channel, *(arrays[f"{channel.variable}/{name}"] for name in ARRAYS))
        for channel in normalizer.channels
    }
