from collections.abc import Callable

import cftime
import numpy as np
import pytest
from moving import blob

from physicnet.evaluation.baselines import (
    Advection,
    Climatology,
    Persistence,
    PersistentAnomaly,
)
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer

NAN = np.nan


def rmse(forecast: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((forecast - truth) ** 2)))


def zero_mean(field: Field) -> np.ndarray:
    return np.zeros(field.shape[1:], np.float32)


def test_persistence_repeats_the_last_frame(moving_blob: Field) -> None:
    forecast = Persistence(zero_mean(moving_blob)).forecast(moving_blob.isel(0, 4), 3)
    assert forecast.shape == (3, *moving_blob.shape[1:])
    assert (forecast == moving_blob.frames(3, 4)).all()


def test_advection_goes_on_with_a_known_motion(moving_blob: Field, normalizer: Normalizer) -> None:
    truth = moving_blob.frames(4, 10)
    mean = zero_mean(moving_blob)
    forecast = Advection(normalizer, mean).forecast(moving_blob.isel(0, 4), 6)
    stays = Persistence(mean).forecast(moving_blob.isel(0, 4), 6)
    for lead in range(6):
        assert rmse(forecast[lead], truth[lead]) < 0.25 * rmse(stays[lead], truth[lead])


def test_advection_is_finite_and_keeps_what_is_inside_when_half_the_frame_is_not_observed(
    field_of: Callable[..., Field], normalizer: Normalizer
) -> None:
    values = blob(8)
    values[:, :, 45:] = NAN
    field = field_of(values)
    forecast = Advection(normalizer, zero_mean(field)).forecast(field.isel(0, 4), 4)
    seen = np.isfinite(values[4:])
    assert np.isfinite(forecast).all()
    assert rmse(forecast[:, 0][seen], values[4:][seen]) < 0.4 * rmse(
        np.repeat(values[3:4], 4, 0)[seen], values[4:][seen]
    )


def test_climatology_is_the_mean_of_the_training_ranges_alone(field_of: Callable[..., Field]) -> None:
    field = field_of(np.arange(6.0)[:, None, None] + np.array([[0.0, 10.0, 20.0]]))
    climatology = Climatology.fit(field, [[0, 2], [3, 4]])  # frames 0, 1, 3
    expected = 4 / 3 + np.array([[[0.0, 10.0, 20.0]]])
    assert climatology.mean == pytest.approx(expected)
    assert climatology.forecast(field.isel(0, 2), 5) == pytest.approx(np.repeat(expected[None], 5, axis=0))


def test_climatology_leaves_out_missing_values_and_takes_the_nearest_mean_where_there_is_none(
    field_of: Callable[..., Field],
) -> None:
    field = field_of(np.array([[[1.0, NAN, NAN]], [[3.0, 5.0, NAN]]]))
    assert Climatology.fit(field, [[0, 2]]).mean.tolist() == [[[2, 5, 5]]]


def test_climatology_of_many_days_knows_the_hour_of_each_lead(field_of: Callable[..., Field]) -> None:
    hours = np.arange(5 * 24) + 22  # the record begins at 22 UTC
    field = field_of((hours % 24).astype(float)[:, None, None] * np.ones((1, 3)), minutes=60, start="2020-06-01T22:00")
    climatology = Climatology.fit(field, [[0, 100]])
    past = field.isel(22, 24)  # 20 and 21 UTC
    assert climatology.forecast(past, 4)[:, 0, 0, 0].tolist() == [22, 23, 0, 1]


def test_climatology_knows_the_hours_of_other_calendars(field_of: Callable[..., Field]) -> None:
    hours = np.arange(5 * 24)
    dataset = field_of((hours % 24).astype(float)[:, None, None] * np.ones((1, 3)), minutes=60).dataset
    times = cftime.num2date(hours, "hours since 2000-02-28", "360_day")
    field = Field(dataset.assign_coords(time=times))
    climatology = Climatology.fit(field, [[0, 100]])
    assert climatology.forecast(field.isel(21, 23), 4)[:, 0, 0, 0].tolist() == [23, 0, 1, 2]


def test_a_persistent_anomaly_goes_along_with_the_hours(field_of: Callable[..., Field]) -> None:
    hours = np.arange(6 * 24)
    field = field_of((hours % 24).astype(float)[:, None, None] * np.ones((1, 3)), minutes=60)
    climatology = Climatology.fit(field, [[0, 5 * 24]])
    warm = Field(field.dataset + np.array([0.0, 3.0, -2.0]))
    warm.dataset["rain"].attrs["units"] = "K"
    forecast = PersistentAnomaly(climatology).forecast(warm.isel(120, 123), 4)  # until 2 UTC
    np.testing.assert_allclose(forecast[:, 0, 0], np.arange(3, 7)[:, None] + np.array([0.0, 3.0, -2.0]))


def test_where_hours_are_not_told_apart_a_persistent_anomaly_is_persistence(moving_blob: Field) -> None:
    climatology = Climatology.fit(moving_blob, [[0, 4]])
    past = moving_blob.isel(0, 4)
    expected = Persistence(climatology.mean).forecast(past, 3)
    np.testing.assert_allclose(PersistentAnomaly(climatology).forecast(past, 3), expected, atol=1e-5)


def test_an_hour_without_observations_takes_the_mean_of_all_hours(field_of: Callable[..., Field]) -> None:
    daily = field_of(np.arange(6.0)[:, None, None] * np.ones((1, 2)), minutes=24 * 60)
    climatology = Climatology.fit(daily, [[0, 6]])
    assert climatology.hourly.shape[0] == 24
    assert (climatology.hourly == 2.5).all()


def test_climatology_refuses_a_variable_that_was_never_observed(field_of: Callable[..., Field]) -> None:
    field = field_of(np.full((3, 2, 2), NAN))
    with pytest.raises(DataError, match=r"variable rain has no observed value in the training part \[\(0, 2\)\]"):
        Climatology.fit(field, [[0, 2]])


def test_blocks_of_frames_change_nothing(field_of: Callable[..., Field], monkeypatch: pytest.MonkeyPatch) -> None:
    field = field_of(np.random.default_rng(0).random((7, 3, 4)))
    whole = Climatology.fit(field, [[0, 3], [4, 7]])
    monkeypatch.setattr("physicnet.evaluation.baselines.BLOCK_BYTES", 4 * 12 * 2)
    assert Climatology.fit(field, [[0, 3], [4, 7]]).mean == pytest.approx(whole.mean)
