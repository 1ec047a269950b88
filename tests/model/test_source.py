"""The source expert: nothing before it has learned, bounded ever after, the same for any horizon."""

import math

import pytest
import torch
from drifting import noise
from torch import Tensor

from physicnet.model.course import Spline
from physicnet.model.source import BOUND, RISING, Drawing, SourceExpert

LATENT, HIDDEN, BASIS, SEEN, VARIABLES, CHANNELS = 3, 5, 4, 7, 2, 6
TRAINED = 8  # leads
COARSE, FINE = (3, 5), (11, 19)
EITHER = pytest.mark.parametrize("drawing", [0, CHANNELS])  # amounts of the basis, or what is drawn


def make_expert(seed: int = 0, drawing: int = CHANNELS) -> SourceExpert:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = Drawing(HIDDEN, drawing, Spline(TRAINED), seen=SEEN, variables=VARIABLES) if drawing else None
        return SourceExpert(LATENT, HIDDEN, basis=BASIS, variables=VARIABLES, drawing=drawn)


def make_speaking(scale: float = 1.0, drawing: int = CHANNELS) -> SourceExpert:
    """An expert whose last layers no longer start at zero."""
    expert = make_expert(drawing=drawing)
    gains = expert.amounts if expert.drawing is None else expert.drawing.out
    for index, layer in enumerate((gains, expert.confidence)):
        layer.weight.data = scale * noise(*layer.weight.shape, seed=index)
        layer.bias.data = scale * noise(*layer.bias.shape, seed=index + 2)
    return expert


def leads_to(num_leads: int) -> Tensor:
    return torch.arange(num_leads) + 1


