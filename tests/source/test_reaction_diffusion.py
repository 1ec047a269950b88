"""Reaction and diffusion: what is known exactly, bounds, and how errors fall with the steps."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from physicnet.source.reaction_diffusion import (
    REGIMES,
    SYSTEMS,
    FitzHughNagumo,
    GrayScott,
    LambdaOmega,
    ReactionDiffusion,
)

each_system = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)


def stacked(made: Iterator[Mapping[str, np.ndarray]], num: int) -> np.ndarray:
    return np.stack([np.stack([frame["u"], frame["v"]]) for frame in islice(made, num)])


def frames(system: ReactionDiffusion, num: int, seed: int = 0) -> np.ndarray:
    """Return (t 2 h w)."""
    return stacked(system.frames(np.random.default_rng(seed)), num)


def follow(system: ReactionDiffusion, start: np.ndarray, num: int) -> np.ndarray:
    """Return (t 2 h w), from a beginning that is given."""
    return stacked(replace(system, spin_up=0.0).follow(start), num)


@each_system
@pytest.mark.parametrize("substance", [0, 1])
def test_diffusion_alone_is_exact(system: type[ReactionDiffusion], substance: int) -> None:
    class Inert(system):  # type: ignore[misc, valid-type]
        def rates(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros_like(u), np.zeros_like(v)

    inert = Inert(num_cells=32, frame_step=1.3, max_step=1.3)
    plane = inert.plane
    along_x, along_y = 2 * np.pi * 3 / plane.length, 2 * np.pi * 2 / plane.length
    wave = np.cos(along_x * plane.centres) * np.cos(along_y * plane.centres[:, None])
    start = np.zeros((2, 32, 32))
    start[substance] = wave
    decay = np.exp(-inert.diffusivities[substance] * (along_x**2 + along_y**2) * 3 * 1.3)
    np.testing.assert_allclose(follow(inert, start, 4)[3, substance], decay * wave, atol=1e-13)


def test_the_whole_square_turns_at_the_frequency_of_lambda_omega() -> None:
    start = np.stack([np.ones((32, 32)), np.zeros((32, 32))])
    system = LambdaOmega(32, beta=0.7, frame_step=1.0, max_step=0.05)
    turned = follow(system, start, 11)
    angle = 0.7 * np.arange(11)[:, None, None]
    np.testing.assert_allclose(turned[:, 0], np.cos(angle) * start[0], atol=1e-6)
    np.testing.assert_allclose(turned[:, 1], -np.sin(angle) * start[0], atol=1e-6)


def test_a_plane_wave_of_lambda_omega_is_known_exactly() -> None:
    """Of wavenumber q: amplitude √(1 - d q²), frequency β (1 - d q²)."""
    system = LambdaOmega(32, frame_step=1.0, max_step=0.05)
    q = 2 * np.pi * 2 / system.length
    squared = 1 - system.diffusivity * q**2
    phase = q * system.plane.centres + np.zeros((32, 1)) - squared * np.arange(6)[:, None, None]
    exact = np.sqrt(squared) * np.stack([np.cos(phase), np.sin(phase)], axis=1)
    np.testing.assert_allclose(follow(system, exact[0], 6), exact, atol=1e-6)


@pytest.mark.parametrize("regime", REGIMES)
def test_without_v_nothing_happens_in_gray_scott(regime: str) -> None:
    start = np.stack([np.ones((32, 32)), np.zeros((32, 32))])
    feed, kill = REGIMES[regime]
    np.testing.assert_allclose(follow(GrayScott(32, feed=feed, kill=kill), start, 3), [start] * 3, atol=1e-13)


def test_the_second_steady_state_of_bubbles_stays() -> None:
    feed, kill = REGIMES["bubbles"]
    u = 0.5 * (1 - np.sqrt(1 - 4 * (feed + kill) ** 2 / feed))
    start = np.stack([np.full((32, 32), u), np.full((32, 32), feed / (feed + kill) * (1 - u))])
    np.testing.assert_allclose(follow(GrayScott(32, feed=feed, kill=kill), start, 20), [start] * 20, atol=1e-11)


def test_the_steady_state_of_fitzhugh_nagumo_stays() -> None:
    system = FitzHughNagumo(32)
    start = np.full((2, 32, 32), -np.cbrt(system.k))
    np.testing.assert_allclose(follow(system, start, 5), [start] * 5, atol=1e-13)


def test_an_amplitude_of_lambda_omega_stays_below_one() -> None:
    values = frames(LambdaOmega(64, spin_up=0.0), 60)
    amplitudes = np.hypot(values[:, 0], values[:, 1])
    assert amplitudes[0].max() < 0.97
    assert 0.99 < amplitudes[-1].max() < 1


@pytest.mark.parametrize("regime", REGIMES)
def test_concentrations_of_gray_scott_stay_between_zero_and_one(regime: str) -> None:
    """But for waves that the cells do not resolve: less than a thousandth."""
    feed, kill = REGIMES[regime]
    values = frames(GrayScott(128, spin_up=0.0, max_step=2.0, feed=feed, kill=kill), 8)
    assert values.min() > -1e-3
    assert values.max() < 1 + 1e-3
    assert values[-1, 1].max() > 0.2  # the pattern lives


@pytest.mark.parametrize(
    ("system", "step"),
    [
        (LambdaOmega(32, spin_up=0.0, frame_step=0.8, max_step=0.1), 0.1),
        (GrayScott(48, spin_up=20.0, frame_step=12.0, max_step=1.0), 1.0),
        (FitzHughNagumo(32, spin_up=0.1, frame_step=0.1, max_step=0.0125), 0.0125),
    ],
    ids=SYSTEMS,
)
def test_the_order_in_time_is_four(system: ReactionDiffusion, step: float) -> None:
    values = [frames(replace(system, max_step=step / parts), 3)[-1] for parts in (1, 2, 4)]
    order = np.log2(np.abs(values[0] - values[1]).max() / np.abs(values[1] - values[2]).max())
    assert 3.6 < order < 4.6


def test_errors_fall_faster_than_a_high_power_of_the_cells() -> None:
    nine, three, one = (frames(LambdaOmega(num, spin_up=0.0, frame_step=1.0), 2)[-1] for num in (24, 72, 216))
    errors = np.abs(nine - one[:, 4::9, 4::9]).max(), np.abs(three - one[:, 1::3, 1::3]).max()
    assert errors[1] < 1e-4
    assert np.log(errors[0] / errors[1]) / np.log(3) > 6


@each_system
def test_patterns_come_from_the_seed_alone(system: type[ReactionDiffusion]) -> None:
    once, again, other = (frames(system(32, spin_up=0.0), 3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert abs(np.corrcoef(once[0, 0].ravel(), other[0, 0].ravel())[0, 1]) < 0.5
