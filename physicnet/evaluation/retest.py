"""A checkpoint of an earlier training on the test data at hand: the sums that `evaluate` would write of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from physicnet.checkpoint import load_checkpoint
from physicnet.config import BaselineName, Params
from physicnet.data.spacing import Spacing, compare_spacing, spacing_of
from physicnet.evaluation import pooling
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.scored import read_origins
from physicnet.evaluation.scoring import Scoreboard, data_ranges, forecast_case
from physicnet.evaluation.training_part import TrainingPart
from physicnet.evaluation.verify import read_starts
from physicnet.fields import DataError, Field
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer


def retest(
    checkpoint: Path, name: str, params: Params, paths: Mapping[str, Path], baselines: Sequence[BaselineName]
) -> pd.DataFrame:
    """Return the table of sums per forecast origin, its numbers as a file holds them.

    Args:
        checkpoint: a checkpoint of joint training, of the kind that `refuse_other_kind` lets pass.
        name: what to call it.
        params: as `evaluate` takes them.
        paths: `fields`, `statistics`, `maps` and `crops`, as `evaluate` takes them.
        baselines: those beside which it is tested; persistence always is.

    Raises:
        DataError: see `verify.evaluate`.
        CheckpointError: if the checkpoint is none.
    """
    record = Field.open(paths["fields"])
    normalizer = Normalizer.load(paths["statistics"], paths["maps"])
    splits = json.loads(paths["statistics"].read_text(encoding="utf-8"))["splits"]
    rivals = build_baselines(baselines, TrainingPart(record, splits["train"], params.clip), normalizer)
    forecasters = [ModelForecaster.load(checkpoint, params.machine), *rivals]
    scoreboard = Scoreboard(params.evaluate, data_ranges(normalizer))
    said = f"testing the {name}"
    for start in track(read_starts(paths["crops"]), said, console=Console(stderr=True)):
        scoreboard.add(forecast_case(forecasters, record, start, params.clip))
    table = pooling.per_origin(scoreboard.sums())
    return read_origins(table.to_csv(index=False, float_format="%.6g"), f"the test of the {name}")


def refuse_other_kind(
    checkpoint: Path, name: str, units: Mapping[str, str], record: Field, frames_in: int, remedy: str
) -> None:
    """Refuse a checkpoint that cannot forecast a record as it was meant to.

    Args:
        checkpoint: a checkpoint of joint training.
        name: what to call it.
        units: those of the variables that it was trained on.
        record: the observations.
        frames_in: how many frames of them a forecast may take.
        remedy: what to do, for the end of the message.

    Raises:
        DataError: which names every difference.
        CheckpointError: if the checkpoint is none.
    """
    told = load_checkpoint(checkpoint).metadata
    theirs, ours = _kind(told, units), _kind_of(record)
    differences = [f"{what}: {theirs[what]} there, {ours[what]} here" for what in ours if ours[what] != theirs[what]]
    differences += compare_spacing(spacing_of(record), [Spacing(**axis) for axis in told["grid"]]).differences
    if told["clip"]["frames_in"] > frames_in:
        differences.append(f"clip.frames_in: {told['clip']['frames_in']} there, {frames_in} here")
    if differences:
        raise DataError(
            f"the {name} cannot be tested on the data at hand, which differ from what it was trained on in\n  "
            + "\n  ".join(differences)
            + f"\n{remedy}"
        )


def _kind(told: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, str]:
    variables = [f"{entry['variable']} ({units.get(entry['variable'])})" for entry in told["normalizer"]]
    return {"variables": ", ".join(variables), "time step": f"{told['step_seconds']:g} s"}


def _kind_of(record: Field) -> dict[str, str]:
    variables = [f"{name} ({record.units[name]})" for name in record.variables]
    return {
        "variables": ", ".join(variables),
        "time step": f"{record.step.astype('timedelta64[ms]').astype(int) / 1000:g} s",
    }
