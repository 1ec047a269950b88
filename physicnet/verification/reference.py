"""What a project knows from training: the baselines, the normalizer, the frames of the training part."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from physicnet.clock import format_time
from physicnet.config import Params
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.scoring import data_ranges
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field
from physicnet.lineage import command_paths
from physicnet.model.forecaster import Forecaster
from physicnet.normalization import Normalizer

READ = ("fields", "statistics", "maps")  # options of `physicnet evaluate`


@dataclass(frozen=True, eq=False)
class Reference:
    """The training part of a record as it was last split, its normalizer, and the baselines fitted to it."""

    training: TrainingPart
    normalizer: Normalizer
    baselines: tuple[Forecaster, ...]

    @property
    def step(self) -> np.timedelta64:
        """The time step of the record."""
        return self.training.record.step

    @property
    def ranges(self) -> Mapping[str, float]:
        """The data range of each variable; see `data_ranges`."""
        return data_ranges(self.normalizer)

    @staticmethod
    def paths(root: Path) -> dict[str, Path]:
        """Return where the files are that are read, as the folder's `dvc.yaml` says."""
        return {name: root / path for name, path in command_paths(root, "evaluate").items() if name in READ}

    @classmethod
    def of(cls, root: Path, params: Params) -> "Reference":
        """Read it from the files of the stages `ingest` and `normalize`, where the folder's `dvc.yaml` says they are.

        Raises:
            DataError: if they do not exist, or a baseline cannot be fitted.
            ConfigError: if a baseline is asked for whose package is not installed.
        """
        paths = cls.paths(root)
        missing = [name for name in READ if name not in paths or not paths[name].exists()]
        if missing:
            raise DataError(
                f"{', '.join(missing)} of the last training are not there, without which there are no baselines: run "
                "the command in the folder of dvc.yaml, after dvc repro"
            )
        normalizer = Normalizer.load(paths["statistics"], paths["maps"])
        told = json.loads(paths["statistics"].read_text(encoding="utf-8"))
        training = TrainingPart(Field.open(paths["fields"]), told["splits"]["train"], params.clip)
        _check_times(training, told["span"])
        baselines = build_baselines(params.evaluate.baselines, training, normalizer)
        return cls(training, normalizer, tuple(baselines))


def _check_times(training: TrainingPart, span: Mapping[str, str]) -> None:
    """Check that the frames of the training part are still those of when the record was split."""
    times = training.record.times
    ends = [format_time(times[frame]) for frame in (training.segments[0][0], training.segments[-1][1] - 1)]
    if ends != [span["start"], span["end"]]:
        raise DataError(
            f"the record has changed within its training part since it was split: that reached from {span['start']} to "
            f"{span['end']}, its frames are now of {ends[0]} to {ends[1]}; dvc repro splits it anew"
        )
