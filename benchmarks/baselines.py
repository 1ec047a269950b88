"""How good are the baselines? All of them, Lucas-Kanade included, on the record that `dvc repro` has ingested.

    python benchmarks/baselines.py              # the test part, with the trained model
    python benchmarks/baselines.py --part validation   # the part the baselines were tuned on, without the model

Needs the extra: pip install -e '.[baselines]'. Writes to .physicnet/benchmarks/, never to results/.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from physicnet.config import load_params
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.table import print_table
from physicnet.evaluation.training_part import TrainingPart
from physicnet.evaluation.verify import compare, read_starts
from physicnet.fields import Field
from physicnet.model.forecaster import Forecaster
from physicnet.model.rollout import ModelForecaster
from physicnet.normalization import Normalizer

BASELINES = ["persistence", "climatology", "advection", "lucas_kanade"]


def main(part: Annotated[Literal["test", "validation"], typer.Option(help="part of the record")] = "test") -> None:
    """Forecast from every origin of a part of the record and print the table of scores."""
    params = load_params(Path("params.yaml"))
    record = Field.open(Path("data/fields.zarr"))
    statistics = Path("data/statistics.json")
    train = json.loads(statistics.read_text(encoding="utf-8"))["splits"]["train"]
    normalizer = Normalizer.load(statistics, Path("data/maps.safetensors"))
    forecasters: list[Forecaster] = build_baselines(BASELINES, TrainingPart(record, train, params.clip), normalizer)
    if part == "test":
        forecasters.insert(0, ModelForecaster.load(Path("models/model.safetensors"), params.machine))
    folder = Path(".physicnet/benchmarks") / part
    compare(
        forecasters,
        record,
        read_starts(Path("data/crops.csv"), part),
        normalizer,
        params.evaluate,
        params.clip,
        metrics=folder / "metrics.json",
        results=folder / "results",
    )
    print_table(folder / "results")


if __name__ == "__main__":
    typer.run(main)
