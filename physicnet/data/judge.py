"""Decides what of the surveyed files becomes the record: which files, which frames, and from where each frame comes."""

from collections import ChainMap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int64

from physicnet.clock import GREGORIAN, STANDARD, settled, written
from physicnet.config import IngestConfig
from physicnet.data.grids import Grid
from physicnet.data.survey import NONE, Header, Refusal, Survey
from physicnet.fields import DataError

Differs = Callable[[Survey, Survey], str | None]  # says in what the second differs from the first

ACCEPTED, DUPLICATE, SUPERSEDED, QUARANTINED = "accepted", "duplicate", "superseded", "quarantined"

FRAME_COLUMNS = {
    "frame": "int64",
    "time": "int64",
    "sequence": "int64",
    "part": "int64",
    "variable": "str",
    "observed": "int64",
    "invalid": "int64",
    "min": "float64",
    "max": "float64",
    "digest": "str",
    "file": "int64",
    "status": "str",
    "reason": "str",
}
SHOWN = 5  # reasons, or steps, in a message
DAY = 86_400_000  # milliseconds
MONTH = 28 * DAY  # the shortest


class Cadence(NamedTuple):
    """A time step, and the remainder of the times on its beat, in milliseconds."""

    step: int
    phase: int


@dataclass(frozen=True, eq=False)
class Verdict:
    """The record, and the fate of every file and frame.

    `surveys` are the files on the record's grid and calendar, `refusals` all others. `frames` are the rows of the
    surveys (see `Survey`) with `file`, the index of the survey, `status` and `reason`. `times` are those of the
    record, in milliseconds of `calendar`.
    """

    surveys: tuple[Survey, ...]
    refusals: tuple[Refusal, ...]
    frames: pd.DataFrame
    times: Int64[np.ndarray, "t"]

    def check(self) -> None:
        """Check that there is a record.

        Raises:
            DataError: if no two frames at different times were accepted, with the reasons.
        """
        if len(self.times) < 2:
            reasons = [f"{refusal.source.name}: {refusal.reason}" for refusal in self.refusals]
            reasons += self.frames.loc[self.frames["status"] != ACCEPTED, "reason"].unique().tolist()
            more = f"; and {len(reasons) - SHOWN} more reasons" if len(reasons) > SHOWN else ""
            num_files = len(self.surveys) + len(self.refusals)
            raise DataError(
                f"a record needs two frames, but of {num_files} files {len(self.times)} can be ingested; add files or "
                f"repair these: {'; '.join(reasons[:SHOWN]) or 'each is in order'}{more}"
            )

    @property
    def step(self) -> int:
        """The time step in milliseconds."""
        return cadence_of(self.times).step

    @property
    def grid(self) -> Grid:
        """The grid of the record, before it is coarsened."""
        return self.surveys[0].grid

    @property
    def calendar(self) -> str:
        """The calendar in which all frames of the surveys are told."""
        return settled(self.surveys[0].calendar, self.frames["time"].to_numpy()) if self.surveys else GREGORIAN

    def within(self, first: int, last: int) -> "Verdict":
        """Return the part of the record from one time to another, both included; files and frames stay."""
        return replace(self, times=self.times[(first <= self.times) & (self.times <= last)])

    def header_of(self, variable: str) -> Header | None:
        """Return the header of the first file that gives frames of a variable to the record; None if there is none."""
        rows = self.frames[(self.frames["variable"] == variable) & (self.frames["status"] == ACCEPTED)]
        return self.surveys[rows["file"].min()].header if len(rows) else None

    def of_frames(self, column: str) -> Int64[np.ndarray, "t"]:
        """Return the `sequence` or `part` of each frame of the record; -1 where there is none."""
        rows = self.frames[self.frames["status"] == ACCEPTED].drop_duplicates("time").set_index("time")
        return rows[column].reindex(self.times).to_numpy()

    def origins(self, variable: str) -> Int64[np.ndarray, "t 2"]:
        """Return the survey and its frame from which each frame of the record comes; -1, -1 where it is missing."""
        found = np.full((len(self.times), 2), -1)
        rows = self.frames[(self.frames["variable"] == variable) & (self.frames["status"] == ACCEPTED)]
        rows = rows[rows["time"].isin(self.times)]
        found[np.searchsorted(self.times, rows["time"])] = rows[["file", "frame"]].to_numpy()
        return found


