import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
from archives import contents, outputs, run
from samples import ingest_config, raw_dataset, variable

from physicnet.data import archive
from physicnet.fields import DataError

SHARD = 3 * 4 * 6 * 9  # bytes: three frames


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physicnet.fields.SHARD_BYTES", SHARD)


def shards(store: Path) -> dict[str, int]:
    """Inode by place of each shard: a hard link of an old one has the old one's."""
    return {str(path.relative_to(store)): path.stat().st_ino for path in (store / "rate" / "c").rglob("0/0")}


@pytest.mark.usefixtures("small_shards")
def test_new_observations_touch_only_the_shards_they_fall_into(raw: Path, tmp_path: Path) -> None:
    raw_dataset(7).to_netcdf(raw / "a.nc")
    run(raw)
    before = shards(raw.parent / "fields.zarr")
    raw_dataset(4, first=7, seed=1).to_netcdf(raw / "b.nc")
    with patch.object(archive, "write_shard", wraps=archive.write_shard) as written:
        run(raw)
    after = shards(raw.parent / "fields.zarr")
    assert [f"rate/{call.args[0].part.file}" for call in written.call_args_list] == ["rate/c/2/0/0", "rate/c/3/0/0"]
    assert {place for place in before if before[place] == after[place]} == {"rate/c/0/0/0", "rate/c/1/0/0"}
    run(raw, tmp_path / "fresh")
    assert outputs(raw.parent) == outputs(tmp_path / "fresh")


