"""What does a served model bear? Requests per second, latency and memory under load, amid bodies that are no requests.

    python benchmarks/serving.py --seconds 120

Starts `physicnet serve` on 127.0.0.1 with models/model.safetensors and sends, from a few clients that wait for each
answer, frames of data/fields.zarr (both from `dvc repro`), whole or a window of them, and in every second request one
of many bodies that are none. Each of these must get a status of 400 to 499 with a reason and without a stack trace; if
one does not, or the server does not answer at the end, the exit status is 1.

Memory is that of the server and all its children, the least within every `REST` seconds: between requests, as long as
they come. It is flat if a line through it, after the first quarter of the time, rises by less than `FLAT` until the
end. Writes docs/results/serving.csv and docs/results/serving_memory.csv.
"""

import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import psutil
import typer
from rich.console import Console
from rich.table import Table

from physicnet.config import load_params
from physicnet.fields import Field, written_whole
from physicnet.ports import HOST, free_port
from physicnet.process import end_family
from physicnet.served import log
from physicnet.tracking import registered
from physicnet.tracking.registered import CHAMPION
from physicnet.tracking.store import Store

MODEL, RECORD = Path("models/model.safetensors"), Path("data/fields.zarr")
TARGET, MEMORY = Path("docs/results/serving.csv"), Path("docs/results/serving_memory.csv")
COMMAND = "from physicnet.cli import main; main()"
CLIENTS = 3
WINDOW = 128  # cells a side
EVERY = 5  # of the forecasts, one is of whole frames
PATIENCE = 120.0  # seconds until the server must answer at first
REST = 10  # seconds
FLAT = 0.05  # of the mean
JSON = "application/json"
BODY = 64  # MiB that `physicnet serve` takes

Arrays = dict[str, list]


class Sent(NamedTuple):
    """A request: what it was, when it ended, how long it took, its status, and whether the answer was as it must be."""

    kind: str
    end: float
    seconds: float
    status: int
    right: bool


def arrays_of(past: Field) -> Arrays:
    """Return frames as a request has them; see docs/operations.md."""
    dataset = past.dataset.compute()
    arrays: Arrays = {"time": np.datetime_as_string(past.times, unit="s").tolist()}
    for name in past.spatial_dims:
        arrays[name] = dataset[name].values.tolist()
    for name in past.variables:
        values = dataset[name].values
        arrays[name] = np.where(np.isnan(values), None, values.astype(object)).tolist()
    return arrays


def body_of(arrays: Arrays, **params: object) -> bytes:
    """Return the body of a request."""
    return json.dumps({"inputs": arrays, "params": params}).encode()


def malformed(arrays: Arrays, variable: str) -> dict[str, tuple[bytes, str]]:
    """Return bodies that are no requests, each with its content type."""

    def changed(**changes: object) -> bytes:
        return body_of(arrays | changes)

    return {
        "empty": (b"", JSON),
        "not JSON": (b"rain", JSON),
        "not UTF-8": (b"\xff\xfe", JSON),
        "a list": (b"[1, 2, 3]", JSON),
        "no inputs": (b"{}", JSON),
        "deeply nested": (b"[" * 100_000, JSON),
        "a number of 5000 digits": (b'{"inputs": {"time": ' + b"9" * 5000 + b"}}", JSON),
        "cut off": (body_of(arrays)[:-1000], JSON),
        "a variable missing": (body_of({name: each for name, each in arrays.items() if name != variable}), JSON),
        "an axis missing": (body_of({name: each for name, each in arrays.items() if name != "y"}), JSON),
        "a row missing": (changed(y=arrays["y"][1:]), JSON),
        "ragged": (changed(**{variable: [[[1.0, 2.0], [3.0]]]}), JSON),
        "two dimensions": (changed(**{variable: arrays[variable][0]}), JSON),
        "a frame alone": (changed(time=arrays["time"][:1], **{variable: arrays[variable][:1]}), JSON),
        "words": (changed(**{variable: "wet"}), JSON),
        "numbers for times": (changed(time=list(range(len(arrays["time"])))), JSON),
        "times reversed": (changed(time=arrays["time"][::-1]), JSON),
        "rows apart": (changed(y=[2 * y for y in arrays["y"]]), JSON),
        "all missing": (
            changed(**{variable: [[[None] * len(arrays["x"])] * len(arrays["y"])] * len(arrays["time"])}),
            JSON,
        ),
        "no leads": (body_of(arrays, num_leads=0), JSON),
        "a billion leads": (body_of(arrays, num_leads=10**9), JSON),
        "an unknown output": (body_of(arrays, output="median"), JSON),
        "CSV": (b"time,y,x\n1,2,3\n", "text/csv"),
        "Parquet": (b"PAR1", "application/vnd.apache.parquet"),
        "no content type": (b"{}", ""),
        "huge": (b" " * ((BODY + 1) * 2**20), JSON),
    }


