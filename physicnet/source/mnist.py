"""The handwritten digits of MNIST (LeCun, Bottou, Bengio and Haffner, 1998, doi:10.1109/5.726791).

The files are those that their authors published, compressed or not; nothing is fetched. Their format, "idx", is a magic
number, the number of images, of rows and of columns, 32 bits each, and then a byte for each cell.
"""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from physicnet.fields import DataError

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
SIDE = 28  # cells
HEADER = 16  # bytes

# SHA-256 of the uncompressed bytes: the same content may have been compressed anew.
SHA256 = {
    TRAIN: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TEST: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
}
DESCRIBED = "MNIST is described at http://yann.lecun.com/exdb/mnist, and many mirrors hold its files"


def read(folder: Path, name: str) -> UInt8[np.ndarray, "n 28 28"]:
    """Read the images of the file `name` or `name.gz`: 0 is the background, 255 the ink.

    Raises:
        DataError: if there is no such file, or it holds anything but the images that were published.
    """
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise DataError(f"{folder} holds no {name} or {name}.gz; put the files of MNIST there. {DESCRIBED}")
    content = _uncompressed(path)
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise DataError(
            f"{path} is not the file of MNIST: the SHA-256 of its uncompressed content is {found}, not {SHA256[name]}; "
            f"get it again. {DESCRIBED}"
        )
    return np.frombuffer(content, np.uint8, offset=HEADER).reshape(-1, SIDE, SIDE)


def _uncompressed(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}); get it again. {DESCRIBED}") from error
