from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import xarray as xr
from archives import contents, outputs, run
from samples import raw_dataset, variable

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
