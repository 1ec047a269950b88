"""One path for every forecaster: forecast from an origin, then reduce the frames to sums that pool over origins.

A *case* is one forecast origin: what was observed before it and after it, and what every forecaster made of it. Only
sums are kept of a case, so memory does not grow with the number of origins.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64

from physicnet import metrics
from physicnet.clock import format_time
from physicnet.config import ClipConfig, EvaluateConfig
from physicnet.fields import DataError, Field
from physicnet.model.forecaster import Forecaster
from physicnet.normalization import Normalizer

TRUTH = "truth"  # the name under which the truth's own spectrum is kept
Frames = Float[np.ndarray, "k c h w"]


@dataclass(frozen=True, eq=False)
class Case:
    """A forecast origin: the frames before it, the frames after it and the forecasts, by forecaster's name."""

    start: int  # the first frame of `past`, counted in the whole record
    past: Field
    truth: Frames
    forecasts: Mapping[str, Frames]

    @property
    def origin(self) -> int:
        """The last observed frame, counted in the whole record."""
        return self.start + self.past.shape[0] - 1


def forecast_case(forecasters: Iterable[Forecaster], record: Field, start: int, clip: ClipConfig) -> Case:
    """Let every forecaster forecast from the clip that starts at frame `start` of the record.

    Raises:
        DataError: if a forecast has another shape than the truth, or no number where the truth was observed.
    """
    past = Field(record.isel(start, start + clip.frames_in).dataset.compute())
    truth = record.frames(start + clip.frames_in, start + clip.frames)
    forecasts = {forecaster.name: forecaster.forecast(past, clip.frames_out) for forecaster in forecasters}
    for name, forecast in forecasts.items():
        _check(forecast, truth, f"the forecast of {name} from {format_time(past.times[-1])}", record.variables)
    return Case(start, past, truth, forecasts)


def _check(forecast: np.ndarray, truth: Frames, what: str, variables: Sequence[str]) -> None:
    if forecast.shape != truth.shape:
        raise DataError(f"{what} has the shape {forecast.shape}, not {truth.shape} (leads, variables, rows, columns)")
    holes = np.isfinite(truth) & ~np.isfinite(forecast)
    if holes.any():
        lead, channel, row, column = np.argwhere(holes)[0]
        raise DataError(
            f"{what} is not a number in {holes.sum()} cells where the truth was observed, first for "
            f"{variables[channel]} at lead {lead + 1}, row {row}, column {column}: it cannot be scored there, "
            "and leaving these cells out would favour it; mend the forecaster"
        )


def data_ranges(normalizer: Normalizer) -> dict[str, float]:
    """Return each variable's data range for SSIM: from three standard deviations below the mean to three above.

    Mean and deviation are those of the transformed training values; the two ends are brought back to the variable's
    units. The extremes of a skewed field would make the range so large that every forecast looks like the truth. Of an
    anomaly, or of deviations per cell, they are the outermost ends over the cells, the day and the year.
    """
    ends = {channel.variable: channel.reach(3.0) for channel in normalizer.channels}
    return {variable: high - low for variable, (low, high) in ends.items()}


@dataclass
class Scoreboard:
    """Collects the sums of case after case."""

    config: EvaluateConfig
    ranges: Mapping[str, float]  # see `data_ranges`
    cases: int = 0
    rows: list[pd.DataFrame] = field(default_factory=list)
    power: dict[tuple[str, str], Float64[np.ndarray, "k n"]] = field(default_factory=dict)
    shape: tuple[int, int] = (0, 0)

    def add(self, case: Case) -> None:
        """Reduce a case to its sums."""
        self.cases += 1
        self.shape = case.truth.shape[2:]
        for channel, variable in enumerate(case.past.variables):
            truth = case.truth[:, channel]
            weights = metrics.taper(truth)
            theirs = self._add_power(TRUTH, variable, metrics.power_spectrum(truth, weights))
            for name, forecasts in case.forecasts.items():
                forecast = forecasts[:, channel]
                ours = self._add_power(name, variable, metrics.power_spectrum(forecast, weights))
                sums = self._sums(variable, forecast, truth) | {"small_scale": ours, "small_scale_truth": theirs}
                self.rows.append(_table(name, case, variable, sums))

    def _add_power(self, name: str, variable: str, power: Float64[np.ndarray, "k n"]) -> Float64[np.ndarray, "k"]:
        self.power[name, variable] = self.power.get((name, variable), 0.0) + power
        return metrics.small_scale_variance(power, *self.shape)

    def _sums(self, variable: str, forecast: np.ndarray, truth: np.ndarray) -> metrics.Sums:
        sums = metrics.error_sums(forecast, truth)
        sums |= metrics.similarity_sums(forecast, truth, self.ranges[variable])
        for threshold in self.config.thresholds[variable]:
            events = metrics.event_sums(forecast, truth, threshold)
            events |= metrics.fraction_sums(forecast, truth, threshold, self.config.fss_scale)
            sums |= {f"{name}_{threshold:g}": values for name, values in events.items()}
        return sums

    def sums(self) -> pd.DataFrame:
        """Return a row of sums per model, origin, variable and lead."""
        return pd.concat(self.rows, ignore_index=True)

    def spectra(self) -> pd.DataFrame:
        """Return the mean variance of the tapered frames per wavelength, in units squared.

        A row per model (and the truth), variable, lead and wavelength in cells.
        """
        lengths = metrics.wavelengths(*self.shape)
        tables = []
        for (name, variable), power in self.power.items():
            leads = np.arange(1, len(power) + 1)
            rings = {"lead": leads.repeat(lengths.size), "wavelength": np.tile(lengths, leads.size)}
            variance = {"variance": power.ravel() / self.cases}
            tables.append(pd.DataFrame({"model": name, "variable": variable} | rings | variance))
        return pd.concat(tables, ignore_index=True)


def _table(name: str, case: Case, variable: str, sums: metrics.Sums) -> pd.DataFrame:
    leads = np.arange(1, len(case.truth) + 1)
    minutes = leads * (case.past.step / np.timedelta64(1, "m"))
    now = case.past.times[-1]
    time = now if isinstance(now, np.datetime64) else format_time(now)  # tables know the standard calendar only
    where = {"model": name, "origin": case.origin, "time": time}
    lead = {"variable": variable, "units": case.past.units[variable], "lead": leads, "lead_minutes": minutes}
    return pd.DataFrame(where | lead | sums)
