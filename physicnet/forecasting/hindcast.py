"""Forecasts over a whole archive, each from what was observed until then, on a shelf: a folder or a Zarr store.

They are put there one after the other, whole, and those that are there are not made again, so that a run goes on where
another was cut off. Of the archive, the frames of one forecast are in memory; what was found in its files when they
were looked through is kept beside the forecasts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from physicnet.clock import Time, from_milliseconds, to_milliseconds, written
from physicnet.data.judge import ACCEPTED, Verdict
from physicnet.data.progress import followed
from physicnet.data.recent import moment
from physicnet.data.state import State
from physicnet.fields import DataError
from physicnet.forecasting import leads, shelf
from physicnet.forecasting.loading import Model
from physicnet.forecasting.observations import Reader
from physicnet.forecasting.series import Series

MILLISECOND = np.timedelta64(1, "ms")

Times = Int64[np.ndarray, "n"]  # milliseconds of the archive's calendar


class Hindcasts(NamedTuple):
    """How many forecasts were made, were there before, and were not made because a frame or all its values miss."""

    made: int
    known: int
    skipped: int


def hindcast(
    model: Model,
    observations: Sequence[Path],
    output: Path,
    *,
    start: str | None = None,
    end: str | None = None,
    every: str | None = None,
    lead: str | None = None,
    regrid: bool = False,
    probabilities: bool = True,
) -> Hindcasts:
    """Forecast from every time of an archive; see `Model.forecast` for what is not described here.

    Args:
        model: forecasts.
        observations: files, and folders of files `*.nc`.
        output: a folder of files named by `cf.file_name`, or a Zarr store if its name ends in `.zarr`.
        start: the first time to forecast from, ISO 8601; None: the first that has all frames before it.
        end: the last one; None: the time of the last frame.
        every: from one time to the next, a duration or a number of the model's steps; None: one step.

    Raises:
        DataError: if files cannot be used, a forecast can be made from none of the times, or those that are there are
            of another model or another number of leads; a store also if it is laid out for others, see `Store`.
    """
    step = model.kind.step
    num_leads = model.forecaster.frames_out if lead is None else leads.num_steps(lead, step)
    reader = Reader(model.rules, model.kind)
    verdict, config = reader.archive(observations, State(shelf.kept(output).resolve()))
    asked = _asked(model, verdict, start, end, 1 if every is None else leads.num_steps(every, step, "distance"))
    possible = _possible(model, verdict, asked)
    origins = from_milliseconds(asked, verdict.calendar)
    forecasts = shelf.begun(output, Series(model.sha256, num_leads, origins))

    def outcome(origin: Time, *, is_possible: bool) -> str:
        if forecasts.holds(origin):
            return "known"
        if not is_possible:
            return "skipped"
        at = str(written(to_milliseconds(np.array([origin])), verdict.calendar)[0])
        past, notes = reader.last(verdict, config, at, regrid=regrid)
        if not np.isfinite(past.frames(past.shape[0] - 1, past.shape[0])).any():
            return "skipped"
        forecasts.add(model.forecast_field(past, num_leads, probabilities=probabilities, notes=notes))
        return "made"

    counts = dict.fromkeys(Hindcasts._fields, 0)
    pairs = zip(origins, possible.tolist(), strict=True)
    for origin, is_possible in followed(pairs, len(asked), "hindcast"):
        counts[outcome(origin, is_possible=is_possible)] += 1
    return Hindcasts(**counts)


def _asked(model: Model, verdict: Verdict, start: str | None, end: str | None, steps: int) -> Times:
    """Return the times to forecast from."""
    step = int(model.kind.step / MILLISECOND)
    if not verdict.times.size:
        raise DataError("no frame of these files can be used; give others")
    earliest = int(verdict.times[0]) + (model.kind.frames_in - 1) * step
    first = earliest if start is None else moment(start, verdict.calendar)
    last = int(verdict.times[-1]) if end is None else moment(end, verdict.calendar)
    return np.arange(first, last + 1, steps * step)


def _possible(model: Model, verdict: Verdict, asked: Times) -> Bool[np.ndarray, "n"]:
    """Say of each time whether the frames are there that a forecast from it is made from.

    Raises:
        DataError: if they are for none.
    """
    frames, step = verdict.frames[verdict.frames["status"] == ACCEPTED], int(model.kind.step / MILLISECOND)
    whole = np.ones(len(asked), bool)
    for variable in model.units:
        times = frames.loc[frames["variable"] == variable, "time"].to_numpy()
        for back in range(model.kind.frames_in):
            whole &= np.isin(asked - back * step, times)
    if not whole.any():
        reach = written(verdict.times[[0, -1]], verdict.calendar)
        raise DataError(
            f"a forecast can be made from none of the {len(asked)} times asked for: it needs {model.kind.frames_in} "
            f"frames {leads.written(model.kind.step)} apart, the files have {len(verdict.times)} from {reach[0]} to "
            f"{reach[1]}; give other files or other times (--start, --end, --every)"
        )
    return whole
