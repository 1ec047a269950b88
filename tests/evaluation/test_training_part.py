from collections.abc import Callable

import numpy as np
import pytest

from physicnet.config import ClipConfig
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field

CLIP = ClipConfig(frames_in=2, frames_out=3)
FieldOf = Callable[..., Field]


def part(field_of: FieldOf, segments: list[list[int]], clip: ClipConfig = CLIP) -> TrainingPart:
    return TrainingPart(field_of(np.zeros((60, 3, 4))), segments, clip)


def test_the_end_is_held_out_and_no_range_runs_across_a_gap(field_of: FieldOf) -> None:
    fitted, checked = part(field_of, [[0, 10], [12, 42], [44, 54]]).halves()
    assert list(fitted.segments) == [(0, 10), (12, 42)]
    assert list(checked.segments) == [(44, 54)]
    assert checked.clip == CLIP


def test_at_least_a_clip_is_held_out(field_of: FieldOf) -> None:
    fitted, checked = part(field_of, [[0, 12]]).halves()
    assert list(fitted.segments) == [(0, 7)]
    assert list(checked.segments) == [(7, 12)]


def test_of_a_short_part_half_is_held_out_and_its_clips_are_shorter(field_of: FieldOf) -> None:
    fitted, checked = part(field_of, [[0, 8]]).halves()
    assert list(fitted.segments) == [(0, 4)]
    assert list(checked.segments) == [(4, 8)]
    assert checked.clip == ClipConfig(frames_in=2, frames_out=2)


def test_a_part_that_is_too_short_is_refused_with_the_remedy(field_of: FieldOf) -> None:
    with pytest.raises(DataError, match=r"training part has 4 frames, in pieces of at most 2 .*train_fraction"):
        part(field_of, [[0, 4]]).halves()


def test_starts_are_spread_over_whole_clips(field_of: FieldOf) -> None:
    assert part(field_of, [[0, 6], [10, 30]]).starts(100) == [0, 1, *range(10, 26)]
    assert part(field_of, [[0, 6], [10, 30]]).starts(6) == [0, 11, 14, 17, 20, 23]


def test_targets_have_what_comes_before_them_in_the_same_range(field_of: FieldOf) -> None:
    assert part(field_of, [[0, 4], [6, 9]]).targets(2) == [2, 3, 8]
    assert part(field_of, [[0, 4], [6, 9]]).num_frames == 7