@contextmanager
def served(checkpoint: Path, record: Field) -> Iterator[tuple[psutil.Process, int]]:
    """Serve a checkpoint from a new store in a folder of its own; end the server and what it started."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        store = Store(folder)
        run_id = store.find_or_create({"physicnet.child": "served"}, "train", {})
        log(store, run_id, checkpoint, record, load_params(Path("params.yaml")).machine)
        registered.name_version(store, CHAMPION, registered.register(store, run_id))
        with (folder / "log.txt").open("w") as output:
            command = [sys.executable, "-c", COMMAND, "serve", "--port", str(port), "--body", str(BODY)]
            server = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_for(server, port, folder / "log.txt")
            yield psutil.Process(server.pid), port
        finally:
            end_family(server)


def wait_for(server: subprocess.Popen, port: int, log_file: Path) -> None:
    """Return when the server answers."""
    end = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < end:
        try:
            if request(port, b"", JSON, "GET", "/ping")[0] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the server does not answer:\n{log_file.read_text()}")


def request(port: int, body: bytes, kind: str, method: str = "POST", path: str = "/invocations") -> tuple[int, bytes]:
    """Send a request, wait for the answer, and return its status and content."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def is_refusal(status: int, content: bytes) -> bool:
    """Whether a body that is no request was answered as it must be."""
    return 400 <= status < 500 and b"Traceback" not in content and bool(json.loads(content)["message"])


def is_forecast(status: int, content: bytes) -> bool:
    """Whether a request was answered by a forecast."""
    return status == 200 and content.startswith(b'{"predictions": ')


def client(number: int, port: int, end: float, good: dict[str, bytes], bad: dict[str, tuple[bytes, str]]) -> list[Sent]:
    """Send forecasts and malformed bodies in turn until the end; return what became of them."""
    sent = []

    def send(kind: str, body: bytes, content_type: str, is_right: Callable[[int, bytes], bool]) -> None:
        start = time.monotonic()
        try:
            status, content = request(port, body, content_type)
        except OSError:
            status, content = 0, b""
        now = time.monotonic()
        sent.append(Sent(kind, now, now - start, status, bool(status) and is_right(status, content)))

    whole, window = good
    for turn, (name, (body, content_type)) in zip(itertools.count(number), itertools.cycle(bad.items())):
        if time.monotonic() > end:
            return sent
        kind = whole if turn % EVERY == 0 else window
        send(kind, good[kind], JSON, is_forecast)
        send(name, body, content_type, is_refusal)
    raise AssertionError("the bodies come round and round")


def watch(server: psutil.Process, end: float) -> pd.DataFrame:
    """Return the memory of the server and its children in MiB, every tenth of a second."""
    rows, start = [], time.monotonic()
    while time.monotonic() < end:
        family = [server, *server.children(recursive=True)]
        mebibytes = sum(process.memory_info().rss for process in family) / 2**20
        rows.append({"seconds": time.monotonic() - start, "mib": mebibytes, "processes": len(family)})
        time.sleep(0.1)
    return pd.DataFrame(rows)


