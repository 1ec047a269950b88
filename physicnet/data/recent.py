"""Observations of a stretch of time, read into memory from files by the rules of ingest; nothing is written.

The newest frames before a forecast, or those that a forecast is compared with.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Int64

from physicnet.clock import Time, calendar_of, parse_time, to_milliseconds, written
from physicnet.config import IngestConfig
from physicnet.data.archive import plan, read_shard, template
from physicnet.data.budget import Budget
from physicnet.data.ingest import survey_all
from physicnet.data.judge import ACCEPTED, Verdict, cadence_of, judge
from physicnet.data.sources import Source, find_sources, in_order
from physicnet.data.state import State
from physicnet.data.survey import Refusal
from physicnet.data.workers import Here
from physicnet.fields import DataError, Field

SHOWN = 5  # files or frames in a message


@runtime_checkable
class Stretch(Protocol):
    """Which frames of the record that files make are asked for."""

    def ends(self, verdict: Verdict) -> tuple[int, int]:
        """Return the first and last time, in milliseconds of the verdict's calendar, after checking what lies between.

        Raises:
            DataError: if it is not what is asked for.
        """
        ...


@dataclass(frozen=True)
class Between:
    """Whatever was observed from one time to another, both included: at least one frame."""

    first: Time
    last: Time

    def ends(self, verdict: Verdict) -> tuple[int, int]:
        """Return both; see `Stretch`."""
        asked = np.array([self.first, self.last])
        if calendar_of(asked) != verdict.calendar:
            raise DataError(
                f"observations of the calendar {calendar_of(asked)} are asked for, these are of {verdict.calendar}; "
                "give those of the same calendar"
            )
        first, last = to_milliseconds(asked).tolist()
        if not verdict.within(first, last).times.size:
            told = written(np.array([first, last]), verdict.calendar)
            raise DataError(f"no frame was observed from {told[0]} to {told[1]}; {_range_of(verdict)}")
        return first, last


@dataclass(frozen=True)
class Last:
    """The last `num_frames` frames, all of them, a `step` apart; those up to the time `at` (ISO 8601), if it is given.

    Without `at` the newest frame is that of the newest time that any file holds: if it cannot be used, none older is
    taken for it.
    """

    num_frames: int
    step: np.timedelta64
    at: str | None = None

    def ends(self, verdict: Verdict) -> tuple[int, int]:
        """Return the times of the first and the last; see `Stretch`."""
        last, step = self._last(verdict), int(self.step / np.timedelta64(1, "ms"))
        needed = last - step * np.arange(self.num_frames)[::-1]
        absent = list(_absent(verdict, needed))
        if absent:
            told = ", ".join(written(needed, verdict.calendar))
            raise DataError(
                f"the model needs {self.num_frames} frames, at {told}; not there: {'; '.join(absent)}; "
                f"{_range_of(verdict)}{_other_step(verdict, step)}. Give the files of these times, or ask for a "
                "forecast from another time (at)"
            )
        between = np.setdiff1d(verdict.within(int(needed[0]), last).times, needed)
        if between.size:
            told = ", ".join(written(between[:SHOWN], verdict.calendar))
            raise DataError(
                f"the model knows steps of {step / 1000:g} s, but there are frames between these, at {told}: give it "
                "frames of its own step alone"
            )
        return int(needed[0]), last

    def _last(self, verdict: Verdict) -> int:
        if self.at is not None:
            return moment(self.at, verdict.calendar)
        frames = verdict.frames
        newest = int(frames["time"].max())
        if newest not in verdict.times:
            told = written(np.array([newest]), verdict.calendar)[0]
            raise DataError(
                f"the newest frame, of {told}, cannot be used: {_why(verdict, frames, newest)}; mend it, or ask for a "
                "forecast from an earlier time (at)"
            )
        return newest


def moment(at: str, calendar: str) -> int:
    """Return the time that a user tells (ISO 8601), in milliseconds of a calendar.

    Raises:
        DataError: if it is none.
    """
    try:
        return parse_time(at, calendar)
    except ValueError as error:
        raise DataError(f"{at!r} is no time to forecast from ({error}); write UTC as 2010-08-26T00:05") from None


def named(paths: Sequence[Path]) -> list[Source]:
    """Return files that were named one by one as sources, in the order of their names; links may lead anywhere.

    Raises:
        DataError: if one is no file.
    """
    for path in paths:
        if path.is_dir():
            raise DataError(f"{path} is a folder; name the files in it, such as {path}/*.nc")
        if not path.exists():
            raise DataError(f"{path} does not exist; name files of observations")
    known = {path.resolve(): path for path in paths}
    return in_order(Source(str(path), path.absolute(), real.parent) for real, path in known.items())


def found(paths: Sequence[Path], pattern: str) -> list[Source]:
    """Return files that were named one by one, then those of the folders that were, by a pattern of their names."""
    files = named([path for path in paths if not path.is_dir()])
    return [*files, *(source for path in paths if path.is_dir() for source in find_sources(path, pattern))]


def observed(sources: Sequence[Source], config: IngestConfig, stretch: Stretch, *, state: State | None = None) -> Field:
    """Read a stretch of time from files, as ingest would: same units, names, valid ranges, coarsening.

    Every file is looked through once (what `state` knows of it is not read again), and the frames asked for are read.

    Args:
        sources: the files, in the order of their names: see `named` and `find_sources`.
        config: the rules.
        stretch: `Between(first, last)` or `Last(num_frames, step, at)`.
        state: what ingest has worked out of these files under the same rules.

    Returns:
        The frames, float32, in memory; NaN where missing. A time at which nothing was observed has no frame.

    Raises:
        DataError: if more files are refused than `config.max_quarantined`, or the stretch is not there.
    """
    return read_stretch(judged(sources, config, state=state), config, stretch)


def judged(sources: Sequence[Source], config: IngestConfig, *, state: State | None = None) -> Verdict:
    """Look through files and decide on them, as `observed` does."""
    budget = Budget.within(config.memory_bytes)
    verdict = judge(config, survey_all(sources, config, budget=budget, state=state, workers=Here()))
    if len(verdict.refusals) > config.max_quarantined or not verdict.surveys:
        reasons = [f"{refusal.source.name}: {refusal.reason}" for refusal in verdict.refusals[:SHOWN]]
        more = f"; and {len(verdict.refusals) - SHOWN} more" if len(verdict.refusals) > SHOWN else ""
        raise DataError(
            f"{len(verdict.refusals)} of {len(sources)} files cannot be used; mend them or leave them out: "
            f"{'; '.join(reasons)}{more}"
        )
    return verdict


def read_stretch(verdict: Verdict, config: IngestConfig, stretch: Stretch) -> Field:
    """Read a stretch of what was judged, as `observed` does."""
    part = verdict.within(*stretch.ends(verdict))
    field, budget = template(part, config), Budget.within(config.memory_bytes)
    arrays = {name: np.full(field.dataset[name].shape, np.nan, np.float32) for name in field.variables}
    for shard in plan(part, field, config):
        values = read_shard(shard, config, budget)
        if isinstance(values, Refusal):
            raise DataError(f"{values.source.name}: {values.reason}")
        arrays[shard.variable.channel][shard.part.frames, shard.part.rows] = values
    filled = {name: field.dataset[name].copy(data=array) for name, array in arrays.items()}
    return Field(field.dataset.assign(filled))


def _absent(verdict: Verdict, needed: Int64[np.ndarray, "t"]) -> Iterator[str]:
    """Say of each frame and variable that is needed and not there why, as far as a file tells."""
    told = written(needed, verdict.calendar)
    for time, text in zip(needed.tolist(), told, strict=True):
        here = verdict.frames[verdict.frames["time"] == time]
        for variable in verdict.frames["variable"].unique():
            rows = here[here["variable"] == variable]
            if not (rows["status"] == ACCEPTED).any():
                yield f"{variable} at {text}" + (f" ({_why(verdict, rows, time)})" if len(rows) else "")


def _why(verdict: Verdict, frames: pd.DataFrame, time: int) -> str:
    row = frames[frames["time"] == time].iloc[0]
    return f"{verdict.surveys[row['file']].source.name}: {row['reason']}"


def _range_of(verdict: Verdict) -> str:
    if not verdict.times.size:
        return "no frame of these files can be used"
    first, last = written(verdict.times[[0, -1]], verdict.calendar)
    return f"these files have {len(verdict.times)} from {first} to {last}"


def _other_step(verdict: Verdict, step: int) -> str:
    if len(verdict.times) < 2 or cadence_of(verdict.times).step == step:
        return ""
    return f", {cadence_of(verdict.times).step / 1000:g} s apart, where the model knows steps of {step / 1000:g} s"
