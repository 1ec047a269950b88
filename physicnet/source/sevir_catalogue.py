"""The events of SEVIR, as its catalogue lists them: a row of `CATALOG.csv` per event and type of image."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pandas as pd

from physicnet.fields import DataError

CATALOGUE = "CATALOG.csv"
COLUMNS = ("id", "file_name", "file_index", "img_type", "time_utc", "pct_missing")


@dataclass(frozen=True)
class Event:
    """Four hours of one place: where its images are, and the time of the middle one, UTC."""

    name: str
    time: datetime
    path: Path
    index: int


@dataclass(frozen=True)
class Dates:
    """Where the parts end: events after `validation` validate, those after `test` test.

    Raises:
        DataError: when built of dates in another order.
    """

    validation: datetime
    test: datetime

    def __post_init__(self) -> None:
        if self.validation > self.test:
            raise DataError(
                f"validation begins after {self.validation:%Y-%m-%d}, later than the test part, after "
                f"{self.test:%Y-%m-%d}; exchange them"
            )

    def parts(self, events: Sequence[Event]) -> dict[str, int]:
        """Return the number of events in each part."""
        times = [event.time for event in events]
        train, rest = (sum(time <= date for time in times) for date in (self.validation, self.test))
        return {"train": train, "validation": rest - train, "test": len(times) - rest}


def read(folder: Path, image: str, *, complete: bool, there: bool) -> list[Event]:
    """Return the events of one type of image, in the order of time.

    An event that the catalogue has twice for this type is left out, as SEVIR's own reader does.

    Args:
        folder: that holds `CATALOG.csv` and `data/`, the files.
        image: the type, as the column `img_type` has it.
        complete: only events of which no value is missing.
        there: only events of files that are there.

    Raises:
        DataError: if the catalogue or a file is missing, a row makes no sense, or no event remains.
    """
    rows = _rows(folder / CATALOGUE)
    rows = rows[rows["img_type"] == image]
    rows = rows[~rows["id"].duplicated(keep=False)]
    if complete:
        rows = rows[pd.to_numeric(rows["pct_missing"], errors="coerce") == 0]
    columns = (rows[column] for column in ("id", "time_utc", "file_name", "file_index"))
    events = [_event(folder, *row) for row in zip(*columns, strict=True)]
    events = [event for event in events if not there or event.path.is_file()]
    _check(folder, image, events)
    return sorted(events, key=lambda event: (event.time, event.name))


def _rows(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"there is no {path}; put SEVIR's catalogue there, beside its folder data")
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    lacking = [column for column in COLUMNS if column not in rows]
    if lacking:
        raise DataError(f"{path} has no column {lacking[0]}; take the catalogue that SEVIR publishes")
    return rows


def _event(folder: Path, name: str, time: str, file: str, index: str) -> Event:
    try:
        return Event(name, datetime.fromisoformat(time), folder / "data" / file, int(index))
    except ValueError as error:
        raise DataError(
            f"{folder / CATALOGUE}: event {name} has the time {time!r} and the file_index {index!r} ({error}); mend it"
        ) from error


def _check(folder: Path, image: str, events: Sequence[Event]) -> None:
    if not events:
        raise DataError(f"{folder} has no event of the type {image} as asked for; get its files, or ask for others")
    missing = sorted({event.path for event in events if not event.path.is_file()})
    if missing:
        raise DataError(
            f"there is no {missing[0]}, which the catalogue names, nor {len(missing) - 1} others; get them, or leave "
            "their events out (--there)"
        )


def digest(events: Sequence[Event]) -> str:
    """Return a hash of which events these are, and where."""
    told = (f"{event.name} {event.time} {event.path.name} {event.index}\n" for event in events)
    return sha256("".join(told).encode()).hexdigest()