def judge(config: IngestConfig, found: Sequence[Survey | Refusal]) -> Verdict:
    """Decide on all files, which come in the order of their names."""
    surveys, strangers = of_one_kind([survey for survey in found if isinstance(survey, Survey)])
    refusals = [*(refusal for refusal in found if isinstance(refusal, Refusal)), *strangers]
    frames = [survey.frames.assign(file=index) for index, survey in enumerate(surveys)]
    if not surveys:
        nothing = pd.DataFrame(columns=list(FRAME_COLUMNS)).astype(FRAME_COLUMNS)
        return Verdict((), tuple(refusals), nothing, np.zeros(0, np.int64))
    names, calendar = [survey.source.name for survey in surveys], surveys[0].calendar
    all_frames = pd.concat(frames, ignore_index=True).assign(status=ACCEPTED, reason="")
    all_frames = quarantine_invalid(all_frames, config.max_invalid)
    all_frames = quarantine_without_step(all_frames)
    all_frames = resolve_repetitions(all_frames, names, calendar, config.on_conflict)
    all_frames = quarantine_off_beat(all_frames)
    times = np.unique(all_frames.loc[all_frames["status"] == ACCEPTED, "time"].to_numpy())
    return Verdict(tuple(surveys), tuple(refusals), all_frames, times)


def of_one_kind(surveys: Sequence[Survey]) -> tuple[list[Survey], list[Refusal]]:
    """Keep the files that most frames agree with: in their calendar, among these in their sequences, then in the grid.

    Not those of the first file: one odd file must not put all others out.
    """
    kept, refused = list(_on_the_standard_calendar(surveys)), []
    for differs in (_calendar_differs, _sequences_differ, lambda one, other: one.grid.difference(other.grid)):
        kept, others = _majority(kept, differs)
        refused += others
    return kept, refused


def _on_the_standard_calendar(surveys: Sequence[Survey]) -> Sequence[Survey]:
    """Count later files in the calendar of those that begin before the Gregorian reform, as they may, if there are any.

    These alone have the standard calendar. From the reform on it is the proleptic Gregorian one.
    """
    if all(survey.calendar != STANDARD for survey in surveys):
        return surveys
    return [replace(one, calendar=STANDARD) if _since_the_reform(one) else one for one in surveys]


def _since_the_reform(survey: Survey) -> bool:
    return survey.calendar == GREGORIAN and settled(STANDARD, survey.frames["time"].to_numpy()) == GREGORIAN


def _calendar_differs(one: Survey, other: Survey) -> str | None:
    if one.calendar == other.calendar:
        return None
    return f"its calendar is {other.calendar}, that of most frames {one.calendar}"


def _sequences_differ(one: Survey, other: Survey) -> str | None:
    """Sequences of another length lie elsewhere on the clock, and what has a clock of its own on none of theirs."""
    mine, its = _frames_of_a_sequence(one), _frames_of_a_sequence(other)
    if mine == its:
        return None
    told = [f"sequences of {length} frames" if length else "one long series" for length in (its, mine)]
    return f"it holds {told[0]}, most frames are of {told[1]}"


def _frames_of_a_sequence(survey: Survey) -> int:
    """How many there are in each; 0 if there are no sequences."""
    numbers = survey.frames["sequence"]
    return 0 if numbers.iloc[0] == NONE else int(survey.frames["frame"].nunique() / numbers.nunique())


def _majority(surveys: Sequence[Survey], differs: Differs) -> tuple[list[Survey], list[Refusal]]:
    """Split off what differs from the kind that most frames are of; of kinds with equally many the first one stays."""
    kinds: list[list[Survey]] = []
    for survey in surveys:
        kind = next((kind for kind in kinds if differs(kind[0], survey) is None), None)
        if kind is None:
            kinds.append([survey])
        else:
            kind.append(survey)
    chosen = max(kinds, key=lambda kind: sum(len(survey.frames) for survey in kind), default=[])
    refusals = [
        Refusal(survey.source, f"{differs(chosen[0], survey)}; keep files of one kind in the folder", survey.sha256)
        for kind in kinds
        for survey in kind
        if kind is not chosen
    ]
    return chosen, refusals


def quarantine_invalid(frames: pd.DataFrame, max_invalid: float) -> pd.DataFrame:
    """Quarantine frames with too many values outside their range, and variables of which a file has no value at all."""
    invalid = frames["invalid"] > max_invalid * frames["observed"]
    valid = frames["observed"] > frames["invalid"]
    empty = ~valid.groupby([frames["file"], frames["variable"]]).transform("any")
    shares = (frames["invalid"] / frames["observed"].clip(lower=1)).map("{:.3g}".format)
    frames = _marked(frames, empty, QUARANTINED, "the file has no valid value of " + frames["variable"])
    because = "a share of " + shares + f" of its values is outside the valid range, above {max_invalid:g}"
    return _marked(frames, invalid, QUARANTINED, because)


def quarantine_without_step(frames: pd.DataFrame) -> pd.DataFrame:
    """Quarantine whole files whose frames are at unequal steps, most of them off the beat, such as those of months.

    The few that are on the beat are there by chance. If all files together are at such steps, of a month or more, all
    files are meant: a file for each month has no step of its own.
    """
    held = frames[frames["status"] == ACCEPTED]
    times = np.unique(held["time"].to_numpy())
    if len(times) < 2:
        return frames
    beat = cadence_of(times)
    if np.diff(times).min() >= MONTH and _is_without_step(times, beat):
        return _marked(frames, frames["status"] == ACCEPTED, QUARANTINED, _unequal(times))
    for file, group in held.groupby("file"):
        its = np.unique(group["time"].to_numpy())
        if _is_without_step(its, beat):
            frames = _marked(frames, frames["file"] == file, QUARANTINED, _unequal(its))
    return frames


