"""Stage 6: score the model and the baselines on the test part, which no other stage reads.

All are forecasters, all go one path: forecast from every origin of the test part, in physical units, scored on every
cell where the truth was observed, lead by lead.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from physicnet import calibration
from physicnet.calibration import Calibration
from physicnet.checkpoint import CheckpointError
from physicnet.config import ClipConfig, EvaluateConfig, MachineConfig
from physicnet.evaluation import pooling, probabilistic
from physicnet.evaluation.animation import draw_leads
from physicnet.evaluation.gallery import draw_codes, draw_gallery, draw_uncertainty
from physicnet.evaluation.probabilistic import ProbabilityBoard
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.scoring import Case, Scoreboard, data_ranges, forecast_case
from physicnet.evaluation.training_part import TrainingPart
from physicnet.evaluation.vocabulary import MANY, CodeStatistics
from physicnet.fields import DataError, Field, written_whole
from physicnet.model.forecaster import Forecaster
from physicnet.normalization import Normalizer

Calibrations = Mapping[str, Mapping[str, Calibration]]  # by forecaster and variable
NONE: Calibrations = MappingProxyType({})


@runtime_checkable
class Explaining(Protocol):
    """A forecaster that can show what a forecast is made of."""

    def explain(self, past: Field) -> Mapping[str, np.ndarray]:
        """Return `flow` (2 h w; x, y in pixels per step), `gate` (k h w) and `codes` (i j, one per coarse cell)."""
        ...


@runtime_checkable
class Saturating(Protocol):
    """A forecaster that is held within limits, and counts how often it had to be."""

    def take_saturation(self) -> np.ndarray:
        """Return the share of cells (k c) that were held back, over all forecasts since it was last asked."""
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
        CheckpointError: if the checkpoint is of a version that did not learn how far its forecasts err.
        DataError: if the test part holds no clip, a baseline cannot be fitted, or a forecast cannot be scored.
        ConfigError: if a baseline is asked for whose package is not installed.
    """
    from physicnet.model.rollout import ModelForecaster  # here, so that baselines can be compared without torch

    starts = read_starts(crops)
    record = Field.open(fields)
    splits = json.loads(statistics.read_text(encoding="utf-8"))["splits"]
    normalizer = Normalizer.load(statistics, maps)
    baselines = build_baselines(config.baselines, TrainingPart(record, splits["train"], clip), normalizer)
    model = ModelForecaster.load(checkpoint, machine)
    if not model.calibrations:
        raise CheckpointError(f"{checkpoint} does not tell how far its forecasts err; train again (dvc repro)")
    (reference,) = (baseline for baseline in baselines if baseline.name == pooling.REFERENCE)
    calibrations = {
        model.name: model.calibrations,
        reference.name: calibrated(reference, record, splits["validation"], clip, normalizer),
    }
    forecasters, outputs = [model, *baselines], {"metrics": metrics, "results": results}
    compare(forecasters, record, starts, normalizer, config, clip, **outputs, calibrations=calibrations)


def calibrated(
    forecaster: Forecaster, record: Field, ranges: Sequence[Sequence[int]], clip: ClipConfig, normalizer: Normalizer
) -> dict[str, Calibration]:
    """Learn how far a forecaster errs from the validation part, as the model is calibrated when it has been trained."""

    def read(start: int, stop: int) -> Field:
        return Field(record.isel(start, stop).dataset.compute())

    origins = calibration.origins_of(ranges, clip.frames_in)
    return calibration.fit(forecaster.forecast, read, origins, clip, normalizer)


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
    calibrations: Calibrations = NONE,
) -> None:
    """Score forecasters, the first of which is the model, and write all results, or nothing.

    Persistence must be among them. Those that have `calibrations` are scored as distributions, too. The figures
    show the middle origin; what the codes stand for is read from at most `MANY` origins and that one.
    """
    scoreboard, codes = Scoreboard(config, data_ranges(normalizer)), CodeStatistics.of(normalizer, record.units)
    probabilities = ProbabilityBoard(config)
    middle = starts[len(starts) // 2]
    read = {*starts[:: -(-len(starts) // MANY)], middle}
    example: Case | None = None
    explained: Mapping[str, np.ndarray] | None = None
    for start in track(starts, "forecasting from each origin", console=Console(stderr=True)):
        case = forecast_case(forecasters, record, start, clip)
        scoreboard.add(case)
        probabilities.add(case, calibrations)
        explanation = _explanation(forecasters[0], case) if start in read else None
        if explanation is not None:
            codes.add(case, explanation)
        if start == middle:
            example, explained = case, explanation
    assert example is not None
    sums, spectra = scoreboard.sums(), scoreboard.spectra()
    scores = _with_saturations(pooling.pooled(sums, config), forecasters, record.variables)
    summary = pooling.means(scores) | {"headline": pooling.headline(scores, forecasters[0].name)}
    for name, variable, means in probabilistic.means(probabilities):
        summary[name][variable] |= means
    with written_whole(metrics) as file, written_whole(results) as folder:
        (folder / "figures").mkdir(parents=True)
        _write_table(scores, folder / "scores.csv")
        _write_table(pooling.per_origin(sums), folder / "origins.csv")
        _write_table(spectra, folder / "spectra.csv")
        draw_gallery(folder / "figures", example, scores, spectra, normalizer, explained)
        draw_leads(folder, example, normalizer)
        _write_probabilities(probabilities, folder)
        if codes.rows:
            table = codes.table(config)
            _write_table(table, folder / "codes.csv")
            draw_codes(folder / "figures", codes, table, example, normalizer)
        file.write_text(json.dumps(_rounded(summary), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_probabilities(board: ProbabilityBoard, folder: Path) -> None:
    if not board.rows:
        return
    tables = {"uncertainty": board.scores(), "ranks": board.ranks(), "reliability": board.reliability()}
    for name, table in tables.items():
        _write_table(table, folder / f"{name}.csv")
    draw_uncertainty(folder / "figures", tables)


def _explanation(forecaster: Forecaster, case: Case) -> Mapping[str, np.ndarray] | None:
    return forecaster.explain(case.past) if isinstance(forecaster, Explaining) else None


def _with_saturations(
    scores: pd.DataFrame, forecasters: Sequence[Forecaster], variables: Sequence[str]
) -> pd.DataFrame:
    for forecaster in forecasters:
        if isinstance(forecaster, Saturating):
            scores = with_saturation(scores, forecaster.name, variables, forecaster.take_saturation())
    return scores


def with_saturation(
    scores: pd.DataFrame, model: str, variables: Sequence[str], share: Float[np.ndarray, "k c"]
) -> pd.DataFrame:
    """Add the column `saturation` for one model: how many of its cells were held back within their limits."""
    scores = scores.assign(saturation=scores.get("saturation", np.nan))
    for channel, variable in enumerate(variables):
        rows = (scores["model"] == model) & (scores["variable"] == variable)
        scores.loc[rows, "saturation"] = share[scores.loc[rows, "lead"] - 1, channel]
    return scores


def _write_table(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return float(f"{value:.5g}")