@pytest.mark.usefixtures("small_shards")
def test_a_late_observation_in_a_gap_changes_what_comes_after_it(raw: Path, tmp_path: Path) -> None:
    raw_dataset(12).isel(time=[0, 1, 2, 3, 4, 5, 6, 8, 9, 10]).to_netcdf(raw / "a.nc")
    run(raw)
    raw_dataset(12).isel(time=[7]).to_netcdf(raw / "b.nc")
    with patch.object(archive, "write_shard", wraps=archive.write_shard) as written:
        field, _ = run(raw)
    assert [call.args[0].part.frames.start for call in written.call_args_list] == [6, 9]
    np.testing.assert_array_equal(field.dataset["rate"], raw_dataset(12)["rate"][:11])
    run(raw, tmp_path / "fresh")
    assert outputs(raw.parent) == outputs(tmp_path / "fresh")


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("place", ["fields.zarr/rate/c/0/0/0", "state"])
def test_a_shard_that_somebody_has_changed_is_made_anew(raw: Path, place: str) -> None:
    raw_dataset(7).to_netcdf(raw / "a.nc")
    run(raw)
    before = outputs(raw.parent)
    for path in [file for file in [raw.parent / place, *(raw.parent / place).rglob("*")] if file.is_file()]:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    run(raw)
    assert outputs(raw.parent) == before


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    "changes",
    [{"coarsen": 2}, {"variables": [variable("rate", "m s-1", valid_max=1.0)]}],
)
def test_other_parameters_use_no_old_shard(raw: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    raw_dataset(7).to_netcdf(raw / "a.nc")
    run(raw)
    run(raw, **changes)
    run(raw, tmp_path / "fresh", **changes)
    assert outputs(raw.parent) == outputs(tmp_path / "fresh")


def test_a_variable_whose_axes_are_turned_for_another_uses_no_old_shard(raw: Path, tmp_path: Path) -> None:
    """The first variable decides which axis is that of rows, where the names of the axes do not."""
    values = raw_dataset(3, 6, 6)["rate"].values
    axes = {"time": raw_dataset(3)["time"].values}
    both = {"a": (("time", "p", "q"), values), "b": (("time", "q", "p"), values)}
    xr.Dataset(both, axes).to_netcdf(raw / "a.nc")
    variables = [variable(name, "mm h-1", file_units="mm h-1") for name in "ab"]
    turned, _ = run(raw, variables=variables)
    np.testing.assert_array_equal(turned.dataset["b"], values.swapaxes(1, 2))
    alone, _ = run(raw, variables=variables[1:])
    assert alone.dataset["b"].dims == ("time", "q", "p")
    np.testing.assert_array_equal(alone.dataset["b"], values)
    run(raw, tmp_path / "fresh", variables=variables[1:])
    assert outputs(raw.parent) == outputs(tmp_path / "fresh")


@pytest.mark.usefixtures("small_shards")
def test_what_is_of_no_use_any_more_is_removed(raw: Path) -> None:
    raw_dataset(7).to_netcdf(raw / "a.nc")
    run(raw)
    count = len(contents(raw.parent / "state"))
    assert count == 3 + 1  # shards, and the statistics of the file
    (raw.parent / "state" / "ab").mkdir(exist_ok=True)
    (raw.parent / "state" / "ab" / ".abc.12.partial").write_bytes(b"of a killed run")
    run(raw, coarsen=2)
    assert len(contents(raw.parent / "state")) == 1 + 1


def test_other_code_or_packages_use_nothing_old(raw: Path) -> None:
    raw_dataset(7).to_netcdf(raw / "a.nc")
    run(raw)
    with (
        patch("physicnet.data.state.made_by", return_value=["zarr 99"]),
        patch.object(archive, "write_shard", wraps=archive.write_shard) as written,
    ):
        run(raw)
    assert written.call_count == 1


def test_frames_that_are_missing_everywhere_take_no_file(raw: Path) -> None:
    dataset = raw_dataset(7)
    dataset["rate"][:3] = np.nan
    dataset.to_netcdf(raw / "a.nc")
    with patch("physicnet.fields.SHARD_BYTES", SHARD):
        field, _ = run(raw)
        again, _ = run(raw)
    assert not (raw.parent / "fields.zarr" / "rate" / "c" / "0").exists()
    np.testing.assert_array_equal(field.frames(0, 7)[:, 0], dataset["rate"])
    np.testing.assert_array_equal(again.frames(0, 7)[:, 0], dataset["rate"])


@pytest.mark.parametrize("taken", ["height", "projection", "time"])
def test_a_channel_that_is_called_as_a_coordinate_of_another_file_is_named(raw: Path, taken: str) -> None:
    raw_dataset(4).assign_coords(height=((), 2.0, {"units": "m"})).to_netcdf(raw / "a.nc")
    other = raw_dataset(4).rename(time="t", projection="p")
    other["rate"].attrs["grid_mapping"] = "p"
    other.rename(rate=taken).to_netcdf(raw / "b.nc")
    variables = [variable("rate"), variable(taken)]
    because = (
        rf"^{taken} is a channel of ingest\.variables, and a coordinate or dimension of the record, which has those of "
        rf"a\.nc; set channel to another name for the variable {taken}$"
    )
    with pytest.raises(DataError, match=because):
        run(raw, variables=variables)
    assert not (raw.parent / "fields.zarr").exists()
    field, catalogue = run(raw, variables=[variables[0], variable(taken, channel="other")])
    assert field.variables == ("rate", "other")
    assert catalogue.files["variables"].tolist() == ["rate", "other"]
    np.testing.assert_array_equal(field.frames(0, 4)[:, 1], raw_dataset(4)["rate"])


PROGRAM = """
    import json, os, sys, time
    from pathlib import Path
    from physicnet import fields
    fields.SHARD_BYTES = {shard}
    from physicnet.config import ClipConfig, IngestConfig
    from physicnet.data.ingest import ingest
    import distributed, zarr, netCDF4  # so that no child has to
    moments, CHANGES = 0, ("os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir")
    def run(folder, fatal):
        def count(event, arguments):
            global moments
            if event in CHANGES and folder in str(arguments):
                moments += 1
                if moments == fatal:
                    os.kill(os.getpid(), 9)
        sys.addaudithook(count)
        out = Path(folder)
        paths = dict(fields=out / "fields.zarr", catalogue=out / "catalogue", resume=out / "state")
        config = IngestConfig.model_validate_json('{config}')
        ingest(config, ClipConfig(frames_in=2, frames_out=1), raw=Path("{raw}"), **paths)
        Path(folder + ".moments").write_text(str(moments))
    for line in sys.stdin:
        folder, fatal, patience = json.loads(line)
        child = os.fork()
        if not child:
            run(folder, fatal)
            sys.stdout.flush()
            os._exit(0)
        if patience is not None:
            time.sleep(patience)
            os.kill(child, 9)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Runner:
    """Runs ingest in processes that are killed: at a change of the file system, counted from 1, or after seconds."""

    def __init__(self, raw: Path) -> None:
        program = textwrap.dedent(PROGRAM.format(shard=SHARD, raw=raw, config=ingest_config().model_dump_json()))
        command = [sys.executable, "-c", program]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, out: Path, *, moment: int = 0, patience: float | None = None) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(out), moment, patience]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture
def killable(raw: Path) -> Iterator[Runner]:
    runner = Runner(raw)
    yield runner
    runner.close()


def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(raw: Path, tmp_path: Path, killable: Runner) -> None:
    """An archive is there already and grows, so that all there is to lose can be lost."""
    raw_dataset(4).to_netcdf(raw / "a.nc")
    assert killable(tmp_path / "short") == 0
    short = outputs(tmp_path / "short")
    raw_dataset(4, first=4, seed=1).to_netcdf(raw / "b.nc")
    assert killable(tmp_path / "undisturbed") == 0
    expected = outputs(tmp_path / "undisturbed")
    moments = int((tmp_path / "undisturbed.moments").read_text())
    assert moments > 30
    killed = 0
    for moment in np.linspace(1, moments - 6, 8).astype(int).tolist():
        out = tmp_path / f"killed{moment}"
        shutil.copytree(tmp_path / "short", out)
        killed += killable(out, moment=moment) == -signal.SIGKILL
        for name in ("fields.zarr", "catalogue"):
            assert part(outputs(out), name) in [{}, part(short, name), part(expected, name)], f"half a {name}"
        assert killable(out) == 0
        assert outputs(out) == expected
        assert {path.name for path in out.iterdir()} == {"fields.zarr", "catalogue", "state"}
    assert killed >= 5  # an archive that grows may have fewer moments than one from nothing


def part(found: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {path: content for path, content in found.items() if path.startswith(name)}


def test_killed_from_outside_and_run_again_gives_the_same_bytes(raw: Path, tmp_path: Path, killable: Runner) -> None:
    for index, name in enumerate("abc"):
        raw_dataset(4, first=4 * index, seed=index).to_netcdf(raw / f"{name}.nc")
    assert killable(tmp_path / "undisturbed") == 0
    begin = time.monotonic()
    assert killable(tmp_path / "timed") == 0
    whole = time.monotonic() - begin
    out = tmp_path / "killed"
    endings = [killable(out, patience=share * whole) for share in np.random.default_rng(0).uniform(0.1, 0.9, size=6)]
    assert -signal.SIGKILL in endings
    assert killable(out) == 0
    assert outputs(out) == outputs(tmp_path / "undisturbed")