def make_inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Latent, basis and what is seen."""
    sizes = ((LATENT, *COARSE), (VARIABLES, BASIS, *FINE), (SEEN, *FINE))
    latent, basis, seen = (noise(batch, *size, seed=seed) for seed, size in enumerate(sizes))
    return latent, basis, seen


@EITHER
def test_the_untrained_expert_adds_nothing_and_takes_no_side(drawing):
    source = make_expert(drawing=drawing)(*make_inputs(), leads_to(3))
    assert source.value.shape == source.confidence.shape == (2, 3, VARIABLES, *FINE)
    assert (source.value == 0).all()
    assert (source.confidence == 0).all()


def test_no_sum_of_amounts_exceeds_the_bound():
    source = make_speaking(scale=100.0, drawing=0)(*make_inputs(), leads_to(3))
    assert source.value.abs().max() <= BOUND
    assert source.value.abs().max() > 0.9 * BOUND


@EITHER
@pytest.mark.parametrize("num_leads", [1, 4])
def test_leads_do_not_depend_on_how_many_are_asked_for(num_leads, drawing):
    expert, inputs = make_speaking(drawing=drawing), make_inputs()
    few, more = expert(*inputs, leads_to(num_leads)), expert(*inputs, leads_to(num_leads + 3))
    torch.testing.assert_close(few.value, more.value[:, :num_leads])
    torch.testing.assert_close(few.confidence, more.confidence[:, :num_leads])


@EITHER
def test_some_leads_are_those_among_all(drawing):
    expert, inputs, some = make_speaking(drawing=drawing), make_inputs(), torch.tensor([2, 3, 7])
    few, all_of_them = expert(*inputs, some), expert(*inputs, leads_to(9))
    torch.testing.assert_close(few.value, all_of_them.value[:, some - 1])
    torch.testing.assert_close(few.confidence, all_of_them.confidence[:, some - 1])


def test_sources_rise_from_nothing_and_come_to_rest():
    expert, (latent, _, seen) = make_expert(drawing=0), make_inputs()
    offsets = expert.amounts.bias.data.view(VARIABLES, len(RISING), 1 + BASIS)[:, :, 0]
    offsets += 0.1
    value = expert(latent, torch.zeros(2, VARIABLES, BASIS, *FINE), seen, leads_to(400)).value[0, :, 0, 0, 0]
    assert 0 < value[0] < 0.1
    assert (value.diff() >= 0).all()
    assert value[-1] - value[-2] < 1e-6


def test_amounts_weigh_the_basis_as_a_loop_does():
    expert, (latent, _, _) = make_speaking(scale=0.3, drawing=0), make_inputs()
    basis = noise(2, VARIABLES, BASIS, *COARSE, seed=2)
    source = expert(
        latent, basis, noise(2, SEEN, *COARSE), leads_to(3)
    )  # the basis is as coarse as the latent: nothing is interpolated
    state = expert.body(latent)
    spoken, sure = expert.amounts(state), expert.confidence(state)
    for lead in range(3):
        for c in range(VARIABLES):
            value, confidence = torch.zeros(2, *COARSE), torch.zeros(2, *COARSE)
            for j, lifetime in enumerate(RISING):
                rise = 1 - math.exp(-(lead + 1) / lifetime)
                first = (c * len(RISING) + j) * (1 + BASIS)
                confidence += rise * sure[:, c * len(RISING) + j]
                value += rise * spoken[:, first]
                for m in range(BASIS):
                    value += rise * spoken[:, first + 1 + m] * basis[:, c, m]
            torch.testing.assert_close(source.value[:, lead, c], 4 * torch.tanh(value / 4))
            torch.testing.assert_close(source.confidence[:, lead, c], confidence)


def test_what_is_drawn_of_all_that_is_seen_is_the_source():
    expert, (latent, basis, seen), leads = make_speaking(), make_inputs(), leads_to(9)
    drawn = expert.drawing(expert.body(latent), seen, leads)
    assert drawn.abs().max() > BOUND
    torch.testing.assert_close(expert(latent, basis, seen, leads).value, drawn)
    for channel in range(SEEN):
        other = seen.clone()
        other[:, channel] += 1.0
        assert (expert(latent, basis, other, leads).value != drawn).any(dim=(0, 1, 3, 4)).all()
    assert torch.equal(expert(latent, basis + 1.0, seen, leads).value, drawn)


def test_amounts_weigh_the_basis_of_each_variable_alone():
    expert, (latent, basis, seen), leads = make_speaking(drawing=0), make_inputs(), leads_to(9)
    other = basis.clone()
    other[:, 1] += 1.0
    value, changed = (expert(latent, each, seen, leads).value for each in (basis, other))
    torch.testing.assert_close(changed[:, :, 0], value[:, :, 0])
    assert (changed[:, :, 1] != value[:, :, 1]).any()
    assert torch.equal(expert(latent, basis, seen + 1.0, leads).value, value)


def test_what_is_drawn_of_a_crop_is_what_is_drawn_of_the_whole_away_from_the_edges():
    drawing = make_speaking().drawing
    seen, state = noise(1, SEEN, 81, 93), torch.zeros(1, HIDDEN, 7, 8)
    place = (..., slice(4, 77), slice(8, 81))
    whole, part = drawing(state, seen, leads_to(2))[place], drawing(state, seen[place], leads_to(2))  # of odd sizes
    inner = (..., slice(32, -32), slice(32, -32))  # knows nothing of the edges
    torch.testing.assert_close(part[inner], whole[inner])
    assert (part != whole).any()


def test_what_is_drawn_stays_after_the_last_trained_lead():
    value = make_speaking(scale=0.1)(*make_inputs(), leads_to(TRAINED + 3)).value
    assert (value[:, TRAINED:] == value[:, TRAINED - 1 : TRAINED]).all()
    assert (value[:, TRAINED - 2] != value[:, TRAINED - 1]).any()


def test_small_sources_pass_the_bound_unchanged():
    expert, (latent, _, seen) = make_expert(drawing=0), make_inputs()
    expert.amounts.bias.data[0] = 0.1  # the first offset of the first variable
    value = expert(latent, torch.zeros(2, VARIABLES, BASIS, *FINE), seen, leads_to(1)).value
    expected = 0.1 * (1 - math.exp(-1 / RISING[0]))
    torch.testing.assert_close(value[:, :, 0], torch.full((2, 1, *FINE), expected), rtol=1e-3, atol=0)
    assert (value[:, :, 1] == 0).all()


@EITHER
def test_clips_of_a_batch_do_not_see_each_other(drawing):
    expert, inputs = make_speaking(drawing=drawing), make_inputs(batch=3)
    together, alone = expert(*inputs, leads_to(2)), expert(*(part[1:2] for part in inputs), leads_to(2))
    torch.testing.assert_close(together.value[1:2], alone.value)


@EITHER
def test_gradients_reach_every_parameter_and_what_is_read(drawing):
    expert, inputs = make_speaking(drawing=drawing), make_inputs()
    latent, basis, seen = (part.requires_grad_() for part in inputs)
    source = expert(*inputs, leads_to(2))
    (source.value.sum() + source.confidence.sum()).backward()
    for name, parameter in [*expert.named_parameters(), ("latent", latent), ("read", seen if drawing else basis)]:
        assert parameter.grad.abs().max() > 0, name


@EITHER
def test_the_untrained_expert_can_start_to_learn(drawing):
    expert = make_expert(drawing=drawing)
    expert(*make_inputs(), leads_to(2)).value.sum().backward()
    gains = expert.drawing.out if drawing else expert.amounts
    assert gains.weight.grad.abs().max() > 0


def test_between_knots_what_is_drawn_is_the_spline_through_what_is_drawn_at_them():
    drawing = make_speaking().drawing
    state, seen = noise(2, HIDDEN, *COARSE), noise(2, SEEN, *FINE, seed=1)
    knots = torch.tensor(drawing.course.knots)
    at_knots, leads = drawing(state, seen, knots), leads_to(TRAINED + 2)
    expected = torch.zeros(2, len(leads), VARIABLES, *FINE)
    for k, weights in enumerate(drawing.course(leads, seen)):
        for r, weight in enumerate(weights):
            expected[:, k] += weight * at_knots[:, r]
    assert not set(leads.tolist()) <= set(knots.tolist())
    torch.testing.assert_close(drawing(state, seen, leads), expected)


def test_the_drawing_says_something_of_each_variable_at_each_knot():
    drawing = make_expert().drawing
    said = noise(len(drawing.course.knots), VARIABLES)
    drawing.out.bias.data = said.flatten()
    drawn = drawing(
        *(noise(1, *size) for size in ((HIDDEN, *COARSE), (SEEN, *FINE))),
        torch.tensor(drawing.course.knots),
    )
    torch.testing.assert_close(drawn, said[None, :, :, None, None].expand_as(drawn))