def measure(server: psutil.Process, port: int, seconds: float, past: Field) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load the server; return all that was sent, and the memory over time."""
    side = {dim: slice(0, WINDOW) for dim in past.spatial_dims}
    part = arrays_of(Field(past.dataset.isel(side)))
    height, width = past.shape[2:]
    good = {f"{height} x {width} cells": body_of(arrays_of(past)), f"{WINDOW} x {WINDOW} cells": body_of(part)}
    bad = malformed(part, past.variables[0])
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        memory = pool.submit(watch, server, end)
        asked = [pool.submit(client, number, port, end, good, rotated(bad, number)) for number in range(CLIENTS)]
        sent = pd.DataFrame([each for one in asked for each in one.result()])
    status, content = request(port, body_of(part), JSON)
    assert is_forecast(status, content), f"the server answers {status} after the test: {content[-500:]!r}"
    sent["is_request"] = sent["kind"].isin(good)
    return sent, memory.result()


def rotated(bad: dict[str, tuple[bytes, str]], number: int) -> dict[str, tuple[bytes, str]]:
    """Return the bodies in the order of one client, who begins elsewhere than the others."""
    names = list(bad)
    first = number * len(names) // CLIENTS
    return {name: bad[name] for name in names[first:] + names[:first]}


def by_kind(sent: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Return a row for each kind of request: how many, statuses, how many a second, median and 99 % of the latency."""
    rows = []
    for (is_request, kind), each in sent.groupby(["is_request", "kind"], sort=False):
        rows.append(
            {
                "request": kind,
                "is_request": is_request,
                "number": len(each),
                "right": int(each["right"].sum()),
                "statuses": " ".join(map(str, sorted(set(each["status"])))),
                "per_second": len(each) / seconds,
                "p50_s": each["seconds"].quantile(0.5),
                "p99_s": each["seconds"].quantile(0.99),
            }
        )
    return pd.DataFrame(rows).sort_values("is_request", ascending=False, kind="stable").set_index("request")


def resting(memory: pd.DataFrame) -> pd.Series:
    """Return the least memory within every `REST` seconds, by their beginning."""
    return memory.groupby((memory["seconds"] // REST).astype(int) * REST)["mib"].min().rename("mib")


def rise(rest: pd.Series) -> float:
    """Return by what share of its mean memory rises after the first quarter, along a line through it."""
    late = rest[len(rest) // 4 :]
    slope = np.polyfit(late.index.to_numpy(float), late.to_numpy(), 1)[0]
    return float(slope * (late.index[-1] - late.index[0]) / late.mean())


def show(kinds: pd.DataFrame, rest: pd.Series, memory: pd.DataFrame) -> None:
    """Print the tables, and whether memory was flat."""
    table = Table("request", "number", "statuses", "per second", "p50 s", "p99 s", title=f"{CLIENTS} clients")
    for name, row in kinds.iterrows():
        numbers = (f"{row['per_second']:.2f}", f"{row['p50_s']:.3f}", f"{row['p99_s']:.3f}")
        table.add_row(str(name), str(row["number"]), row["statuses"], *numbers)
    held = Table("seconds", f"MiB, least within {REST} s", title="memory of the server and its children")
    for start, mebibytes in rest.items():
        held.add_row(str(start), f"{mebibytes:.0f}")
    Console().print(table, held)
    share = rise(rest)
    slope = share * rest[len(rest) // 4 :].mean() / (rest.index[-1] - rest.index[len(rest) // 4]) * 60
    verdict = "flat" if share < FLAT else "NOT FLAT"
    print(f"memory: {slope:+.1f} MiB a minute, {share:+.1%} after the first quarter ({FLAT:.0%} at most): {verdict}; ")
    print(f"at most {memory['mib'].max():.0f} MiB in {memory['processes'].max()} processes")


def main(seconds: Annotated[float, typer.Option(min=4 * REST, help="of load")] = 120.0) -> None:
    """Measure, print and write."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # the store is one of the benchmark's own
    record, params = Field.open(RECORD), load_params(Path("params.yaml"))
    past = record.isel(record.shape[0] - params.clip.frames_in, record.shape[0])
    with served(MODEL.absolute(), record) as (server, port):
        sent, memory = measure(server, port, seconds, past)
    kinds, rest = by_kind(sent, seconds), resting(memory)
    show(kinds, rest, memory)
    for target, table in ((TARGET, kinds.drop(columns="is_request")), (MEMORY, rest.to_frame())):
        with written_whole(target) as partial:
            table.to_csv(partial, float_format="%.4g", lineterminator="\n")
    print(f"written: {TARGET}, {MEMORY}")
    if not sent["right"].all():
        wrong = sent.loc[~sent["right"], ["kind", "status"]].drop_duplicates()
        sys.exit(f"not answered as they must be:\n{wrong.to_string(index=False)}")


if __name__ == "__main__":
    typer.run(main)
