from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import ingest_config, raw_dataset

from physicnet.data.grids import Grid
from physicnet.data.judge import Cadence, cadence_of, judge
from physicnet.data.sources import Source
from physicnet.data.survey import NONE, Header, Refusal, Survey
from physicnet.fields import DataError

MINUTE = 60_000


def surveyed(name: str, minutes: list[int], digests: str, **changes: object) -> Survey:
    """A file of frames at some minutes; equal letters of `digests` mean equal values."""
    frames = pd.DataFrame({"frame": range(len(minutes)), "time": np.array(minutes) * MINUTE, "digest": list(digests)})
    frames = frames.assign(sequence=NONE, part=NONE, variable="rate", observed=100, invalid=0, min=0.0, max=1.0).assign(
        **changes
    )
    source = Source(name, Path("/raw") / name, Path("/raw"))
    header = Header.of(raw_dataset())
    return Survey(source, "hash", (0, 0), "proleptic_gregorian", Grid.of(raw_dataset()), header, frames, "key")


def statuses(*files: Survey, **changes: object) -> list[str]:
    """The initial of each frame's status, a word per file."""
    frames = judge(ingest_config(**changes), files).frames
    return ["".join(frames.loc[frames["file"] == index, "status"].str[0]) for index in range(len(files))]


def test_of_equal_frames_the_first_stays() -> None:
    assert statuses(surveyed("a", [0, 5], "xy"), surveyed("b", [5, 10], "yz"), surveyed("c", [5, 15], "yw")) == [
        "aa",
        "da",
        "da",
    ]


def test_of_different_frames_the_last_stays_and_what_equals_it_is_a_duplicate() -> None:
    files = surveyed("a", [0, 5], "xy"), surveyed("b", [5, 10], "uz"), surveyed("c", [5, 15], "yw")
    assert statuses(*files) == ["ad", "sa", "aa"]


def test_a_time_that_comes_twice_in_a_file_is_treated_alike() -> None:
    assert statuses(surveyed("a", [0, 5, 5, 10, 10], "xyyuv")) == ["aadsa"]
    assert statuses(surveyed("a", [0, 5], "xy"), surveyed("b", [10, 10], "uv"), on_conflict="refuse") == ["aa", "qq"]


def test_a_refused_file_refuses_no_other() -> None:
    files = surveyed("a", [0, 5], "xy"), surveyed("b", [5, 10], "uz"), surveyed("c", [10, 15], "vw")
    assert statuses(*files, on_conflict="refuse") == ["aa", "qq", "aa"]


def test_frames_are_judged_by_the_beat_of_most() -> None:
    files = surveyed("a", [1, 6, 11, 16], "abcd"), surveyed("b", [20, 21], "ef")
    verdict = judge(ingest_config(), files)
    assert statuses(*files) == ["aaaa", "qa"]
    assert verdict.frames["reason"].unique().tolist() == ["", "comes 240 s after the beat of 300 s"]
    assert verdict.times.tolist() == [minute * MINUTE for minute in (1, 6, 11, 16, 21)]
    assert verdict.origins("rate").tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 1]]


def test_the_step_is_the_most_frequent_and_of_those_the_smallest() -> None:
    assert cadence_of(np.array([3, 5, 7, 12, 17])) == Cadence(2, 1)
    assert cadence_of(np.array([0, 5, 10, 12])) == Cadence(5, 0)


def test_too_many_invalid_values_put_a_frame_out() -> None:
    assert statuses(surveyed("a", [0, 5, 10], "xyz", invalid=[5, 6, 0])) == ["aqa"]


def test_a_frame_without_values_stays_unless_the_whole_file_has_none() -> None:
    assert statuses(surveyed("a", [0, 5], "xy", observed=[0, 9]), surveyed("b", [10], "z", observed=0)) == ["aa", "q"]


def test_a_record_needs_two_frames() -> None:
    broken = Refusal(Source("b", Path("/raw/b"), Path("/raw")), "is odd")
    verdict = judge(ingest_config(), [surveyed("a", [0], "x"), broken])
    with pytest.raises(DataError, match=r"of 2 files 1 can be ingested; add files or repair these: b: is odd$"):
        verdict.check()


def test_without_any_readable_file_there_is_no_record() -> None:
    broken = [Refusal(Source(name, Path(name), Path()), "is odd") for name in "abcdefg"]
    with pytest.raises(DataError, match=r"of 7 files 0 can be ingested.*a: is odd; .*e: is odd; and 2 more reasons$"):
        judge(ingest_config(), broken).check()


def daily(name: str, days: list[int]) -> Survey:
    return surveyed(name, [24 * 60 * day for day in days], "abcdefghijkl"[: len(days)])


MONTHS = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30]).tolist()
MONTHLY = (
    "monthly frames have no constant step: they come 28, 30, 31 days apart; resample them to one step, or give them a "
    "calendar of 360 days"
)


def test_a_file_of_months_is_quarantined_as_a_whole_and_not_by_chance() -> None:
    files = daily("a", MONTHS), daily("b", list(range(400, 484, 7)))
    verdict = judge(ingest_config(), files)
    assert statuses(*files) == ["q" * 12, "a" * 12]
    assert verdict.frames["reason"].unique().tolist() == [MONTHLY, ""]


def test_months_in_files_of_their_own_are_quarantined_alike() -> None:
    files = [daily(f"{month:02}", [day]) for month, day in enumerate(MONTHS)]
    assert statuses(*files) == ["q"] * 12
    assert judge(ingest_config(), files).frames["reason"].unique().tolist() == [MONTHLY]


def test_months_of_equal_length_are_in_order() -> None:
    assert statuses(daily("a", [30 * month for month in range(12)])) == ["a" * 12]


def test_unequal_steps_of_any_length_are_named() -> None:
    files = surveyed("a", [1, 2, 4, 7, 11, 16, 22], "abcdefg"), surveyed("b", list(range(100, 200, 10)), "abcdefghij")
    assert statuses(*files) == ["q" * 7, "a" * 10]
    assert judge(ingest_config(), files).frames["reason"][0] == (
        "frames have no constant step: they come 60, 120, 180, 240, 300 s and 1 more lengths apart; resample them to "
        "one step"
    )


def test_a_few_late_frames_put_out_no_file() -> None:
    assert statuses(surveyed("a", [0, 5, 10, 16, 20], "abcde")) == ["aaaqa"]


def test_a_file_without_a_step_takes_no_frame_from_another() -> None:
    files = surveyed("a", list(range(0, 100, 10)), "abcdefghij"), surveyed("b", [10, 12, 15], "uvw")
    assert statuses(*files) == ["a" * 10, "qqq"]
