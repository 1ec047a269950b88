"""Scores by which the literature of a data set judges forecasts, beside those of `physicnet.metrics`.

As there, a score comes in two halves: sums of each frame, which add up over forecast origins, and what is made of the
summed sums. Frames are `k h w`: leads, rows, columns of one variable.

| data set    | score    | of a frame                                                              | as in          |
|-------------|----------|-------------------------------------------------------------------------|----------------|
| pictures    | MSE, MAE | squared, absolute errors of values from 0 to 1, summed over the cells   | OpenSTL        |
|             | SSIM     | of values held within 0 to 1; windows of 7 x 7 cells, all of one weight | PredRNN        |
|             | SSIM 2   | the same, as if values went from -1 to 1                                | SimVP, OpenSTL |
|             | PSNR     | -10 log10 of the mean squared error of values held within 0 to 1, dB    | OpenSTL        |
| simulations | VRMSE    | root of: mean squared error / (variance of the truth + 1e-7)            | The Well       |
|             | nRMSE    | root of: mean squared error / mean square of the truth                  | PDEBench       |
| storms      | CSI      | hits, misses and false alarms of `physicnet.metrics`                    | SEVIR          |

Scores of pictures are means over all frames of all clips, those of simulations over the leads of a window and all
sequences; CSI is one for all cells, frames and clips, and CSI-M the mean over the thresholds.

PredRNN (Wang et al. 2022) compares bytes, which is SSIM of values from 0 to 1 but for their rounding. SimVP (Gao et al.
2022) and OpenSTL (Tan et al. 2023) hand floating-point frames to scikit-image without a range; up to version 0.19 it
took them to go from -1 to 1, and later versions refuse. So their published numbers are of a range of 2, and higher. The
Well is Ohana et al. 2024, PDEBench Takamoto et al. 2022, SEVIR Veillette et al. 2020.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64
from skimage.metrics import structural_similarity

from physicnet import metrics
from physicnet.clock import format_time
from physicnet.evaluation.scoring import Case
from physicnet.fields import DataError
from physicnet.metrics import Sums

Frames = Float[np.ndarray, "k h w"]

KEYS = ["model", "origin", "variable", "lead"]  # what tells one row of sums from another
WINDOWS = ((1, 1), (6, 12), (13, 30))  # first and last lead, as The Well rolls out
EPSILON = 1e-7  # of The Well, in the variable's units squared


@dataclass(frozen=True)
class Literature:
    """What the papers of a data set report.

    `sums` reduces the frames of a forecast and of the truth, of one variable, to sums that `physicnet.metrics` does not
    have; None: it has all. `scores` gives the scores by name, from a row of summed sums for each lead.
    """

    sums: Callable[[Frames, Frames], Sums] | None
    scores: Callable[[pd.DataFrame], dict[str, float]]


def picture_sums(forecast: Float[np.ndarray, "k h w"], truth: Float[np.ndarray, "k h w"], *, brightest: float) -> Sums:
    """Return what the scores of pictures are means of; values of the truth go from 0 to `brightest`.

    A frame that is forecast without any error has an infinite PSNR, and so has every mean that it is part of.
    """
    forecast, truth = (values.astype(np.float64) / brightest for values in (forecast, truth))
    error, held = forecast - truth, np.clip(forecast, 0.0, 1.0)
    with np.errstate(divide="ignore"):
        psnr = -10 * np.log10(_mean((held - truth) ** 2))
    return {
        "frames": np.ones(len(truth)),
        "squared": (error**2).sum(axis=(1, 2)),
        "absolute": np.abs(error).sum(axis=(1, 2)),
        "ssim_1": _similarity(held, truth, 1.0),
        "ssim_2": _similarity(held, truth, 2.0),
        "psnr": psnr,
    }


def simulation_sums(forecast: Float[np.ndarray, "k h w"], truth: Float[np.ndarray, "k h w"]) -> Sums:
    """Return what the scores of simulations are means of; nRMSE of a truth without any value but 0 is infinite."""
    truth = truth.astype(np.float64)
    error = _mean((forecast - truth) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        normalized = np.sqrt(error / _mean(truth**2))
    return {
        "frames": np.ones(len(truth)),
        "vrmse": np.sqrt(error / (truth.var(axis=(1, 2)) + EPSILON)),
        "nrmse": normalized,
    }


def picture_scores(leads: pd.DataFrame) -> dict[str, float]:
    """Return means over all frames."""
    total = leads.sum()
    names = {"MSE": "squared", "MAE": "absolute", "SSIM": "ssim_1", "SSIM 2": "ssim_2", "PSNR": "psnr"}
    return {score: float(total[name] / total["frames"]) for score, name in names.items()}


def simulation_scores(leads: pd.DataFrame) -> dict[str, float]:
    """Return means over the frames of each window that was forecast to its end."""
    found = {}
    for score in ("VRMSE", "nRMSE"):
        for first, last in WINDOWS:
            within = leads[leads["lead"].between(first, last)].sum()
            if last <= leads["lead"].max():
                name = f"{score} {first}" if first == last else f"{score} {first}–{last}"
                found[name] = float(within[score.lower()] / within["frames"])
    return found


def storm_scores(leads: pd.DataFrame) -> dict[str, float]:
    """Return CSI over all leads, and its mean over the thresholds."""
    total = leads.sum()
    thresholds = [name.removeprefix("hits_") for name in total.index if name.startswith("hits_")]
    kinds = ("hits", "misses", "false_alarms")
    csi = metrics.csi(*(total[[f"{kind}_{threshold}" for threshold in thresholds]].to_numpy() for kind in kinds))
    by_name = {f"CSI {threshold}": float(score) for threshold, score in zip(thresholds, csi, strict=True)}
    return by_name | {"CSI-M": float(csi.mean())}


SIMULATIONS = Literature(simulation_sums, simulation_scores)
STORMS = Literature(None, storm_scores)
LITERATURE = {
    "moving-mnist": Literature(partial(picture_sums, brightest=255.0), picture_scores),
    **dict.fromkeys(("lambda-omega", "gray-scott", "fitzhugh-nagumo", "shallow-water", "smoke"), SIMULATIONS),
    **dict.fromkeys(("sevir-13-12", "sevir-10-10", "sevir-7-6"), STORMS),
}


def sums_of(literature: Literature, case: Case) -> pd.DataFrame:
    """Return a row of sums for each forecast and variable of a case, and each lead; there may be no sums in it.

    Raises:
        DataError: if sums are of whole frames, and the truth has missing values.
    """
    tables = []
    for channel, variable in enumerate(case.past.variables):
        truth = case.truth[:, channel]
        if literature.sums and not np.isfinite(truth).all():
            raise DataError(
                f"{variable} has missing values in the frames after {format_time(case.past.times[-1])}, and the scores "
                "of its literature are of whole frames: leave this sequence out of the files"
            )
        for name, forecast in case.forecasts.items():
            where = {"model": name, "origin": case.origin, "variable": variable, "lead": np.arange(1, len(truth) + 1)}
            sums = literature.sums(forecast[:, channel], truth) if literature.sums else {}
            tables.append(pd.DataFrame(where | sums))
    return pd.concat(tables, ignore_index=True)


def scores_of(literature: Literature, sums: pd.DataFrame) -> pd.DataFrame:
    """Return the scores over all origins: a row per model, seed and variable, a column per score.

    `sums` are those of `physicnet.evaluation` with those of `sums_of`.
    """
    rows = []
    for (model, seed, variable), mine in sums.groupby(["model", "seed", "variable"], sort=False):
        leads = mine.dropna(axis="columns", how="all").groupby("lead").sum(numeric_only=True).reset_index()
        rows.append({"model": model, "seed": seed, "variable": variable} | literature.scores(leads))
    return pd.DataFrame(rows)


def _mean(values: Float64[np.ndarray, "k h w"]) -> Float64[np.ndarray, "k"]:
    return np.asarray(values.mean(axis=(1, 2)))


def _similarity(
    forecast: Float64[np.ndarray, "k h w"], truth: Float64[np.ndarray, "k h w"], data_range: float
) -> Float64[np.ndarray, "k"]:
    pairs = zip(forecast, truth, strict=True)
    return np.array([structural_similarity(one, other, data_range=data_range) for one, other in pairs])
