from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from storms import FRAMES, Storm, write_sevir

from physicnet.fields import DataError
from physicnet.source import sevir_catalogue
from physicnet.source.sevir_catalogue import Dates, Event, digest

IMAGES = np.zeros((2, 2, FRAMES), np.uint8)


def storm(name: str, time: str, pct_missing: float = 0.0) -> Storm:
    return Storm(name, time, IMAGES, pct_missing)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three events in two files, one of them with missing values."""
    files = {
        "vil/2019/B.h5": [storm("S10", "2019-05-03 04:30:00"), storm("S9", "2018-07-01 12:00:00", 0.5)],
        "vil/2018/A.h5": [storm("R7", "2018-12-31 23:55:00")],
    }
    write_sevir(tmp_path, "vil", files)
    return tmp_path


def names(folder: Path, image: str = "vil", *, complete: bool = False, there: bool = False) -> list[str]:
    return [event.name for event in sevir_catalogue.read(folder, image, complete=complete, there=there)]


def change(folder: Path, row: int, column: str, value: object) -> None:
    catalogue = pd.read_csv(folder / "CATALOG.csv", dtype=object)
    catalogue.loc[row, column] = value
    catalogue.to_csv(folder / "CATALOG.csv", index=False)


def test_events_are_in_the_order_of_time(folder: Path) -> None:
    events = sevir_catalogue.read(folder, "vil", complete=False, there=False)
    assert events[0] == Event("S9", datetime(2018, 7, 1, 12), folder / "data" / "vil" / "2019" / "B.h5", 1)
    assert names(folder) == ["S9", "R7", "S10"]


def test_complete_events_alone_may_be_taken(folder: Path) -> None:
    assert names(folder, complete=True) == ["R7", "S10"]


def test_rows_of_other_types_are_passed_over(folder: Path) -> None:
    change(folder, 0, "img_type", "vis")
    assert names(folder) == ["S9", "R7"]


def test_an_event_that_is_listed_twice_is_left_out(folder: Path) -> None:
    change(folder, 0, "id", "R7")
    assert names(folder) == ["S9"]


def test_a_file_that_is_not_there_is_named_or_its_events_left_out(folder: Path) -> None:
    (folder / "data" / "vil" / "2019" / "B.h5").unlink()
    with pytest.raises(
        DataError, match=r"there is no .*B\.h5, which the catalogue names, nor 0 others; get them, or le"
    ):
        names(folder)
    assert names(folder, there=True) == ["R7"]


def test_a_type_without_events_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="has no event of the type ir107 as asked for; get its files"):
        names(folder, "ir107")


def test_a_folder_without_a_catalogue_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no .*CATALOG\.csv; put SEVIR's catalogue there"):
        names(tmp_path)


def test_a_catalogue_without_a_column_is_named(folder: Path) -> None:
    pd.read_csv(folder / "CATALOG.csv").drop(columns="file_index").to_csv(folder / "CATALOG.csv")
    with pytest.raises(DataError, match=r"CATALOG\.csv has no column file_index; take the catalogue"):
        names(folder)


@pytest.mark.parametrize(("column", "value"), [("time_utc", "noon"), ("time_utc", None), ("file_index", "first")])
def test_a_row_that_makes_no_sense_is_named(folder: Path, column: str, value: object) -> None:
    change(folder, 1, column, value)
    with pytest.raises(
        DataError, match=r"CATALOG\.csv: event S9 has the time '.*' and the file_index '.*' \(.*\); mend"
    ):
        names(folder)


def test_an_event_at_a_date_belongs_to_the_part_before() -> None:
    dates = Dates(datetime(2019, 1, 1), datetime(2019, 6, 1))
    times = [datetime(2018, 5, 5), datetime(2019, 1, 1), datetime(2019, 1, 1, 1), datetime(2019, 7, 1)]
    assert dates.parts([Event("S1", time, Path("a.h5"), 0) for time in times]) == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }


def test_dates_in_another_order_are_refused() -> None:
    with pytest.raises(
        DataError, match="validation begins after 2019-06-01, later than the test part, after 2019-01-01"
    ):
        Dates(datetime(2019, 6, 1), datetime(2019, 1, 1))


def test_the_digest_is_of_the_events(folder: Path) -> None:
    events = sevir_catalogue.read(folder, "vil", complete=False, there=False)
    assert digest(events) == digest(list(events))
    assert digest(events) != digest(events[:2])
