from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from physicnet.fields import DataError
from physicnet.source.pictures import Form, size_of

SIZE = (6, 4)


def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(*SIZE, 3), dtype=np.uint8)


def save(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


def test_colours_are_read_as_they_are(tmp_path: Path) -> None:
    path = save(tmp_path / "0.png", colours())
    assert size_of(path) == SIZE
    np.testing.assert_array_equal(Form(SIZE, SIZE, in_colour=True).read(path), colours())


def test_grey_weighs_the_colours_as_the_eye_does(tmp_path: Path) -> None:
    found = Form(SIZE, SIZE, in_colour=False).read(save(tmp_path / "0.png", colours()))
    assert found.shape == (*SIZE, 1)
    np.testing.assert_allclose(found[..., 0], colours() @ [0.299, 0.587, 0.114], atol=1)


def test_a_smaller_picture_has_the_means_of_blocks(tmp_path: Path) -> None:
    found = Form(SIZE, (3, 2), in_colour=True).read(save(tmp_path / "0.png", colours()))
    np.testing.assert_allclose(found, colours().reshape(3, 2, 2, 2, 3).mean(axis=(1, 3)), atol=1)


def test_pictures_are_not_enlarged() -> None:
    with pytest.raises(DataError, match="pictures of 6 x 4 cells cannot be reduced to 6 x 5; take at most the size"):
        Form(SIZE, (6, 5), in_colour=True)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_broken_picture_is_named(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"0.{suffix}", colours())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=rf"0\.{suffix} cannot be read as a picture \(.*\); mend it, or leave its clip"):
        Form(SIZE, SIZE, in_colour=True).read(path)


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_text("no picture")
    with pytest.raises(DataError, match=r"0\.png cannot be read as a picture \(cannot identify image file"):
        size_of(tmp_path / "0.png")


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "7.png", colours()[:, :3])
    with pytest.raises(DataError, match=r"7\.png has 6 x 3 cells, the first picture 6 x 4; bring it to that size"):
        Form(SIZE, SIZE, in_colour=True).read(path)


def test_sixteen_bits_are_not_cut_to_eight(tmp_path: Path) -> None:
    path = save(tmp_path / "0.png", np.full(SIZE, 30_000, np.uint16))
    with pytest.raises(DataError, match=r"0\.png has values of mode I;16, not 8 bits a channel; convert it"):
        Form(SIZE, SIZE, in_colour=False).read(path)
