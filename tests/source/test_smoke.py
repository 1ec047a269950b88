"""Smoke: what is known exactly, where it goes, what solids do, how errors fall with the time step."""

from dataclasses import dataclass, replace
from itertools import islice
from math import tau

import numpy as np
import pytest

from physicnet.source.plane import Periodic, random_waves
from physicnet.source.smoke import Scene, Smoke

ROOM = Smoke(48, spin_up=0.0)
FIRE = Smoke(64, spin_up=2.0)
EMPTY = Scene(np.zeros((48, 48)), np.zeros((48, 48)))


def stacked(room: Smoke, num: int, scene: Scene, start: np.ndarray) -> np.ndarray:
    """Return smoke, u and v (t 3 h w)."""
    made = islice(room.follow(scene, start), num)
    return np.stack([np.stack([frame["smoke"], frame["u"], frame["v"]]) for frame in made])


def burning(room: Smoke, num: int) -> tuple[Scene, np.ndarray]:
    """Return a fire below a round obstacle, and what becomes of it from rest (t 3 h w)."""
    obstacle = room.solid(0.15 - room.plane.distances(0.55, 0.6))
    source = 3 * np.exp(-0.5 * (room.plane.distances(0.5, 0.2) / 0.04) ** 2)
    scene = Scene(np.maximum(room.walls(), obstacle), source)
    return scene, stacked(room, num, scene, np.zeros((2, room.num_cells, room.num_cells)))


@pytest.fixture(scope="module")
def fire() -> tuple[Scene, np.ndarray]:
    """The same from two seconds on, when the smoke has come to the obstacle."""
    return burning(FIRE, 6)


@pytest.mark.parametrize("times", [1, 3])
def test_taylor_green_vortices_fade_at_the_rate_of_theory(times: int) -> None:
    """They stay what they are, and fade by exp(-2 ν k² t) (Taylor and Green, 1937)."""
    x, y = times * tau * ROOM.plane.centres, times * tau * ROOM.plane.centres[:, None]
    k = times * tau
    vorticity = 2 * k * np.sin(x) * np.sin(y)
    made = stacked(ROOM, 11, EMPTY, np.stack([vorticity, np.zeros_like(vorticity)]))
    fading = np.exp(-2 * ROOM.viscosity * k**2 * 10 * ROOM.frame_step)
    np.testing.assert_allclose(made[-1, 1], fading * np.sin(x) * np.cos(y), atol=1e-12)
    np.testing.assert_allclose(made[-1, 2], -fading * np.cos(x) * np.sin(y), atol=1e-12)


def test_columns_of_smoke_lift_the_air_as_theory_says() -> None:
    """v_t = B s + ν v_xx where nothing depends on y: v = B t s, if smoke spreads as fast as momentum."""
    smoke = np.cos(2 * tau * ROOM.plane.centres) + np.zeros((48, 1))
    time = 10 * ROOM.frame_step
    faded = smoke * np.exp(-ROOM.viscosity * (2 * tau) ** 2 * time)
    made = stacked(ROOM, 11, EMPTY, np.stack([np.zeros_like(smoke), smoke]))[-1]
    np.testing.assert_allclose(made, [faded, 0 * smoke, ROOM.buoyancy * time * faded], atol=1e-9)


def test_all_smoke_is_of_the_source(fire: tuple[Scene, np.ndarray]) -> None:
    scene, made = fire
    time = FIRE.spin_up + FIRE.frame_step * np.arange(6)
    np.testing.assert_allclose(made[:, 0].mean(axis=(1, 2)), scene.source.mean() * time, rtol=1e-12)


def test_the_flow_has_no_divergence(fire: tuple[Scene, np.ndarray]) -> None:
    _, made = fire
    u, v = FIRE.plane.forward(made[-1, 1:])
    divergence = FIRE.plane.backward(FIRE.plane.along_x(u) + FIRE.plane.along_y(v))
    assert np.abs(made[-1, 1:]).max() > 0.3
    assert np.abs(divergence).max() < 1e-11


def test_smoke_rises_and_is_nowhere_negative_but_for_two_hundredths(fire: tuple[Scene, np.ndarray]) -> None:
    smoke = fire[1][:, 0]
    heights = (smoke.sum(axis=2) @ FIRE.plane.centres) / smoke.sum(axis=(1, 2))
    assert (np.diff(heights) > 0).all()
    assert heights[0] > 0.25  # the fire is at 0.2
    assert smoke.min() > -0.02 * smoke.max()


def test_air_hardly_moves_in_what_is_solid(fire: tuple[Scene, np.ndarray]) -> None:
    scene, made = fire
    speeds = np.hypot(made[-1, 1], made[-1, 2])
    assert speeds[scene.solid > 0.99].max() < 0.02 * speeds.max()


def test_smoke_goes_around_an_obstacle(fire: tuple[Scene, np.ndarray]) -> None:
    """Which lies a bit to the right of the fire, so it goes to the left."""
    _, made = fire
    smoke, inside = made[-1, 0], FIRE.plane.distances(0.55, 0.6) < 0.1
    assert smoke[inside].max() < 0.01 * smoke.max()
    above = smoke[FIRE.plane.centres > 0.45]
    assert above[:, :32].sum() > 2 * above[:, 32:].sum() > 0


def test_half_the_permeability_lets_half_as_much_through() -> None:
    """Angot et al., 1999: what moves in a solid is in proportion to it."""

    def inside(permeability: float) -> float:
        scene, made = burning(replace(ROOM, num_cells=40, permeability=permeability, spin_up=1.2), 1)
        return float(np.hypot(made[0, 1], made[0, 2])[scene.solid > 0.99].mean())

    assert inside(0.004) / inside(0.002) == pytest.approx(2, rel=0.2)


def test_smoke_in_a_solid_stays_where_it_is() -> None:
    solid = Scene(np.ones((48, 48)), np.zeros((48, 48)))
    smoke = np.cos(3 * tau * ROOM.plane.centres) * np.ones((48, 1))
    room = replace(ROOM, buoyancy=0.0)
    made = stacked(room, 10, solid, np.stack([np.zeros_like(smoke), smoke]))
    np.testing.assert_allclose(made[-1, 0], smoke, atol=1e-12)


@dataclass(frozen=True)
class Finer(Smoke):
    parts: int = 1

    @property
    def max_step(self) -> float:
        return super().max_step / self.parts


def test_the_order_in_time_is_four() -> None:
    """Around an obstacle, in a flow and with smoke that are there from the beginning."""
    scene, _ = burning(replace(ROOM, num_cells=32), 1)
    rng = np.random.default_rng(0)
    start = np.stack([size * random_waves(Periodic(32, 1.0), rng, 0.3, 1.0) for size in (5.0, 1.0)])
    values = [stacked(Finer(32, spin_up=0.0, parts=parts), 3, scene, start)[-1] for parts in (2, 4, 8)]
    order = np.log2(np.abs(values[0] - values[1]).max() / np.abs(values[1] - values[2]).max())
    assert 3.5 < order < 4.6


def test_scenes_differ_and_lie_in_the_room() -> None:
    scenes = [ROOM.draw(np.random.default_rng([0, number])) for number in range(12)]
    for scene in scenes:
        assert scene.solid.min() >= 0
        assert scene.solid.max() <= 1
        assert scene.source.sum() > 10 * (scene.source * scene.solid).sum() > 0
    assert len({scene.source.tobytes() for scene in scenes}) == 12
    assert len({scene.solid.tobytes() for scene in scenes}) > 6
