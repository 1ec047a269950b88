from collections.abc import Callable

import numpy as np
import pytest

from physicnet.config import ClipConfig
from physicnet.evaluation.eof import EofVar, Patterns, _damping, autoregression, rollout
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer, Standardization

FieldOf = Callable[..., Field]
CLIP = ClipConfig(frames_in=2, frames_out=4)
PLAIN = Normalizer((Standardization("rain", (), 5.0, 2.0),))


def oscillation(frames: int, height: int = 9, width: int = 11) -> np.ndarray:
    """Two fixed patterns whose coefficients turn by a fixed angle per frame: a wave that an AR(1) of two knows."""
    rng = np.random.default_rng(3)
    first, second = rng.standard_normal((2, height, width))
    phase = np.pi / 10 * np.arange(frames)[:, None, None]
    return 5 + np.cos(phase) * first + np.sin(phase) * second


def fitted(field_of: FieldOf) -> tuple[EofVar, Field]:
    record = field_of(oscillation(80))
    mean = np.full(record.shape[1:], 5.0, np.float32)
    return EofVar.fit(TrainingPart(record, [[0, 60]], CLIP), PLAIN, mean), record


def test_a_linear_oscillation_is_forecast_exactly(field_of: FieldOf) -> None:
    model, record = fitted(field_of)
    forecast = model.forecast(record.isel(68, 70), 10)
    np.testing.assert_allclose(forecast, record.frames(70, 80), atol=0.05)


def test_a_long_forecast_stays_bounded(field_of: FieldOf) -> None:
    model, record = fitted(field_of)
    assert np.abs(model.forecast(record.isel(68, 70), 400) - 5).max() < 1.5 * np.abs(record.frames(0, 80) - 5).max()


def test_what_the_patterns_leave_out_stays_damped(field_of: FieldOf) -> None:
    """Two patterns that turn, and in a corner noise that fades by 0.7 a frame, too faint for a pattern."""
    rng, noise, values = np.random.default_rng(5), np.zeros((4, 4)), oscillation(820)
    for frame in values:
        noise = 0.7 * noise + 0.1 * rng.standard_normal((4, 4))
        frame[:4, :4] += noise
    record = field_of(values)
    training = TrainingPart(record, [[0, 800]], CLIP)
    basis = Patterns.fit(training, PLAIN, 2)
    damping = _damping(training, PLAIN, basis)[:, 0]
    assert damping == pytest.approx([0.7, 0.49, 0.343, 0.24], abs=0.05)
    still = np.zeros((1, 2, 2))
    model = EofVar(PLAIN, np.zeros(record.shape[1:], np.float32), basis, still, damping[:, None])
    frames = PLAIN.normalize(record.frames(809, 810), record.times[809:810]).reshape(1, -1)
    rest = frames - basis.frames(basis.coefficients(frames))
    forecast = PLAIN.normalize(model.forecast(record.isel(808, 810), 2), record.times[810:812]).reshape(2, -1)
    np.testing.assert_allclose(forecast, basis.mean + damping[:2, None] * rest, atol=1e-4)


def test_missing_cells_do_not_matter_where_the_others_tell_the_coefficients(field_of: FieldOf) -> None:
    model, record = fitted(field_of)
    frames = PLAIN.normalize(record.frames(70, 71), record.times[70:71]).reshape(1, -1)
    holed = frames.copy()
    holed[0, :40] = np.nan
    np.testing.assert_allclose(model.basis.coefficients(holed), model.basis.coefficients(frames), rtol=0.02, atol=0.02)


def test_patterns_are_orthonormal_and_no_more_than_the_data_have(field_of: FieldOf) -> None:
    record = field_of(oscillation(40))
    basis = Patterns.fit(TrainingPart(record, [[0, 40]], CLIP), PLAIN, 20)
    assert basis.patterns.shape == (2, 99)
    np.testing.assert_allclose(basis.patterns @ basis.patterns.T, np.eye(2), atol=1e-4)


def test_an_autoregression_of_known_matrices_is_found() -> None:
    rng = np.random.default_rng(0)
    known = np.array([[[0.5, -0.3], [0.2, 0.6]], [[0.1, 0.0], [0.05, -0.2]]])
    series = [*rng.standard_normal((2, 2))]
    for _ in range(5000):
        series.append(known[0] @ series[-1] + known[1] @ series[-2] + 0.1 * rng.standard_normal(2))
    np.testing.assert_allclose(autoregression([np.stack(series)], 2, 1e-6), known, atol=0.05)
    np.testing.assert_allclose(rollout(known, np.stack(series[:2]), 1)[0], known[0] @ series[1] + known[1] @ series[0])


def test_what_would_grow_is_kept_from_growing() -> None:
    growing = 1.2 ** np.arange(30.0)[:, None]
    matrices = autoregression([growing], 1, 0.0)
    assert matrices[0, 0, 0] == pytest.approx(1.0)


def test_a_training_part_shorter_than_the_order_is_refused() -> None:
    with pytest.raises(DataError, match="no stretch of the training part is longer than 2 frames"):
        autoregression([np.ones((2, 3))], 2, 0.1)


def test_a_past_that_is_too_short_is_refused(field_of: FieldOf) -> None:
    record = field_of(oscillation(10))
    basis = Patterns.fit(TrainingPart(record, [[0, 10]], CLIP), PLAIN, 2)
    model = EofVar(PLAIN, np.zeros(record.shape[1:], np.float32), basis, np.zeros((3, 2, 2)), np.zeros((1, 1)))
    with pytest.raises(DataError, match="eof_var looks back 3 frames, 2 are there"):
        model.forecast(record.isel(0, 2), 1)
