from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from physicnet.fields import DataError
from physicnet.source.table import PLACES, Counts, Table

CSV = """time,latitude,longitude,count
2020-06-01T00:10,52.1,4.3,5
2020-06-01T00:40:00Z,52.2,-4.4,2.5
2020-06-01 02:00+02:00,52.1,4.4,0
"""


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "trips.csv"
    path.write_text(CSV)
    return path


def counts(path: Path, places: str = "degrees", **changed: Any) -> Counts:
    names = changed.pop("names", {})
    return Table.open(path, names).counts(PLACES[places], **({"width": None, "is_events": False} | changed))


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_rows_are_read_in_utc(csv: Path) -> None:
    found = counts(csv)
    assert found.times.astype(str).tolist() == ["2020-06-01T00:10:00", "2020-06-01T00:40:00", "2020-06-01T00:00:00"]
    assert found.y.tolist() == [52.1, 52.2, 52.1]
    assert found.x.tolist() == [4.3, -4.4, 4.4]
    assert found.counts.tolist() == [5.0, 2.5, 0.0]


def test_parquet_is_the_same(csv: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(csv).assign(time=pd.to_datetime(pd.read_csv(csv)["time"], utc=True, format="ISO8601"))
    for each in (frame, frame.assign(time=frame["time"].dt.tz_localize(None))):
        each.to_parquet(tmp_path / "trips.parquet")
        found, expected = counts(tmp_path / "trips.parquet"), counts(csv)
        for name in ("times", "y", "x", "counts"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "date,lat,lon,trips", "2020-06-01,52,4,7")
    names = {"time": "date", "latitude": "lat", "longitude": "lon", "count": "trips"}
    assert counts(path, names=names).counts.tolist() == [7.0]


def test_comments_at_the_head_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "# Simulated", "# by hand", "time,row,column,count", "2020-06-01,0,1,x")
    assert Table.open(path, {}).comments == ["Simulated", "by hand"]
    with pytest.raises(DataError, match=r"t\.csv, line 4: count is 'x', which is no number"):
        counts(path, "cells")


def test_numbers_of_cells_become_rows_and_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "time,cell,count", "2020-06-01,0,1", "2020-06-01,7,1", "2020-06-01,11,1")
    found = counts(path, "cells", width=5)
    assert list(zip(found.y, found.x, strict=True)) == [(0, 0), (1, 2), (2, 1)]


def test_a_row_may_be_an_event(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "time,y,x", "2020-06-01,10,20", "2020-06-01,10,20")
    assert counts(path, "metres", is_events=True).counts.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2020-06-01,52.1,4.3,-3", r"line 5: the count is -3\.0, which is negative; mend it"),
        ("2020-06-01,52.1,4.3,", r"line 5: count is '', which is no number; mend it"),
        ("2020-06-01,52.1,4.3,NaN", r"line 5: count is 'NaN', which is no number"),
        ("2020-06-01,52.1,4.3,inf", r"line 5: count is 'inf', which is no number"),
        ("2020-06-01,,4.3,1", r"line 5: latitude is '', which is no number"),
        ("2020-06-01,90.5,4.3,1", r"line 5: latitude is 90\.5, not within -90 to 90; mend it"),
        ("2020-06-01,52.1,-180.5,1", r"line 5: longitude is -180\.5, not within -180 to 360; mend it"),
        ("noon,52.1,4.3,1", r"line 5: time is 'noon', which is no time as of ISO 8601; mend it"),
        (",52.1,4.3,1", r"line 5: time is '', which is no time"),
        ("01/06/2020,52.1,4.3,1", r"line 5: time is '01/06/2020', which is no time"),
        ("2020-06-01T00:10Z,52.1,4.3,1", r"line 5: this time and place are in the table before; leave one of them out"),
        ("", r"line 5: latitude is .*, which is no number"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(csv: Path, row: str, message: str) -> None:
    written(csv, CSV.rstrip("\n"), row, "2020-06-02,52,4,1")
    with pytest.raises(DataError, match=r"trips\.csv, " + message):
        counts(csv)


@pytest.mark.parametrize(
    ("row", "message"),
    [("-1,2", r"row is -1\.0, not within 0 to inf"), ("0,2.5", r"column is 2\.5, which is no whole number; mend it")],
)
def test_rows_and_columns_are_counted_from_zero(tmp_path: Path, row: str, message: str) -> None:
    path = written(tmp_path / "t.csv", "time,row,column,count", f"2020-06-01,{row},1")
    with pytest.raises(DataError, match=rf"t\.csv, line 2: {message}"):
        counts(path, "cells")


def test_rows_of_parquet_are_counted_from_one(tmp_path: Path) -> None:
    frame = pd.DataFrame({"time": ["2020-06-01"] * 2, "row": [0, 1], "column": [0, 1], "count": [1.0, np.nan]})
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet, row 2: count is nan, which is no number"):
        counts(tmp_path / "t.parquet", "cells")


def test_a_missing_column_is_named(csv: Path) -> None:
    with pytest.raises(DataError, match=r"no column row, only time, latitude, .*; say which of them is the row: --col"):
        counts(csv, "cells")
    with pytest.raises(DataError, match=r"no column trips, only .*; say which of them is the count: --column count="):
        counts(csv, names={"count": "trips"})


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_what_is_no_table_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'"a,b\n\xff\xfe' + bytes(100))
    with pytest.raises(DataError, match=r"t\.(csv|parquet) cannot be read as a table \(.*\); mend it"):
        Table.open(tmp_path / name, {})


def test_a_table_without_rows_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv has no rows"):
        Table.open(written(tmp_path / "t.csv", "time,row,column,count"), {})
