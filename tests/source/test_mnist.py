import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from digits import as_idx, some_digits

from physicnet.fields import DataError
from physicnet.source import mnist


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """What stands for MNIST's training images, by their hash."""
    found = some_digits(5)
    monkeypatch.setitem(mnist.SHA256, mnist.TRAIN, hashlib.sha256(as_idx(found)).hexdigest())
    return found


def test_the_files_are_read_compressed_or_not(tmp_path: Path, images: np.ndarray) -> None:
    (tmp_path / f"{mnist.TRAIN}.gz").write_bytes(gzip.compress(as_idx(images)))
    np.testing.assert_array_equal(mnist.read(tmp_path, mnist.TRAIN), images)
    (tmp_path / f"{mnist.TRAIN}.gz").unlink()
    (tmp_path / mnist.TRAIN).write_bytes(as_idx(images))
    np.testing.assert_array_equal(mnist.read(tmp_path, mnist.TRAIN), images)


def test_a_folder_without_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no t10k-images-idx3-ubyte or .*\.gz; .* is described at http://yann"):
        mnist.read(tmp_path, mnist.TEST)


def test_other_images_are_refused(tmp_path: Path, images: np.ndarray) -> None:
    (tmp_path / mnist.TRAIN).write_bytes(as_idx(255 - images))
    with pytest.raises(
        DataError, match=r"idx3-ubyte is not the file of MNIST: the SHA-256 of its uncompressed content"
    ):
        mnist.read(tmp_path, mnist.TRAIN)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(bytes(1000))[:-12]], ids=["another", "cut off"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{mnist.TRAIN}.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is damaged \(.*\); get it again"):
        mnist.read(tmp_path, mnist.TRAIN)
