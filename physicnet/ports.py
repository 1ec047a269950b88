"""Ports of this machine at which a server of ours may listen."""

import socket

HOST = "127.0.0.1"


def why_taken(port: int) -> str | None:
    """The system's words for why nobody can begin to listen there now; None if one can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def free_port() -> int:
    """A port where nobody listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
