"""The default model: its seed, its size, and what it leaves alone."""

from pathlib import Path

import pytest
import torch
from drifting import noise
from small import small_net

from physicnet.config import load_params
from physicnet.model.build import build

PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_the_same_seed_makes_the_same_weights():
    first, second = small_net().state_dict(), small_net().state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_another_seed_makes_other_weights():
    first, second = small_net(seed=3).state_dict(), small_net(seed=4).state_dict()
    for name in ("global_level.encoder.latent.weight", "local_level.source.body.0.0.weight", "codebook.codes"):
        assert not torch.equal(first[name], second[name]), name


def test_the_levels_start_with_different_weights():
    net = small_net()
    assert not torch.equal(net.global_level.encoder.latent.weight, net.local_level.encoder.latent.weight)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_global_generator_has_no_say_and_is_left_alone(seed):
    first = small_net().state_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        before = torch.random.get_rng_state()
        assert all(torch.equal(value, first[name]) for name, value in small_net().state_dict().items())
        assert torch.equal(torch.random.get_rng_state(), before)


def test_the_default_model_has_less_than_half_a_million_parameters_and_forecasts():
    params = load_params(PARAMS)
    frames_in, window = params.clip.frames_in, params.crops.window
    variables = len(params.ingest.variables)
    net = build(params.model, params.clip, variables=variables, window=window).eval()
    assert sum(parameter.numel() for parameter in net.parameters()) < 500_000
    past = noise(1, frames_in, variables, window + 1, window + 3)
    with torch.no_grad():
        assert net(past, torch.ones_like(past), None, 2).frames.shape == (1, 2, *past.shape[2:])


def test_only_the_global_level_draws_and_only_if_it_is_asked_to():
    drawing, silent = small_net(drawing=4), small_net(drawing=0)
    assert drawing.global_level.source.drawing is not None
    assert drawing.local_level.source.drawing is silent.global_level.source.drawing is None


@pytest.mark.parametrize(("variables", "frames_in"), [(1, 2), (3, 5)])
def test_the_encoders_take_values_and_masks_of_all_frames_and_variables(variables, frames_in):
    net = small_net(variables=variables, frames_in=frames_in)
    for level in (net.global_level, net.local_level):
        first = next(layer for layer in level.encoder.modules() if isinstance(layer, torch.nn.Conv2d))
        assert first.in_channels == 2 * variables * frames_in
        assert level.source.variables == variables
