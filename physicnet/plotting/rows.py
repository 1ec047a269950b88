"""What is drawn of a quantity: a row of frames for each of observation, forecast, error and probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from physicnet import metrics
from physicnet.drawing import Frame
from physicnet.evaluation import labels
from physicnet.plotting import scales
from physicnet.plotting.forecast import Exceedance, Flow, Forecast
from physicnet.plotting.maps import typical_speed
from physicnet.plotting.observed import Observed
from physicnet.plotting.scales import Scale
from physicnet.plotting.units import Shown

MOST = 3  # thresholds whose probabilities are drawn


@dataclass(frozen=True, eq=False)
class Row:
    """Frames of one kind, lead by lead, and the one that they start from, if it is known."""

    title: str
    frames: Float[np.ndarray, "k h w"]
    scale: Scale
    bar: str  # what the scale is of
    start: Frame | None = None
    start_flow: Flow | None = None
    notes: Sequence[str] = ()  # for each lead, in a corner of its frame
    events: Bool[np.ndarray, "k h w"] | None = None  # drawn around
    flows: Sequence[Flow] = ()  # for each lead
    in_film: bool = True  # whether an animation has room for it

    @cached_property
    def typical(self) -> float:
        """The speed of a long arrow, the same for all leads."""
        return typical_speed(self.flows)


@dataclass(frozen=True, eq=False)
class Quantity:
    """A variable, or the speed of a vector, as it was forecast and observed, in the units shown.

    Whatever lies where nothing was ever observed is missing, if observations are known at all.
    """

    name: str
    shown: Shown
    forecast: Float[np.ndarray, "k h w"]
    sharp: Float[np.ndarray, "k h w"] | None = None
    last: Frame | None = None
    truth: Float[np.ndarray, "k h w"] | None = None
    exceedance: Sequence[Exceedance] = ()
    vectors: Sequence[Flow] = ()  # as forecast, for each lead
    true_vectors: Sequence[Flow] = ()  # as observed, for each lead
    last_vectors: Flow | None = None  # of the last observed frame


def quantities(forecast: Forecast, seen: Observed | None) -> list[Quantity]:
    """Return every variable of a forecast, and for the components of a vector its speed."""
    return [
        *(_variable(forecast, seen, name) for name in forecast.field.variables),
        *(_speed(forecast, seen, right, up) for right, up in forecast.pairs()),
    ]


def _variable(forecast: Forecast, seen: Observed | None, name: str) -> Quantity:
    shown, exceedance = forecast.shown(name), forecast.exceedance(name)
    if seen is None:
        return Quantity(name, shown, forecast.values(name), forecast.sharp(name), exceedance=exceedance)
    ever = np.isfinite(np.concatenate([seen.last[name][None], seen.truth[name]])).any(axis=0)
    sharp = forecast.sharp(name)
    return Quantity(
        name,
        shown,
        np.where(ever, forecast.values(name), np.nan),
        None if sharp is None else np.where(ever, sharp, np.nan),
        seen.last[name],
        seen.truth[name],
        [Exceedance(each.threshold, np.where(ever, each.percent, np.nan)) for each in exceedance],
    )


def _speed(forecast: Forecast, seen: Observed | None, right: str, up: str) -> Quantity:
    parts = [_variable(forecast, seen, name) for name in (right, up)]
    vectors = np.stack([part.forecast for part in parts], axis=1)
    shown = parts[0].shown.of_speed(forecast.field.dataset[right])
    upright = np.array([forecast.runs, 1.0])[:, None, None]
    flows = [Flow(upright * vector, shown.units) for vector in vectors]
    name = f"{right}_{up}_speed"
    if seen is None:
        return Quantity(name, shown, np.hypot(*np.moveaxis(vectors, 1, 0)), vectors=flows)
    truth = np.stack([np.concatenate([seen.last[each][None], seen.truth[each]]) for each in (right, up)], axis=1)
    speed = np.hypot(*np.moveaxis(truth, 1, 0))
    return Quantity(
        name,
        shown,
        np.hypot(*np.moveaxis(vectors, 1, 0)),
        last=speed[0],
        truth=speed[1:],
        vectors=flows,
        true_vectors=[Flow(upright * vector, shown.units) for vector in truth[1:]],
        last_vectors=Flow(upright * truth[0], shown.units),
    )


def rows_of(quantity: Quantity) -> list[Row]:
    """Return the rows of a quantity: what was observed and the error, where that is known, and each probability."""
    truth, last, units = quantity.truth, quantity.last, quantity.shown.written
    frames = [each for each in (quantity.forecast, truth, last) if each is not None]
    scale = scales.amount(frames, units) if quantity.vectors else scales.scale_of(quantity.shown, frames)
    bar = "speed" if quantity.vectors else quantity.name
    start = last, quantity.last_vectors
    rows = [Row("Forecast", quantity.forecast, scale, bar, *start, flows=quantity.vectors)]
    if truth is not None:
        rows.insert(0, Row(labels.title("truth"), truth, scale, bar, *start, flows=quantity.true_vectors))
    if quantity.sharp is not None:
        rows.append(Row("Forecast, sharp", quantity.sharp, scale, bar, in_film=False))
    if truth is not None:
        rows.append(_error(quantity, truth))
    return rows + [_chance(each, truth, units, first=not n) for n, each in enumerate(_spread(quantity.exceedance))]


def _error(quantity: Quantity, truth: Float[np.ndarray, "k h w"]) -> Row:
    differences = quantity.forecast - truth
    sums = metrics.error_sums(quantity.forecast, truth)
    errors = metrics.rmse(sums["squared_error"], sums["cells"])
    units = quantity.shown.written
    notes = ["" if np.isnan(error) else f"RMSE {error:#.2g}".rstrip(".") + f" {units}".rstrip() for error in errors]
    return Row("Error", differences, scales.errors(differences, units), "forecast − observed", notes=notes)


def _chance(exceedance: Exceedance, truth: Float[np.ndarray, "k h w"] | None, units: str, *, first: bool) -> Row:
    above = f"≥ {exceedance.threshold:g} {units}".strip()
    events = None if truth is None else truth >= exceedance.threshold
    title = f"Probability\n{above}"
    return Row(title, exceedance.percent, scales.probability(), f"P({above})", events=events, in_film=first)


def _spread(chances: Sequence[Exceedance]) -> list[Exceedance]:
    return [chances[number - 1] for number in labels.spread(len(chances), MOST)] if chances else []
