"""What the ensembles beside the model's distributions are, and how their size is allowed for."""

import numpy as np
import pytest
import uncertainty

from physicnet.evaluation.probabilistic import crps


def test_few_members_lack_what_few_draws_of_a_distribution_lack() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40_000)
    few, many = (np.sort(rng.normal(size=(count, 40_000)), axis=0) for count in (4, 400))
    fair = crps(few, truth) - uncertainty.spread_lacking(few)
    assert fair.mean() == pytest.approx(crps(many, truth).mean(), abs=0.01)
    assert crps(few, truth).mean() > fair.mean() + 0.1


def test_a_perturbation_moves_frames_farther_from_lead_to_lead() -> None:
    frames = np.zeros((3, 41, 43), np.float32)
    frames[:, 18:23, 19:24] = 1.0
    assert np.array_equal(uncertainty.perturbed(frames, 0.0), np.repeat(frames[None], 19, axis=0))
    members = uncertainty.perturbed(frames, 0.5)
    moved = np.abs(members - frames).mean(axis=(0, 2, 3))
    assert moved[0] < moved[1] < moved[2]
    assert members.sum(axis=(2, 3)) == pytest.approx(25.0, rel=1e-4)
