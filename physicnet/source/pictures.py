"""Pictures, PNG, JPEG or others that Pillow reads, as values of 8 bits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from physicnet.fields import DataError

EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}  # Pillow's names of modes


def size_of(path: Path) -> tuple[int, int]:
    """Return the rows and columns of a picture.

    Raises:
        DataError: if it cannot be read.
    """
    with _opened(path) as picture:
        return picture.height, picture.width


@dataclass(frozen=True)
class Form:
    """What pictures are like, and what becomes of them.

    `original` are the rows and columns that each must have. They are reduced to `size`, where a cell is the mean of
    what it covers. Channels are red, green and blue if `in_colour`, or grey alone: 0.299, 0.587 and 0.114 of them
    (ITU-R BT.601).

    Raises:
        DataError: when built to enlarge them.
    """

    original: tuple[int, int]
    size: tuple[int, int]
    in_colour: bool

    def __post_init__(self) -> None:
        if self.size[0] > self.original[0] or self.size[1] > self.original[1]:
            raise DataError(
                f"pictures of {_text(self.original)} cells cannot be reduced to {_text(self.size)}; take at most the "
                "size that they have"
            )

    def read(self, path: Path) -> UInt8[np.ndarray, "h w c"]:
        """Read a picture.

        Raises:
            DataError: if it is no picture, a broken one, of more than 8 bits a channel, or of another size.
        """
        with _opened(path) as picture:
            self._check(path, picture)
            picture = picture.convert("RGB" if self.in_colour else "L")
            if self.size != self.original:
                picture = picture.resize(self.size[::-1], Image.Resampling.BOX)
            return np.asarray(picture).reshape(*self.size, -1)

    def _check(self, path: Path, picture: Image.Image) -> None:
        if picture.mode not in EIGHT_BITS:
            raise DataError(f"{path} has values of mode {picture.mode}, not 8 bits a channel; convert it")
        found = (picture.height, picture.width)
        if found != self.original:
            raise DataError(
                f"{path} has {_text(found)} cells, the first picture {_text(self.original)}; bring it to that size, or "
                "leave its clip out"
            )


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError) as error:  # Pillow's, of broken files
        raise DataError(f"{path} cannot be read as a picture ({error}); mend it, or leave its clip out") from error


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
