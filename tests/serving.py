"""What tests that start a server share."""

from urllib.error import URLError
from urllib.request import urlopen


def answers(address: str, path: str) -> bool:
    try:
        with urlopen(f"{address}{path}"):
            return True
    except (URLError, OSError):
        return False
