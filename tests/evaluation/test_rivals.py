from typing import get_args

import pytest

from physicnet.config import BaselineName, ClipConfig
from physicnet.evaluation.rivals import build_baselines
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import Field
from physicnet.normalization import Normalizer

CLIP = ClipConfig(frames_in=3, frames_out=2)


def test_persistence_is_always_among_the_baselines_and_each_comes_once(
    moving_blob: Field, normalizer: Normalizer
) -> None:
    training = TrainingPart(moving_blob, [[0, 4]], CLIP)
    names = [model.name for model in build_baselines(["advection", "climatology", "advection"], training, normalizer)]
    assert names == ["persistence", "advection", "climatology"]


def test_every_name_that_the_parameters_know_is_built(moving_blob: Field, normalizer: Normalizer) -> None:
    pytest.importorskip("pysteps")
    names = get_args(BaselineName)
    training = TrainingPart(moving_blob, [[0, 10]], CLIP)
    built = [model.name for model in build_baselines(names, training, normalizer)]
    assert built == list(names)
