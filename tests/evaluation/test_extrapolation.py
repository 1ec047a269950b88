from collections.abc import Callable

import numpy as np
import pytest
from moving import FLOW

from physicnet.evaluation.extrapolation import (
    carry,
    flow_between,
    flow_images,
    last_frame,
    nearest_observed,
    trajectories,
)
from physicnet.fields import Field
from physicnet.normalization import Normalizer

NAN = np.nan


def uniform(x: float, y: float, height: int = 9, width: int = 11) -> np.ndarray:
    return np.stack([np.full((height, width), float(x)), np.full((height, width), float(y))])


def test_no_displacement_changes_nothing() -> None:
    frame = np.random.default_rng(0).random((9, 11))
    assert carry(frame, uniform(0, 0)) == pytest.approx(frame)


def test_a_whole_displacement_shifts_columns_by_x_and_rows_by_y_and_continues_the_edge() -> None:
    frame = np.random.default_rng(1).random((9, 11))
    carried = carry(frame, uniform(3, -2))
    assert carried[:-2, 3:] == pytest.approx(frame[2:, :-3])
    assert carried[:-2, 0] == pytest.approx(frame[2:, 0])


def test_trajectories_of_a_uniform_flow_grow_by_the_flow_with_every_lead() -> None:
    displacements = trajectories(uniform(1.5, -0.5), 3)
    for lead in (1, 2, 3):
        assert displacements[lead - 1] == pytest.approx(uniform(1.5 * lead, -0.5 * lead))


def test_trajectories_of_a_rotation_keep_their_distance_from_its_centre() -> None:
    rows, columns = np.mgrid[:41, :41] - 20.0
    angle = 0.1
    displacement = trajectories(angle * np.stack([-rows, columns]), 10)[-1]
    x, y = 8.0, 6.0  # ten cells from the centre, and well inside
    dx, dy = displacement[:, 26, 28]
    assert np.hypot(x - dx, y - dy) == pytest.approx(10, abs=0.05)
    turned = np.arctan2(y, x) - np.arctan2(y - dy, x - dx)
    assert turned == pytest.approx(10 * angle, abs=0.01)


def test_the_flow_of_a_moving_blob_is_the_flow_that_moved_it(moving_blob: Field, normalizer: Normalizer) -> None:
    before, after = flow_images(moving_blob.isel(0, 2), normalizer)[:, 0]
    inside = moving_blob.frames(1, 2)[0, 0] > 1
    flow = flow_between(before, after)[:, inside]
    assert flow.mean(axis=1) == pytest.approx(FLOW, abs=0.15)


def test_nothing_moves_where_nothing_was_observed(field_of: Callable[..., Field], normalizer: Normalizer) -> None:
    images = flow_images(field_of(np.full((2, 16, 17), NAN)), normalizer)[:, 0]
    assert (flow_between(images[0], images[1]) == 0).all()


def test_missing_cells_take_the_value_of_the_nearest_observed_one() -> None:
    frame = np.array([[NAN, 1.0, NAN, NAN, 2.0]])
    assert nearest_observed(frame).tolist() == [[1, 1, 1, 2, 2]]
    assert np.isnan(nearest_observed(frame[:, 2:4])).all()


def test_the_last_frame_takes_a_gap_from_the_frame_before(field_of: Callable[..., Field]) -> None:
    past = field_of(np.array([[[1.0, 2.0, 3.0]], [[4.0, NAN, 6.0]]]))
    assert last_frame(past, np.zeros((1, 1, 3), np.float32)).tolist() == [[[4, 2, 6]]]


def test_beyond_the_coverage_the_nearest_value_fades_into_the_mean(field_of: Callable[..., Field]) -> None:
    past = field_of(np.array([[[5.0, NAN, NAN]]] * 2))
    mean = np.full((1, 1, 3), 2.0, np.float32)
    expected = [5, 2 + 3 * np.exp(-1 / 20), 2 + 3 * np.exp(-2 / 20)]
    assert last_frame(past, mean)[0, 0] == pytest.approx(expected)


def test_a_past_that_was_not_observed_at_all_is_the_mean(field_of: Callable[..., Field]) -> None:
    mean = np.array([[[1.0, 2.0, 3.0]]], np.float32)
    assert last_frame(field_of(np.full((2, 1, 3), NAN)), mean).tolist() == mean.tolist()
