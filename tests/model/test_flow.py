"""The flow expert before it has learned, and what it can learn from."""

import pytest
import torch
from drifting import drift, holes, noise, uniform

from physicnet.model.flow import WINDOWS, FlowExpert, roughness
from physicnet.model.motion import lucas_kanade
from physicnet.model.warp import resize

CONTEXT, HIDDEN, SIZE = 3, 5, (33, 41)


def make_expert(*, scale: int = 2, iterations: int = 2, seed: int = 0) -> FlowExpert:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FlowExpert(CONTEXT, HIDDEN, iterations=iterations, scale=scale)


def make_correcting(**settings: int) -> FlowExpert:
    """An expert whose last layer no longer starts at zero."""
    expert = make_expert(**settings)
    expert.gains.weight.data = 0.3 * noise(*expert.gains.weight.shape)
    return expert


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_untrained_expert_leaves_uniform_flows_as_they_are(scale):
    past, flow = noise(2, 3, 1, *SIZE), uniform((-3.0, 7.5), SIZE, batch=2)
    refined = make_expert(scale=scale)(past, torch.ones_like(past), flow, noise(2, CONTEXT, 4, 5))
    torch.testing.assert_close(refined, flow)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_the_untrained_expert_leaves_smooth_flows_nearly_as_they_are(scale):
    past, flow = noise(1, 3, 1, *SIZE), resize(4 * noise(1, 2, 3, 4), SIZE)
    refined = make_expert(scale=scale)(past, torch.ones_like(past), flow, noise(1, CONTEXT, 4, 5))
    assert (refined - flow).abs().mean() < 0.02 * scale


def test_a_full_gain_takes_every_offer_as_a_loop_does():
    past, flow = drift((2.0, 1.0), 3, SIZE), uniform((1.0, -2.0), SIZE)
    expert = make_expert(scale=1, iterations=2)
    expert.gains.bias.data = torch.tensor([50.0, -50.0, 0.0])  # tanh of it is 1, -1 and 0
    refined = expert(past, torch.ones_like(past), flow, noise(1, CONTEXT, 4, 5))
    for _ in range(2):
        narrow, wide = lucas_kanade(past, torch.ones_like(past), flow, *WINDOWS)
        flow = flow + narrow.step - wide.step
    torch.testing.assert_close(refined, flow, rtol=0, atol=1e-4)


def test_the_way_to_the_surroundings_smooths_the_flow():
    past, flow = torch.zeros(1, 3, 1, *SIZE), 3 * noise(1, 2, *SIZE)
    expert = make_expert(scale=1, iterations=1)
    expert.gains.bias.data[-1] = 50.0
    refined = expert(past, torch.ones_like(past), flow, noise(1, CONTEXT, 4, 5))
    assert roughness(refined) < 0.01 * roughness(flow)


def test_where_nothing_moves_otherwise_no_correction_can_be_made_up():
    past, flow = torch.zeros(1, 3, 1, *SIZE), uniform((1.0, -2.0), SIZE)
    refined = make_correcting(iterations=3)(past, torch.ones_like(past), flow, noise(1, CONTEXT, 4, 5))
    torch.testing.assert_close(refined, flow)


def test_the_expert_looks_at_frames_flow_and_context():
    expert, past, context = make_correcting(), drift((2.0, 1.0), 3, SIZE), noise(1, CONTEXT, 9, 11)
    observed, flow = torch.ones_like(past), uniform((1.0, 1.0), SIZE)
    refined = expert(past, observed, flow, context)
    assert not torch.allclose(expert(past.flip(1), observed, flow, context), refined, atol=1e-3)
    assert not torch.allclose(expert(past, observed, flow + 1, context), refined + 1, atol=1e-3)
    assert not torch.allclose(expert(past, observed, flow, 2 * context), refined, atol=1e-3)


def test_missing_values_do_not_matter():
    expert, past, observed = make_correcting(), drift((2.0, 1.0), 3, SIZE), holes(1, 3, 1, *SIZE)
    flow, context = uniform((1.0, 1.0), SIZE), noise(1, CONTEXT, 9, 11)
    polluted = torch.where(observed > 0, past, 1e6)
    assert torch.equal(expert(polluted, observed, flow, context), expert(past * observed, observed, flow, context))


def test_the_edge_of_coverage_is_no_motion():
    expert, past, observed = make_correcting(), drift((2.0, 1.0), 3, (32, 40)), torch.ones(1, 3, 1, 32, 40)
    observed[..., 20:] = 0  # whole blocks of the expert's grid, so that their means are the same either way
    flow, context = uniform((1.0, 1.0), (32, 40)), noise(1, CONTEXT, 8, 10)
    masked, unmasked = (expert(past * observed, mask, flow, context) for mask in (observed, torch.ones_like(past)))
    assert (masked - unmasked)[..., :20].abs().max() > 0.01


@pytest.mark.parametrize(("frames", "variables", "size"), [(2, 1, (9, 11)), (5, 3, (16, 7))])
def test_any_number_of_frames_variables_and_cells_is_taken(frames, variables, size):
    past = noise(2, frames, variables, *size)
    refined = make_correcting(scale=4)(past, torch.ones_like(past), torch.zeros(2, 2, *size), noise(2, CONTEXT, 2, 3))
    assert refined.shape == (2, 2, *size)
    assert refined.isfinite().all()


def test_gradients_reach_every_parameter_the_context_and_the_flow():
    expert, past = make_correcting(), drift((2.0, 1.0), 3, SIZE)
    context, flow = noise(1, CONTEXT, 9, 11).requires_grad_(), uniform((1.0, 1.0), SIZE).requires_grad_()
    expert(past, torch.ones_like(past), flow, context).square().sum().backward()
    for name, parameter in [*expert.named_parameters(), ("context", context), ("flow", flow)]:
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_untrained_expert_can_start_to_learn():
    expert, past = make_expert(), drift((2.0, 1.0), 3, SIZE)
    expert(past, torch.ones_like(past), uniform((1.0, 1.0), SIZE), noise(1, CONTEXT, 9, 11)).sum().backward()
    assert expert.gains.weight.grad.abs().max() > 0


def test_an_expert_learns_to_read_the_motion_from_the_frames():
    expert, context = make_expert(), noise(1, CONTEXT, 9, 11).expand(2, -1, -1, -1)
    past = torch.cat((drift((2.0, -1.0), 3, (17, 21)), drift((-2.0, 1.0), 3, (17, 21))))  # no one answer fits both
    truth = torch.cat((uniform((2.0, -1.0), (17, 21)), uniform((-2.0, 1.0), (17, 21))))
    optimizer = torch.optim.Adam(expert.parameters(), lr=0.02)
    errors = []
    for _ in range(25):
        refined = expert(past, torch.ones_like(past), torch.zeros(2, 2, *(17, 21)), context)
        error = (refined - truth).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < errors[0] / 5


def test_uniform_flows_are_smooth():
    assert roughness(uniform((3.0, -2.0), (5, 7), batch=2)) == 0


def test_roughness_by_hand():
    flow = torch.zeros(1, 2, 2, 3)
    flow[0, 0] = torch.tensor([[0.0, 1.0, 3.0], [0.0, 1.0, 0.0]])
    # along x: 1, 4 and 1, 1 among 8 differences of both components; along y: 0, 0, 9 among 6
    torch.testing.assert_close(roughness(flow), torch.tensor(7 / 8 + 9 / 6))
