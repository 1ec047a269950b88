"""Does training ever wait for its loader? Samples per second of the loader beside the default model and plain reading.

    python benchmarks/loader.py

Makes a record of 1226 x 760 cells that does not fit into the trainings' cache (about 6 GB in a temporary folder), draws
clips of params.yaml's lengths and views of 128 cells evenly from it, and reads them in batches with

- our loader, from stores with chunks of several sizes;
- xarray, from NetCDF (deflated, a chunk per frame) and from Zarr (a chunk per frame).

Every reader goes over the same clips three times: from disk (the files' pages were dropped from memory), from the page
cache (opened anew), and once more without opening anew, which is where a cache of one's own comes in. Between them,
training steps of params.yaml are timed, on a batch in memory and fed by the loader.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import typer
import xarray as xr
from rich.console import Console
from rich.table import Table
from torch.nn.utils.memory_format import convert_conv2d_weight_memory_format

from physicnet import fields
from physicnet.config import Params, load_params
from physicnet.data.cache import CachedWindows
from physicnet.data.crops import COLUMNS
from physicnet.data.dataset import Batch, ClipDataset, epoch_batches
from physicnet.data.synthetic import Uniform, Waves, advected_field
from physicnet.fields import Field
from physicnet.machine import machine
from physicnet.model.build import build
from physicnet.normalization import Normalizer, Standardization
from physicnet.training.joint import Joint
from physicnet.training.step import WARMING, Stepper

HEIGHT, WIDTH = 1226, 760  # the Finnish radar composite at 1 km
DISTINCT = 16  # frames; the others are these, shifted
ROUNDS = 3
STEPS = 4
LAYOUTS = {"128": 128, "256": 256, "whole frames": HEIGHT}  # most cells on a side of a chunk

Batches = Callable[[], Iterator[Batch]]


@dataclass(frozen=True)
class Reader:
    """A way to read: `open` gives a function that reads all batches each time it is called."""

    name: str
    files: Path
    open: Callable[[], Batches]


def record(num_frames: int) -> Field:
    """Return smooth floats of full coverage, which hardly compress: the most bytes that a frame can have."""
    pattern = Waves(num=24, wavelength=12.0, seed=0)
    distinct = advected_field(DISTINCT, HEIGHT, WIDTH, flow=Uniform(2.5, -1.25), pattern=pattern)
    values = distinct.frames(0, DISTINCT)[:, 0]
    shifted = [np.roll(values, 37 * number, axis=2) for number in range(-(-num_frames // DISTINCT))]
    times = np.datetime64("2020-01-01", "ns") + np.arange(num_frames) * np.timedelta64(5, "m")
    array = (("time", "y", "x"), np.log(np.concatenate(shifted)[:num_frames]), {"units": "1"})
    return Field(xr.Dataset({"rate": array}, {"time": times}))


def draw(num_clips: int, num_frames: int, params: Params) -> pd.DataFrame:
    """Return a table of clips as the stage `crops` writes it, drawn evenly."""
    rng, view, window = np.random.default_rng(0), params.crops.view, params.crops.window
    rows: list[tuple[int | str, ...]] = []
    for clip in range(num_clips):
        start, row, col = rng.integers([num_frames - params.clip.frames, HEIGHT - view, WIDTH - view]).tolist()
        rows.append((clip, "train", start, params.clip.frames, "global", row, col, view, view))
        for top, left in rng.integers(view - window, size=(params.crops.windows_per_clip, 2)).tolist():
            place = (row + top, col + left, window, window)
            rows.append((clip, "train", start, params.clip.frames, "local", *place))
    return pd.DataFrame(rows, columns=COLUMNS)


def stores(field: Field, folder: Path) -> Iterator[tuple[str, Path]]:
    """Save the record as the pipeline does, with chunks of each size."""
    for name, cells in LAYOUTS.items():
        with patch.object(fields, "CHUNK_CELLS", cells):
            field.save(folder / f"{name}.zarr")
        yield name, folder / f"{name}.zarr"


def our_reader(name: str, store: Path, crops: Path, params: Params, num_clips: int) -> Reader:
    """The loader of training."""

    def opened() -> Batches:
        dataset = ClipDataset(CachedWindows(Field.open(store), params.machine.cache_mib * 2**20), crops, "train")
        batch_size = params.train.batch_size
        return lambda: epoch_batches(dataset, batch_size, num_clips // batch_size, seed=0, epoch=0)

    return Reader(f"our loader, chunks {name}", store, opened)


def plain_reader(name: str, file: Path, crops: Path, params: Params, open_dataset: Callable[[], xr.Dataset]) -> Reader:
    """What one writes without a loader: select with xarray, then stack."""
    views = pd.read_csv(crops).query("level == 'global'")

    def opened() -> Batches:
        array = open_dataset()["rate"]

        def clip(row: pd.Series) -> torch.Tensor:
            window = {"y": slice(row.row, row.row + row.height), "x": slice(row.col, row.col + row.width)}
            return torch.from_numpy(array.isel(time=slice(row.start, row.start + row.frames), **window).values)

        def batches() -> Iterator[Batch]:
            size = params.train.batch_size
            for first in range(0, len(views), size):
                clips = [clip(row) for row in views.iloc[first : first + size].itertuples()]
                yield Batch(torch.stack(clips)[:, :, None], torch.zeros(size, 0, 2, dtype=torch.int64))

        return batches

    return Reader(name, file, opened)


def drop_pages(files: Path) -> None:
    """Have the system forget what it holds of files, so that they are read from disk."""
    for path in [files] if files.is_file() else files.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds(batches: Batches) -> float:
    """Read everything once."""
    started = time.perf_counter()
    for _ in batches():
        pass
    return time.perf_counter() - started


def passes(reader: Reader) -> list[float]:
    """Read from disk, from the page cache, and again with what the reader keeps."""
    drop_pages(reader.files)
    from_disk = seconds(reader.open())
    again = reader.open()
    return [from_disk, seconds(again), seconds(again)]


def thread_seconds(store: Path, crops: Path, num_threads: int) -> float:
    """Read all views with several threads, without a cache."""
    field, views = Field.open(store), pd.read_csv(crops).query("level == 'global'")

    def read(row: pd.Series) -> np.ndarray:
        window = slice(row.row, row.row + row.height), slice(row.col, row.col + row.width)
        return field.frames(row.start, row.start + row.frames, *window)

    started = time.perf_counter()
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(read, views.itertuples()))
    return time.perf_counter() - started


def frame_seconds(store: Path, count: int = 20) -> float:
    """Read whole frames, one at a time, as forecasts do."""
    field = Field.open(store)
    started = time.perf_counter()
    for index in range(count):
        field.frames(index, index + 1)
    return (time.perf_counter() - started) / count


class Model:
    """The default model and its optimiser."""

    def __init__(self, params: Params, clips: ClipDataset) -> None:
        normalizer = Normalizer((Standardization("rate", (), 0.0, 1.0),))
        self._params = params
        with machine(params.machine) as self._machine:
            net = build(params.model, params.clip, variables=1, window=params.crops.window)
        net = convert_conv2d_weight_memory_format(net.to(self._machine.device), torch.channels_last)
        task = Joint(net, params.train, params.clip, normalizer, clips, self._machine)
        self._stepper = Stepper(task, params.train, self._machine)

    def waits_and_steps(self, batches: Iterator[Batch]) -> tuple[float, float]:
        """Return the seconds that training steps on `batches` waited for them, and the seconds of the steps."""
        waited = worked = 0.0
        with machine(self._params.machine):
            asked = time.perf_counter()
            for step, batch in enumerate(batches):
                got = time.perf_counter()
                self._stepper.take(batch, step, self._params.train.learning_rate)
                asked, waited, worked = (end := time.perf_counter()), waited + got - asked, worked + end - got
        return waited, worked


def cpu_note(loader: Reader, dataset: ClipDataset, params: Params, num_clips: int) -> str:
    """Compare processor time, which other work on the machine hardly touches; the model on one thread."""
    batch_size, alone = params.train.batch_size, params.machine.model_copy(update={"num_threads": 1})
    batches = loader.open()
    started = time.process_time()
    for _ in batches():
        pass
    read = (time.process_time() - started) / num_clips
    model = Model(params.model_copy(update={"machine": alone}), dataset)
    held = list(epoch_batches(dataset, batch_size, 1, seed=0, epoch=0))
    model.waits_and_steps(iter(held * WARMING))
    started = time.process_time()
    model.waits_and_steps(iter(held * 2))
    step = (time.process_time() - started) / (2 * batch_size)
    threads = params.machine.num_threads
    return (
        f"Processor time a sample: {1000 * read:.0f} ms from the page cache, {1000 * step:.0f} ms of training.\n"
        f"Were training {threads} times as fast on {threads} threads, that would be {step / threads / read:.1f}:1."
    )


def show(rates: pd.DataFrame, model: float, note: str) -> None:
    """Print samples per second, and their ratio to what the model takes."""
    table = Table(title=f"samples per second ({note})", title_justify="left")
    for column in ("", *rates.columns):
        table.add_column(column, justify="left" if not column else "right")
    for name, row in rates.iterrows():
        table.add_row(str(name), *(f"{rate:.1f} ({rate / model:.1f}:1)" for rate in row))
    table.add_row("the default model, training", *[f"{model:.1f}"] * len(rates.columns))
    Console(width=120).print(table)


def main(
    num_frames: Annotated[int, typer.Option("--frames", help="of the record")] = 320,
    num_clips: Annotated[int, typer.Option("--clips", help="read in each pass; a multiple of train.batch_size")] = 24,
) -> None:
    """Write the record, read it in every way in turn, train on it, print."""
    params = load_params(Path("params.yaml"))
    with tempfile.TemporaryDirectory(prefix="physicnet-loader-") as name:
        folder, crops = Path(name), Path(name) / "crops.csv"
        draw(num_clips, num_frames, params).to_csv(crops, index=False)
        field = record(num_frames)
        saved = dict(stores(field, folder))
        netcdf, zarr = folder / "plain.nc", folder / "plain.zarr"
        encoding = {"zlib": True, "complevel": 1, "chunksizes": (1, HEIGHT, WIDTH)}
        field.dataset.to_netcdf(netcdf, encoding={"rate": encoding})
        field.dataset.chunk({"time": 1}).to_zarr(zarr, zarr_format=3, consolidated=False)
        print(f"{num_frames} frames of {HEIGHT} x {WIDTH} cells, {4 * num_frames * HEIGHT * WIDTH / 2**20:.0f} MiB")
        del field
        readers = [our_reader(layout, store, crops, params, num_clips) for layout, store in saved.items()]
        readers.append(plain_reader("xarray from NetCDF", netcdf, crops, params, lambda: xr.open_dataset(netcdf)))
        readers.append(
            plain_reader("xarray from Zarr", zarr, crops, params, lambda: xr.open_zarr(zarr, consolidated=False))
        )
        measure(readers, saved, crops, params, num_clips)


def measure(readers: list[Reader], saved: dict[str, Path], crops: Path, params: Params, num_clips: int) -> None:
    """Take turns, so that whatever else the machine does hits all alike; report medians."""
    loader = next(reader for reader in readers if reader.name.endswith("256"))
    batch_size = params.train.batch_size
    dataset = ClipDataset(CachedWindows(Field.open(loader.files), 0), crops, "train")
    held = list(epoch_batches(dataset, batch_size, 1, seed=0, epoch=0))
    model = Model(params, dataset)
    model.waits_and_steps(iter(held * WARMING))  # the first steps make what later ones find
    found: dict[str, list[list[float]]] = {reader.name: [] for reader in readers}
    steps, waits, threads = [], [], []
    for _ in range(ROUNDS):
        for reader in readers:
            found[reader.name].append(passes(reader))
        steps.append(model.waits_and_steps(iter(held * STEPS))[1] / STEPS)
        drop_pages(loader.files)
        waited, worked = model.waits_and_steps(epoch_batches(dataset, batch_size, STEPS, seed=0, epoch=0))
        waits.append(waited / (waited + worked))
        threads.append([thread_seconds(loader.files, crops, number) for number in (1, 2)])
    columns = ["from disk", "from the page cache", "once more"]
    taken = pd.DataFrame({name: np.median(rows, axis=0) for name, rows in found.items()}, index=columns).T
    note = f"{params.clip.frames} frames, views of {params.crops.view} cells"
    show(num_clips / taken, batch_size / float(np.median(steps)), f"{note}, medians of {ROUNDS} rounds")
    print(cpu_note(loader, dataset, params, num_clips))
    print(f"Fed from disk with nothing kept, training waited {np.median(waits):.1%} of its time.")
    one, two = np.median(threads, axis=0)
    print(f"Two threads read {one / two:.2f} times as fast as one.")
    for layout, store in saved.items():
        print(f"A whole frame, chunks {layout}: {1000 * np.median([frame_seconds(store) for _ in range(3)]):.1f} ms.")


if __name__ == "__main__":
    typer.run(main)
