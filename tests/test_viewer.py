import os
import signal
import socket
import subprocess
import sys
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from waiting import wait_until

from physicnet import viewer
from physicnet.ports import free_port
from physicnet.tracking.store import Store
from physicnet.viewer import ViewError, view

ANSWERS_TWICE = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): ...
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.handle_request(); server.handle_request()
sys.exit(7)
"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A store whose server is a program of the test's choice."""
    monkeypatch.setattr(viewer, "arrange", lambda _: "/#/page")
    return Store(tmp_path)


def serve_by(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer, "server_command", lambda _, port: ["-c", program, str(port)])


def test_the_page_is_opened_once_the_server_answers_and_its_end_is_told(
    store: Store, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def visit(address: str) -> None:
        opened.append(address)
        urllib.request.urlopen(address).close()

    opened: list[str] = []
    serve_by(ANSWERS_TWICE, monkeypatch)
    monkeypatch.setattr(webbrowser, "open", visit)
    with pytest.raises(ViewError, match="ended by itself with exit status 7"):
        view(store, port, in_browser=True)
    assert opened == [f"http://127.0.0.1:{port}/#/page"]
    assert f"All runs: http://127.0.0.1:{port}/#/page" in capsys.readouterr().out


def test_the_view_is_served_on_this_machine_alone(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    command = viewer.server_command(Store(repository), 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5001"


def test_a_port_that_is_taken_is_refused_with_the_remedy(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ViewError, match=f"port {port} of this machine cannot be used .*--port"):
            view(store, port, in_browser=False)


def test_a_server_that_does_not_start_is_told(store: Store, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_by("raise SystemExit(3)", monkeypatch)
    with pytest.raises(ViewError, match="ended with exit status 3"):
        view(store, port, in_browser=False)


def test_a_server_that_never_answers_is_told_and_ended(
    store: Store, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_by("import time; time.sleep(60)", monkeypatch)
    monkeypatch.setattr(viewer, "PATIENCE", 0.5)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(ViewError, match=f"server on port {port} gave no answer within 0 seconds"):
        view(store, port, in_browser=False)
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


@pytest.fixture
def command(repository: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    words = [sys.executable, "-c", "from physicnet.cli import main; main()", "ui", "--no-browser", "--port", str(port)]
    process = subprocess.Popen(words, cwd=repository, env=environment, stdout=subprocess.PIPE, text=True)
    yield process
    for member in [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else []:
        member.kill()
    process.communicate()


def test_the_view_shows_the_runs_and_leaves_no_process_behind(command: subprocess.Popen[str], port: int) -> None:
    assert command.stdout is not None
    said = command.stdout.readline()
    assert f"http://127.0.0.1:{port}/#/experiments/1/runs?compareRunsMode=CHART" in said
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        assert b"MLflow" in page.read()
    family = psutil.Process(command.pid).children(recursive=True)
    command.send_signal(signal.SIGTERM)
    assert command.wait(timeout=30) == 128 + signal.SIGTERM
    assert family
    assert wait_until(lambda: not any(process.is_running() for process in family))
