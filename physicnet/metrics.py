"""Scores of forecasts against the truth, in the units of the variable.

Every score comes in two halves. The first reduces each frame to *sums*, the second turns sums into the score. Sums of
several forecasts add up, scores do not: a score over many forecast origins is the score of the summed sums.

| score       | from the sums                                                    | best | source                   |
|-------------|------------------------------------------------------------------|------|--------------------------|
| RMSE        | sqrt(squared_error / cells)                                      | 0    |                          |
| MAE         | absolute_error / cells                                           | 0    |                          |
| bias        | error / cells, forecast minus truth                              | 0    |                          |
| CSI         | hits / (hits + misses + false alarms)                            | 1    | Schaefer 1990            |
| FSS         | 1 - fraction_error / fraction_reference                          | 1    | Roberts and Lean 2008    |
| SSIM        | similarity / similarity_cells                                    | 1    | Wang et al. 2004, eq. 13 |
| sharpness   | small-scale variance, forecast / truth                           | 1    | Harris et al. 2001       |
| skill       | 1 - squared_error / squared_error of the reference               | 1    | Murphy 1988              |

Frames are `k h w`: leads, rows, columns of one variable. NaN in the truth is a cell that was not observed: it is never
scored. The forecast must be finite wherever the truth is observed; elsewhere its values have no influence. A score
whose denominator is zero (no event, no cell) is NaN.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy import fft, ndimage
from skimage.metrics import structural_similarity

Sums = dict[str, Float64[np.ndarray, "k"]]

SSIM_WINDOW = 7  # cells, the side that scikit-image uses by default
SMALL_SCALE = 16  # cells: waves shorter than this are the ones that averaging and repeated interpolation wipe out


def error_sums(forecast: Float[np.ndarray, "k h w"], truth: Float[np.ndarray, "k h w"]) -> Sums:
    """Count the observed cells and sum their errors (forecast minus truth), absolute errors and squared errors."""
    observed = np.isfinite(truth)
    error = np.where(observed, forecast.astype(np.float64) - truth, 0.0)
    return {
        "cells": _sum(observed),
        "error": _sum(error),
        "absolute_error": _sum(np.abs(error)),
        "squared_error": _sum(error**2),
    }


def event_sums(forecast: Float[np.ndarray, "k h w"], truth: Float[np.ndarray, "k h w"], threshold: float) -> Sums:
    """Count hits, misses and false alarms of the event "value >= threshold"."""
    observed = np.isfinite(truth)
    expected, happened = observed & (forecast >= threshold), truth >= threshold
    return {
        "hits": _sum(expected & happened),
        "misses": _sum(~expected & happened),
        "false_alarms": _sum(expected & ~happened),
    }


def fraction_sums(
    forecast: Float[np.ndarray, "k h w"], truth: Float[np.ndarray, "k h w"], threshold: float, scale: int
) -> Sums:
    """Sum the squared differences of the event's fractions around each observed cell, and their reference.

    A fraction is the share of events among the *observed* cells of the `scale` x `scale` cells around a cell.
    """
    observed = np.isfinite(truth)
    known = _box_mean(observed, scale)
    expected = _fraction(observed & (forecast >= threshold), known, observed, scale)
    happened = _fraction(truth >= threshold, known, observed, scale)
    return {
        "fraction_error": _sum((expected - happened) ** 2),
        "fraction_reference": _sum(expected**2 + happened**2),
    }


def similarity_sums(forecast: Float[np.ndarray, "k h w"], truth: Float[np.ndarray, "k h w"], data_range: float) -> Sums:
    """Sum the local structural similarity over the cells whose whole window of 7 x 7 cells is observed.

    So neither the frame's edge nor what stands in for missing values (zero) has any influence. `data_range` is the
    span of values that the two small constants of the measure are relative to. It decides how much a difference
    counts and must come from the training part, not from the frames scored.
    """
    whole = np.stack([_whole_windows(np.isfinite(frame)) for frame in truth])
    observed = np.isfinite(truth)
    pair = [np.where(observed, values, 0.0).astype(np.float64) for values in (forecast, truth)]
    maps = np.zeros(truth.shape)
    for lead in np.flatnonzero(whole.any(axis=(1, 2))):
        _, maps[lead] = structural_similarity(  # type: ignore[no-untyped-call]
            pair[0][lead], pair[1][lead], win_size=SSIM_WINDOW, data_range=data_range, full=True
        )
    return {"similarity": _sum(np.where(whole, maps, 0.0)), "similarity_cells": _sum(whole)}


def taper(truth: Float[np.ndarray, "k h w"]) -> Float64[np.ndarray, "k h w"]:
    """Return weights that fall smoothly from 1 to 0 over `SMALL_SCALE` cells towards what is not observed.

    The frame's edge counts as not observed. Without the taper the jump at the edge of the coverage would dominate the
    small scales of every spectrum.
    """
    padded = np.pad(np.isfinite(truth), ((0, 0), (1, 1), (1, 1)))
    distance = np.stack([ndimage.distance_transform_edt(frame) for frame in padded])[:, 1:-1, 1:-1]
    return np.asarray(np.sin(np.pi / 2 * np.minimum(distance / (SMALL_SCALE + 1), 1.0)) ** 2)


def power_spectrum(
    frames: Float[np.ndarray, "k h w"], weights: Float64[np.ndarray, "k h w"]
) -> Float64[np.ndarray, "k n"]:
    """Return the variance of the tapered frames in each ring of wavenumbers; see `wavelengths` for the rings.

    `weights` come from `taper`; the weighted mean is removed first. The rings add up to the tapered variance of all
    waves that fit (Parseval).
    """
    height, width = frames.shape[1:]
    filled = np.where(weights > 0, frames, 0.0).astype(np.float64)
    level = _ratio(_sum(weights * filled), _sum(weights))
    anomaly = weights * (filled - np.where(np.isfinite(level), level, 0.0)[:, None, None])
    power = np.abs(fft.fft2(anomaly)) ** 2 / (height * width) ** 2
    rings, count = _rings(height, width), max(height, width) // 2
    sums = [np.bincount(rings.ravel(), weights=frame.ravel(), minlength=count + 1) for frame in power]
    return np.stack(sums)[:, 1 : count + 1]


def wavelengths(height: int, width: int) -> Float64[np.ndarray, "n"]:
    """Return the wavelength in cells of each ring, from the longer side of the frame down to 2 or 3 cells."""
    size = max(height, width)
    return size / np.arange(1, size // 2 + 1)


def small_scale_variance(spectrum: Float64[np.ndarray, "k n"], height: int, width: int) -> Float64[np.ndarray, "k"]:
    """Sum a spectrum over waves shorter than `SMALL_SCALE` cells."""
    return np.asarray(spectrum[:, wavelengths(height, width) < SMALL_SCALE].sum(axis=1))


def mean(sums: Float[np.ndarray, "*n"], cells: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Return the mean over the cells: MAE from absolute errors, bias from errors, SSIM from similarities."""
    return _ratio(sums, cells)


