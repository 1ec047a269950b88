"""The observations in the folder of raw data, for flows that forecast and verify while others write the record."""

from pathlib import Path

import numpy as np
import pandas as pd

from flows.raw_data import paths_of_ingest
from physicnet.clock import GREGORIAN, from_milliseconds
from physicnet.config import Params
from physicnet.data.judge import ACCEPTED, Verdict
from physicnet.data.recent import judged
from physicnet.data.sources import Source, find_sources
from physicnet.data.state import State
from physicnet.fields import DataError


def archive(params: Params, since: np.datetime64 | None) -> Verdict:
    """Look through the observations from a time on (None: all).

    Files that the last ingest knew to end before, and that have not been written to since, are not opened. Of the
    others, what ingest or collect has worked out is not worked out again, but their content is hashed.

    Raises:
        DataError: if files cannot be used, or their times are of a calendar that these flows do not know.
    """
    paths = paths_of_ingest()
    sources = find_sources(paths["raw"], params.ingest.pattern)
    if since is not None:
        sources = ending_after(since, sources, paths["catalogue"] / "files.csv")
    verdict = judged(sources, params.ingest, state=State(paths["resume"].resolve()))
    if verdict.calendar != GREGORIAN:
        raise DataError(
            f"the observations are of the calendar {verdict.calendar}; the flows forecast and verify know the "
            "Gregorian one alone: use physicnet forecast"
        )
    return verdict


def ending_after(time: np.datetime64, sources: list[Source], catalogue: Path) -> list[Source]:
    """Leave out the files that ended before a time when the catalogue was written, and were not written to since."""
    if not catalogue.is_file():
        return sources
    known = pd.read_csv(catalogue, usecols=["path", "last"]).dropna()
    over = set(known.loc[pd.to_datetime(known["last"]) < time, "path"])
    written = catalogue.stat().st_mtime
    return [source for source in sources if source.name not in over or source.path.stat().st_mtime > written]


def last_known(catalogue: Path) -> np.datetime64 | None:
    """Return the time of the last frame that the last ingest knew; None where nothing was ingested."""
    if not catalogue.is_file():
        return None
    last = pd.to_datetime(pd.read_csv(catalogue, usecols=["last"])["last"]).max()
    return None if pd.isna(last) else np.datetime64(last, "ns")


def newest(verdict: Verdict) -> np.datetime64:
    """Return the time up to which all variables have been observed."""
    accepted = verdict.frames[verdict.frames["status"] == ACCEPTED]
    last = accepted.groupby("variable")["time"].max().min()
    return from_milliseconds(np.array([last]), verdict.calendar)[0]
