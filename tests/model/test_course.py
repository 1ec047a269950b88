"""Courses over the leads: decays that never grow, splines that begin at nothing and stay where they end."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from physicnet.model.course import LIFETIMES, Fading, Spline, knots_to

DOUBLE = torch.zeros((), dtype=torch.float64)


def leads_to(num_leads: int) -> Tensor:
    return torch.arange(num_leads) + 1


def follow(course: Spline, value: Tensor, num_leads: int) -> Tensor:
    """The spline through a value at each lead, of which it is told those at its knots."""
    return course(leads_to(num_leads), DOUBLE) @ value[torch.tensor(course.knots) - 1]


def test_no_decay_grows_with_the_lead():
    fading = Fading()(leads_to(1000), DOUBLE)
    assert fading.shape == (1000, len(Fading()))
    assert (fading.diff(dim=0) <= 0).all()
    assert (fading[:, -1] == 1).all()
    torch.testing.assert_close(fading[:, 1], torch.exp(-leads_to(1000).double() / LIFETIMES[1]))


@pytest.mark.parametrize("frames_out", range(1, 61))
def test_knots_are_ever_farther_apart_and_the_last_is_the_last_lead(frames_out: int):
    knots = knots_to(frames_out)
    assert (knots[0], knots[-1]) == (1, frames_out)
    gaps = [after - before for before, after in pairwise(knots)]
    assert all(0 < gap <= 5 for gap in gaps)
    assert gaps[:-1] == sorted(gaps[:-1])  # the last one ends where the leads do
    assert Spline(frames_out)(leads_to(frames_out), DOUBLE).shape == (frames_out, len(knots))


def test_a_spline_has_its_weights_at_its_knots():
    course = Spline(30)
    at_knots = course(torch.tensor(course.knots), DOUBLE)
    torch.testing.assert_close(at_knots, torch.eye(len(course), dtype=torch.float64))


def test_a_spline_begins_at_nothing():
    # So it follows what grows in proportion to the lead, whatever its first knots are.
    leads = leads_to(30).double()
    torch.testing.assert_close(follow(Spline(30), leads, 30), leads)


def test_a_spline_follows_what_swings_and_decays_do_not():
    swing = torch.sin(2 * math.pi * leads_to(30).double() / 30)
    assert (follow(Spline(30), swing, 30) - swing).abs().max() < 0.02
    fading = Fading()(leads_to(30), DOUBLE)
    left = swing - fading @ torch.linalg.lstsq(fading, swing).solution
    assert left.abs().max() > 0.05


def test_after_the_last_trained_lead_a_spline_stays():
    weights = Spline(7)(leads_to(40), DOUBLE)
    assert (weights[7:] == weights[6]).all()
    assert (weights[5] != weights[6]).any()


def test_leads_in_any_order_are_those_among_all():
    some = torch.tensor([9, 2, 5])
    for course in (Fading(), Spline(12)):
        torch.testing.assert_close(course(some, DOUBLE), course(leads_to(12), DOUBLE)[some - 1], rtol=0, atol=0)
