"""A Prefect server, a worker and the deployments on this machine: `python -m flows.service start`, and `stop`.

The server listens on 127.0.0.1 alone and keeps its database and logs in `.prefect/`. `stop` ends the processes that
`start` has started, by number and time of birth, and no others.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from physicnet.ports import HOST, why_taken
from physicnet.process import end_cleanly_on_sigterm

HOME = Path(".prefect")
POOL = "physicnet"
PATIENCE = 180.0  # seconds for the server to answer; a fresh database takes most of a minute
FAREWELL = 15.0  # seconds for a process to end when asked to
CLOCK = 5.0  # seconds by which the machine's clock, and so the birth of a process, may be set right

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True)
console = Console()


class ServiceError(RuntimeError):
    """The service cannot be started or stopped; the message says what to do."""


@dataclass(frozen=True)
class Started:
    """A process that was started here."""

    name: str
    pid: int
    born: float

    @property
    def process(self) -> psutil.Process | None:
        """The process, if it is still there."""
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.born) < CLOCK and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if is_it else None


@app.command()
def start(
    port: Annotated[int, typer.Option(help="of the server, on 127.0.0.1")] = 4200,
    notify: Annotated[str | None, typer.Option(help="block by which failures are told, TYPE/NAME")] = None,
) -> None:
    """Start a server, make the deployments and the automations, start a worker."""
    running = [each for each in recorded() if each.process]
    if running:
        names = ", ".join(f"{each.name} (process {each.pid})" for each in running)
        raise ServiceError(f"running already: {names}; end it first: make stop")
    _require_free(port)
    environment = settings(port)
    HOME.mkdir(exist_ok=True)
    started: list[Started] = []

    def launch(name: str, *arguments: str) -> None:
        started.append(_launch(name, list(arguments), environment))
        _record(started)

    try:
        launch("server", "server", "start", "--host", HOST, "--port", str(port))
        _wait_for(started[0], port)
        _prefect(environment, "work-pool", "create", POOL, "--type", "process", "--overwrite")
        _prefect(environment, "--no-prompt", "deploy", "--all")
        told = [] if notify is None else ["--notify", notify]
        _run([sys.executable, "-m", "flows.automations", *told], environment)
        launch("worker", "worker", "start", "--pool", POOL, "--name", "here")
    except BaseException:
        end(started)
        _record([])
        raise
    console.print(f"Prefect: http://{HOST}:{port}; logs: {HOME}/; the end of it: make stop", highlight=False)
    console.print(
        f"For its commands in another shell: export PREFECT_API_URL=http://{HOST}:{port}/api", highlight=False
    )


@app.command()
def stop() -> None:
    """End what `start` has started, and the flows that run there."""
    running = [each for each in recorded() if each.process]
    end(running)
    _record([])
    names = ", ".join(each.name for each in running)
    console.print(f"ended: {names}" if running else "nothing that was started here is running")


def settings(port: int) -> dict[str, str]:
    """What Prefect is told by its environment; what the user has set of it stays, but for where the server is."""
    page = f"http://{HOST}:{port}"
    ours = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": page,
        "PREFECT_HOME": str(HOME.resolve()),
    }
    if "PREFECT_SERVER_API_AUTH_STRING" in os.environ:
        ours["PREFECT_API_AUTH_STRING"] = os.environ["PREFECT_SERVER_API_AUTH_STRING"]
    return {**ours, **os.environ, "PREFECT_API_URL": f"{page}/api"}


def address() -> str | None:
    """Where commands reach the server that `start` has started here; None if it does not run."""
    for each in recorded():
        process = each.process
        if each.name == "server" and process is not None:
            words = process.cmdline()
            return f"http://{HOST}:{words[words.index('--port') + 1]}/api"
    return None


def end(started: Iterable[Started]) -> None:
    """End processes and all that they have started, the latest first: a worker needs its server to say farewell."""
    for each in reversed(list(started)):
        process = each.process
        if process is None:
            continue
        family = [*process.children(recursive=True), process]
        _tell(psutil.Process.terminate, [process])
        _tell(psutil.Process.terminate, family)
        _tell(psutil.Process.kill, family)


def _tell(how: Callable[[psutil.Process], None], members: list[psutil.Process]) -> None:
    """Tell the processes that are still there to end, and wait for it."""
    for member in members:
        with suppress(psutil.NoSuchProcess):
            how(member)
    psutil.wait_procs(members, timeout=FAREWELL)


def _launch(name: str, arguments: list[str], environment: Mapping[str, str]) -> Started:
    with (HOME / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(name, process.pid, psutil.Process(process.pid).create_time())


def _wait_for(server: Started, port: int) -> None:
    until = time.monotonic() + PATIENCE
    with console.status("the server starts"):
        while time.monotonic() < until:
            if server.process is None:
                raise ServiceError(f"the server has ended; {HOME}/server.log tells why (is port {port} taken?)")
            if is_healthy(port):
                return
            time.sleep(0.5)
    raise ServiceError(f"the server did not answer within {PATIENCE:.0f} seconds; see {HOME}/server.log")


def _require_free(port: int) -> None:
    """Refuse a port where somebody listens: it would be their server that we told of our deployments."""
    reason = why_taken(port)
    if reason is not None:
        raise ServiceError(f"port {port} cannot be used ({reason}); choose another: make serve PORT={port + 100}")


def is_healthy(port: int) -> bool:
    """Whether a server answers at a port of this machine."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/api/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _prefect(environment: Mapping[str, str], *arguments: str) -> None:
    _run([sys.executable, "-m", "prefect", *arguments], environment)


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise ServiceError(f"{' '.join(command[1:])} failed:\n{done.stdout}{done.stderr}")


def recorded() -> list[Started]:
    """What `start` has started, and `stop` has not ended; it may have ended by itself."""
    path = HOME / "service.json"
    return [Started(**each) for each in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def _record(started: list[Started]) -> None:
    if not HOME.is_dir():
        return
    partial = HOME / "service.json.partial"
    partial.write_text(json.dumps([vars(each) for each in started]), encoding="utf-8")
    partial.replace(HOME / "service.json")


if __name__ == "__main__":
    end_cleanly_on_sigterm()  # else what was started would stay behind
    try:
        app()
    except ServiceError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", soft_wrap=True)
        sys.exit(1)
