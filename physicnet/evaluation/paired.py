"""Two forecasters beside each other on the same forecast origins: by how much their scores differ, with intervals."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float64

from physicnet import metrics
from physicnet.config import EvaluateConfig
from physicnet.evaluation import labels, pooling

LEVEL = 0.95  # of the intervals
COLUMNS = ["lead", "lead_minutes", "score", "value", "low", "high"]

Score = Callable[[pd.DataFrame, Float64[np.ndarray, "n o"]], Float64[np.ndarray, "n k"]]
Compared = dict[str, tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, "n k"]]]


def paired(one: pd.DataFrame, other: pd.DataFrame, config: EvaluateConfig) -> pd.DataFrame:
    """Return `one` against `other` with intervals, a row per score and lead, in `COLUMNS`.

    Both hold the sums of one model and one variable, a row per origin and lead, of the same origins and leads. Of
    errors `value` is the ratio one / other (below 1: `one` is better), of CSI the difference one - other. Both are
    drawn together, origin by origin in blocks: see `metrics.bootstrap_skill` for what the intervals know of. A single
    origin has no interval: NaN.
    """
    both = [rows.set_index(["origin", "lead"]).sort_index() for rows in (one, other)]
    leads = both[0].index.get_level_values("lead").unique()
    minutes = both[0].groupby("lead")["lead_minutes"].first().to_numpy()
    origins = both[0].index.get_level_values("origin").unique().to_numpy()
    block = pooling.block_length(origins, len(leads))
    counts = metrics.draw_blocks(len(origins), block, config.bootstrap_samples, config.seed)
    tables = []
    for score, (value, drawn) in _comparisons(both, counts).items():
        low, high = (
            np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) if len(origins) > 1 else drawn[:2] * np.nan
        )
        columns = {"lead": leads, "lead_minutes": minutes, "score": score, "value": value, "low": low, "high": high}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _comparisons(both: list[pd.DataFrame], counts: Float64[np.ndarray, "n o"]) -> Compared:
    """Each score of the pair over all origins, and over those of each draw."""
    everything = np.ones((1, counts.shape[1]))
    results: Compared = {}
    for name, score in _scores(both[0]).items():
        ours, theirs = ([score(each, draw) for draw in (everything, counts)] for each in both)
        compare = np.subtract if name.startswith("csi") else np.divide
        with np.errstate(invalid="ignore", divide="ignore"):
            value, drawn = (compare(mine, other) for mine, other in zip(ours, theirs, strict=True))
        results[name] = value[0], drawn
    return results


def _scores(rows: pd.DataFrame) -> dict[str, Score]:
    thresholds = [name.removeprefix("hits_") for name in labels.defined(rows, "hits_")]
    return {"rmse": _rmse, "mae": _mae} | {f"csi_{t}": partial(_csi, threshold=t) for t in thresholds}


def _drawn(rows: pd.DataFrame, name: str, counts: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n k"]:
    return counts @ rows[name].unstack("lead").to_numpy(np.float64)


def _rmse(rows: pd.DataFrame, counts: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n k"]:
    return metrics.rmse(_drawn(rows, "squared_error", counts), _drawn(rows, "cells", counts))


def _mae(rows: pd.DataFrame, counts: Float64[np.ndarray, "n o"]) -> Float64[np.ndarray, "n k"]:
    return metrics.mean(_drawn(rows, "absolute_error", counts), _drawn(rows, "cells", counts))


def _csi(rows: pd.DataFrame, counts: Float64[np.ndarray, "n o"], *, threshold: str) -> Float64[np.ndarray, "n k"]:
    names = ("hits", "misses", "false_alarms")
    return metrics.csi(*(_drawn(rows, f"{name}_{threshold}", counts) for name in names))
