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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

HOME = Path(".prefect")
HOST = "127.0.0.1"
POOL = "physicnet"
PATIENCE = 180.0  # seconds for the server to answer; a fresh database takes most of a minute
FAREWELL = 15.0  # seconds for a process to end when asked to
HEARTBEAT = 30  # seconds; the least that Prefect takes

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
            is_it = process.create_time() == self.born and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if is_it else None


@app.command()
def start(port: Annotated[int, typer.Option(help="of the server, on 127.0.0.1")] = 4200) -> None:
    """Start a server, make the deployments and the automations, start a worker."""
    running = [each for each in _recorded() if each.process]
    if running:
        names = ", ".join(f"{each.name} (process {each.pid})" for each in running)
        raise ServiceError(f"running already: {names}; end it first: make stop")
    environment = settings(port)
    HOME.mkdir(exist_ok=True)
    started: list[Started] = []
    try:
        started.append(_launch("server", ["server", "start", "--host", HOST, "--port", str(port)], environment))
        _wait_for(started[0], port)
        _prefect(environment, "work-pool", "create", POOL, "--type", "process", "--overwrite")
        _prefect(environment, "--no-prompt", "deploy", "--all")
        _run([sys.executable, "-m", "flows.automations"], environment)
        started.append(_launch("worker", ["worker", "start", "--pool", POOL, "--name", "here"], environment))
    except BaseException:
        end(started)
        raise
    _record(started)
    console.print(f"Prefect: http://{HOST}:{port}; logs: {HOME}/; the end of it: make stop", highlight=False)
    console.print(
        f"For its commands in another shell: export PREFECT_API_URL=http://{HOST}:{port}/api", highlight=False
    )


@app.command()
def stop() -> None:
    """End what `start` has started, and the flows that run there."""
    recorded = _recorded()
    end(recorded)
    _record([])
    names = ", ".join(each.name for each in recorded)
    console.print(f"ended: {names}" if recorded else "nothing was started here")


def settings(port: int) -> dict[str, str]:
    """What Prefect is told by its environment; what the user has set of it stays, but for where the server is."""
    page = f"http://{HOST}:{port}"
    ours = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": page,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
        "PREFECT_HOME": str(HOME.resolve()),
    }
    if "PREFECT_SERVER_API_AUTH_STRING" in os.environ:
        ours["PREFECT_API_AUTH_STRING"] = os.environ["PREFECT_SERVER_API_AUTH_STRING"]
    return {**ours, **os.environ, "PREFECT_API_URL": f"{page}/api"}


def end(started: Iterable[Started]) -> None:
    """End processes and all that they have started, the latest first: a worker needs its server to say farewell."""
    for each in reversed(list(started)):
        process = each.process
        if process is None:
            continue
        family = [*process.children(recursive=True), process]
        process.terminate()
        _, alive = psutil.wait_procs([process], timeout=FAREWELL)
        for member in family if not alive else [*alive, *family]:
            if member.is_running():
                member.terminate()
        _, alive = psutil.wait_procs(family, timeout=FAREWELL)
        for member in alive:
            member.kill()
        psutil.wait_procs(alive, timeout=FAREWELL)


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


def _recorded() -> list[Started]:
    path = HOME / "service.json"
    return [Started(**each) for each in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def _record(started: list[Started]) -> None:
    if not HOME.is_dir():
        return
    partial = HOME / "service.json.partial"
    partial.write_text(json.dumps([vars(each) for each in started]), encoding="utf-8")
    partial.replace(HOME / "service.json")


if __name__ == "__main__":
    try:
        app()
    except ServiceError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", soft_wrap=True)
        sys.exit(1)
