"""What both trainings read, and the hash of everything that decides their result."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import physicnet
from physicnet.checkpoint import MAPS
from physicnet.config import ClipConfig, ModelConfig, Section
from physicnet.data.cache import CachedWindows
from physicnet.data.dataset import ClipDataset, Clips
from physicnet.data.spacing import Ends, Spacing, mapping_of, place_of, spacing_of
from physicnet.digest import content_hash
from physicnet.fields import Field
from physicnet.model.build import build
from physicnet.model.physicnet import PhysicNet
from physicnet.normalization import Normalizer

ORIGIN = ("ingest", "span")  # keys of statistics.json


@dataclass(frozen=True)
class Inputs:
    """The clips of both parts, the standardisation that made them, and the steps of their clock and grid.

    `origin` is what `statistics.json` tells of how the observations were read and of what time they are: `ingest` and
    `span`.
    """

    clips: Clips
    validation: Clips
    normalizer: Normalizer
    step_seconds: float
    grid: list[Spacing]  # of rows, of columns
    grid_mapping: str | None  # its `grid_mapping_name`
    place: list[Ends | None]  # of rows, of columns
    origin: Mapping[str, object]

    @classmethod
    def read(cls, normalized: Path, statistics: Path, maps: Path, crops: Path, *, cache_mib: int) -> "Inputs":
        """Open the outputs of the data stages; both parts share one cache."""
        field = Field.open(normalized)
        record = CachedWindows(field, cache_mib * 2**20)
        told = json.loads(statistics.read_text(encoding="utf-8"))
        return cls(
            ClipDataset(record, crops, "train"),
            ClipDataset(record, crops, "validation"),
            Normalizer.load(statistics, maps),
            float(field.step / np.timedelta64(1, "s")),
            spacing_of(field),
            mapping_of(field),
            place_of(field),
            {key: told[key] for key in ORIGIN},
        )

    def build(self, model: ModelConfig, clip: ClipConfig) -> PhysicNet:
        """An untrained model for these data."""
        variables = len(self.normalizer.variables)
        return build(model, clip, variables=variables, window=self.clips.window)

    def metadata(self, model: ModelConfig, clip: ClipConfig) -> dict[str, object]:
        """What a checkpoint must carry, beside the tensors of `maps`, to be loaded alone."""
        return {
            "model": model.model_dump(mode="json"),
            "clip": clip.model_dump(mode="json"),
            "window": self.clips.window,
            "normalizer": self.normalizer.to_dict(),
            "step_seconds": self.step_seconds,
            "grid": [asdict(spacing) for spacing in self.grid],
            "grid_mapping": self.grid_mapping,
            "place": self.place,
            **self.origin,
        }

    def maps(self) -> dict[str, Tensor]:
        """The normalizer's maps, as a checkpoint carries them beside the weights."""
        return {MAPS + name: torch.from_numpy(array) for name, array in self.normalizer.maps().items()}


def key_of(sections: Mapping[str, Section], inputs: list[Path]) -> str:
    """Hash of parameters, inputs and the library's code: trainings of one key have one result."""
    code = sorted(Path(physicnet.__path__[0]).rglob("*.py"))
    files = [file for path in inputs for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    content = {
        "parameters": {name: section.model_dump(mode="json") for name, section in sections.items()},
        "files": [content_hash(file) for file in [*files, *code] if file.is_file()],
    }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
