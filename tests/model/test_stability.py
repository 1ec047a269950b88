"""Forecasts four times as long as what was learned stay bounded, and keep their mean and their spread."""

import pytest
import torch
from drifting import drift
from small import small_net
from torch import Tensor

from physicnet.data.synthetic import Flow, Rotation, Uniform
from physicnet.model.physicnet import MARGIN, PhysicNet, Prediction
from physicnet.training.memory import fit_memory

SIZE = (56, 64)
FRAMES_IN, HORIZON = 3, 4
LEADS = 4 * HORIZON
FLOWS = {"advection": Uniform(1.2, -0.7), "rotation": Rotation(0.03, 32.0, 28.0)}
DRIFT = 0.15  # standard deviations of the field that its mean may drift; share of its spread that may be lost or won


def clips(flow: Flow) -> list[Tensor]:
    """Clips (t c h w) of the trained horizon, of other textures than the one that is forecast."""
    return [drift(flow, FRAMES_IN + HORIZON, SIZE, seed=seed)[0] for seed in (1, 2, 3)]


def forecast(net: PhysicNet, past: Tensor, num_leads: int) -> Prediction:
    return net(past, torch.ones_like(past), None, num_leads)


def fitted(flow: Flow, drawing: int) -> PhysicNet:
    net = small_net(frames_out=HORIZON, drawing=drawing)
    net.memory.begin_with(fit_memory(clips(flow), FRAMES_IN, net.memory.course))
    return net


def trained(flow: Flow, drawing: int) -> PhysicNet:
    """The same after twenty steps: source, flow and gate say something."""
    net = fitted(flow, drawing)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for step in range(20):
        clip = clips(flow)[step % 3][None]
        optimizer.zero_grad()
        prediction = forecast(net, clip[:, :FRAMES_IN], HORIZON)
        ((prediction.frames - clip[:, FRAMES_IN:]).abs() * prediction.inside.detach()).mean().backward()
        optimizer.step()
    source = net.global_level.source
    assert (source.amounts if source.drawing is None else source.drawing.out).weight.any()
    return net


@pytest.mark.parametrize("motion", FLOWS)
@pytest.mark.parametrize("make", [fitted, trained])
@pytest.mark.parametrize("drawing", [0, 4])
def test_a_rollout_of_four_horizons_stays_bounded_and_does_not_drift(motion, make, drawing):
    record = drift(FLOWS[motion], FRAMES_IN + LEADS, SIZE)
    past, truth = record[:, :FRAMES_IN], record[:, FRAMES_IN:]
    net = make(FLOWS[motion], drawing)
    with torch.no_grad():
        prediction = forecast(net, past, LEADS)
    assert prediction.frames.min() >= past.min() - MARGIN - 1e-3
    assert prediction.frames.max() <= past.max() + MARGIN + 1e-3
    assert prediction.limited.mean() < 0.01
    known = prediction.inside > 0.99  # what comes from beyond the view is a guess
    for lead in range(LEADS):
        ours, theirs = (frames[:, lead][known[:, lead]] for frames in (prediction.frames, truth))
        assert abs(ours.mean() - theirs.mean()) < DRIFT, lead
        assert abs(ours.std() / theirs.std() - 1) < DRIFT, lead


@pytest.mark.parametrize("drawing", [0, 4])
def test_nothing_happens_at_the_end_of_the_trained_horizon(drawing):
    """The rollout goes on: its step there is no larger than the steps around it."""
    net, past = trained(FLOWS["rotation"], drawing), drift(FLOWS["rotation"], FRAMES_IN, SIZE)
    with torch.no_grad():
        steps = forecast(net, past, LEADS).frames.diff(dim=1).square().mean(dim=(0, 2, 3, 4)).sqrt()
    assert steps[HORIZON - 1] < 1.1 * max(steps[HORIZON - 2], steps[HORIZON])
