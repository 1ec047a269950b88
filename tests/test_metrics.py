import numpy as np
import pytest
from skimage.metrics import structural_similarity

from physicnet import metrics

NAN = np.nan
TRUTH = np.array([[[1.0, 2.0, 0.0], [4.0, NAN, 1.0]]])
FORECAST = np.array([[[2.0, 2.0, 2.0], [1.0, 9.0, 0.0]]])  # errors 1, 0, 2, -3, not scored, -1


def test_error_sums_are_those_worked_by_hand_and_leave_out_what_was_not_observed() -> None:
    sums = metrics.error_sums(FORECAST, TRUTH)
    assert {name: values.tolist() for name, values in sums.items()} == {
        "cells": [5.0],
        "error": [-1.0],
        "absolute_error": [7.0],
        "squared_error": [15.0],
    }
    assert metrics.rmse(sums["squared_error"], sums["cells"]) == pytest.approx(np.sqrt(3.0))
    assert metrics.mean(sums["absolute_error"], sums["cells"]) == pytest.approx(1.4)
    assert metrics.mean(sums["error"], sums["cells"]) == pytest.approx(-0.2)


def test_a_forecast_that_is_missing_where_the_truth_is_missing_changes_nothing() -> None:
    holed = np.where(np.isnan(TRUTH), NAN, FORECAST)
    for ours, theirs in zip(
        metrics.error_sums(holed, TRUTH).values(), metrics.error_sums(FORECAST, TRUTH).values(), strict=True
    ):
        assert ours == theirs


def test_events_are_counted_and_the_threshold_itself_is_an_event() -> None:
    sums = metrics.event_sums(FORECAST, TRUTH, threshold=2.0)
    # Hit: the second cell. Miss: the cell of 4. False alarms: first and third cell. The cell of 9 is not scored.
    assert (sums["hits"], sums["misses"], sums["false_alarms"]) == (1, 1, 2)
    assert metrics.csi(**sums) == 0.25


def test_csi_is_undefined_without_events() -> None:
    zero = np.zeros(1)
    assert np.isnan(metrics.csi(zero, zero, zero))


def test_fss_at_the_scale_of_a_cell_compares_cell_by_cell() -> None:
    sums = metrics.fraction_sums(FORECAST, TRUTH, threshold=2.0, scale=1)
    # Forecast events 3, true events 2, cells that differ 3.
    assert sums["fraction_error"] == pytest.approx(3)
    assert sums["fraction_reference"] == pytest.approx(5)
    assert metrics.fss(**sums) == pytest.approx(0.4)


def test_fss_forgives_a_shift_within_the_neighbourhood() -> None:
    truth, forecast = np.zeros((1, 1, 7)), np.zeros((1, 1, 7))
    truth[0, 0, 2], forecast[0, 0, 3] = 1, 1
    # Rows outside the frame are not observed: 3 x 3 boxes hold 3 cells, fractions are 1/3 in 3 cells each, 2 shared.
    sums = metrics.fraction_sums(forecast, truth, threshold=0.5, scale=3)
    assert sums["fraction_error"] == pytest.approx(2 / 9)
    assert sums["fraction_reference"] == pytest.approx(6 / 9)
    assert metrics.fss(**sums) == pytest.approx(2 / 3)


def test_fractions_are_shares_of_the_observed_cells() -> None:
    truth, forecast = np.array([[[1.0, 0.0, NAN]]]), np.array([[[1.0, 1.0, 1.0]]])
    # Truth: 1/2 in the first cell, 1/2 in the second (of two observed). Forecast: 1 and 1.
    sums = metrics.fraction_sums(forecast, truth, threshold=0.5, scale=3)
    assert sums["fraction_error"] == pytest.approx(0.5)
    assert sums["fraction_reference"] == pytest.approx(2.5)


