"""A tiny analytic field, carried by a known flow, as the data stages leave it; and sizes to match."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from physicnet.config import (
    ClipConfig,
    CodebookConfig,
    CropsConfig,
    IngestConfig,
    LossConfig,
    MachineConfig,
    ModelConfig,
    NormalizeConfig,
    TrainConfig,
    VariableConfig,
)
from physicnet.data.crops import draw_crops
from physicnet.data.normalize import normalize
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.training.inputs import Inputs
from physicnet.training.pretraining import pretrain

CLIP = ClipConfig(frames_in=3, frames_out=2)
RATE = VariableConfig(
    name="rate", channel="rate", units="mm h-1", file_units=None, select={}, valid_min=None, valid_max=None
)
INGEST = IngestConfig(
    pattern="*.nc",
    time_from_name=None,
    variables=[RATE],
    coarsen=1,
    on_conflict="newest",
    max_invalid=0.0,
    max_quarantined=0,
    memory_limit="8 GiB",
    cluster=None,
)
MACHINE = MachineConfig(device="cpu", precision="float32", num_threads=1, cache_mib=16, tile_cells=2**20)
MODEL = ModelConfig(
    seed=1,
    channels=8,
    code_dim=6,
    num_codes=12,
    ema_decay=0.8,
    revival_threshold=0.1,
    hidden=8,
    quantize=True,
    flow="experts",
    flow_iterations=2,
    drawing=4,
)
CODEBOOK = CodebookConfig(
    seed=2,
    epochs=2,
    steps_per_epoch=3,
    batch_size=2,
    optimizer="adamw",
    learning_rate=0.003,
    weight_decay=0.01,
    clip_norm=1.0,
    commitment=0.25,
)
TRAIN = TrainConfig(
    init_from=None,
    learns="all",
    seed=3,
    epochs=2,
    steps_per_epoch=3,
    batch_size=2,
    optimizer="adamw",
    learning_rate=0.003,
    weight_decay=0.01,
    clip_norm=1.0,
    mirror=True,
    rescale=1.5,
    losses=LossConfig(prediction=1.0, prediction_global=0.5, prediction_local=0.5, commitment=0.25, smoothness=0.05),
    squared=0.1,
    one_lead_in=1,
)


@dataclass(frozen=True)
class Data:
    """Paths of what the data stages wrote."""

    normalized: Path
    statistics: Path
    maps: Path
    crops: Path

    @property
    def inputs(self) -> Inputs:
        """What both trainings read."""
        return Inputs.read(**self.paths, cache_mib=16)

    @property
    def paths(self) -> dict[str, Path]:
        """As the stages take them."""
        return dict(vars(self))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Twenty-five frames of 29 x 33 cells, moving by (1.5, -0.5) pixels per step."""
    folder = tmp_path_factory.mktemp("data")
    names = ("normalized.zarr", "statistics.json", "maps.safetensors", "crops.csv")
    data = Data(*(folder / name for name in names))
    advected_field(25, 29, 33, flow=Uniform(1.5, -0.5)).save(folder / "fields.zarr")
    split = NormalizeConfig(
        train_fraction=0.5,
        validation_fraction=0.25,
        gap=1,
        transforms={"rate": []},
        standardize={"rate": "global"},
    )
    fitted = {"normalized": data.normalized, "statistics": data.statistics, "maps": data.maps}
    normalize(split, CLIP, INGEST, fields=folder / "fields.zarr", **fitted)
    draws = CropsConfig(
        seed=4,
        view=24,
        window=16,
        windows_per_clip=2,
        train_clips=10,
        stride=1,
        min_coverage=0.5,
        activity_floor=0.1,
        activity_exponent=1.0,
        coverage_exponent=0.0,
    )
    drawn = {"crops": data.crops, "figure": folder / "crops.png"}
    draw_crops(draws, CLIP, normalized=data.normalized, statistics=data.statistics, **drawn)
    return data


@pytest.fixture(scope="session")
def codebook(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a pretrained codebook."""
    folder = tmp_path_factory.mktemp("codebook")
    path = folder / "codebook.safetensors"
    paths = {"codebook": path, "history": folder / "h.csv", "resume": folder / "resume"}
    pretrain(CODEBOOK, CLIP, MODEL, MACHINE, **data.paths, **paths, report=lambda *_: None)
    return path
