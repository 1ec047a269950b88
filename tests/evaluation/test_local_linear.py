from collections.abc import Callable

import numpy as np
import pytest

from physicnet.config import ClipConfig
from physicnet.evaluation import local_linear
from physicnet.evaluation.local_linear import LAGS, LocalLinear, fit_weights, neighbourhoods
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer, Standardization

FieldOf = Callable[..., Field]
CLIP = ClipConfig(frames_in=2, frames_out=3)
PLAIN = Normalizer((Standardization("rain", (), 0.0, 1.0),))


def shifting(frames: int, height: int = 8, width: int = 9) -> np.ndarray:
    """Noise that moves by one column per frame, around the frame."""
    noise = np.random.default_rng(0).standard_normal((height, width))
    return np.stack([np.roll(noise, shift, axis=1) for shift in range(frames)])


def part(field_of: FieldOf, values: np.ndarray) -> TrainingPart:
    return TrainingPart(field_of(values), [[0, len(values)]], CLIP)


def test_features_are_the_neighbours_in_the_last_frames_and_one(field_of: FieldOf) -> None:
    frames = np.random.default_rng(0).random((4, 2, 5, 6)).astype(np.float32)
    features = neighbourhoods(frames, 1)
    assert features.shape == (4 - LAGS + 1, 5, 6, LAGS * 2 * 9 + 1)
    expected = [*frames[1, :, 1:4, 2:5].ravel(), *frames[2, :, 1:4, 2:5].ravel(), 1.0]
    np.testing.assert_array_equal(features[1, 2, 3], np.float32(expected))
    assert features[0, 0, 0, 0] == frames[0, 0, 0, 0]  # beyond the frame its outermost cells continue


def test_a_motion_of_one_cell_is_learned_and_forecast(field_of: FieldOf) -> None:
    training = part(field_of, shifting(40))
    model = LocalLinear.fit(training, PLAIN, np.zeros((1, 8, 9), np.float32))
    past = training.record.isel(20, 22)
    forecast, truth = model.forecast(past, 1), training.record.frames(22, 23)
    # The first column's neighbour lies beyond the frame, and so does what enters.
    np.testing.assert_allclose(forecast[..., 1:], truth[..., 1:], atol=0.1)


def test_weights_of_cells_differ_where_cells_do_and_shared_ones_do_not(field_of: FieldOf) -> None:
    rng = np.random.default_rng(1)
    fades = np.where(np.arange(9) < 4, 0.9, 0.1)
    values = [rng.standard_normal((8, 9))]
    for _ in range(400):
        values.append(fades * values[-1] + rng.standard_normal((8, 9)))
    local, shared = fit_weights(part(field_of, np.stack(values)), PLAIN, 1, (0.1, np.inf))
    middle = 9 + 4  # of the later frame's neighbourhood
    assert local[1:-1, 1:4, middle, 0].mean() == pytest.approx(0.9, abs=0.05)
    assert local[1:-1, 4:-1, middle, 0].mean() == pytest.approx(0.1, abs=0.05)
    assert shared.shape == (1, 1, 19, 1)
    assert 0.3 < shared[0, 0, middle, 0] < 0.9


def test_bands_and_blocks_change_nothing(field_of: FieldOf, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).standard_normal((30, 8, 9))
    values[4, 3], values[:, 6, 7] = np.nan, np.nan
    training = part(field_of, values)
    whole = fit_weights(training, PLAIN, 2, (30.0, np.inf))
    monkeypatch.setattr(local_linear, "WORK_BYTES", 9 * 51 * 52 * 8 * 3)  # three rows, few frames
    for pieces, one in zip(fit_weights(training, PLAIN, 2, (30.0, np.inf)), whole, strict=True):
        np.testing.assert_allclose(pieces, one, atol=1e-5)


def test_a_cell_that_was_never_observed_takes_the_shared_weights(field_of: FieldOf) -> None:
    values = np.random.default_rng(2).standard_normal((30, 8, 9))
    values[:, 3:6, 3:6] = np.nan
    local, shared = fit_weights(part(field_of, values), PLAIN, 1, (30.0, np.inf))
    np.testing.assert_allclose(local[4, 4], shared[0, 0], atol=1e-5)


def test_weights_that_would_grow_stay_within_the_range_of_training(field_of: FieldOf) -> None:
    record = field_of(shifting(4))
    weights = np.full((1, 1, 19, 1), 2.0, np.float32)
    model = LocalLinear(PLAIN, np.zeros((1, 8, 9), np.float32), weights, 1, np.float32([[-3.0], [4.0]]))
    forecast = model.forecast(record.isel(0, 2), 50)
    assert forecast.min() >= -3
    assert forecast.max() <= 4


def test_a_past_that_is_too_short_is_refused(field_of: FieldOf) -> None:
    record = field_of(shifting(4))
    weights = np.zeros((1, 1, 19, 1), np.float32)
    model = LocalLinear(PLAIN, np.zeros((1, 8, 9), np.float32), weights, 1, np.float32([[-3.0], [4.0]]))
    with pytest.raises(DataError, match="local_linear looks back 2 frames, 1 are there"):
        model.forecast(record.isel(0, 1), 1)


def test_a_training_part_without_successive_frames_is_refused(field_of: FieldOf) -> None:
    training = TrainingPart(field_of(shifting(4)), [[0, 2], [2, 4]], CLIP)
    with pytest.raises(DataError, match="no stretch of the training part is longer than 2 frames"):
        fit_weights(training, PLAIN, 1, (np.inf,))


def test_a_training_part_without_whole_neighbourhoods_is_refused(field_of: FieldOf) -> None:
    values = shifting(10)
    values[:, ::2] = np.nan
    with pytest.raises(DataError, match="no training cell was observed with all its neighbours"):
        fit_weights(part(field_of, values), PLAIN, 1, (np.inf,))
