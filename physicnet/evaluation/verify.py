"""Stage 6: score the model and the baselines on the test part, which no other stage reads.

All are forecasters, all go one path: forecast from every origin of the test part, in physical units, scored on every
cell where the truth was observed, lead by lead.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from physicnet.config import ClipConfig, EvaluateConfig, MachineConfig
from physicnet.evaluation import pooling
from physicnet.evaluation.gallery import draw_gallery
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.scoring import Case, Scoreboard, data_ranges, forecast_case
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field, written_whole
from physicnet.model.forecaster import Forecaster
from physicnet.normalization import Normalizer


@runtime_checkable
class Explaining(Protocol):
    """A forecaster that can show what a forecast is made of."""

    def explain(self, past: Field) -> Mapping[str, np.ndarray]:
        """Return `flow` (2 h w; x, y in pixels per step), `gate` (k h w) and `codes` (i j, one per coarse cell)."""
        ...


def evaluate(
    config: EvaluateConfig,
    clip: ClipConfig,
    machine: MachineConfig,
    *,
    fields: Path,
    statistics: Path,
    maps: Path,
    crops: Path,
    checkpoint: Path,
    metrics: Path,
    results: Path,
) -> None:
    """Write `metrics` (means over leads) and the folder `results` (tables and figures).

    Raises:
        DataError: if the test part holds no clip, a baseline cannot be fitted, or a forecast cannot be scored.
        ConfigError: if a baseline is asked for whose package is not installed.
    """
    from physicnet.model.rollout import ModelForecaster  # here, so that baselines can be compared without torch

    starts = read_starts(crops)
    record = Field.open(fields)
    splits = json.loads(statistics.read_text(encoding="utf-8"))["splits"]
    normalizer = Normalizer.load(statistics, maps)
    baselines = build_baselines(config.baselines, TrainingPart(record, splits["train"], clip), normalizer)
    forecasters = [ModelForecaster.load(checkpoint, machine), *baselines]
    compare(forecasters, record, starts, normalizer, config, clip, metrics=metrics, results=results)


def read_starts(crops: Path, part: str = "test") -> list[int]:
    """Return the first frame of every clip of a part of the record.

    Raises:
        DataError: if the table has none.
    """
    table = pd.read_csv(crops)
    starts = table.loc[(table["split"] == part) & (table["level"] == "global"), "start"]
    if starts.empty:
        raise DataError(
            f"{crops} has no clip in the {part} part, so there is nothing to evaluate: add data, or lower "
            "normalize.train_fraction, normalize.validation_fraction or clip.frames_out in params.yaml"
        )
    return sorted(int(start) for start in starts)


def compare(
    forecasters: Sequence[Forecaster],
    record: Field,
    starts: Sequence[int],
    normalizer: Normalizer,
    config: EvaluateConfig,
    clip: ClipConfig,
    *,
    metrics: Path,
    results: Path,
) -> None:
    """Score forecasters, the first of which is the model, and write all results, or nothing.

    Persistence must be among them. The figures show the middle origin.
    """
    scoreboard = Scoreboard(config, data_ranges(normalizer))
    example: Case | None = None
    for start in track(starts, "forecasting from each origin", console=Console(stderr=True)):
        case = forecast_case(forecasters, record, start, clip)
        scoreboard.add(case)
        if start == starts[len(starts) // 2]:
            example = case
    assert example is not None
    explained = forecasters[0].explain(example.past) if isinstance(forecasters[0], Explaining) else None
    sums, spectra = scoreboard.sums(), scoreboard.spectra()
    scores = pooling.pooled(sums, config)
    summary = pooling.means(scores) | {"headline": pooling.headline(scores, forecasters[0].name)}
    with written_whole(metrics) as file, written_whole(results) as folder:
        (folder / "figures").mkdir(parents=True)
        _write_table(scores, folder / "scores.csv")
        _write_table(pooling.per_origin(sums), folder / "origins.csv")
        _write_table(spectra, folder / "spectra.csv")
        draw_gallery(folder / "figures", example, scores, spectra, normalizer, explained)
        file.write_text(json.dumps(_rounded(summary), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_table(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return float(f"{value:.5g}")
