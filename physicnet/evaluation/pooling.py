"""From sums per forecast origin to the tables of scores: per origin, over all origins, and the few numbers of a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from physicnet import metrics
from physicnet.config import EvaluateConfig

REFERENCE = "persistence"  # what skill is measured against
LEAD = ["variable", "units", "lead", "lead_minutes"]


def per_origin(sums: pd.DataFrame) -> pd.DataFrame:
    """Add the scores of each forecast origin to its sums."""
    return pd.concat([sums, _scores(sums, ["origin", "variable", "lead"])], axis=1)


def pooled(sums: pd.DataFrame, config: EvaluateConfig, *, block: int | None = None) -> pd.DataFrame:
    """Return the scores over all origins with the interval of the skill, a row per model, variable and lead.

    The intervals draw `block` neighbouring origins together; None: as many as `block_length` says.
    """
    total = sums.drop(columns=["origin", "time"]).groupby(["model", *LEAD], sort=False).sum().reset_index()
    scores = pd.concat([total[["model", *LEAD]], _scores(total, ["variable", "lead"])], axis=1)
    return scores.merge(_intervals(sums, config, block), on=["model", "variable", "lead"])


def _scores(sums: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Turn rows of sums into scores; a row is compared with the row of persistence that has the same `keys`."""
    value = {str(name): sums[name].to_numpy() for name in sums}
    reference = sums.loc[sums["model"] == REFERENCE, [*keys, "squared_error"]]
    matched = sums[keys].merge(reference, on=keys, how="left")["squared_error"].to_numpy()
    scores = {
        "rmse": metrics.rmse(value["squared_error"], value["cells"]),
        "mae": metrics.mean(value["absolute_error"], value["cells"]),
        "bias": metrics.mean(value["error"], value["cells"]),
        **_event_scores(value),
        "ssim": metrics.mean(value["similarity"], value["similarity_cells"]),
        "sharpness": metrics.sharpness(value["small_scale"], value["small_scale_truth"]),
        "skill": metrics.skill(value["squared_error"], matched),
    }
    return pd.DataFrame(scores, index=sums.index)


def _event_scores(value: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return CSI and FSS of every threshold; NaN in the rows of variables that do not have it."""
    thresholds = [name.removeprefix("hits_") for name in value if name.startswith("hits_")]
    csi = {t: metrics.csi(value[f"hits_{t}"], value[f"misses_{t}"], value[f"false_alarms_{t}"]) for t in thresholds}
    fss = {t: metrics.fss(value[f"fraction_error_{t}"], value[f"fraction_reference_{t}"]) for t in thresholds}
    return {f"csi_{t}": score for t, score in csi.items()} | {f"fss_{t}": score for t, score in fss.items()}


def _intervals(sums: pd.DataFrame, config: EvaluateConfig, block: int | None) -> pd.DataFrame:
    tables = []
    for variable, rows in sums.groupby("variable", sort=False):
        errors = {
            model: mine.pivot(index="origin", columns="lead", values="squared_error")
            for model, mine in rows.groupby("model", sort=False)
        }
        reference = errors[REFERENCE]
        together = block or block_length(reference.index.to_numpy(), num_leads=reference.shape[1])
        for model, error in errors.items():
            low, high = metrics.bootstrap_skill(
                error.to_numpy(),
                reference.to_numpy(),
                block=together,
                samples=config.bootstrap_samples,
                seed=config.seed,
            )
            ends = {"lead": error.columns, "skill_low": low, "skill_high": high}
            tables.append(pd.DataFrame({"model": model, "variable": variable} | ends))
    return pd.concat(tables, ignore_index=True)


def block_length(origins: np.ndarray, num_leads: int) -> int:
    """Return how many neighbouring origins the bootstrap draws together.

    As many as share frames of the truth, but at most half of all: with a single block nothing would vary.
    """
    if origins.size < 2:
        return 1
    apart = int(np.diff(np.sort(origins)).min())
    return max(1, min(-(-num_leads // apart), origins.size // 2))


def means(scores: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """Return {model: {variable: {score: mean over the leads where it is defined}}}."""
    columns = [name for name in scores if name not in ("model", *LEAD, "skill_low", "skill_high")]
    result: dict[str, dict[str, dict[str, float]]] = {}
    for row in scores.groupby(["model", "variable"])[columns].mean().reset_index().to_dict("records"):
        values = {str(name): float(row[name]) for name in columns if not np.isnan(row[name])}
        result.setdefault(row["model"], {})[row["variable"]] = values
    return result


def headline(scores: pd.DataFrame, model: str) -> dict[str, dict[str, float]]:
    """Return, per variable, the model's error as a share of each rival's at the lead where that is worst.

    Below 1: the model is better than that rival at every lead.
    """
    result: dict[str, dict[str, float]] = {}
    for variable, rows in scores.groupby("variable", sort=True):
        by_model: dict[Any, pd.DataFrame] = {name: mine.set_index("lead") for name, mine in rows.groupby("model")}
        ours = by_model.pop(model)
        result[str(variable)] = {
            f"{score}_of_{rival}_worst_lead": float((ours[score] / theirs[score]).max())
            for rival, theirs in by_model.items()
            for score in ("rmse", "mae")
        }
    return result
