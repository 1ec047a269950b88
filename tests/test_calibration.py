from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from physicnet import calibration
from physicnet.calibration import LEVELS, Calibration, fit, from_arrays, origins_of
from physicnet.config import ClipConfig
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer, Standardization
from physicnet.transforms import Decibel, Power

CLIP = ClipConfig(frames_in=2, frames_out=2)
SHAPE = (60, 70)
RAIN = Normalizer((Standardization("rain", (Power(0.5),), 0.4, 0.6, valid_max=16.0),))
WARMTH = Normalizer((Standardization("warmth", (), 10.0, 5.0),))
NOON = np.array(["2020-06-01T12:00"], "datetime64[ns]")


def field_of(normalizer: Normalizer, values: np.ndarray) -> Field:
    times = np.datetime64("2020-06-01", "ns") + np.arange(len(values)) * np.timedelta64(1, "h")
    (name,) = normalizer.variables
    variables = {name: (("time", "y", "x"), values.astype(np.float32), {"units": "1"})}
    return Field(xr.Dataset(variables, {"time": times}))


def noisy(
    normalizer: Normalizer, draw: Callable[[np.ndarray, int], np.ndarray], *, seed: int, frames: int = 30
) -> Field:
    """A record whose frame is drawn given what `known` will forecast for it at either lead."""
    rng = np.random.default_rng(seed)
    return field_of(normalizer, np.stack([draw(forecast_of(), rng) for _ in range(frames)]))


def forecast_of() -> np.ndarray:
    """What is forecast, always: values from 0 to 8 from left to right."""
    return np.tile(np.linspace(0.0, 8.0, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))


def known(past: Field, num_leads: int) -> np.ndarray:
    return np.tile(forecast_of(), (num_leads, past.shape[1], 1, 1))


def fitted(normalizer: Normalizer, record: Field) -> Calibration:
    origins = origins_of([[0, record.shape[0]]], CLIP.frames_in)
    (found,) = fit(known, record.isel, origins, CLIP, normalizer).values()
    return found


