from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from peers.convlstm import ConvLSTM
from peers.simvp import SimVP
from peers.task import PeerForecaster
from peers.unet import UNet
from torch import nn

from physicnet.config import ClipConfig
from physicnet.data.synthetic import Uniform, advected_field
from physicnet.fields import DataError, Field
from physicnet.normalization import Normalizer, Standardization
from physicnet.training.losses import of_one, prediction_error, split_missing

CLIP = ClipConfig(frames_in=3, frames_out=2)
SIZES = {"variables": 1, "frames_out": 2}
PEERS: dict[str, Callable[[], nn.Module]] = {
    "unet": lambda: UNet(**SIZES, frames_in=3, widths=(16, 24)),
    "convlstm": lambda: ConvLSTM(**SIZES, width=16, hidden=24, layers=1),
    "simvp": lambda: SimVP(**SIZES, frames_in=3, width=16, translator=32, blocks=1),
}
each_peer = pytest.mark.parametrize("name", PEERS)


def peer(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PEERS[name]()


def clip(height: int = 13, width: int = 14) -> torch.Tensor:
    """A field that moves by (2, -1) cells per step, part of it missing."""
    field = advected_field(5, height, width, flow=Uniform(2.0, -1.0))
    values = torch.from_numpy(field.frames(0, 5))[None]
    values = (values - values.mean()) / values.std()
    values[..., :3, :4] = torch.nan
    return values


def error(net: nn.Module, values: torch.Tensor) -> torch.Tensor:
    seen, observed = split_missing(values)
    return prediction_error(
        net(seen[:, :3], observed[:, :3]), seen[:, 3:], observed[:, 3:], squared=1.0, average=of_one
    )


@each_peer
def test_an_untrained_peer_is_persistence(name: str) -> None:
    seen, observed = split_missing(clip())
    forecast = peer(name)(seen[:, :3], observed[:, :3])
    torch.testing.assert_close(forecast, seen[:, 2:3].expand(-1, 2, -1, -1, -1))


@each_peer
def test_a_peer_can_learn_one_clip_by_heart(name: str) -> None:
    net, values = peer(name), clip()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    persistence = error(net, values).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss = error(net, values)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    assert error(net, values).item() < 0.15 * persistence


@each_peer
def test_what_is_missing_has_no_influence_but_through_the_mask(name: str) -> None:
    net = peer(name)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    seen, observed = split_missing(clip())
    without_mask = torch.ones_like(observed)
    assert not torch.equal(net(seen[:, :3], observed[:, :3]), net(seen[:, :3], without_mask[:, :3]))


@each_peer
@pytest.mark.parametrize("size", [(8, 8), (9, 31), (33, 49)])
def test_any_size_of_frame_works(name: str, size: tuple[int, int]) -> None:
    seen, observed = split_missing(clip(*size))
    assert peer(name)(seen[:, :3], observed[:, :3]).shape == (1, 2, 1, *size)


def record(frames: int) -> Field:
    values = np.random.default_rng(0).random((frames, 9, 10)).astype(np.float32)
    values[:, 0, 0] = np.nan
    times = np.datetime64("2020-01-01", "ns") + np.arange(frames) * np.timedelta64(5, "m")
    return Field(xr.Dataset({"rain": (("time", "y", "x"), values, {"units": "mm h-1"})}, coords={"time": times}))


def forecaster() -> PeerForecaster:
    normalizer = Normalizer((Standardization("rain", (), 0.4, 0.3),))
    return PeerForecaster("unet", peer("unet"), normalizer, CLIP, torch.device("cpu"))


def test_a_forecast_is_in_physical_units_and_the_mean_stands_where_nothing_was_seen() -> None:
    past = record(4)
    forecast = forecaster().forecast(past, 2)
    expected = np.where(np.isnan(past.frames(3, 4)[0]), 0.4, past.frames(3, 4)[0])
    np.testing.assert_allclose(forecast, np.repeat(expected[None], 2, axis=0), atol=1e-5)


@pytest.mark.parametrize(("frames", "leads"), [(2, 2), (4, 3)])
def test_too_short_a_past_and_too_many_leads_are_refused(frames: int, leads: int) -> None:
    with pytest.raises(DataError, match=rf"unet forecasts 2 leads from 3 frames, not {leads} from {frames}"):
        forecaster().forecast(record(frames), leads)
