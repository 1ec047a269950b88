"""The hash by which a file is known on any machine."""

from hashlib import file_digest
from pathlib import Path


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        FileNotFoundError: if there is none.
    """
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
