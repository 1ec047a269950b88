"""Do ingest and normalize keep to the memory limit? An archive ten times as large, made by tiling one file.

    python benchmarks/ingest.py radar.nc rain_rate --limit "512 MiB"

Any NetCDF file with a variable (time, row, column) and times will do: it is tiled in space and time. The tiles are
written to a folder of files, ingested and normalised by processes of their own, as `physicnet ingest` and `physicnet
normalize` would, and removed. The memory of such a process and its children is looked at twenty times a second; its own
peak, as the kernel saw it, counts too.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import netCDF4
import numpy as np
import psutil
import xarray as xr

from physicnet.config import IngestConfig

PROGRAMS = {
    "ingest": """
from physicnet.data.ingest import ingest
paths = {"fields": folder / "fields.zarr", "catalogue": folder / "catalogue", "resume": folder / "state"}
frames = len(ingest(config, clip, raw=folder / "raw", **paths).frames)
""",
    "normalize": """
from physicnet.config import NormalizeConfig
from physicnet.data.normalize import normalize
from physicnet.fields import Field
names = {"fields": "fields.zarr", "normalized": "normalized.zarr", "statistics": "statistics.json", "maps": "maps"}
channel = config.variables[0].channel
parts = {"train_fraction": 0.8, "validation_fraction": 0.1, "gap": 0}
settings = NormalizeConfig.model_validate(parts | {"transforms": {channel: []}, "standardize": {channel: "global"}})
normalize(settings, clip, config, **{name: folder / file for name, file in names.items()})
frames = Field.open(folder / "normalized.zarr").shape[0]
""",
}
BEGIN = """
import resource, sys
from pathlib import Path
from physicnet.config import ClipConfig, IngestConfig
config, folder = IngestConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])
clip = ClipConfig(frames_in=4, frames_out=12)
"""
END = """
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, frames)
"""


class Measured(NamedTuple):
    """Seconds; peak bytes of the process with its children, and of the process alone; frames written."""

    seconds: float
    peak: int
    peak_alone: int
    frames: int


def main() -> None:
    """Make the archive, ingest and normalise it, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("variable")
    parser.add_argument("--limit", default="512 MiB", help="ingest.memory_limit")
    parser.add_argument("--times", type=float, default=10, help="how many times larger the archive is")
    parser.add_argument("--tiles", type=int, default=2, help="tiles along rows and along columns")
    parser.add_argument("--coarsen", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-") as name:
        folder = Path(name)
        (folder / "raw").mkdir()
        config = settings(arguments)
        frame, size = tile(arguments, folder / "raw", int(arguments.times * config.memory_bytes))
        print(f"archive: {size / 2**20:.0f} MiB as float32, frames of {frame[0]} x {frame[1]} cells")
        report("ingest, from nothing", measure("ingest", config, folder), config, size)
        report("normalize", measure("normalize", config, folder), config, size)
        shutil.rmtree(folder / "normalized.zarr")
        newest = max((folder / "raw").iterdir())
        shutil.move(newest, folder / newest.name)
        measure("ingest", config, folder)
        shutil.move(folder / newest.name, newest)
        report("ingest, one file more", measure("ingest", config, folder), config, size)


def settings(arguments: argparse.Namespace) -> IngestConfig:
    """Return parameters that change nothing but what the arguments say."""
    with xr.open_dataset(arguments.file) as dataset:
        units = dataset[arguments.variable].attrs["units"]
    unused = dict.fromkeys(("channel", "file_units", "valid_min", "valid_max"))
    variable = {"name": arguments.variable, "units": units, "select": {}} | unused
    return IngestConfig.model_validate(
        {
            "pattern": "*.nc",
            "time_from_name": None,
            "variables": [variable],
            "coarsen": arguments.coarsen,
            "on_conflict": "refuse",
            "max_invalid": 1.0,
            "max_quarantined": 0,
            "memory_limit": arguments.limit,
            "cluster": None,
        }
    )


def tile(arguments: argparse.Namespace, raw: Path, size: int) -> tuple[tuple[int, int], int]:
    """Write files, one per repetition in time, until they hold `size` bytes as float32; return frame and true size."""
    with xr.open_dataset(arguments.file, mask_and_scale=False, decode_times=False) as dataset:
        packed = dataset[arguments.variable].load()
    time_dim, *_ = packed.dims
    times = packed[time_dim].values.astype(float)
    length = len(times) * (times[1] - times[0])
    written = repetition = 0
    while written < size:
        shape = write_tiles(raw / f"tile_{repetition:04}.nc", packed, times + repetition * length, arguments.tiles)
        written += 4 * int(np.prod(shape))
        repetition += 1
    return (shape[1], shape[2]), written


def write_tiles(path: Path, packed: xr.DataArray, times: np.ndarray, tiles: int) -> tuple[int, int, int]:
    """Write a file with `tiles` x `tiles` copies of packed values, frame by frame, compressed in chunks of one copy."""
    frames, height, width = packed.shape
    with netCDF4.Dataset(path, "w") as file:
        for name, size in zip(("time", "y", "x"), (frames, tiles * height, tiles * width), strict=True):
            file.createDimension(name, size)
        clock = file.createVariable("time", "f8", ("time",))
        clock.units = packed[packed.dims[0]].attrs["units"]
        clock[:] = times
        for name, size in (("y", tiles * height), ("x", tiles * width)):
            file.createVariable(name, "f8", (name,))[:] = np.arange(size)
        attributes = {key: packed.attrs[key] for key in ("units", "scale_factor", "add_offset") if key in packed.attrs}
        values = file.createVariable(
            packed.name, packed.dtype, ("time", "y", "x"), zlib=True, complevel=1, chunksizes=(1, height, width),
            fill_value=packed.attrs.get("_FillValue"),
        )  # fmt: skip
        values.setncatts(attributes)
        values.set_auto_maskandscale(False)
        for index, frame in enumerate(packed.values):
            values[index] = np.tile(frame, (tiles, tiles))
    return frames, tiles * height, tiles * width


def measure(stage: str, config: IngestConfig, folder: Path) -> Measured:
    """Run a stage in a process of its own and watch its memory."""
    command = [sys.executable, "-c", BEGIN + PROGRAMS[stage] + END, config.model_dump_json(), str(folder)]
    begin, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, resident(watched))
            time.sleep(0.05)
        assert process.stdout is not None
        alone, frames = map(int, process.stdout.read().split())
    return Measured(time.monotonic() - begin, peak, alone, frames)


def resident(process: psutil.Process) -> int:
    """Resident bytes of a process and all below it; 0 when it has ended."""
    try:
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))
    except psutil.NoSuchProcess:
        return 0


def report(what: str, measured: Measured, config: IngestConfig, size: int) -> None:
    """Print a line."""
    peak = max(measured.peak, measured.peak_alone)
    verdict = "within" if peak <= config.memory_bytes else "ABOVE"
    print(
        f"{what}: {measured.frames} frames in {measured.seconds:.0f} s, {size / 2**20 / measured.seconds:.0f} MiB/s; "
        f"peak resident {peak / 2**20:.0f} MiB, {verdict} the limit of {config.memory_bytes / 2**20:.0f} MiB, "
        f"the archive is {size / peak:.1f} times as large"
    )


if __name__ == "__main__":
    main()