def rain(forecast: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dry with a probability that falls from left to right; else the root of the rate is off by up to 0.8."""
    wet = rng.random(SHAPE) < 0.2 + forecast / 10
    return np.where(wet, np.maximum(np.sqrt(forecast) + rng.uniform(-0.8, 0.8, SHAPE), 0.01) ** 2, 0.0)


def warmth(forecast: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return forecast + rng.normal(0.0, 1.0 + forecast / 4)


@pytest.mark.parametrize(("normalizer", "draw"), [(RAIN, rain), (WARMTH, warmth)])
def test_new_observations_fall_below_each_quantile_as_often_as_it_says(normalizer: Normalizer, draw: Callable) -> None:
    own = fitted(normalizer, noisy(normalizer, draw, seed=1))
    later = noisy(normalizer, draw, seed=2).frames(0, 30)[:, 0]
    for lead in (1, 2):
        quantiles = own.quantiles(lead, forecast_of(), NOON, LEVELS)
        for columns in (slice(0, 14), slice(28, 42), slice(56, 70)):  # within regimes, not only on average
            below = np.array([(later[..., columns] < each[:, columns]).mean() for each in quantiles])
            at_most = np.array([(later[..., columns] <= each[:, columns]).mean() for each in quantiles])
            assert (below - 0.02 <= LEVELS).all()
            assert (at_most + 0.02 >= LEVELS).all()


def test_a_calibration_of_other_weather_would_not_pass() -> None:
    own = fitted(WARMTH, noisy(WARMTH, warmth, seed=1))
    wider = noisy(WARMTH, lambda forecast, rng: forecast + rng.normal(0.0, 2 + forecast / 2), seed=2).frames(0, 30)
    low, high = own.quantiles(1, forecast_of(), NOON, np.array([0.05, 0.95]))
    assert 0.5 < ((low <= wider[:, 0]) & (wider[:, 0] <= high)).mean() < 0.7  # 90 % are claimed


def test_the_probability_of_a_threshold_is_how_often_it_is_reached() -> None:
    own = fitted(RAIN, noisy(RAIN, rain, seed=1))
    later = noisy(RAIN, rain, seed=2, frames=200).frames(0, 200)[:, 0]
    for threshold in (0.0, 0.5, 4.0):
        probability = own.exceedance(2, forecast_of(), NOON, threshold)
        for columns in (slice(0, 7), slice(35, 42), slice(63, 70)):
            happened = (later[..., columns] >= threshold).mean()
            assert probability[:, columns].mean() == pytest.approx(happened, abs=0.02)


def test_quantiles_ascend_and_probabilities_fall_with_the_threshold() -> None:
    own = fitted(RAIN, noisy(RAIN, rain, seed=3))
    frame = np.random.default_rng(0).gamma(0.5, 3.0, (11, 13)).astype(np.float32)
    quantiles = own.quantiles(1, frame, NOON, LEVELS)
    assert quantiles.shape == (19, 11, 13)
    assert (np.diff(quantiles, axis=0) >= 0).all()
    assert (quantiles >= 0).all()
    chances = np.stack([own.exceedance(1, frame, NOON, threshold) for threshold in (-1.0, 0.0, 0.1, 1.0, 5.0, 16.5)])
    assert (np.diff(chances, axis=0) <= 0).all()
    assert (chances[:2] == 1).all()
    assert (chances[-1] == 0).all()  # beyond the greatest value that there can be


def test_quantiles_and_probabilities_tell_the_same() -> None:
    own = fitted(RAIN, noisy(RAIN, rain, seed=3))
    median = own.quantiles(1, forecast_of(), NOON, np.array([0.5]))[0]
    for column in (30, 50, 69):
        threshold = float(median[0, column])
        assert own.exceedance(1, forecast_of(), NOON, threshold)[0, column] == pytest.approx(0.5, abs=0.01)


def test_values_at_the_greatest_possible_are_a_probability_of_their_own() -> None:
    record = noisy(RAIN, lambda forecast, rng: np.where(rng.random(SHAPE) < 0.3, 16.0, forecast), seed=4)
    own = fitted(RAIN, record)
    quantiles = own.quantiles(1, forecast_of(), NOON, np.array([0.5, 0.65, 0.75]))
    np.testing.assert_allclose(quantiles[:2, 0, 20:], np.tile(forecast_of()[0, 20:], (2, 1)), atol=0.05)
    np.testing.assert_array_equal(quantiles[2], 16.0)
    assert own.exceedance(1, forecast_of(), NOON, 12.0).mean() == pytest.approx(0.3, abs=0.01)


def test_what_no_forecast_tells_has_no_distribution() -> None:
    own = fitted(RAIN, noisy(RAIN, rain, seed=3))
    frame = forecast_of()
    frame[3, 5] = np.nan
    assert np.isnan(own.quantiles(1, frame, NOON, LEVELS)).sum() == len(LEVELS)
    for threshold in (0.0, 1.0):
        assert np.isnan(own.exceedance(1, frame, NOON, threshold)).sum() == 1


def test_few_pairs_make_few_regimes_and_equal_forecasts_one() -> None:
    record = noisy(RAIN, rain, seed=5)
    few = record.frames(0, 30)[:, 0].copy()
    few[:, 5:] = np.nan  # of each frame 350 cells are left
    edges = fitted(RAIN, field_of(RAIN, few[:6])).edges
    assert np.isfinite(edges).sum(axis=1).tolist() == [1, 1]  # 1400 and 1050 pairs, at least 500 to each of two regimes
    origins = origins_of([[0, 30]], 2)
    same = fit(lambda _, num: np.zeros((num, 1, *SHAPE), np.float32), record.isel, origins, CLIP, RAIN)["rain"]
    assert not np.isfinite(same.edges).any()


def test_nothing_beyond_the_range_is_read() -> None:
    record = noisy(RAIN, rain, seed=6)
    poisoned = record.frames(0, 30)[:, 0].copy()
    poisoned[[0, 1, 2, 3, 25, 26, 27, 28, 29]] = 1e6
    ranges = [[4, 14], [16, 25]]
    ours, theirs = (
        fit(known, each.isel, origins_of(ranges, 2), CLIP, RAIN)["rain"] for each in (record, field_of(RAIN, poisoned))
    )
    for name, array in ours.arrays().items():
        np.testing.assert_array_equal(array, theirs.arrays()[name])


def test_origins_reach_to_the_last_frame_and_are_spread_evenly() -> None:
    assert origins_of([[0, 5], [9, 12]], 2) == [(0, 5), (1, 5), (2, 5), (9, 12)]
    many = origins_of([[0, 1000]], 2)
    assert len(many) <= calibration.ORIGINS
    assert {later[0] - earlier[0] for earlier, later in pairwise(many)} == {11}
    assert origins_of([[0, 2]], 2) == []


def test_a_frame_without_observations_is_passed_over() -> None:
    values = noisy(RAIN, rain, seed=7).frames(0, 30)[:, 0].copy()
    values[3] = np.nan
    starts: list[np.datetime64] = []

    def forecast(past: Field, num_leads: int) -> np.ndarray:
        starts.append(past.times[-1])
        return known(past, num_leads)

    record = field_of(RAIN, values)
    fit(forecast, record.isel, origins_of([[0, 7]], 2), CLIP, RAIN)
    assert starts == [record.times[index] for index in (1, 2, 4, 5)]


def test_a_variable_that_is_never_observed_is_refused() -> None:
    values = np.full((6, *SHAPE), np.nan)
    values[:3] = 1.0
    with pytest.raises(DataError, match="nothing was observed of rain in the validation part 2 steps after any frame"):
        fit(known, field_of(RAIN, values).isel, [(0, 4)], CLIP, RAIN)


def test_a_bound_is_recognised_however_values_were_rounded() -> None:
    decibels = Normalizer((Standardization("rain", (Decibel(0.1, -15.0),), -10.0, 6.0),))
    for normalizer in (RAIN, decibels):
        record = noisy(normalizer, rain, seed=8)
        standardised = normalizer.normalize(record.frames(0, 30), record.times)
        rounded = field_of(normalizer, normalizer.denormalize(standardised, record.times)[:, 0])
        np.testing.assert_allclose(fitted(normalizer, rounded).lowest, fitted(normalizer, record).lowest)
        assert fitted(normalizer, record).lowest[0, 0] > 0.5


def test_arrays_give_the_calibration_back() -> None:
    own = fitted(RAIN, noisy(RAIN, rain, seed=9))
    arrays = {f"rain/{name}": array for name, array in own.arrays().items()}
    again = from_arrays(RAIN, arrays)["rain"]
    frame = forecast_of()
    np.testing.assert_array_equal(own.quantiles(2, frame, NOON, LEVELS), again.quantiles(2, frame, NOON, LEVELS))
    with pytest.raises(KeyError, match="rain/errors"):
        from_arrays(RAIN, {name: array for name, array in arrays.items() if name != "rain/errors"})


def test_errors_that_are_alike_for_days_are_widened_and_others_are_not() -> None:
    rng = np.random.default_rng(11)
    weather = np.repeat(rng.normal(0.0, 1.5, 6), 5)  # of five frames each
    own = rng.normal(0.0, 1.0, (30, *SHAPE))
    steady, changing = (field_of(WARMTH, forecast_of() + own + shift) for shift in (0.0, weather[:, None, None]))
    alone = [fitted(WARMTH, record).errors[0, 4] for record in (steady, changing)]
    assert np.ptp(alone[0][[10, 190]]) == pytest.approx(2 * 1.645 / WARMTH.channels[0].std, rel=0.1)
    together = np.sqrt(1 + weather.var()) / WARMTH.channels[0].std
    assert np.ptp(alone[1][[10, 190]]) > 1.1 * 2 * 1.645 * together


def test_halves_by_hand() -> None:
    """Errors of 0 to 1 in one half and of 0 to 2 in the other: the first must be widened to hold for the second."""
    forecast, free = np.zeros(1000), np.full(1000, np.inf)
    near, far = (np.stack([forecast, np.linspace(0.0, end, 1000), free, free]).astype(np.float32) for end in (1.0, 2.0))
    assert calibration._widening([near, near]) == pytest.approx(1.0)
    factor = calibration._widening([near, far])
    middle = calibration._regimes_of(near).widened(factor)
    assert middle.errors[0, 100] == pytest.approx(0.5, abs=0.01)
    assert middle.errors[0, [0, 200]] == pytest.approx([0.5 - factor / 2, 0.5 + factor / 2], abs=0.01)
    held = [calibration._regimes_of(one).widened(factor).held(other) for one, other in ((near, far), (far, near))]
    assert np.mean(held) == pytest.approx(0.8, abs=0.02)
    assert calibration._widening([near]) == 1.0


def test_ties_at_a_bound_are_held_in_the_share_that_they_might_have() -> None:
    dry = np.zeros(600)
    wet = np.linspace(1.0, 2.0, 400)
    value, free = np.concatenate([dry, wet]), np.full(1000, np.inf)
    pairs = np.stack([np.ones(1000), value, value, free]).astype(np.float32)  # six of ten lie at the lowest value
    regimes = calibration._regimes_of(pairs)
    assert regimes.held(pairs) == pytest.approx(0.8, abs=0.01)
