"""The cascade: bands that are the field, and a memory that forgets each of them at its own pace."""

import math
from itertools import product

import pytest
import torch
from drifting import noise

from physicnet.model.cascade import NUM_FEATURES, WIDTHS, Fit, Memory, make_features, split
from physicnet.model.course import LIFETIMES, Course, Fading, Spline

SIZE = (40, 56)
NUM_BANDS = len(WIDTHS) + 1


EITHER = pytest.mark.parametrize("course", [Fading(), Spline(5)])


def speaking_memory(variables: int, course: Course) -> Memory:
    """Of what it says, a part is fitted and a part is learned."""
    memory = Memory(variables, course)
    shape = memory.fitted.shape
    memory.begin_with(Fit(noise(*shape), noise(variables, len(course), seed=1)))
    memory.learned.data = noise(*shape, seed=2)
    return memory


def wave(length: float) -> torch.Tensor:
    """A field (1 1 h w) of one wavelength, cells."""
    return torch.sin(2 * torch.pi * torch.arange(200.0) / length).expand(1, 1, 200, 200)


def test_the_bands_are_the_field():
    frames = noise(2, 3, *SIZE)
    bands = split(frames)
    assert bands.shape == (2, 3, len(WIDTHS) + 1, *SIZE)
    torch.testing.assert_close(bands.sum(dim=2), frames, rtol=0, atol=1e-5)


def test_a_constant_is_in_the_coarsest_band_alone_up_to_the_border():
    bands = split(torch.full((1, 1, *SIZE), 3.0))
    torch.testing.assert_close(bands[0, 0, -1], torch.full(SIZE, 3.0))
    torch.testing.assert_close(bands[0, 0, :-1], torch.zeros(len(WIDTHS), *SIZE), rtol=0, atol=1e-5)


def test_longer_waves_live_in_coarser_bands():
    strongest = [int(split(wave(length)).square().mean(dim=(0, 1, 3, 4)).argmax()) for length in (2.5, 10, 40, 160)]
    assert strongest == sorted(strongest)
    assert len(set(strongest)) == len(strongest)


def test_a_gaussian_mean_damps_a_wave_as_theory_says():
    # exp(-(2π σ / λ)² / 2) for a mean of standard deviation σ; away from the borders.
    first = split(wave(10.0))[0, 0, 0, 60:140, 60:140]
    kept = 1 - torch.exp(torch.tensor(-((2 * torch.pi * WIDTHS[0] / 10) ** 2) / 2))
    torch.testing.assert_close(first, kept * wave(10.0)[0, 0, 60:140, 60:140], rtol=0, atol=1e-3)


def test_features_are_bands_their_change_three_products_and_one():
    last, before = noise(2, 3, *SIZE), noise(2, 3, *SIZE, seed=1)
    features = make_features(last, before)
    assert features.shape == (2, 3, NUM_FEATURES, *SIZE)
    torch.testing.assert_close(features[:, :, :NUM_BANDS].sum(dim=2), last, rtol=0, atol=1e-5)
    torch.testing.assert_close(features[:, :, NUM_BANDS : 2 * NUM_BANDS].sum(dim=2), last - before, rtol=0, atol=1e-5)
    assert (features[:, :, -1] == 1).all()


def products(last: torch.Tensor, before: torch.Tensor) -> list[torch.Tensor]:
    """Steadiness, growth and level of each band, (b c n h w): features divided by the bands."""
    features = make_features(last, before)
    bands = features[:, :, :NUM_BANDS]
    return [features[:, :, n * NUM_BANDS : (n + 1) * NUM_BANDS] / bands for n in (2, 3, 4)]


def test_a_field_that_stays_is_steady_and_does_not_grow():
    frame = noise(1, 1, *SIZE)
    steadiness, growth, _ = products(frame, frame)
    torch.testing.assert_close(steadiness, torch.ones_like(steadiness), rtol=0, atol=1e-3)
    torch.testing.assert_close(growth, torch.zeros_like(growth), rtol=0, atol=1e-3)


