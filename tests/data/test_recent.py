from pathlib import Path

import cftime
import numpy as np
import pytest
from samples import START, STEP, ingest_config, raw_dataset, variable

from physicnet.clock import Time
from physicnet.config import ClipConfig, IngestConfig
from physicnet.data.ingest import ingest
from physicnet.data.recent import Between, Last, named, observed
from physicnet.data.sources import Source, find_sources
from physicnet.data.state import State
from physicnet.fields import DataError, Field

WHOLE = Between(START, START + 20 * STEP)


@pytest.fixture
def sources(raw: Path) -> list[Source]:
    """Two files of one record: frames 0 to 6, and 8 to 14; frame 7 is nowhere."""
    raw_dataset().to_netcdf(raw / "a.nc")
    raw_dataset(first=8, seed=1).to_netcdf(raw / "b.nc")
    return find_sources(raw, "*.nc")


@pytest.mark.parametrize("coarsen", [1, 2])
def test_what_is_read_is_what_ingest_writes(raw: Path, tmp_path: Path, sources: list[Source], coarsen: int) -> None:
    config = ingest_config(variable(units="m s-1"), coarsen=coarsen)
    paths = {name: tmp_path / name for name in ("fields", "catalogue", "resume")}
    ingest(config, ClipConfig(frames_in=2, frames_out=1), raw=raw, **paths)
    expected, found = Field.open(paths["fields"]), observed(sources, config, WHOLE)
    assert found.dataset.drop_attrs().equals(expected.dataset.drop_attrs())
    assert found.units == expected.units
    assert found.dataset["rate"].encoding["grid_mapping"] == "projection"
    assert found.dataset["rate"].dtype == np.float32


def test_a_stretch_has_both_ends_and_whatever_lies_between(sources: list[Source]) -> None:
    found = observed(sources, ingest_config(), Between(START + 5 * STEP, START + 9 * STEP))
    assert ((found.times - START) / STEP).tolist() == [5, 6, 8, 9]
    np.testing.assert_array_equal(found.frames(0, 2)[:, 0], raw_dataset()["rate"][5:7])
    np.testing.assert_array_equal(found.frames(2, 4)[:, 0], raw_dataset(seed=1)["rate"][:2])


def test_a_single_frame_is_a_stretch(sources: list[Source]) -> None:
    assert observed(sources, ingest_config(), Between(START, START)).shape[0] == 1


def test_the_last_frames_are_those_up_to_a_time(sources: list[Source]) -> None:
    config = ingest_config()
    assert observed(sources, config, Last(3, STEP)).times.tolist() == (START + STEP * np.arange(12, 15)).tolist()
    earlier = observed(sources, config, Last(3, STEP, at="2020-06-01T02:20+02:00"))
    assert earlier.times.tolist() == (START + STEP * np.arange(2, 5)).tolist()


