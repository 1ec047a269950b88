"""Files of years that `datetime64[ns]` does not reach, from the folder of raw data to the record and the catalogue."""

from pathlib import Path

import cftime
import numpy as np
import pandas as pd
import pytest
from archives import fates, outputs, reason, run
from samples import raw_dataset

from physicnet.calendar import hour_of_day
from physicnet.clock import GREGORIAN, calendar_of, format_time
from physicnet.fields import Field

HALF_DAY = np.timedelta64(12, "h")


def put(path: Path, first: str, num_frames: int = 4, *, calendar: str = "standard", seed: int = 0) -> np.ndarray:
    """Write a file with a frame every twelve hours; return its values."""
    times = cftime.num2date(12 * np.arange(num_frames), f"hours since {first}", calendar)
    dataset = raw_dataset(num_frames, seed=seed).assign_coords(time=times)
    dataset.to_netcdf(path, encoding={"time": {"units": "hours since 1600-01-01", "calendar": calendar}})
    return dataset["rate"].values


def texts(field: Field) -> list[str]:
    return [format_time(time) for time in field.times]


@pytest.mark.parametrize("calendar", ["standard", "proleptic_gregorian"])
@pytest.mark.parametrize(
    ("first", "dtype"),
    [
        ("1582-10-15", object),
        ("1650-02-28", object),
        ("1677-09-20", object),
        ("1720-02-28", "datetime64[ns]"),
        ("2262-04-10", object),
        ("2300-02-28", object),
    ],
)
def test_a_record_of_any_year_since_the_reform_is_in_utc(raw: Path, first: str, dtype: str, calendar: str) -> None:
    """The second and the fifth cross the ends of what nanoseconds reach."""
    values = put(raw / "a.nc", first, 5, calendar=calendar)
    field, catalogue = run(raw)
    expected = np.datetime64(first, "s") + HALF_DAY * np.arange(5)
    assert field.times.dtype == dtype
    assert calendar_of(field.times) == GREGORIAN
    assert texts(field) == np.datetime_as_string(expected).tolist()
    assert field.step == HALF_DAY
    assert hour_of_day(field.times).tolist() == [0, 12, 0, 12, 0]
    np.testing.assert_array_equal(field.frames(0, 5)[:, 0], values)
    row = catalogue.files.iloc[0]
    assert (row["status"], row["first"], row["last"]) == ("accepted", texts(field)[0], texts(field)[-1])
    assert row["step_seconds"] == 43200
    assert catalogue.frames["time"].tolist() == texts(field)
    assert len(catalogue.gaps) == 0


def test_files_on_both_sides_of_what_nanoseconds_reach_are_one_record(raw: Path, tmp_path: Path) -> None:
    firsts = {"b.nc": "1600-03-01", "d.nc": "1700-03-01", "a.nc": "2020-03-01", "c.nc": "2300-03-01"}
    values = [put(raw / name, first, seed=seed) for seed, (name, first) in enumerate(firsts.items())]
    field, catalogue = run(raw)
    assert set(fates(catalogue).values()) == {"accepted"}
    assert catalogue.files["first"].tolist() == [f"{firsts[name]}T00:00:00" for name in sorted(firsts)]
    np.testing.assert_array_equal(field.frames(0, 16)[:, 0], np.concatenate(values))
    assert texts(field)[::4] == [f"{first}T00:00:00" for first in firsts.values()]
    assert field.step == HALF_DAY
    lost = [
        (np.datetime64(a) - np.datetime64(b)).astype(int) * 2 - 4
        for a, b in zip([*firsts.values()][1:], [*firsts.values()][:-1], strict=True)
    ]
    assert catalogue.gaps["missing_frames"].tolist() == lost
    assert catalogue.gaps["after"].tolist() == [f"{first[:8]}02T12:00:00" for first in [*firsts.values()][:3]]
    assert pd.read_parquet(raw.parent / "catalogue" / "gaps.parquet")["missing_frames"].tolist() == lost
    field.isel(0, 16).save(tmp_path / "again.zarr")
    assert Field.open(tmp_path / "again.zarr").times.tolist() == field.times.tolist()
    assert texts(field.isel(8, 12)) == texts(field)[8:12]


def test_a_file_far_away_that_repeats_another_is_a_duplicate_whatever_its_calendar_is_called(raw: Path) -> None:
    put(raw / "a.nc", "2300-03-01", calendar="standard")
    put(raw / "b.nc", "2300-03-01", calendar="proleptic_gregorian")
    _, catalogue = run(raw)
    assert fates(catalogue) == {"a.nc": "accepted", "b.nc": "duplicate"}


def test_a_record_that_begins_before_the_reform_is_in_the_standard_calendar_throughout(raw: Path) -> None:
    values = [put(raw / "a.nc", "1582-10-03", 4), put(raw / "b.nc", "1582-10-15", 4, seed=1)]
    field, catalogue = run(raw)
    assert calendar_of(field.times) == "standard"
    assert texts(field)[2:5] == [
        "1582-10-04T00:00:00 (standard)",
        "1582-10-04T12:00:00 (standard)",
        "1582-10-15T00:00:00 (standard)",
    ]
    assert catalogue.files["last"].tolist() == ["1582-10-04T12:00:00", "1582-10-16T12:00:00"]
    assert catalogue.frames["time"].tolist() == [text.partition(" ")[0] for text in texts(field)]
    assert len(catalogue.gaps) == 0
    np.testing.assert_array_equal(field.frames(0, 8)[:, 0], np.concatenate(values))


def test_dates_before_the_reform_of_two_calendars_are_not_mixed(raw: Path) -> None:
    put(raw / "a.nc", "1500-03-01", 5, calendar="proleptic_gregorian")
    put(raw / "b.nc", "1500-03-02", 4)
    put(raw / "c.nc", "2020-03-01", 3, calendar="proleptic_gregorian")
    field, catalogue = run(raw)
    assert texts(field)[::4] == ["1500-03-02T00:00:00 (standard)", "2020-03-01T00:00:00 (standard)"]
    assert "its calendar is proleptic_gregorian, that of most frames standard" in reason(catalogue, "a.nc")


def test_an_older_file_that_is_refused_leaves_the_record_in_utc(raw: Path, tmp_path: Path) -> None:
    put(raw / "b.nc", "2020-03-01")
    alone, _ = run(raw, tmp_path / "alone")
    times = cftime.num2date([0, 12], "hours since 1500-03-01", "standard")
    raw_dataset(2, width=8).assign_coords(time=times).to_netcdf(raw / "a.nc")
    field, catalogue = run(raw)
    assert fates(catalogue) == {"a.nc": "quarantined", "b.nc": "accepted"}
    assert texts(field) == texts(alone)
    stores = [
        {name: text for name, text in outputs(out).items() if name.startswith("fields")}
        for out in (raw.parent, tmp_path / "alone")
    ]
    assert stores[0] == stores[1]
