"""Scores forecasts that lie in files, by the one path that all forecasts go."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from pathlib import Path

import numpy as np
import pandas as pd

from physicnet.clock import format_time
from physicnet.config import ClipConfig, Params
from physicnet.evaluation.scoring import Scoreboard, forecast_case
from physicnet.fields import DataError, Field
from physicnet.verification import ledger
from physicnet.verification.filed import Filed
from physicnet.verification.reference import Reference

Observe = Callable[[np.datetime64, np.datetime64], Field]  # what was observed from one time to another, both included


@dataclass(frozen=True)
class Scored:
    """How many forecasts were scored, and which could not be, and why."""

    num: int
    refused: dict[str, str]


def add_due(
    table: Path, forecasts: Filed, observe: Observe, newest: np.datetime64, reference: Reference, params: Params
) -> Scored:
    """Score the forecasts that a table does not know, in their order, up to the first whose last lead is to come.

    The table is written after each day's. Forecasts from before the latest that it knows came after their time: they
    are no forecasts any more, and are left out. One that cannot be scored keeps no other from it.
    """
    known, num, refused = ledger.read(table), 0, dict[str, str]()
    waiting = due(forecasts, after=ledger.last_origin(known), step=reference.step, until=newest)
    for origins in by_day(waiting):
        sums, reasons = score(forecasts, origins, observe, reference, params)
        refused |= {format_time(origin): reason for origin, reason in reasons.items()}
        scored = [origin for origin in origins if origin not in reasons]
        if scored:
            more = ledger.by_day(sums, [forecasts.files[origin].checkpoint for origin in scored])
            known = ledger.with_more(known, more)
            ledger.write(table, known)
            num += len(scored)
    return Scored(num, refused)


def due(
    forecasts: Filed, *, after: np.datetime64 | None, step: np.timedelta64, until: np.datetime64
) -> list[np.datetime64]:
    """Return the origins after a time, in order, up to the first whose last lead has not been observed by another."""
    later = [origin for origin in forecasts.origins if after is None or origin > after]
    return list(takewhile(lambda origin: origin + forecasts.files[origin].num_leads * step <= until, later))


def by_day(origins: Sequence[np.datetime64]) -> Iterator[list[np.datetime64]]:
    """Give the origins of one day (UTC) after those of another, so that not more need be read at once."""
    for _, day in groupby(origins, key=lambda origin: origin.astype("datetime64[D]")):
        yield list(day)


def score(
    forecasts: Filed, origins: Sequence[np.datetime64], observe: Observe, reference: Reference, params: Params
) -> tuple[pd.DataFrame, dict[np.datetime64, str]]:
    """Return the sums of the forecasts from some origins, in order, and of the baselines from the same.

    See `Scoreboard.sums`. Frames that were not observed are not scored. The second result says of the origins that
    could not be scored why.
    """
    step, frames_in = reference.step, params.clip.frames_in
    longest = max(forecasts.files[origin].num_leads for origin in origins)
    first, last = origins[0] - (frames_in - 1) * step, origins[-1] + longest * step
    record = on_the_beat(observe(first, last), first, last, step)
    scoreboard, refused = Scoreboard(params.evaluate, reference.ranges), dict[np.datetime64, str]()
    for origin in origins:
        clip = ClipConfig(frames_in=frames_in, frames_out=forecasts.files[origin].num_leads)
        start = int((origin - first) / step) + 1 - frames_in
        try:
            case = forecast_case([forecasts, *reference.baselines], record, start, clip)
        except DataError as error:
            refused[origin] = str(error)
        else:
            scoreboard.add(case)
    return scoreboard.sums() if len(refused) < len(origins) else pd.DataFrame(), refused


def on_the_beat(record: Field, first: np.datetime64, last: np.datetime64, step: np.timedelta64) -> Field:
    """Return a record with a frame at every time step from one time to another; those that it lacks are missing.

    Raises:
        DataError: if it has frames off that beat.
    """
    times = np.arange(first, last + step, step)
    off = np.setdiff1d(record.times, times)
    if off.size:
        raise DataError(
            f"there is a frame of {format_time(off[0])}, off the time step of {step / np.timedelta64(1, 's'):g} s from "
            f"{format_time(first)} on; keep observations of one clock"
        )
    return Field(record.dataset.reindex({record.time_dim: times}))
