"""The pyramid's grids, and what reaches what."""

import pytest
import torch
from drifting import noise

from physicnet.model.encoder import CellNorm, Encoder, conv

WIDTHS, INPUTS, CODE_DIM = (5, 6, 9), 3, 4


def make_encoder(strides: tuple[int, ...] = (2, 2, 2), seed: int = 0) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(INPUTS, WIDTHS, strides, CODE_DIM)


@pytest.mark.parametrize(("strides", "grid"), [((2, 2, 2), (3, 5)), ((1, 2, 2), (5, 9))])
def test_features_and_latent_lie_on_the_coarsest_grid(strides, grid):
    encoded = make_encoder(strides)(noise(2, INPUTS, 19, 33))
    assert encoded.features.shape == (2, WIDTHS[-1], *grid)
    assert encoded.latent.shape == (2, CODE_DIM, *grid)


@pytest.mark.parametrize("outputs", [1, 7, 8, 12])
def test_any_number_of_channels_can_be_normalised(outputs):
    assert conv(2, outputs)(noise(3, 2, 3, 5)).shape == (3, outputs, 3, 5)


def test_each_cell_is_normalised_over_its_channels_by_hand():
    norm = CellNorm(2)
    norm.weight.data, norm.bias.data = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.5])
    x = torch.tensor([[3.0, 0.0], [4.0, 0.0]])[None, :, None]  # two cells: (3, 4) and (0, 0)
    scale = (12.5 + 0.01) ** -0.5
    expected = torch.tensor([[3 * scale, 0.0], [8 * scale + 0.5, 0.5]])[None, :, None]
    torch.testing.assert_close(norm(x), expected)


def test_what_is_said_of_a_place_depends_on_its_surroundings_alone():
    encoder, x = make_encoder((1, 2, 2)), noise(1, INPUTS, 64, 80)
    whole, part = encoder(x).latent, encoder(x[..., 16:56, 24:72]).latent  # cells of the coarsest grid, 4
    torch.testing.assert_close(part[..., 4:-4, 4:-4], whole[..., 4:14, 6:18][..., 4:-4, 4:-4])


def test_features_do_not_depend_on_the_rest_of_the_batch():
    encoder, x = make_encoder(), noise(3, INPUTS, 11, 13)
    torch.testing.assert_close(encoder(x).latent[1:2], encoder(x[1:2]).latent)


def test_gradients_reach_every_parameter():
    encoder = make_encoder()
    encoder(noise(1, INPUTS, 19, 33)).latent.square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.abs().max() > 0, name
