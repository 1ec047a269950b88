"""Tables of counts, CSV or Parquet: a row has a time, a place and how many there were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64, Shaped

from physicnet.fields import DataError

COMMENT = "# "


@dataclass(frozen=True)
class Place:
    """How a table tells places: its columns for y and x, the range of each, and what CF says of them as coordinates.

    `shift` is how far the edge of a place's cell lies before it: numbers of rows and columns stand for whole cells.
    """

    columns: tuple[str, str]
    dims: tuple[str, str]
    lowest: tuple[float, float]
    highest: tuple[float, float]
    attributes: tuple[Mapping[str, str], Mapping[str, str]]
    shift: float = 0.0


PLACES: Mapping[str, Place] = {
    "degrees": Place(
        ("latitude", "longitude"),
        ("latitude", "longitude"),
        (-90.0, -180.0),
        (90.0, 360.0),
        (
            {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"},
            {"units": "degrees_east", "standard_name": "longitude", "axis": "X"},
        ),
    ),
    "metres": Place(
        ("y", "x"),
        ("y", "x"),
        (-np.inf, -np.inf),
        (np.inf, np.inf),
        (
            {"units": "m", "standard_name": "projection_y_coordinate", "axis": "Y"},
            {"units": "m", "standard_name": "projection_x_coordinate", "axis": "X"},
        ),
    ),
    "cells": Place(
        ("row", "column"),
        ("y", "x"),
        (0.0, 0.0),
        (np.inf, np.inf),
        ({"units": "1", "long_name": "row", "axis": "Y"}, {"units": "1", "long_name": "column", "axis": "X"}),
        shift=0.5,
    ),
}


@dataclass(frozen=True, eq=False)
class Counts:
    """The rows of a table: times (UTC), places in the units of `Place`, and counts."""

    times: Shaped[np.ndarray, "n"]  # datetime64[s]
    y: Float64[np.ndarray, "n"]
    x: Float64[np.ndarray, "n"]
    counts: Float64[np.ndarray, "n"]


@dataclass(frozen=True, eq=False)
class Table:
    """A table as it is in its file.

    `names` are what its columns are called, where not `time`, `count` and as a `Place` says. `comments` are the lines
    at its head that begin with `# `, without that.
    """

    path: Path
    names: Mapping[str, str]
    rows: pd.DataFrame
    comments: Sequence[str]

    @classmethod
    def open(cls, path: Path, names: Mapping[str, str]) -> "Table":
        """Read `.parquet`, or CSV.

        Raises:
            DataError: if it cannot be read, or has no rows.
        """
        comments: list[str] = []
        try:
            if path.suffix == ".parquet":
                rows = pd.read_parquet(path)
            else:
                comments = _comments(path)
                rows = pd.read_csv(
                    path,
                    dtype=str,
                    index_col=False,
                    keep_default_na=False,
                    skiprows=len(comments),
                    skip_blank_lines=False,  # lines are counted
                )
        except (OSError, ValueError) as error:  # those of pandas and pyarrow, too
            raise DataError(f"{path} cannot be read as a table ({error}); mend it") from error
        if rows.empty:
            raise DataError(f"{path} has no rows")
        return cls(path, names, rows, comments)

    def counts(self, place: Place, *, width: int | None, is_events: bool) -> Counts:
        """Return what the rows say.

        Args:
            place: how they tell places.
            width: columns of the grid, if a single column `cell` numbers its cells row by row, from 0.
            is_events: a row is one event: there is no column `count`, and equal rows are different events.

        Raises:
            DataError: if a column is missing, or a row makes no sense, is out of range, or is there twice.
        """
        if width is None:
            y, x = (self._numbers(name) for name in place.columns)
        else:
            y, x = divmod(self._numbers("cell"), width)
        counts = np.ones(len(y)) if is_events else self._numbers("count")
        found = Counts(self._times(), y, x, counts)
        self._check(found, place)
        if not is_events:
            twice = pd.DataFrame({"time": found.times, "y": y, "x": x}).duplicated().to_numpy()
            self.refuse(twice, "this time and place are in the table before; leave one of them out, or add them up")
        return found

    def _numbers(self, name: str) -> Float64[np.ndarray, "n"]:
        told = self._column(name)
        numbers = pd.to_numeric(told, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        self.refuse(~np.isfinite(numbers), f"{told.name} is {{!r}}, which is no number; mend it", told)
        return numbers

    def _times(self) -> Shaped[np.ndarray, "n"]:
        told = self._column("time")
        if told.dtype.kind == "M":
            times = pd.to_datetime(told, utc=True)
        else:
            times = pd.to_datetime(told, utc=True, errors="coerce", format="ISO8601")  # UTC where they tell no offset
        self.refuse(times.isna().to_numpy(), f"{told.name} is {{!r}}, which is no time as of ISO 8601; mend it", told)
        return times.dt.tz_localize(None).to_numpy("datetime64[s]")

    def _column(self, name: str) -> pd.Series:
        column = self.names.get(name, name)
        if column not in self.rows:
            raise DataError(
                f"{self.path} has no column {column}, only {', '.join(map(str, self.rows))}; say which of them is the "
                f"{name}: --column {name}=..."
            )
        return self.rows[column]

    def _check(self, found: Counts, place: Place) -> None:
        self.refuse(found.counts < 0, "the count is {}, which is negative; mend it", found.counts)
        for name, values, lowest, highest in zip(
            place.columns, (found.y, found.x), place.lowest, place.highest, strict=True
        ):
            beyond = (values < lowest) | (values > highest)
            self.refuse(beyond, f"{name} is {{}}, not within {lowest:g} to {highest:g}; mend it", values)
            if place.shift:
                self.refuse(values != np.round(values), f"{name} is {{}}, which is no whole number; mend it", values)

    def refuse(self, wrong: Shaped[np.ndarray, "n"], reason: str, values: np.ndarray | pd.Series | None = None) -> None:
        """Raise an error that names the first row that is `wrong`, if any is, and its value in the place of `{}`."""
        if wrong.any():
            row = int(np.argmax(wrong))
            value = None if values is None else values.tolist()[row]
            raise DataError(f"{self._where(row)}: {reason.format(value)}")

    def _where(self, row: int) -> str:
        """Return where a row is, for people: lines are counted from 1, comments and the header among them."""
        if self.path.suffix == ".parquet":
            return f"{self.path}, row {row + 1}"
        return f"{self.path}, line {row + 2 + len(self.comments)}"


def _comments(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [line.removeprefix(COMMENT).strip() for line in takewhile(lambda line: line.startswith(COMMENT), file)]
