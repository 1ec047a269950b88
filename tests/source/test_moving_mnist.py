import hashlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from digits import as_idx, some_digits
from hypothesis import given
from hypothesis import strategies as st

from physicnet.fields import DataError
from physicnet.source import mnist, moving_mnist
from physicnet.source.moving_mnist import BOX, FRAMES, STEP, Drawn, Published, bounce, superpose

PARTS = {"train": 3, "validation": 2, "test": 2}


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what stands for MNIST, of which the last two training digits are held apart."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    for seed, name in enumerate((mnist.TRAIN, mnist.TEST)):
        content = as_idx(some_digits(6, seed))
        (folder / name).write_bytes(content)
        monkeypatch.setitem(mnist.SHA256, name, hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(moving_mnist, "NUM_HELD_APART", 2)
    return folder


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the published sequences: four."""
    path = tmp_path / "mnist_test_seq.npy"
    np.save(path, np.random.default_rng(2).integers(256, size=(FRAMES, 4, 64, 64), dtype=np.uint8))
    monkeypatch.setattr(moving_mnist, "PUBLISHED_MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(moving_mnist, "NUM_PUBLISHED", 4)
    return path


def write(folder: Path, digits: Path, published: Path | None = None, parts: dict[str, int] = PARTS) -> xr.Dataset:
    """Write two digits a sequence, two sequences a file, and read them."""
    moving_mnist.write(folder, digits, parts=parts, published=published, num_digits=2, seed=5, per_file=2)
    files = [xr.load_dataset(path, decode_times=False) for path in sorted(folder.glob("moving_mnist_*.nc"))]
    return xr.concat(files, "sequence", data_vars="minimal")


def part(found: xr.Dataset, name: str) -> np.ndarray:
    flag = found["part"].attrs["flag_meanings"].split().index(name)
    return found["intensity"].values[found["part"].values == flag]


def path_of(place: float, velocity: float, num_frames: int) -> list[float]:
    """One coordinate, one step after the other."""
    places = []
    for _ in range(num_frames):
        place += velocity
        if place <= 0:
            place, velocity = 0.0, -velocity
        elif place >= 1:
            place, velocity = 1.0, -velocity
        places.append(place)
    return places


@given(st.tuples(st.floats(0, 1), st.floats(0, 1)), st.floats(0, 6.28))
def test_each_coordinate_bounces_alone(place: tuple[float, float], angle: float) -> None:
    velocity = STEP * np.array([np.sin(angle), np.cos(angle)])
    found = bounce(np.array([[place]]), velocity[None, None], 40)
    assert found.shape == (1, 40, 1, 2)
    for axis in (0, 1):
        np.testing.assert_allclose(found[0, :, 0, axis], path_of(place[axis], velocity[axis], 40), atol=1e-12)


def test_between_the_walls_the_speed_is_a_tenth_of_the_box() -> None:
    drawn = Drawn(some_digits(3), 2, (0,))
    _, place, velocity = drawn._beginning(0)
    np.testing.assert_allclose(np.hypot(*velocity.T), STEP)
    moved = np.diff(bounce(place[None], velocity[None], 20), axis=1)
    speed = np.hypot(moved[..., 0], moved[..., 1])
    assert speed.max() <= STEP + 1e-12
    assert np.median(speed) == pytest.approx(STEP)


def test_a_sequence_is_its_digits_at_their_corners_the_brighter_above() -> None:
    images = np.stack([some_digits(3, seed) for seed in (0, 1)])  # 2 sequences of 3 digits
    corners = np.random.default_rng(0).integers(BOX + 1, size=(2, 5, 3, 2))
    corners[0, 0, :, :] = [[0, 0], [BOX, BOX], [BOX, 0]]
    expected = np.zeros((2, 5, 64, 64), np.uint8)
    for sequence, frame, digit in np.ndindex(2, 5, 3):
        row, column = corners[sequence, frame, digit]
        window = expected[sequence, frame, row : row + 28, column : column + 28]
        np.maximum(window, images[sequence, digit], out=window)
    np.testing.assert_array_equal(superpose(images, corners), expected)


def test_every_frame_shows_every_digit_whole() -> None:
    images = some_digits(1)
    frames = Drawn(images, 1, (0,))(range(50))
    assert frames.shape == (50, FRAMES, 64, 64)
    np.testing.assert_array_equal(frames.sum(axis=(2, 3), dtype=int), images.sum(dtype=int))


def test_a_sequence_depends_on_its_number_alone() -> None:
    drawn = Drawn(some_digits(9), 2, (0, 1))
    np.testing.assert_array_equal(drawn(range(2, 5)), drawn(range(7))[2:5])
    assert (drawn(range(1)) != drawn(range(1, 2))).any()
    assert (drawn(range(1)) != Drawn(some_digits(9), 2, (0, 2))(range(1))).any()


def test_the_parts_have_digits_of_their_own(tmp_path: Path, digits: Path) -> None:
    found = write(tmp_path / "raw", digits)
    train = mnist.read(digits, mnist.TRAIN)
    expected = {"train": train[:-2], "validation": train[-2:], "test": mnist.read(digits, mnist.TEST)}
    for index, (name, images) in enumerate(expected.items()):
        np.testing.assert_array_equal(part(found, name), Drawn(images, 2, (5, index))(range(PARTS[name])))


def test_the_test_part_does_not_depend_on_how_many_are_trained_on(tmp_path: Path, digits: Path) -> None:
    more = write(tmp_path / "more", digits, parts=PARTS | {"train": 5})
    np.testing.assert_array_equal(part(more, "test"), part(write(tmp_path / "raw", digits), "test"))


def test_the_published_sequences_may_be_the_test_part(tmp_path: Path, digits: Path, published: Path) -> None:
    found = write(tmp_path / "raw", digits, published)
    np.testing.assert_array_equal(part(found, "test"), np.load(published).swapaxes(0, 1))
    np.testing.assert_array_equal(part(found, "train"), part(write(tmp_path / "drawn", digits), "train"))


def test_another_file_than_the_published_one_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros((FRAMES, 4, 64, 64), np.uint8))
    with pytest.raises(DataError, match=r"mine\.npy is not the published test set: its MD5 is \w+, not be083ec"):
        Published(tmp_path / "mine.npy")


def test_the_file_says_what_was_drawn(tmp_path: Path, digits: Path) -> None:
    found = write(tmp_path / "raw", digits)
    assert found["intensity"].attrs["units"] == "1"
    assert found["intensity"].dtype == np.uint8
    assert found.sizes == {"sequence": 7, "time": FRAMES, "y": 64, "x": 64}
    assert found.attrs["license"].startswith("CC BY-SA 3.0")


def test_another_seed_does_not_go_on_with_the_files(tmp_path: Path, digits: Path) -> None:
    write(tmp_path / "raw", digits)
    with pytest.raises(DataError, match="made with seed = 5, not 6"):
        moving_mnist.write(tmp_path / "raw", digits, parts=PARTS, published=None, num_digits=2, seed=6, per_file=2)
