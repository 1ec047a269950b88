"""Tiles cover a frame, count as 1 together, and forecast what the whole frame does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from drifting import drift, noise
from small import speaking_net
from test_rollout import NORMALIZER, save
from training.conftest import MACHINE

from physicnet.data.synthetic import Rotation, Uniform, advected_field
from physicnet.fields import DataError
from physicnet.model import tiling
from physicnet.model.physicnet import range_of
from physicnet.model.rollout import ModelForecaster
from physicnet.model.tiling import BLEND, GRID, REACH, SMALLEST, fastest, lay_out, predict_by_tiles


def still(height: int, width: int) -> torch.Tensor:
    return drift((0.0, 0.0), 3, (height, width))[0]


def test_the_fastest_motion_is_seen_on_a_coarse_grid():
    frames = drift((6.0, -3.0), 3, (160, 200))[0]
    assert fastest(frames, torch.ones_like(frames), 160 * 200 // 4) == pytest.approx(45**0.5, rel=0.25)


@pytest.mark.parametrize("size", [(500, 500), (331, 1007), (900, 301)])
def test_tiles_cover_the_frame_their_weights_add_up_and_they_overlap_by_both_halos(size):
    past = still(*size)
    cells = 90_000
    tiles = lay_out(past, torch.ones_like(past), 2, tile_cells=cells)
    total = torch.zeros(size)
    for tile in tiles:
        tile.of(total).add_(tile.weight)
        assert tile.rows.start % GRID == tile.cols.start % GRID == 0
        assert tile.of(total).numel() <= 1.1 * cells
    torch.testing.assert_close(total, torch.ones(size))
    assert len(tiles) > 2
    for tile in tiles:  # what counts lies a halo away from every inner edge
        rows, cols = (tile.weight.amax(dim=axis).nonzero()[:, 0] for axis in (1, 0))
        for span, counting, length in ((tile.rows, rows, size[0]), (tile.cols, cols, size[1])):
            assert span.start == 0 or counting[0] >= REACH
            assert span.stop == length or counting[-1] < span.stop - span.start - REACH


def test_a_frame_of_few_cells_is_one_tile():
    past = still(30, 40)
    (tile,) = lay_out(past, torch.ones_like(past), 2, tile_cells=1200)
    assert (tile.of(past) == past).all()
    assert (tile.weight == 1).all()


def test_tiles_too_small_for_the_motion_are_refused_with_the_size_that_will_do():
    past = drift((4.0, 0.0), 3, (300, 300))[0]
    with pytest.raises(
        DataError, match=r"moves by up to \d.* for 12 leads in tiles of 50000 .* machine.tile_cells"
    ) as error:
        lay_out(past, torch.ones_like(past), 12, tile_cells=50_000)
    least = int(str(error.value).split()[-3])
    assert least >= (2 * REACH + BLEND + SMALLEST) ** 2


@pytest.fixture
def tiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelForecaster:
    """A forecaster that speaks, with tiles far smaller than anyone would choose."""
    monkeypatch.setattr(tiling, "SMALLEST", 16)
    forecaster = ModelForecaster.load(save(tmp_path, NORMALIZER), MACHINE)
    forecaster.net.memory.learned.data = 0.002 * noise(*forecaster.net.memory.learned.shape)
    return forecaster


@pytest.mark.parametrize("flow", [Uniform(1.5, -1.0), Rotation(0.008, 170.0, 140.0)])
def test_tiles_forecast_what_the_whole_frame_does_and_show_no_seam(tiled: ModelForecaster, flow):
    """The tolerance is what statistics over the view leave; the text of tiling.py names them."""
    record = advected_field(7, 280, 340, flow=flow)
    past, truth = record.isel(0, 5), record.frames(5, 7)
    whole = tiled.forecast(past, 2)
    tiled.tile_cells = 46_000
    parts = tiled.forecast(past, 2)
    error = np.sqrt(np.mean((whole - truth) ** 2))
    difference = np.sqrt(np.mean((parts - whole) ** 2, axis=(0, 1)))
    assert difference.max() > 0, "it was tiled"
    assert np.sqrt(np.mean(difference**2)) < 0.02 * error
    jumps = [np.abs(np.diff(parts, axis=axis)).max() / np.abs(np.diff(whole, axis=axis)).max() for axis in (2, 3)]
    assert max(jumps) < 1.01


def test_explanations_are_put_together_from_tiles(tiled: ModelForecaster):
    record = advected_field(5, 280, 340, flow=Uniform(1.5, -1.0))
    whole = tiled.explain(record)
    tiled.tile_cells = 50_000
    parts = tiled.explain(record)
    assert {name: part.shape for name, part in parts.items()} == {name: part.shape for name, part in whole.items()}
    assert np.abs(parts["flow"] - whole["flow"]).mean() < 0.02
    inner = (..., slice(8, -8), slice(8, -8))  # at the frame's edge the gate falls as the windows happen to lie
    np.testing.assert_allclose(parts["gate"][inner], whole["gate"][inner], atol=0.01)
    # A latent between two codes may fall to the other; codes in the wrong place would agree by chance alone.
    assert (parts["codes"] == whole["codes"]).mean() > 0.7


def test_tiles_are_limited_by_the_range_of_the_whole_frame(monkeypatch: pytest.MonkeyPatch):
    past, asked = still(256, 264), []
    net = speaking_net()
    monkeypatch.setattr(net, "forward", lambda *inputs, within: asked.append((inputs[0].shape, within)))
    tiles = list(predict_by_tiles(net, past, torch.ones_like(past), 1, tile_cells=62_500, device=torch.device("cpu")))
    assert len(tiles) == len(asked) > 1
    assert all(shape[-2:] == tile.weight.shape for (shape, _), (tile, _) in zip(asked, tiles, strict=True))
    assert all(torch.equal(within.high, range_of(past[None]).high) for _, within in asked)
