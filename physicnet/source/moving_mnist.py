"""Moving MNIST: handwritten digits that bounce inside a square (Srivastava, Mansimov and Salakhutdinov, 2015).

A frame has 64 x 64 cells and a sequence 20 frames, in which two digits of 28 x 28 cells move. The corner of a digit
moves in a box of 36 x 36 cells: it begins anywhere in it and moves by a tenth of the box's side per frame, in any
direction. Where it would leave the box it stays on the wall for that frame, and the velocity across the wall turns
round. Corners are cut to whole cells, and where digits overlap the brighter one is seen. All of this is as in the
generator that the authors published.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from math import tau
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8
from numpy.lib.stride_tricks import sliding_window_view

from physicnet.fields import PARTS, DataError
from physicnet.source import mnist, sequences
from physicnet.source.sequences import Kind, Written

SIDE, FRAMES = 64, 20
BOX = SIDE - mnist.SIDE  # cells that the corner of a digit may lie from the first one
STEP = 0.1  # of the box's side, per frame
NUM_HELD_APART = 10_000  # of the training digits, the last ones: they are for validation

NUM_PUBLISHED = 10_000
PUBLISHED_MD5 = "be083ec986bfe91a449d63653c411eb2"
PUBLISHED_AT = "http://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy"

Sequences = Callable[[range], UInt8[np.ndarray, "s t h w"]]  # those of some numbers


@dataclass(frozen=True, eq=False)
class Drawn:
    """Sequences of `num_digits` digits that are drawn from `images`; each depends on the seed and its number alone."""

    images: UInt8[np.ndarray, "_ 28 28"]
    num_digits: int
    seed: tuple[int, ...]

    def __call__(self, numbers: range) -> UInt8[np.ndarray, "s 20 64 64"]:
        """Draw the sequences of these numbers."""
        drawn = [self._beginning(number) for number in numbers]
        images, places, velocities = (np.stack(each) for each in zip(*drawn, strict=True))
        return superpose(images, (BOX * bounce(places, velocities, FRAMES)).astype(np.int64))

    def _beginning(
        self, number: int
    ) -> tuple[UInt8[np.ndarray, "d 28 28"], Float64[np.ndarray, "d 2"], Float64[np.ndarray, "d 2"]]:
        rng = np.random.default_rng([*self.seed, number])
        images = self.images[rng.integers(len(self.images), size=self.num_digits)]
        place = rng.random((self.num_digits, 2))
        angle = tau * rng.random(self.num_digits)
        return images, place, STEP * np.stack([np.sin(angle), np.cos(angle)], axis=-1)


class Published:
    """The 10,000 test sequences of the authors, in their file `(time, sequence, y, x)`.

    Raises:
        DataError: when built from anything else.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            found = file_digest(file, "md5").hexdigest()
        if found != PUBLISHED_MD5:
            raise DataError(
                f"{path} is not the published test set: its MD5 is {found}, not {PUBLISHED_MD5}; get it from "
                f"{PUBLISHED_AT}, or leave it out to have test sequences drawn"
            )
        self.values = np.load(path, mmap_mode="r")

    def __call__(self, numbers: range) -> UInt8[np.ndarray, "s 20 64 64"]:
        """Read the sequences of these numbers."""
        return np.asarray(self.values[:, numbers.start : numbers.stop]).swapaxes(0, 1)


def bounce(
    place: Float64[np.ndarray, "s d 2"], velocity: Float64[np.ndarray, "s d 2"], num_frames: int
) -> Float64[np.ndarray, "s {num_frames} d 2"]:
    """Return where points of the unit square are after each step of `velocity`, which turns round at the walls."""
    places = np.empty((len(place), num_frames, *place.shape[1:]))
    for frame in range(num_frames):
        place = place + velocity
        velocity = np.where((place <= 0) | (place >= 1), -velocity, velocity)
        place = place.clip(0, 1)
        places[:, frame] = place
    return places


def superpose(
    images: UInt8[np.ndarray, "s d 28 28"], corners: Int64[np.ndarray, "s t d 2"]
) -> UInt8[np.ndarray, "s t 64 64"]:
    """Draw images at their upper left corners, `(row, column)`; where they overlap, the brighter one is seen."""
    num, num_frames, num_digits, _ = corners.shape
    frames = np.zeros((num, num_frames, SIDE, SIDE), np.uint8)
    windows = sliding_window_view(frames, (mnist.SIDE, mnist.SIDE), axis=(2, 3), writeable=True)  # s t 37 37 28 28
    sequence, frame = np.ogrid[:num, :num_frames]
    for digit in range(num_digits):
        at = sequence, frame, corners[:, :, digit, 0], corners[:, :, digit, 1]
        windows[at] = np.maximum(windows[at], images[:, digit, None])
    return frames


def write(
    folder: Path,
    digits: Path,
    *,
    parts: Mapping[str, int],
    published: Path | None,
    num_digits: int,
    seed: int,
    per_file: int,
) -> Written:
    """Write sequences, those of the training part first, then validation, then test.

    Args:
        folder: of the NetCDF files.
        digits: folder of the files of MNIST. The test part has MNIST's own test digits, the validation part training
            digits that the training part does not have.
        parts: number of sequences in each part.
        published: file of the authors' test sequences, which then are the test part.
        num_digits: that move in a sequence.
        seed: of the drawing.
        per_file: sequences of a file.

    Raises:
        DataError: if a file is missing, or is not what was published.
    """
    train, test = mnist.read(digits, mnist.TRAIN), mnist.read(digits, mnist.TEST)
    images = {"train": train[:-NUM_HELD_APART], "validation": train[-NUM_HELD_APART:], "test": test}
    parts = {part: NUM_PUBLISHED if published and part == "test" else parts[part] for part in PARTS}
    of_part: dict[str, Sequences] = {
        part: Drawn(images[part], num_digits, (seed, index)) for index, part in enumerate(PARTS)
    }
    if published is not None:
        of_part["test"] = Published(published)

    def make(numbers: range) -> Mapping[str, UInt8[np.ndarray, "s t h w"]]:
        made = [of_part[part](within) for part, within in sequences.by_part(parts, numbers)]
        return {"intensity": np.concatenate(made)}

    kind = _kind(parts, {"num_digits": num_digits, "seed": seed, "published": published is not None})
    return sequences.write(folder, kind, sum(parts.values()), make, per_file=per_file)


def _kind(parts: Mapping[str, int], settings: Mapping[str, int]) -> Kind:
    return Kind(
        name="moving_mnist",
        title=f"Moving MNIST: {settings['num_digits']} handwritten digits that bounce inside a square",
        references="Srivastava, Mansimov and Salakhutdinov, 2015, Unsupervised learning of video representations using "
        "LSTMs, ICML; LeCun, Bottou, Bengio and Haffner, 1998, doi:10.1109/5.726791",
        license="CC BY-SA 3.0; digits: Y. LeCun, C. Cortes, C. Burges",
        variables={"intensity": {"units": "1", "long_name": "intensity of the ink, 0 to 255"}},
        settings=settings,
        num_frames=FRAMES,
        step=1.0,
        y=np.arange(SIDE, dtype=np.float64),
        x=np.arange(SIDE, dtype=np.float64),
        parts=parts,
        is_packed=True,
    )