def _is_without_step(times: Int64[np.ndarray, "t"], beat: Cadence) -> bool:
    off = np.count_nonzero((times - beat.phase) % beat.step)
    return bool(2 * off > len(times)) and len(np.unique(np.diff(times))) > 1


def _unequal(times: Int64[np.ndarray, "t"]) -> str:
    steps = np.unique(np.diff(times))
    unit, length = ("days", DAY) if steps[0] >= DAY else ("s", 1000)
    shown = ", ".join(f"{step / length:g}" for step in steps[:SHOWN])
    more = f" and {len(steps) - SHOWN} more lengths" if len(steps) > SHOWN else ""
    months = steps[0] >= MONTH and steps[-1] <= 31 * DAY
    remedy = ", or give them a calendar of 360 days" if months else ""
    return (
        f"{'monthly ' if months else ''}frames have no constant step: they come {shown} {unit}{more} apart; resample "
        f"them to one step{remedy}"
    )


def resolve_repetitions(frames: pd.DataFrame, names: Sequence[str], calendar: str, rule: str) -> pd.DataFrame:
    """Leave one frame for each variable and time.

    Of equal ones the first stays. Of different ones the last stays (`newest`), or the first, and the files that
    contradict it are quarantined (`refuse`). First and last are meant in the order of names: the dates of files are
    those of their last copy, which neither git nor DVC keeps.
    """
    if rule == "refuse":
        frames = _refuse_conflicts(frames, names, calendar)
    held = frames[frames["status"] == ACCEPTED]
    groups = held.groupby(["variable", "time"], sort=False)
    last, conflicting = groups["digest"].transform("last"), groups["digest"].transform("nunique") > 1
    index = pd.Series(held.index, index=held.index)
    stays = index.groupby([held["variable"], held["time"]], sort=False).transform("first")
    stays = stays.where(~conflicting, index.groupby([held["variable"], held["time"]], sort=False).transform("last"))
    winner = frames.loc[stays, "file"].map(dict(enumerate(names))).set_axis(held.index)
    gone = stays != index
    repeated = gone & (held["digest"] == last)
    frames = _marked(frames, repeated, DUPLICATE, "repeats the frame in " + winner)
    return _marked(
        frames, gone & ~repeated, SUPERSEDED, "has other values than the frame in " + winner + ", named later"
    )


def _refuse_conflicts(frames: pd.DataFrame, names: Sequence[str], calendar: str) -> pd.DataFrame:
    held = frames[frames["status"] == ACCEPTED]
    repeated = held[held.duplicated(["variable", "time"], keep=False)]
    stays: dict[tuple[str, int], tuple[int, str]] = {}
    for file in repeated["file"].unique().tolist():
        rows = repeated[repeated["file"] == file]
        mine = ChainMap({}, stays)
        against = None
        for variable, time, digest in rows[["variable", "time", "digest"]].itertuples(index=False):
            first, its = mine.setdefault((variable, time), (file, digest))
            if its != digest and against is None:
                against = f"{names[first]} has other values of {variable} at {written(np.array([time]), calendar)[0]}"
        if against is None:
            stays |= mine.maps[0]
        else:
            reason = f"{against}, and ingest.on_conflict is refuse; remove one of them"
            frames = _marked(frames, frames["file"] == file, QUARANTINED, reason)
    return frames


def quarantine_off_beat(frames: pd.DataFrame) -> pd.DataFrame:
    """Quarantine the frames whose time is not on the beat that most frames have."""
    held = frames["status"] == ACCEPTED
    times = np.unique(frames.loc[held, "time"].to_numpy())
    if len(times) < 2:
        return frames
    step, phase = cadence_of(times)
    late = (frames["time"] - phase) % step
    because = "comes " + (late / 1000).map("{:g}".format) + f" s after the beat of {step / 1000:g} s"
    return _marked(frames, held & (late != 0), QUARANTINED, because)


def cadence_of(times: Int64[np.ndarray, "t"]) -> Cadence:
    """Return the most frequent difference of at least two increasing times, and the remainder that most times have.

    Of several that are equally frequent the smallest.
    """
    step = _mode(np.diff(times))
    return Cadence(step, _mode(times % step))


def _mode(values: Int64[np.ndarray, "n"]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[np.argmax(counts)])


def _marked(frames: pd.DataFrame, where: pd.Series, status: str, reason: str | pd.Series) -> pd.DataFrame:
    """Give the accepted frames among those at `where` (others are not meant) a status and a reason."""
    chosen = where.reindex(frames.index, fill_value=False) & (frames["status"] == ACCEPTED)
    return frames.assign(status=frames["status"].mask(chosen, status), reason=frames["reason"].mask(chosen, reason))
