from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from forecasting import samples
from training.conftest import CLIP
from typer.testing import CliRunner

from physicnet import cli
from physicnet.data.recent import read_stretch
from physicnet.fields import DataError, Field
from physicnet.forecasting import cf
from physicnet.forecasting.hindcast import hindcast
from physicnet.forecasting.loading import Model

NAMES = [f"2020-01-01T00{minute:02}00Z.nc" for minute in range(10, 60, 5)]


def made(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.nc"))


def test_each_time_has_the_forecast_that_would_have_been_made_then(model: Model, archive: Path, tmp_path: Path) -> None:
    assert hindcast(model, [archive], tmp_path / "out") == (10, 0, 0)
    assert made(tmp_path / "out") == NAMES
    expected = model.forecast(sorted(archive.iterdir()), at=samples.at(25))
    found = cf.read(tmp_path / "out" / NAMES[3])
    np.testing.assert_array_equal(found["rate"], expected["rate"])
    np.testing.assert_array_equal(found["rate_quantile"], expected["rate_quantile"])
    assert found["forecast_reference_time"] == np.datetime64(samples.at(25))


def test_only_the_times_that_are_asked_for_are_forecast_from(model: Model, archive: Path, tmp_path: Path) -> None:
    files = sorted(archive.iterdir())
    asked: dict[str, Any] = {"start": samples.at(15), "end": samples.at(40), "every": "10min", "lead": "3"}
    assert hindcast(model, files, tmp_path / "out", **asked, probabilities=False) == (3, 0, 0)
    assert made(tmp_path / "out") == [NAMES[1], NAMES[3], NAMES[5]]
    found = cf.read(tmp_path / "out" / NAMES[1])
    assert found.sizes["time"] == 3
    assert "rate_quantile" not in found


def test_what_is_there_is_not_made_again_and_its_files_are_not_looked_through_again(
    model: Model, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    assert hindcast(model, [archive], tmp_path / "out", end=samples.at(30)) == (5, 0, 0)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.nc")}
    monkeypatch.setattr("physicnet.data.survey.frame_statistics", interrupt)
    assert hindcast(model, [archive], tmp_path / "out") == (5, 5, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_that_is_cut_off_leaves_whole_files_and_the_next_goes_on(
    model: Model, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    dump_to_store = xr.Dataset.dump_to_store

    def cut_off(dataset: xr.Dataset, store: Any, **how: Any) -> None:
        dump_to_store(dataset, store, **how)
        written.append(store)
        if len(written) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "dump_to_store", cut_off)
        with pytest.raises(KeyboardInterrupt):
            hindcast(model, [archive], tmp_path / "out")
    assert made(tmp_path / "out") == NAMES[:3]
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.endswith("partial")] == []
    assert hindcast(model, [archive], tmp_path / "out") == (7, 3, 0)


def test_a_forecast_reads_its_own_frames_however_long_the_archive(
    model: Model, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[int] = []

    def counting(*given: Any) -> Field:
        field = read_stretch(*given)
        frames.append(field.shape[0])
        return field

    monkeypatch.setattr("physicnet.forecasting.observations.read_stretch", counting)
    hindcast(model, [archive], tmp_path / "out")
    assert frames == [CLIP.frames_in] * 10


def test_times_at_which_a_frame_or_all_its_values_miss_are_skipped(model: Model, archive: Path, tmp_path: Path) -> None:
    (archive / "03.nc").unlink()  # 00:15 to 00:25
    dark = samples.record(12).isel(9, 12).dataset
    dark["rate"][-1] = np.nan  # 00:55
    samples.write(archive / "09.nc", Field(dark))
    assert hindcast(model, [archive], tmp_path / "out") == (4, 0, 6)
    assert made(tmp_path / "out") == [NAMES[0], *NAMES[6:9]]


def test_times_from_none_of_which_a_forecast_can_be_made_are_refused(
    model: Model, archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"from none of the 2 times asked for: it needs 3 frames 5min apart, the files"):
        hindcast(model, [archive], tmp_path / "out", end=samples.at(5), start=samples.at(0))
    with pytest.raises(DataError, match="'noon' is no time to forecast from"):
        hindcast(model, [archive], tmp_path / "out", start="noon")


def test_a_distance_that_is_no_number_of_steps_is_refused(model: Model, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a distance of 12min is no whole number of the model's steps of 5min; ask for"):
        hindcast(model, [archive], tmp_path / "out", every="12min")


def test_an_archive_without_a_frame_that_can_be_used_is_refused(model: Model, tmp_path: Path) -> None:
    dark = samples.record().dataset
    samples.write(tmp_path / "dark.nc", Field(dark.assign(rate=dark["rate"].where(False))))
    with pytest.raises(DataError, match="no frame of these files can be used; give others"):
        hindcast(model, [tmp_path / "dark.nc"], tmp_path / "out")


def test_frames_between_those_of_the_model_are_refused(model: Model, tmp_path: Path) -> None:
    dataset = samples.record(12).dataset
    halves = dataset["time"].values[0] + np.arange(12) * np.timedelta64(150, "s")
    samples.write(tmp_path / "fine.nc", Field(dataset.assign_coords(time=halves)))
    with pytest.raises(DataError, match="the model knows steps of 300 s, but there are frames between these"):
        hindcast(model, [tmp_path / "fine.nc"], tmp_path / "out")


def test_forecasts_of_another_model_or_length_are_not_gone_on_beside(
    model: Model, archive: Path, tmp_path: Path
) -> None:
    hindcast(model, [archive], tmp_path / "out", end=samples.at(10))
    with pytest.raises(DataError, match=r"001000Z.nc has 2 leads, 4 are asked for; name another output, or remove"):
        hindcast(model, [archive], tmp_path / "out", lead="20min")
    other = samples.model(
        samples.save(tmp_path / "other.safetensors", samples.record(), span=samples.SPAN | {"end": "2019-03-01"})
    )
    with pytest.raises(DataError, match=r"001000Z.nc is of another model \(SHA-256 \w{12}, this one has \w{12}\)"):
        hindcast(other, [archive], tmp_path / "out")


def test_the_command_needs_a_checkpoint_alone_and_counts(
    checkpoint: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (archive / "03.nc").unlink()
    words = ["hindcast", str(archive), "-o", "out", "--model", str(checkpoint), "--threads", "1", "--every", "15min"]
    told = CliRunner().invoke(cli.app, words)
    assert told.exit_code == 0, told.output
    assert "out: 3 forecasts made, 0 were there, 1 times skipped at which frames are missing" in told.output
