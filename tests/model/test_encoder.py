"""The pyramid's grids, what reaches what, and the way back up."""

import pytest
import torch
from drifting import noise

from physicnet.model.encoder import Detail, Encoder, conv

WIDTHS, INPUTS, CODE_DIM, OUTPUTS = (5, 6, 9), 3, 4, 7


def make_encoder(strides: tuple[int, ...] = (2, 2, 2), seed: int = 0) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(INPUTS, WIDTHS, strides, CODE_DIM)


def make_detail(seed: int = 0) -> Detail:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Detail(WIDTHS, OUTPUTS)


@pytest.mark.parametrize(
    ("strides", "grids"),
    [((2, 2, 2), [(10, 17), (5, 9), (3, 5)]), ((1, 2, 2), [(19, 33), (10, 17), (5, 9)])],
)
def test_every_grid_is_coarser_than_the_one_before_by_its_stride(strides, grids):
    encoded = make_encoder(strides)(noise(2, INPUTS, 19, 33))
    expected = [(2, width, *grid) for width, grid in zip(WIDTHS, grids, strict=True)]
    assert [tuple(grid.shape) for grid in encoded.grids] == expected
    assert encoded.latent.shape == (2, CODE_DIM, *grids[-1])


def test_the_detail_lies_on_the_finest_grid():
    encoded = make_encoder()(noise(2, INPUTS, 19, 33))
    assert make_detail()(encoded.grids).shape == (2, OUTPUTS, 10, 17)


@pytest.mark.parametrize("outputs", [1, 7, 8, 12])
def test_any_number_of_channels_can_be_normalised(outputs):
    assert conv(2, outputs)(noise(3, 2, 3, 5)).shape == (3, outputs, 3, 5)


def test_features_do_not_depend_on_the_rest_of_the_batch():
    encoder, detail, x = make_encoder(), make_detail(), noise(3, INPUTS, 11, 13)
    together, alone = encoder(x), encoder(x[1:2])
    torch.testing.assert_close(together.latent[1:2], alone.latent)
    torch.testing.assert_close(detail(together.grids)[1:2], detail(alone.grids))


def test_every_grid_shapes_the_detail():
    grids = [grid.detach().requires_grad_() for grid in make_encoder()(noise(1, INPUTS, 19, 33)).grids]
    make_detail()(grids).square().sum().backward()
    assert all(grid.grad.abs().max() > 0 for grid in grids)


def test_gradients_reach_every_parameter():
    encoder, detail = make_encoder(), make_detail()
    encoded = encoder(noise(1, INPUTS, 19, 33))
    (detail(encoded.grids).square().sum() + encoded.latent.square().sum()).backward()
    for part in (encoder, detail):
        for name, parameter in part.named_parameters():
            assert parameter.grad.abs().max() > 0, name
