"""Gaussian means: exact ones, and those that are taken on a coarser grid."""

import pytest
import torch
from drifting import noise

from physicnet.model.smoothing import blur, blur_coarsely, mean_around


def test_blurring_keeps_a_constant_away_from_the_borders():
    blurred = blur(torch.full((2, 41, 43), 1.7), 3.0)
    torch.testing.assert_close(blurred[:, 15:-15, 15:-15], torch.full((2, 11, 13), 1.7))
    assert (blurred[:, 0, 0] < 1.7 / 3).all()


def test_a_blurred_point_is_a_bell():
    point = torch.zeros(31, 35)
    point[15, 17] = 1.0
    y, x = torch.meshgrid(torch.arange(31) - 15, torch.arange(35) - 17, indexing="ij")
    expected = torch.exp(-0.5 * (x**2 + y**2) / 2.5**2) / (2 * torch.pi * 2.5**2)
    torch.testing.assert_close(blur(point, 2.5), expected)


@pytest.mark.parametrize("width", [1.0, 2.0, 4.0, 6.0, 8.0, 16.0])
@pytest.mark.parametrize("size", [(160, 200), (157, 199)])
def test_coarse_means_are_nearly_the_exact_ones(width, size):
    field = noise(2, 3, *size)
    exact, coarse = blur(field, width), blur_coarsely(field, width)
    assert coarse.shape == field.shape
    assert (coarse - exact).square().mean().sqrt() < 0.09 * exact.square().mean().sqrt()


@pytest.mark.parametrize("width", [6.0, 8.0, 16.0])
def test_a_coarse_mean_is_as_wide_as_it_says(width):
    """Mass, centre and variance along an axis, on average over the cells of a block in which a point may lie."""
    offset, profiles = torch.arange(-100.0, 101.0), []
    for place in range(100, 108):
        point = torch.zeros(240, 240)
        point[place, 120] = 1.0
        profiles.append(blur_coarsely(point, width).sum(dim=1)[place - 100 : place + 101])
    profile = torch.stack(profiles).mean(dim=0)
    assert profile.sum() == pytest.approx(1.0, abs=1e-3)
    assert (profile * offset).sum() == pytest.approx(0.0, abs=0.02)
    assert (profile * offset**2).sum() == pytest.approx(width**2, rel=0.02)


@pytest.mark.parametrize("width", [2.0, 6.0, 16.0])
def test_a_mean_over_the_field_keeps_a_constant_up_to_the_border(width):
    field = torch.full((2, 3, 41, 43), 1.7)
    torch.testing.assert_close(mean_around(field, width), field)
