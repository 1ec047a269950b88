import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from physicnet.fields import DataError
from physicnet.source import fire_frames
from physicnet.source.sequences import Written

NUM, FRAMES, SIZE = 11, 3, (4, 6)


def values(clip: int, frame: int) -> np.ndarray:
    return np.random.default_rng([clip, frame]).integers(256, size=(*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def fire(tmp_path: Path) -> Path:
    """Folders of clips as Chen et al. have them."""
    for clip in range(NUM):
        (tmp_path / "fire" / str(clip)).mkdir(parents=True)
        for frame in range(FRAMES):
            Image.fromarray(values(clip, frame)).save(tmp_path / "fire" / str(clip) / f"{frame}.png")
    return tmp_path / "fire"


def write(folder: Path, fire: Path, **changed: Any) -> Written:
    plain = {"pattern": "{clip}/{frame}.*", "num_frames": None, "step": 0.5, "size": None, "in_colour": True}
    return fire_frames.write(folder, fire, **(plain | {"split": None, "per_file": 4} | changed))


def read(folder: Path) -> xr.Dataset:
    files = [xr.load_dataset(path, decode_times=False) for path in sorted(folder.glob("frames_*.nc"))]
    return xr.concat(files, "sequence", data_vars="minimal")


def test_clips_become_sequences_of_three_variables(tmp_path: Path, fire: Path) -> None:
    assert write(tmp_path / "raw", fire) == Written(made=3, known=0)
    found = read(tmp_path / "raw")
    expected = np.stack([[values(clip, frame) for frame in range(FRAMES)] for clip in range(NUM)])
    for channel, name in enumerate(("red", "green", "blue")):
        np.testing.assert_array_equal(found[name], expected[..., channel])
        assert found[name].dtype == np.uint8
    assert found["clip"].values.tolist() == [str(clip) for clip in range(NUM)]
    assert found["time"].values.tolist() == [0.0, 0.5, 1.0]
    assert found.attrs["title"] == "Clips of pictures: fire"


def test_grey_is_one_variable_and_may_be_smaller(tmp_path: Path, fire: Path) -> None:
    write(tmp_path / "raw", fire, in_colour=False, size=(2, 3))
    assert dict(read(tmp_path / "raw")["luminance"].sizes) == {"sequence": NUM, "time": FRAMES, "y": 2, "x": 3}


def test_a_split_gives_the_parts(tmp_path: Path, fire: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"test": [1, 10], "val": [4], "train": [2, 0, 3]}))
    write(tmp_path / "raw", fire, split=tmp_path / "split.json")
    found = read(tmp_path / "raw")
    assert found["clip"].values.tolist() == ["2", "0", "3", "4", "1", "10"]
    assert found["part"].values.tolist() == [0, 0, 0, 1, 2, 2]
    np.testing.assert_array_equal(found["red"][5, 2], values(10, 2)[..., 0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", r"split\.json is no JSON of lists train, val and test of clips' names"),
        ("{", r"split\.json is no JSON of lists train, val and test of clips' names"),
        ('{"train": [1], "test": [2]}', r"split\.json is no JSON .* \(KeyError\('val'\)\)"),
        ('{"train": [1], "val": [2], "test": [1]}', "has the clip 1 twice; a clip belongs to one part"),
        ('{"train": [1], "val": [2], "test": [99]}', "names the clip 99, which is not there"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(tmp_path: Path, fire: Path, text: str, message: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DataError, match=message):
        write(tmp_path / "raw", fire, split=tmp_path / "split.json")


def test_a_broken_picture_ends_it_and_leaves_the_files_before(tmp_path: Path, fire: Path) -> None:
    good = (fire / "5" / "1.png").read_bytes()
    (fire / "5" / "1.png").write_bytes(bytes(len(good)))
    with pytest.raises(DataError, match=r"5/1\.png cannot be read as a picture"):
        write(tmp_path / "raw", fire)
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["frames_000000-000003.nc"]
    (fire / "5" / "1.png").write_bytes(good)
    assert write(tmp_path / "raw", fire) == Written(made=2, known=1)


def test_other_pictures_do_not_go_on_with_the_files(tmp_path: Path, fire: Path) -> None:
    write(tmp_path / "raw", fire)
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(fire / "5" / "1.png")
    with pytest.raises(DataError, match="was made with pictures = "):
        write(tmp_path / "raw", fire)
