from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from physicnet.clock import GREGORIAN
from physicnet.data.gaps import gaps_of
from physicnet.data.survey import NONE

ALONE = np.full(31, NONE)  # frames of one long series


def test_a_gap_is_named_by_the_frames_around_it() -> None:
    gaps = gaps_of(np.array([0, 1, 2, 6, 7]) * 60_000, ALONE[:5], 60_000, GREGORIAN, 2)
    assert gaps.to_dict("records") == [
        {"after": "1970-01-01T00:02:00", "before": "1970-01-01T00:06:00", "missing_frames": 3, "clips_lost": 4}
    ]


def test_a_whole_record_has_no_gap() -> None:
    assert gaps_of(np.arange(5) * 1000, ALONE[:5], 1000, GREGORIAN, 3).empty


@given(places=st.sets(st.integers(1, 29)), frames=st.integers(1, 35))
def test_a_gap_costs_the_clips_that_contain_one_of_its_times(places: set[int], frames: int) -> None:
    present = np.array(sorted({0, 30} | places))
    gaps = gaps_of(present * 1000, ALONE[: len(present)], 1000, GREGORIAN, frames)
    clips = [set(range(start, start + frames)) for start in range(31 - frames + 1)]
    missing = [set(range(after + 1, before)) for after, before in pairwise(present.tolist()) if before > after + 1]
    assert gaps["missing_frames"].tolist() == [len(times) for times in missing]
    assert gaps["clips_lost"].tolist() == [sum(bool(clip & times) for clip in clips) for times in missing]