def test_what_ingest_knows_is_not_read_again(
    raw: Path, tmp_path: Path, sources: list[Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, paths = ingest_config(), {name: tmp_path / name for name in ("fields", "catalogue", "resume")}
    ingest(config, ClipConfig(frames_in=2, frames_out=1), raw=raw, **paths)
    expected = observed(sources, config, WHOLE)
    monkeypatch.setattr("physicnet.data.survey._statistics", lambda *_: pytest.fail("it was read"))
    rules = IngestConfig.of_rules(config.rules(), "8 GiB")
    assert observed(sources, rules, WHOLE, state=State(paths["resume"])).dataset.identical(expected.dataset)


def test_a_variable_that_one_frame_lacks_is_missing_in_a_stretch_but_not_among_the_last(raw: Path) -> None:
    whole = raw_dataset(4).assign(also=raw_dataset(4, seed=2)["rate"])
    whole.isel(time=slice(0, 3)).to_netcdf(raw / "a.nc")
    raw_dataset(4).isel(time=slice(3, 4)).to_netcdf(raw / "b.nc")
    sources, config = find_sources(raw, "*.nc"), ingest_config(variable(), variable("also"))
    assert np.isnan(observed(sources, config, WHOLE).frames(3, 4)[0, 1]).all()
    with pytest.raises(DataError, match=r"the model needs 2 frames, .*; not there: also at 2020-06-01T00:15:00;"):
        observed(sources, config, Last(2, STEP))


def test_a_stretch_without_a_frame_is_refused(sources: list[Source]) -> None:
    with pytest.raises(DataError, match=r"from 2020-06-01T00:35:00 to .*35:00; these files have 14 from .*00:00 to .*"):
        observed(sources, ingest_config(), Between(START + 7 * STEP, START + 7 * STEP))


def test_a_stretch_of_another_calendar_is_refused(sources: list[Source]) -> None:
    day: Time = cftime.datetime(2020, 6, 1, calendar="noleap")
    with pytest.raises(DataError, match="of the calendar noleap are asked for, these are of proleptic_gregorian"):
        observed(sources, ingest_config(), Between(day, day))


def test_a_gap_among_the_last_frames_is_refused(sources: list[Source]) -> None:
    at = "2020-06-01T00:45:00"
    with pytest.raises(DataError, match=r"needs 3 frames, at .*; not there: rate at 2020-06-01T00:35:00; these files"):
        observed(sources, ingest_config(), Last(3, STEP, at))


def test_a_frame_that_is_there_but_refused_says_why(sources: list[Source]) -> None:
    config = ingest_config(variable(valid_max=8.0), max_invalid=0.03)
    with pytest.raises(DataError, match=r"rate at .* .a.nc: a share of .* is outside the valid range, above 0.03"):
        observed(sources, config, Last(7, STEP, at="2020-06-01T00:30:00"))


def test_files_that_contradict_each_other_may_all_be_refused(raw: Path) -> None:
    raw_dataset(1).to_netcdf(raw / "a.nc")
    config = ingest_config(variable(valid_max=-1.0))
    with pytest.raises(DataError, match="the newest frame, of 2020-06-01T00:00:00, cannot be used: a.nc: the file has"):
        observed(find_sources(raw, "*.nc"), config, Last(1, STEP))
    with pytest.raises(DataError, match="no frame of these files can be used"):
        observed(find_sources(raw, "*.nc"), config, WHOLE)


def test_a_broken_file_is_no_reason_to_stop_where_some_may_be_refused(raw: Path, sources: list[Source]) -> None:
    (raw / "c.nc").write_text("<html>")
    with_broken = find_sources(raw, "*.nc")
    with pytest.raises(DataError, match=r"1 of 3 files cannot be used; .*: c.nc: .*web page"):
        observed(with_broken, ingest_config(), WHOLE)
    assert observed(with_broken, ingest_config(max_quarantined=1), WHOLE).shape[0] == 14


def test_reasons_are_not_told_without_end(raw: Path) -> None:
    for number in range(7):
        (raw / f"{number}.nc").write_text("<html>")
    with pytest.raises(DataError, match=r"7 of 7 files .*; 4.nc: .*; and 2 more$"):
        observed(find_sources(raw, "*.nc"), ingest_config(), WHOLE)


def test_a_file_that_changes_meanwhile_is_refused(sources: list[Source], monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*_: object) -> None:
        raise DataError("it changed")

    monkeypatch.setattr("physicnet.data.archive.check_unchanged", changed)
    with pytest.raises(DataError, match="a.nc: it changed"):
        observed(sources, ingest_config(), WHOLE)


def test_files_are_named_once_and_in_the_order_of_their_names(raw: Path) -> None:
    for name in ("b2.nc", "b10.nc", "a.nc"):
        (raw / name).touch()
    given = [raw / name for name in ("b10.nc", "b2.nc", "a.nc", "a.nc")]
    assert [Path(source.name).name for source in named(given)] == ["a.nc", "b2.nc", "b10.nc"]


def test_a_link_that_is_named_is_read_under_its_own_name(raw: Path, tmp_path: Path) -> None:
    raw_dataset(2).drop_vars("time").isel(time=0).to_netcdf(tmp_path / "cached")
    (raw / "20200601.nc").symlink_to(tmp_path / "cached")
    config = ingest_config(time_from_name="%Y%m%d.nc")
    assert observed(named([raw / "20200601.nc"]), config, Between(START, START)).times.tolist() == [START.astype(int)]
