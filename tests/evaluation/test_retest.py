from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from physicnet.checkpoint import save_checkpoint
from physicnet.evaluation.retest import refuse_other_kind
from physicnet.fields import DataError, Field

GRID = [{"axis": axis, "distance": 2000.0, "units": "m", "regular": True} for axis in ("y", "x")]
KIND = {"normalizer": [{"variable": "rain"}], "clip": {"frames_in": 3}, "step_seconds": 600.0, "grid": GRID}


@pytest.fixture
def refuse(tmp_path: Path, field_of: Callable[..., Field]) -> Callable[..., None]:
    def refuse(units: str = "mm h-1", frames_in: int = 3, **changes: Any) -> None:
        save_checkpoint(tmp_path / "model.safetensors", {"w": torch.zeros(1)}, KIND | changes)
        record = field_of(np.zeros((4, 5, 7)))
        refuse_other_kind(tmp_path / "model.safetensors", "champion", {"rain": units}, record, frames_in, "mend it")

    return refuse


def test_a_model_of_these_data_is_let_pass(refuse: Callable[..., None]) -> None:
    refuse()
    refuse(frames_in=4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalizer": [{"variable": "snow"}]}, r"variables: snow \(None\) there, rain \(mm h-1\) here"),
        ({"units": "m s-1"}, r"variables: rain \(m s-1\) there, rain \(mm h-1\) here"),
        ({"step_seconds": 300.0}, "time step: 300 s there, 600 s here"),
        ({"grid": [GRID[0], GRID[1] | {"distance": 1000.0}]}, "grid spacing of the columns: 1000 m there, 2000 m here"),
        ({"frames_in": 2}, r"clip\.frames_in: 3 there, 2 here"),
    ],
)
def test_what_makes_a_model_one_of_other_data_is_named(
    refuse: Callable[..., None], changes: dict[str, Any], said: str
) -> None:
    message = rf"the champion cannot be tested on the data at hand, .* in\n  {said}\nmend it"
    with pytest.raises(DataError, match=message):
        refuse(**changes)
