"""Shallow water: what is conserved, what stays, how waves travel, how errors fall with the time step."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from math import cos, sin, sqrt, tau

import numpy as np
import pytest

from physicnet.source.shallow_water import ShallowWater

CALM = ShallowWater(32, damping=0.0)
K = tau / CALM.length


def stacked(water: ShallowWater, num: int, start: np.ndarray) -> np.ndarray:
    """Return u, v and height (t 3 h w)."""
    made = islice(water.follow(start), num)
    return np.stack([np.stack([frame["u"], frame["v"], frame["height"]]) for frame in made])


def drawn(water: ShallowWater, num: int, seed: int = 0) -> np.ndarray:
    return stacked(water, num, water.start(np.random.default_rng(seed)))


def of_y(water: ShallowWater, profile: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return (h w): the same along each row."""
    return profile(water.plane.centres)[:, None] + np.zeros(water.num_cells)


def test_mass_is_conserved_to_rounding() -> None:
    heights = drawn(ShallowWater(48), 8)[:, 2]
    np.testing.assert_allclose(heights.mean(axis=(1, 2)), 0, atol=1e-12)
    assert np.abs(heights[-1] - heights[0]).max() > 1


def test_energy_is_conserved_to_a_millionth_without_damping() -> None:
    water = replace(CALM, num_cells=64, height=2.0, max_drops=0)
    u, v, height = np.moveaxis(drawn(water, 11), 1, 0)
    energy = ((water.depth + height) * (u**2 + v**2) + water.gravity * height**2).mean(axis=(1, 2)) / 2
    np.testing.assert_allclose(energy / energy[0], 1, atol=1e-6)


def test_a_wind_along_the_contours_of_the_height_stays() -> None:
    """Exact even where it is strong: a jet along x is a steady state of all three equations."""
    height = of_y(CALM, lambda y: 20 * np.sin(K * y) + 5 * np.cos(3 * K * y))
    jet = np.stack([*CALM.balance(height), height])
    assert jet[0].max() > 3
    np.testing.assert_allclose(stacked(CALM, 24, jet), np.stack([jet] * 24), atol=1e-9)


@pytest.mark.parametrize("times", [1, 5, 10])
def test_a_jet_fades_as_fast_as_its_waves_are_damped(times: int) -> None:
    """By a power of the Laplacian, relative to the shortest wave: 10 along x and 10 along y of 32 cells."""
    water = replace(CALM, damping=1 / 1800)
    height = of_y(water, lambda y: np.sin(times * K * y))
    jet = np.stack([*water.balance(height), height])
    rate = (times**2 / 200) ** water.damping_order / 1800
    np.testing.assert_allclose(stacked(water, 6, jet)[-1], np.exp(-5 * 3600 * rate) * jet, atol=1e-9)


def test_the_same_height_at_rest_does_not_stay() -> None:
    height = of_y(CALM, lambda y: 20 * np.sin(K * y))
    later = stacked(CALM, 4, np.stack([0 * height, 0 * height, height]))[-1]
    assert np.abs(later[2] - height).max() > 1


@pytest.mark.parametrize("coriolis", [0.0, 1e-4])
def test_low_waves_travel_at_the_speed_of_theory(coriolis: float) -> None:
    """Frequency² = f² + g H k², √(g H) k without rotation; a wave of a millimetre is linear to 1e-4 of it."""
    water = replace(CALM, coriolis=coriolis)
    place, squared = 2 * K * water.plane.centres + np.zeros((32, 1)), (2 * K) ** 2
    frequency = sqrt(coriolis**2 + water.gravity * water.depth * squared)

    def wave(time: float) -> np.ndarray:
        phase = place - frequency * time
        along = frequency / (water.depth * 2 * K) * np.cos(phase)
        across = coriolis / (water.depth * 2 * K) * np.sin(phase)
        return 1e-3 * np.stack([along, across, np.cos(phase)])

    np.testing.assert_allclose(stacked(water, 25, wave(0.0))[-1, 2], wave(24 * 3600.0)[2], atol=1e-6)


def test_a_uniform_wind_turns_by_the_rotation() -> None:
    """Inertial oscillation: clockwise, at frequency f."""
    zero = np.zeros((32, 32))
    made = stacked(CALM, 11, np.stack([zero + 5, zero, zero]))
    angle = 10 * 3600 * CALM.coriolis
    np.testing.assert_allclose(made[-1, :, 3, 7], [5 * cos(angle), -5 * sin(angle), 0], atol=1e-4)


@dataclass(frozen=True)
class Finer(ShallowWater):
    parts: int = 1

    @property
    def max_step(self) -> float:
        return super().max_step / self.parts


def test_the_order_in_time_is_four() -> None:
    values = [drawn(Finer(48, frame_step=7200.0, parts=parts), 3)[-1] for parts in (2, 4, 8)]
    order = np.log2(np.abs(values[0] - values[1]).max() / np.abs(values[1] - values[2]).max())
    assert 3.7 < order < 4.5


def test_errors_fall_faster_than_a_high_power_of_the_cells() -> None:
    water = replace(CALM, frame_step=1800.0, height=2.0, max_drops=0)
    nine, three, one = (drawn(replace(water, num_cells=num), 2)[-1] for num in (24, 72, 216))
    errors = np.abs(nine - one[:, 4::9, 4::9]).max(), np.abs(three - one[:, 1::3, 1::3]).max()
    assert np.log(errors[0] / errors[1]) / np.log(3) > 6


def test_beginnings_are_independent() -> None:
    heights = [ShallowWater(32).start(np.random.default_rng([0, number]))[2].ravel() for number in range(6)]
    assert np.abs(np.corrcoef(heights) - np.eye(6)).max() < 0.6
