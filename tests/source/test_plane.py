"""Squares of cells: derivatives that are exact for what is resolved, and random fields that do not know the cells."""

from math import tau

import numpy as np

from physicnet.source.plane import NoFlux, Periodic, random_waves


def test_derivatives_of_waves_are_exact() -> None:
    plane = Periodic(16, 5.0)
    x, y = plane.centres, plane.centres[:, None]
    wave = np.sin(3 * tau / 5 * x + 2 * tau / 5 * y)
    slope = np.cos(3 * tau / 5 * x + 2 * tau / 5 * y)
    waves = plane.forward(wave)
    np.testing.assert_allclose(plane.backward(plane.along_x(waves)), 3 * tau / 5 * slope, atol=1e-13)
    np.testing.assert_allclose(plane.backward(plane.along_y(waves)), 2 * tau / 5 * slope, atol=1e-13)
    np.testing.assert_allclose(plane.backward(plane.squared * waves), 13 * (tau / 5) ** 2 * wave, atol=1e-12)


def test_the_laplacian_of_a_cosine_between_walls_is_exact() -> None:
    plane = NoFlux(12, 2.0)
    wave = np.cos(3 * tau / 4 * plane.centres) * np.cos(5 * tau / 4 * plane.centres[:, None])
    laplacian = plane.backward(-plane.squared * plane.forward(wave))
    np.testing.assert_allclose(laplacian, -34 * (tau / 4) ** 2 * wave, atol=1e-12)


def test_products_of_resolved_waves_are_not_mistaken_for_resolved_ones() -> None:
    plane = Periodic(24, 1.0)
    rng = np.random.default_rng(0)
    waves = plane.resolved * plane.forward(rng.standard_normal((24, 24)))
    finer = Periodic(48, 1.0)
    padded = np.zeros((48, 25), complex)
    padded[:12, :13], padded[-12:, :13] = waves[:12], waves[12:]
    exact = finer.forward(finer.backward(padded) ** 2) * 4
    product = plane.forward(plane.backward(waves) ** 2)
    inside = plane.resolved
    np.testing.assert_allclose(product[inside], np.vstack([exact[:12, :13], exact[-12:, :13]])[inside], atol=1e-9)


def test_distances_go_across_the_border() -> None:
    distances = Periodic(10, 10.0).distances(0.5, 9.5)
    assert distances[9, 0] == 0
    np.testing.assert_allclose(distances[0, 9], np.sqrt(2))
    np.testing.assert_allclose(distances.max(), np.hypot(5, 5))


def test_random_waves_are_the_same_field_on_finer_cells() -> None:
    coarse, fine = (random_waves(Periodic(num, 3.0), np.random.default_rng(7), 0.4, 3.0) for num in (32, 96))
    np.testing.assert_allclose(fine[1::3, 1::3], coarse, atol=1e-12)


def test_random_waves_have_mean_zero_and_unit_variance() -> None:
    fields = np.stack([random_waves(Periodic(32, 1.0), np.random.default_rng(seed), 0.1, 0.4) for seed in range(20)])
    np.testing.assert_allclose(fields.mean(axis=(1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(fields.var(axis=(1, 2)).mean(), 1, atol=0.2)
