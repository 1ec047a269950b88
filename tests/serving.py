"""What tests that start a server share."""

import socket
from urllib.error import URLError
from urllib.request import urlopen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(address: str, path: str) -> bool:
    try:
        with urlopen(f"{address}{path}"):
            return True
    except (URLError, OSError):
        return False
