import json
from pathlib import Path

import pytest

from physicnet.data.novelty import frames_since, trained_until
from physicnet.data.synthetic import Uniform, Waves, advected_field


@pytest.mark.parametrize(("frames", "expected"), [(40, 0), (47, 7), (38, -2)])
def test_new_frames_are_those_after_the_last_part(tmp_path: Path, frames: int, expected: int) -> None:
    pattern = Waves(num=2, wavelength=4.0, seed=0)
    record = advected_field(frames, 6, 8, flow=Uniform(1.0, 0.0), pattern=pattern, variable="rate")
    record.save(tmp_path / "fields.zarr")
    splits = {"train": [[0, 12], [14, 20]], "validation": [[24, 30]], "test": [[34, 40]]}
    (tmp_path / "statistics.json").write_text(json.dumps({"splits": splits}))
    assert frames_since(tmp_path / "fields.zarr", tmp_path / "statistics.json") == expected
    until = record.times[min(frames, 40) - 1]
    assert trained_until(tmp_path / "fields.zarr", tmp_path / "statistics.json") == until