def test_similarity_of_constant_frames_is_the_luminance_term() -> None:
    truth, forecast = np.full((1, 9, 8), 1.0), np.full((1, 9, 8), 3.0)
    sums = metrics.similarity_sums(forecast, truth, data_range=10.0)
    assert sums["similarity_cells"] == 3 * 2  # the whole windows of 7 x 7
    constant = (0.01 * 10) ** 2
    expected = (2 * 1 * 3 + constant) / (1 + 9 + constant)
    assert metrics.mean(sums["similarity"], sums["similarity_cells"]) == pytest.approx(expected)


def test_similarity_of_complete_frames_is_that_of_scikit_image() -> None:
    truth, forecast = np.random.default_rng(3).random((2, 2, 15, 17))
    sums = metrics.similarity_sums(forecast, truth, data_range=1.0)
    ours = metrics.mean(sums["similarity"], sums["similarity_cells"])
    for lead in range(2):
        assert ours[lead] == pytest.approx(structural_similarity(forecast[lead], truth[lead], data_range=1.0))


def test_similarity_does_not_depend_on_the_forecast_where_nothing_was_observed() -> None:
    truth, forecast = np.random.default_rng(4).random((2, 1, 21, 20))
    truth[0, :, 15:] = NAN
    other = np.where(np.isnan(truth), 1e6, forecast)
    ours, theirs = (metrics.similarity_sums(values, truth, data_range=1.0) for values in (forecast, other))
    assert ours["similarity_cells"] == 15 * 9
    assert ours == theirs


@pytest.mark.parametrize("shape", [(1, 5, 9), (1, 9, 5)])
def test_similarity_is_undefined_on_frames_smaller_than_its_window(shape: tuple[int, int, int]) -> None:
    sums = metrics.similarity_sums(np.ones(shape), np.ones(shape), data_range=1.0)
    assert np.isnan(metrics.mean(**dict(zip(("sums", "cells"), sums.values(), strict=True))))


def test_the_taper_is_zero_where_missing_and_one_far_from_it() -> None:
    truth = np.zeros((1, 40, 60))
    truth[0, :, 0] = NAN
    weights = metrics.taper(truth)[0]
    assert (weights[:, 0] == 0).all()
    assert weights[20, 1] == pytest.approx(np.sin(np.pi / 34) ** 2)
    assert weights[20, 30] == 1


def test_a_wave_lies_in_the_ring_of_its_length_with_half_its_squared_amplitude() -> None:
    wave = 3 * np.cos(2 * np.pi * np.arange(48) / 8) + np.zeros((1, 32, 1))
    spectrum = metrics.power_spectrum(wave, np.ones(wave.shape))[0]
    lengths = metrics.wavelengths(32, 48)
    assert lengths[np.argmax(spectrum)] == 8
    assert spectrum.max() == pytest.approx(4.5)
    assert spectrum.sum() == pytest.approx(4.5)


def test_a_forecast_of_half_the_amplitude_has_a_quarter_of_the_small_scales() -> None:
    truth = np.random.default_rng(5).random((1, 33, 41))
    truth[0, 20:, 30:] = NAN
    weights = metrics.taper(truth)
    spectra = [metrics.power_spectrum(frames, weights) for frames in (truth / 2, truth)]
    assert metrics.sharpness(*(metrics.small_scale_variance(s, 33, 41) for s in spectra)) == pytest.approx(0.25)


def test_a_forecast_without_short_waves_is_not_sharp() -> None:
    x = np.arange(96.0)
    long = np.cos(2 * np.pi * x / 48) + np.zeros((1, 64, 1))
    both = long + np.cos(2 * np.pi * x / 6)
    variances = [
        metrics.small_scale_variance(metrics.power_spectrum(frames, metrics.taper(both)), 64, 96)
        for frames in (long, both)
    ]
    assert metrics.sharpness(*variances) < 0.01


def test_the_spectrum_of_a_frame_without_observations_is_zero() -> None:
    nothing = np.full((1, 6, 5), NAN)
    assert (metrics.power_spectrum(nothing, metrics.taper(nothing)) == 0).all()


def test_skill_is_the_share_of_squared_error_removed() -> None:
    assert metrics.skill(np.array([1.0, 6.0]), np.array([4.0, 3.0])).tolist() == [0.75, -1.0]


