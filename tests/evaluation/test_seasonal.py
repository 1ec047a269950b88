from collections.abc import Callable

import cftime
import numpy as np
import pytest

from physicnet.config import ClipConfig
from physicnet.evaluation import seasonal
from physicnet.evaluation.baselines import Climatology
from physicnet.evaluation.seasonal import DampedAnomaly, DayAgo
from physicnet.evaluation.training_part import TrainingPart
from physicnet.fields import DataError, Field

FieldOf = Callable[..., Field]


def numbered(field_of: FieldOf, frames: int = 60, minutes: int = 60) -> Field:
    """Every frame holds its own number."""
    return field_of(np.arange(float(frames))[:, None, None] * np.ones((2, 3)), minutes=minutes)


def mean_of(field: Field) -> np.ndarray:
    return np.zeros(field.shape[1:], np.float32)


def test_a_day_ago_is_the_frame_24_hours_before_each_lead(field_of: FieldOf) -> None:
    record = numbered(field_of)
    forecast = DayAgo(record, mean_of(record)).forecast(record.isel(28, 31), 3)
    assert forecast[:, 0, 0, 0].tolist() == [7, 8, 9]


def test_beyond_a_day_it_goes_back_two_and_never_reads_what_is_not_yet_observed(field_of: FieldOf) -> None:
    record = numbered(field_of)
    forecast = DayAgo(record, mean_of(record)).forecast(record.isel(28, 31), 26)
    assert forecast[22:, 0, 0, 0].tolist() == [29, 30, 7, 8]  # leads 23 to 26; the last frame of the past is 30


def test_a_day_ago_knows_other_calendars(field_of: FieldOf) -> None:
    dataset = numbered(field_of).dataset
    record = Field(dataset.assign_coords(time=cftime.num2date(np.arange(60), "hours since 2000-02-28", "360_day")))
    assert DayAgo(record, mean_of(record)).forecast(record.isel(28, 31), 2)[:, 0, 0, 0].tolist() == [7, 8]


@pytest.mark.parametrize("start", [0, 20])
def test_a_record_that_does_not_reach_back_a_day_is_refused(field_of: FieldOf, start: int) -> None:
    record = numbered(field_of)
    with pytest.raises(DataError, match=r"day_ago needs the frame of 2020-05-31T.* begins at 2020-06-01T00:00:00"):
        DayAgo(record, mean_of(record)).forecast(record.isel(start, start + 2), 1)


def test_a_clock_without_that_time_is_refused(field_of: FieldOf) -> None:
    record = numbered(field_of, frames=300, minutes=7)
    with pytest.raises(DataError, match="day_ago needs the frame of .* has none"):
        DayAgo(record, mean_of(record)).forecast(record.isel(290, 295), 1)


def autoregressive(frames: int, factor: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    state, values = np.zeros((6, 7)), []
    for _ in range(frames):
        state = factor * state + rng.standard_normal((6, 7))
        values.append(state)
    return np.stack(values)


def test_the_damping_is_that_of_a_known_autoregression(field_of: FieldOf) -> None:
    record = field_of(10 + autoregressive(800, 0.8), minutes=24 * 60)
    training = TrainingPart(record, [[0, 800]], ClipConfig(frames_in=2, frames_out=3))
    damped = DampedAnomaly.fit(training, Climatology.fit(record, training.segments))
    assert damped.factors[:, 0] == pytest.approx([0.8, 0.64, 0.512], abs=0.03)


def test_a_forecast_fades_to_the_climatology_and_beyond_the_trained_leads_exponentially(field_of: FieldOf) -> None:
    record = field_of(autoregressive(3, 0.8))
    climatology = Climatology(np.full((1, 1, 6, 7), 2.0, np.float32), np.full((1, 6, 7), 2.0, np.float32))
    forecast = DampedAnomaly(climatology, np.array([[0.5], [0.25]])).forecast(record, 4)
    last = record.frames(2, 3)[0]
    for lead, factor in enumerate((0.5, 0.25, 0.125, 0.0625)):
        np.testing.assert_allclose(forecast[lead], 2 + factor * (last - 2), rtol=1e-5)


def test_blocks_gaps_and_missing_cells_are_as_one_sum_by_hand(
    field_of: FieldOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = autoregressive(17, 0.7)
    values[4, 2], values[9, :, 3] = np.nan, np.nan
    record, segments = field_of(values, minutes=24 * 60), [[0, 9], [10, 17]]
    climatology = Climatology.fit(record, segments)
    anomaly = record.frames(0, 17)[:, 0] - climatology.at(record.times)[:, 0]
    training = TrainingPart(record, segments, ClipConfig(frames_in=2, frames_out=2))
    monkeypatch.setattr(seasonal, "BLOCK_BYTES", 4 * 42 * 4)  # four frames
    factors = DampedAnomaly.fit(training, climatology).factors[:, 0]
    for lead in (1, 2):
        pairs = [(t, t + lead) for start, stop in segments for t in range(start, stop - lead)]
        above, below = 0.0, 0.0
        for now, then in pairs:
            product = anomaly[now] * anomaly[then]
            above += np.nansum(product)
            below += np.sum(anomaly[now][np.isfinite(product)] ** 2)
        assert factors[lead - 1] == pytest.approx(max(0.0, above / below), rel=1e-4)


def test_a_training_part_without_pairs_is_refused(field_of: FieldOf) -> None:
    record = field_of(autoregressive(4, 0.8))
    training = TrainingPart(record, [[0, 2], [2, 4]], ClipConfig(frames_in=2, frames_out=3))
    with pytest.raises(DataError, match="no pair of training frames is 3 steps apart"):
        DampedAnomaly.fit(training, Climatology.fit(record, training.segments))