def rmse(squared_error: Float[np.ndarray, "*n"], cells: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Return the root of the mean squared error."""
    return np.asarray(np.sqrt(_ratio(squared_error, cells)))


def csi(
    hits: Float[np.ndarray, "*n"], misses: Float[np.ndarray, "*n"], false_alarms: Float[np.ndarray, "*n"]
) -> Float64[np.ndarray, "*n"]:
    """Return the critical success index (threat score)."""
    return _ratio(hits, hits + misses + false_alarms)


def fss(
    fraction_error: Float[np.ndarray, "*n"], fraction_reference: Float[np.ndarray, "*n"]
) -> Float64[np.ndarray, "*n"]:
    """Return the fractions skill score."""
    return 1 - _ratio(fraction_error, fraction_reference)


def sharpness(forecast: Float[np.ndarray, "*n"], truth: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Return the forecast's small-scale variance as a share of the truth's: below 1 is blurred, above 1 is noisy."""
    return _ratio(forecast, truth)


def skill(squared_error: Float[np.ndarray, "*n"], reference: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Return the share of the reference's squared error that the forecast removes."""
    return 1 - _ratio(squared_error, reference)


def bootstrap_skill(
    squared_error: Float[np.ndarray, "n k"],
    reference: Float[np.ndarray, "n k"],
    *,
    block: int,
    samples: int,
    seed: int,
    level: float = 0.95,
) -> Float64[np.ndarray, "2 k"]:
    """Return the lower and upper end of the interval of the pooled skill over `n` forecast origins, per lead.

    Circular block bootstrap (Politis and Romano 1992): whole blocks of `block` neighbouring origins are drawn, since
    forecasts from neighbouring origins share frames and their errors are alike; forecast and reference are drawn
    together. The interval says how much the skill depends on which origins of the test part were looked at. It knows
    nothing of other days: with a test part of one weather situation it is a lower bound of the uncertainty. A single
    origin has no interval: NaN.
    """
    origins, leads = squared_error.shape
    if origins < 2:
        return np.full((2, leads), np.nan)
    counts = draw_blocks(origins, block, samples, seed)
    skills = skill(counts @ squared_error.astype(np.float64), counts @ reference.astype(np.float64))
    tail = (1 - level) / 2
    return np.asarray(np.quantile(skills, [tail, 1 - tail], axis=0))


def bootstrap_mean(
    sums: Float[np.ndarray, "n m"],
    cells: Float[np.ndarray, "n m"],
    *,
    block: int,
    samples: int,
    seed: int,
    level: float = 0.95,
) -> Float64[np.ndarray, "2 m"]:
    """Return the lower and upper end of the interval of pooled means over `n` forecast origins, for each of `m`.

    The block bootstrap of `bootstrap_skill`. Samples without any cell of a mean are left out of its interval. It is
    NaN where fewer than half of the samples have a cell, and of a mean whose cells are all of one origin: nothing would
    vary.
    """
    origins = len(sums)
    if origins < 2:
        return np.full((2, sums.shape[1]), np.nan)
    counts = draw_blocks(origins, block, samples, seed)
    means = np.sort(_ratio(counts @ sums.astype(np.float64), counts @ cells.astype(np.float64)), axis=0)
    defined = np.isfinite(means).sum(axis=0)  # sorted to the front
    tail = (1 - level) / 2
    places = np.rint(np.outer([tail, 1 - tail], np.maximum(defined - 1, 0))).astype(int)
    ends = np.take_along_axis(means, places, axis=0)
    several = (cells > 0).sum(axis=0) > 1
    return np.where(several & (2 * defined >= samples), ends, np.nan)


def draw_blocks(origins: int, block: int, samples: int, seed: int) -> Float64[np.ndarray, "samples n"]:
    """Return how often each sample holds each origin; every sample holds as many as there are."""
    starts = np.random.default_rng(seed).integers(0, origins, (samples, -(-origins // block)))
    drawn = (starts[:, :, None] + np.arange(block)).reshape(samples, -1)[:, :origins] % origins
    cells = drawn + origins * np.arange(samples)[:, None]
    return np.bincount(cells.ravel(), minlength=samples * origins).reshape(samples, origins).astype(np.float64)


def _sum(values: np.ndarray) -> Float64[np.ndarray, "k"]:
    return np.asarray(values.sum(axis=(1, 2), dtype=np.float64))


def _ratio(above: Float[np.ndarray, "*n"], below: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Divide; NaN where the denominator is zero."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    quotient = np.full(below.shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def _box_mean(values: np.ndarray, scale: int) -> Float64[np.ndarray, "k h w"]:
    return np.asarray(ndimage.uniform_filter(values.astype(np.float64), size=(1, scale, scale), mode="constant"))


def _fraction(
    events: Bool[np.ndarray, "k h w"],
    known: Float64[np.ndarray, "k h w"],
    observed: Bool[np.ndarray, "k h w"],
    scale: int,
) -> Float64[np.ndarray, "k h w"]:
    share = np.zeros(known.shape)
    np.divide(_box_mean(events, scale), known, out=share, where=observed)
    return share


def _whole_windows(observed: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Mark the cells whose whole window lies inside the frame and is observed."""
    return np.asarray(ndimage.minimum_filter(observed, SSIM_WINDOW, mode="constant", cval=False))


def _rings(height: int, width: int) -> Int[np.ndarray, "h w"]:
    """Number the ring of each Fourier coefficient: waves per length of the frame's longer side, rounded."""
    rows, columns = np.fft.fftfreq(height), np.fft.fftfreq(width)
    return np.asarray(np.rint(np.hypot(rows[:, None], columns) * max(height, width)), np.int64)