def test_sums_pool_to_the_score_of_all_cells_together() -> None:
    generator = np.random.default_rng(6)
    truth, forecast = generator.random((2, 5, 4, 3))
    sums = metrics.error_sums(forecast, truth)
    pooled = metrics.rmse(sums["squared_error"].sum(keepdims=True), sums["cells"].sum(keepdims=True))
    assert pooled == pytest.approx(np.sqrt(np.mean((forecast - truth) ** 2)))


def test_the_interval_of_equal_origins_is_their_skill() -> None:
    error, reference = np.ones((4, 3)), np.full((4, 3), 2.0)
    interval = metrics.bootstrap_skill(error, reference, block=2, samples=50, seed=0)
    assert interval == pytest.approx(np.full((2, 3), 0.5))


def test_the_interval_of_two_origins_reaches_from_one_to_the_other() -> None:
    error, reference = np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]])
    # Each of the samples 00, 01, 10, 11 has probability 1/4: the outer 2.5 % are the pure ones, skill 1 and 0.
    interval = metrics.bootstrap_skill(error, reference, block=1, samples=2000, seed=1)
    assert interval[:, 0].tolist() == [0.0, 1.0]


def test_the_interval_repeats_with_its_seed_and_holds_the_pooled_skill() -> None:
    generator = np.random.default_rng(7)
    error, reference = generator.random((9, 2)), 1 + generator.random((9, 2))
    settings = {"block": 3, "samples": 400, "seed": 2}
    interval = metrics.bootstrap_skill(error, reference, **settings)
    assert (interval == metrics.bootstrap_skill(error, reference, **settings)).all()
    pooled = metrics.skill(error.sum(axis=0), reference.sum(axis=0))
    assert (interval[0] < pooled).all()
    assert (pooled < interval[1]).all()


def test_a_block_of_all_origins_leaves_nothing_to_vary() -> None:
    generator = np.random.default_rng(8)
    error, reference = generator.random((5, 2)), 1 + generator.random((5, 2))
    low, high = metrics.bootstrap_skill(error, reference, block=5, samples=20, seed=3)
    assert low == pytest.approx(high)


def test_one_origin_has_no_interval() -> None:
    assert np.isnan(metrics.bootstrap_skill(np.ones((1, 3)), np.ones((1, 3)), block=1, samples=5, seed=0)).all()


def test_the_interval_of_a_mean_is_that_of_the_origins_drawn() -> None:
    sums, cells = np.array([[2.0, 5.0], [6.0, 5.0]]), np.array([[2.0, 1.0], [2.0, 1.0]])
    low, high = metrics.bootstrap_mean(sums, cells, block=1, samples=200, seed=0)
    assert low.tolist() == [1, 5]  # twice the first origin
    assert high.tolist() == [3, 5]


def test_the_interval_of_a_mean_leaves_out_samples_without_it() -> None:
    sums, cells = np.zeros((20, 2)), np.zeros((20, 2))
    sums[:15, 0], cells[:15, 0] = 3.0, 1.0
    sums[0, 1], cells[0, 1] = 3.0, 1.0
    low, high = metrics.bootstrap_mean(sums, cells, block=19, samples=100, seed=0)
    assert (low[0], high[0]) == (3, 3)
    assert metrics.bootstrap_mean(sums[:, 1:] * 0, cells[:, 1:] * 0, block=1, samples=9, seed=0).tolist() == [
        [pytest.approx(np.nan, nan_ok=True)],
        [pytest.approx(np.nan, nan_ok=True)],
    ]


def test_a_single_origin_has_no_interval_of_the_mean() -> None:
    assert np.isnan(metrics.bootstrap_mean(np.ones((1, 3)), np.ones((1, 3)), block=1, samples=9, seed=0)).all()


def test_a_mean_that_only_one_of_several_origins_has_gets_no_interval() -> None:
    sums, cells = np.array([[3.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 1.0]])
    low, high = metrics.bootstrap_mean(sums, cells, block=1, samples=50, seed=0)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (1, 1)