def test_another_field_is_not_steady():
    steadiness, _, _ = products(noise(1, 1, 128, 128), noise(1, 1, 128, 128, seed=1))
    assert steadiness[:, :, :3].abs().mean() < 0.1


def test_growth_is_the_logarithm_of_the_ratio_of_squares_up_to_1():
    frame = 10 * noise(1, 1, *SIZE)
    for factor in (0.9, 1.2, 5.0):
        _, growth, _ = products(factor * frame, frame)
        expected = min(2 * math.log(factor), 1.0)
        torch.testing.assert_close(growth[:, :, :4], torch.full_like(growth[:, :, :4], expected), rtol=0, atol=0.01)


def test_growth_and_steadiness_are_of_the_neighbourhood():
    before = noise(1, 1, 160, 160)
    last = before.clone()
    last[..., :60] = 2 * noise(1, 1, 160, 60, seed=1)
    steadiness, growth, _ = (part[0, 0, 0] for part in products(last, before))
    assert steadiness[:, :10].mean() < 0.2
    assert steadiness[:, -10:].mean() > 0.99
    assert growth[:, :10].mean() > 0.9
    assert growth[:, -10:].abs().mean() < 0.01


def test_the_level_is_high_where_the_field_is():
    field = torch.zeros(1, 1, 160, 160)
    field[..., 80:] = 5.0
    level = products(field + 0.01 * noise(1, 1, 160, 160), field)[2][0, 0, 0]
    assert level[:, :10].abs().max() < 0.1
    assert level[:, -10:].min() > 0.99


def test_a_field_without_any_variation_has_features():
    assert make_features(torch.zeros(1, 1, *SIZE), torch.zeros(1, 1, *SIZE)).isfinite().all()


def test_an_unfitted_memory_adds_nothing():
    assert (Memory(2, Fading())(noise(1, 2, NUM_FEATURES, *SIZE), torch.arange(3) + 1) == 0).all()


@EITHER
def test_what_is_learned_counts_in_the_units_of_its_variable_and_of_what_the_course_is_made_of(course: Course):
    memory = speaking_memory(2, course)
    for c, j in product(range(2), range(len(course))):
        expected = memory.fitted[c, :, j] + memory.units[c, j] * memory.learned[c, :, j]
        torch.testing.assert_close(memory.weights[c, :, j], expected)


@EITHER
def test_a_new_fit_is_all_that_a_memory_knows(course: Course):
    memory = speaking_memory(1, course)
    fit = Fit(noise(*memory.fitted.shape, seed=5), torch.full((1, len(course)), 3.0))
    memory.begin_with(fit)
    torch.testing.assert_close(memory.weights.data, fit.weights, rtol=0, atol=0)


def test_the_memory_is_a_sum_of_exponentials_as_a_loop_says():
    memory, features = speaking_memory(2, Fading()), noise(1, 2, NUM_FEATURES, 3, 5)
    added = memory(features, torch.arange(4) + 1)
    for lead in range(1, 5):
        for c in range(2):
            expected = torch.zeros(3, 5)
            for g, f, (j, lifetime) in product(range(2), range(NUM_FEATURES), enumerate(LIFETIMES)):
                fading = torch.exp(torch.tensor(-lead / lifetime))
                expected += memory.weights.data[c, g * NUM_FEATURES + f, j] * fading * features[0, g, f]
            torch.testing.assert_close(added[0, lead - 1, c], expected, rtol=1e-4, atol=1e-4)


@EITHER
@pytest.mark.parametrize("num_leads", [1, 7])
def test_leads_do_not_depend_on_how_many_are_asked_for(num_leads: int, course: Course):
    memory, features = speaking_memory(1, course), noise(1, 1, NUM_FEATURES, *SIZE)
    leads = torch.arange(num_leads + 4) + 1
    torch.testing.assert_close(memory(features, leads[:-4]), memory(features, leads)[:, :-4])
