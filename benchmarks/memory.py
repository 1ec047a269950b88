"""What does the memory of scales bring, and what does training add to it?

    python benchmarks/memory.py

Compares, on the validation part of the record that `dvc repro` has ingested (no frame of the test part is read): the
last frame along the first flow, the same with the memory fitted to the training clips in closed form, and the trained
model. Writes every score to docs/results/memory.csv. Lucas-Kanade needs the extra: pip install -e '.[baselines]'.
"""

import json
from pathlib import Path

import torch
from comparison import has_lucas_kanade, score

from physicnet.config import Params, load_params
from physicnet.data.crops import starts
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import Field
from physicnet.model.forecaster import Forecaster
from physicnet.model.rollout import ModelForecaster
from physicnet.training.inputs import Inputs
from physicnet.training.memory import first_memory

DATA = Path("data")
TARGET = Path("docs/results/memory.csv")


def untrained(params: Params, inputs: Inputs, name: str, *, fitted: bool) -> ModelForecaster:
    """Return the model as training finds it, before or after its memory was fitted."""
    net = inputs.build(params.model, params.clip)
    if fitted:
        net.memory.begin_with(first_memory(net, inputs.clips, params.clip.frames_in))
    model = ModelForecaster(
        net, inputs.normalizer, params.clip, torch.device("cpu"), tile_cells=params.machine.tile_cells
    )
    model.name = name
    return model


def main() -> None:
    """Score every forecast, print the table and write it."""
    params = load_params(Path("params.yaml"))
    torch.set_num_threads(params.machine.num_threads)
    record = Field.open(DATA / "fields.zarr")
    splits = json.loads((DATA / "statistics.json").read_text(encoding="utf-8"))["splits"]
    names = ("normalized.zarr", "statistics.json", "maps.safetensors", "crops.csv")
    inputs = Inputs.read(*(DATA / name for name in names), cache_mib=params.machine.cache_mib)
    names = ["persistence", "advection", *(["lucas_kanade"] if has_lucas_kanade() else [])]
    trained = ModelForecaster.load(Path("models/model.safetensors"), params.machine)
    forecasters: list[Forecaster] = [
        untrained(params, inputs, "first flow", fitted=False),
        untrained(params, inputs, "first flow and memory", fitted=True),
        trained,
        *build_baselines(names, TrainingPart(record, splits["train"], params.clip), inputs.normalizer),
    ]
    origins = starts(splits["validation"], params.clip.frames)
    score(forecasters, record, origins, params, inputs.normalizer, TARGET)


if __name__ == "__main__":
    main()
