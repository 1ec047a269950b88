import pytest
import torch
from training.conftest import CLIP, MODEL

from physicnet.checkpoint import CheckpointError
from physicnet.model.autoencoder import Autoencoder, Decoder, load_pretrained, pretrained_part
from physicnet.model.build import build
from physicnet.model.physicnet import PhysicNet


def net(seed: int = 1) -> PhysicNet:
    return build(MODEL.model_copy(update={"seed": seed}), CLIP, variables=2, window=16)


def decoder() -> Decoder:
    return Decoder(MODEL.code_dim, 5, CLIP.frames_in, 2)


def test_both_levels_are_reconstructed_on_their_own_grids() -> None:
    clips, corners = torch.randn(2, 3, 2, 27, 35), torch.tensor([[[0, 3], [5, 19]], [[11, 0], [2, 2]]])
    view, windows = Autoencoder(net(), decoder(), decoder())(clips, torch.ones_like(clips), corners)
    assert view.frames.shape == view.truth.shape == (2, 3, 2, 14, 18)
    assert windows.frames.shape == windows.truth.shape == (4, 3, 2, 16, 16)


def test_the_windows_show_the_present_that_the_view_shows() -> None:
    clips, corners = torch.randn(1, 3, 2, 27, 35), torch.tensor([[[5, 19]]])
    _, windows = Autoencoder(net(), decoder(), decoder())(clips, torch.ones_like(clips), corners)
    assert torch.equal(windows.truth[0, -1], clips[0, -1, :, 5:21, 19:35])


def test_what_is_pretrained_comes_over_and_nothing_else() -> None:
    one, other = net(1), net(2)
    load_pretrained(other, pretrained_part(one))
    same = {name for name, tensor in one.state_dict().items() if torch.equal(tensor, other.state_dict()[name])}
    assert pretrained_part(one).keys() <= same
    assert "global_level.detail.out.weight" not in same


@pytest.mark.parametrize("change", ["missing", "additional", "other shape"])
def test_tensors_that_do_not_fit_are_refused(change: str) -> None:
    tensors = pretrained_part(net())
    if change == "missing":
        del tensors["codebook.codes"]
    elif change == "additional":
        tensors["codebook.more"] = torch.zeros(1)
    else:
        tensors["codebook.codes"] = torch.zeros(3, 3)
    with pytest.raises(CheckpointError, match="does not fit the model, e.g. codebook.*run the codebook stage again"):
        load_pretrained(net(), tensors)
