"""Ingest that is killed at whatever moment and run again gives the same archive, byte for byte."""

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from archives import contents, outputs
from killable import Runner
from samples import ingest_config, raw_dataset

SHARD = 3 * 4 * 6 * 9  # bytes: three frames
PROCESSES = 2
LOSING = ("os.rename", "os.link", "os.remove", "os.rmdir")  # at each of these changes it is killed
SAMPLE, SEED = 12, 0  # of the others: folders made, files opened and half written, most of them in a part's own folder


@pytest.fixture
def runners(raw: Path) -> Iterator[list[Runner]]:
    started = [Runner(raw, ingest_config().model_dump_json(), SHARD) for _ in range(PROCESSES)]
    yield started
    for runner in started:
        runner.close()


def put(raw: Path, name: str, first: int) -> None:
    """Write two frames, without coordinates of space: each would be an array more, and thirty moments."""
    dataset = raw_dataset(2, first=first, seed=first).drop_vars(["north", "east", "projection"])
    dataset["rate"].attrs.pop("grid_mapping")
    dataset.to_netcdf(raw / f"{name}.nc")


def part(found: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {path: content for path, content in found.items() if path.startswith(name)}


def copied(folder: Path, target: Path) -> Path:
    """Copy a folder; files that are one stay one, as those of the archive and of the state are."""
    subprocess.run(["cp", "-a", folder, target], check=True)
    return target


def test_killed_at_every_moment_and_run_again_gives_the_same_bytes(
    raw: Path, tmp_path: Path, runners: list[Runner]
) -> None:
    """An archive is there already and grows, so that all there is to lose can be lost.

    The moments are those before every change of the file system, and amid the writing of every file. Of those that can
    lose nothing a sample is taken: a run takes half a second.
    """
    for name, first in (("a", 0), ("b", 2)):
        put(raw, name, first)
    assert runners[0](tmp_path / "short") == 0
    put(raw, "c", 4)
    for name in ("fresh", "grown"):
        if name == "grown":
            copied(tmp_path / "short", tmp_path / name)
        assert runners[0](tmp_path / name) == 0
    short, expected = (contents(tmp_path / name) for name in ("short", "grown"))
    assert outputs(tmp_path / "grown") == outputs(tmp_path / "fresh")
    moments = runners[0].moments(tmp_path / "grown")
    visited = {moment.split()[0] for moment in moments}
    assert visited == {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "open", "write"}
    assert {f"os.rename {name}" for name in ("fields.zarr", "catalogue")} <= set(moments)

    def disturb(runner: Runner, moment: int) -> None:
        out, what = copied(tmp_path / "short", tmp_path / f"killed{moment}"), moments[moment - 1]
        assert runner(out, moment=moment) == -signal.SIGKILL, what
        left = contents(out)
        for name in ("fields.zarr", "catalogue"):
            assert part(left, name) in [{}, part(short, name), part(expected, name)], f"half a {name} at {what}"
        assert runner(out) == 0, what
        assert contents(out) == expected, what

    others = [moment for moment, what in enumerate(moments, 1) if not what.startswith(LOSING)]
    sample = np.random.default_rng(SEED).choice(others, SAMPLE, replace=False)
    chosen = sorted({*range(1, 1 + len(moments))} - {*others} | {*sample.tolist()})
    print(f"killed at {len(chosen)} of {len(moments)} moments, seed {SEED}")

    def disturb_each(first: int) -> None:
        for moment in chosen[first::PROCESSES]:
            disturb(runners[first], moment)

    with ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(disturb_each, range(PROCESSES)))


def test_killed_from_outside_and_run_again_gives_the_same_bytes(
    raw: Path, tmp_path: Path, runners: list[Runner]
) -> None:
    for index, name in enumerate("abc"):
        put(raw, name, 2 * index)
    assert runners[0](tmp_path / "undisturbed") == 0
    begin = time.monotonic()
    assert runners[0](tmp_path / "timed") == 0
    whole = time.monotonic() - begin
    out = tmp_path / "killed"
    shares = sorted(np.random.default_rng(0).uniform(0.1, 0.9, size=6))  # the first is early, however long it took
    assert -signal.SIGKILL in [runners[0](out, patience=share * whole) for share in shares]
    assert runners[0](out) == 0
    assert outputs(out) == outputs(tmp_path / "undisturbed")
