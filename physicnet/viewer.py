"""The view of all runs: MLflow's own server, on this machine alone, opened where runs are compared."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

from physicnet.ports import HOST as HOST
from physicnet.ports import why_taken
from physicnet.process import end_family
from physicnet.tracking import executions
from physicnet.tracking.page import arrange
from physicnet.tracking.store import Store

STDERR = 2  # where the server's own words go
PATIENCE = 180.0  # seconds until the server must answer; on a busy machine it starts slowly


class ViewError(ValueError):
    """The view cannot be shown."""


def view(store: Store, port: int, *, in_browser: bool) -> None:
    """Serve the runs of a store until told to end; say where, and open that page once it can be seen.

    Raises:
        ViewError: if the port is taken, or the server ends by itself or does not begin to answer.
    """
    _require_free(port)
    with serving(store, port) as server:
        wait_for(server, port)
        address = f"http://{HOST}:{port}{arrange(store)}"
        print(f"All runs: {address}  (end with Ctrl-C)", flush=True)
        if in_browser:
            webbrowser.open(address)
        status = server.wait()
    raise ViewError(
        f"MLflow's server on port {port} ended by itself with exit status {status}; its output above says why"
    )


@contextmanager
def serving(store: Store, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server, and end it with all that it started."""
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # halves the memory
    server = subprocess.Popen([sys.executable, *server_command(store, port)], env=environment, stdout=STDERR)
    try:
        yield server
    finally:
        end_family(server)


def server_command(store: Store, port: int) -> list[str]:
    """Arguments of Python that serve the user interface of a store on this machine alone."""
    executions.close_abandoned(store)
    where = ["--backend-store-uri", store.uri, "--host", HOST, "--port", str(port)]
    return ["-m", "mlflow", "server", *where, "--workers", "1"]


def _require_free(port: int) -> None:
    reason = why_taken(port)
    if reason is not None:
        raise ViewError(
            f"port {port} of this machine cannot be used ({reason}); perhaps the runs are shown there "
            f"already: http://{HOST}:{port}; or choose another with --port"
        )


def wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    """Return when the server answers.

    Raises:
        ViewError: if it ends, or does not answer in time.
    """
    end = time.monotonic() + PATIENCE
    while not _answers(port):
        if server.poll() is not None:
            raise ViewError(f"MLflow's server ended with exit status {server.returncode}; its output above says why")
        if time.monotonic() > end:
            raise ViewError(f"MLflow's server on port {port} gave no answer within {PATIENCE:.0f} seconds")
        time.sleep(0.2)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
