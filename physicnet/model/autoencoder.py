"""The autoencoder that pretrains the encoders and the codebook: the present, said in codes alone.

| symbol | what |
|---|---|
| present | the past carried to the present, values and masks (see `physicnet.py`) |
| code | the codebook's words for it, all that the decoder is given |
| reconstruction | the frames of the present, decoded: the global view at half resolution, the windows at full |
"""

from collections.abc import Mapping
from typing import NamedTuple

from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from physicnet.checkpoint import CheckpointError
from physicnet.model.codebook import Quantized
from physicnet.model.encoder import conv
from physicnet.model.motion import shrink
from physicnet.model.physicnet import Level, PhysicNet, Present, observe
from physicnet.model.warp import resize

PRETRAINED = ("global_level.encoder.", "local_level.encoder.", "codebook.")
GLOBAL_STRIDE = 2  # the global encoder's first; its view is reconstructed on that grid


class Decoder(nn.Module):
    """From codes on a coarse grid to frames on a grid four times finer."""

    def __init__(self, code_dim: int, width: int, frames: int, variables: int) -> None:
        super().__init__()
        self.frames = frames
        self.coarse = conv(code_dim, 2 * width)
        self.middle = conv(2 * width, width)
        self.fine = conv(width, width)
        self.out = nn.Conv2d(width, frames * variables, 3, padding=1)

    def forward(self, code: Float[Tensor, "b d i j"], size: tuple[int, int]) -> Float[Tensor, "b t c h w"]:
        """Frames of `size` rows and columns."""
        half = (-(-size[0] // 2), -(-size[1] // 2))
        x = self.middle(resize(self.coarse(code), half))
        x = self.out(self.fine(resize(x, size)))
        return rearrange(x, "b (t c) h w -> b t c h w", t=self.frames)


class Reconstruction(NamedTuple):
    """One level: what the decoder said, what was there, and the codes between them."""

    frames: Float[Tensor, "b t c h w"]
    truth: Float[Tensor, "b t c h w"]
    observed: Float[Tensor, "b t c h w"]
    code: Quantized


class Autoencoder(nn.Module):
    """A PhysicNet of which only the encoders and the codebook are used, and a decoder for each level."""

    def __init__(self, net: PhysicNet, global_decoder: Decoder, local_decoder: Decoder) -> None:
        super().__init__()
        self.net = net
        self.global_decoder = global_decoder
        self.local_decoder = local_decoder

    def forward(
        self, past: Float[Tensor, "b t c h w"], observed: Float[Tensor, "b t c h w"], corners: Int[Tensor, "b n 2"]
    ) -> tuple[Reconstruction, Reconstruction]:
        """Reconstruct the global view and the local windows at `corners`."""
        present = observe(past, observed, moves=self.net.moves)
        crops = self.net.crop(present, present.flow, corners)
        view = Present(present.flow, *shrink(present.frames, present.observed, GLOBAL_STRIDE))
        return (
            self._reconstruct(self.net.global_level, self.global_decoder, present, view),
            self._reconstruct(self.net.local_level, self.local_decoder, crops, crops),
        )

    def _reconstruct(self, level: Level, decoder: Decoder, seen: Present, truth: Present) -> Reconstruction:
        code = self.net.quantize(level.encode(seen), seen)
        h, w = truth.frames.shape[-2:]
        return Reconstruction(decoder(code.code, (h, w)), truth.frames, truth.observed, code)


def pretrained_part(net: PhysicNet) -> dict[str, Tensor]:
    """The weights that pretraining hands over to joint training: the encoders' and the codebook's."""
    return {name: tensor for name, tensor in net.state_dict().items() if name.startswith(PRETRAINED)}


def load_pretrained(net: PhysicNet, tensors: Mapping[str, Tensor]) -> None:
    """Start `net` from what pretraining learned.

    Raises:
        CheckpointError: if the tensors are not exactly the encoders and the codebook of such a model.
    """
    expected = {name: tensor.shape for name, tensor in pretrained_part(net).items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != expected:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise CheckpointError(
            f"the pretrained codebook does not fit the model, e.g. {differing[0]}: "
            f"{found.get(differing[0])} instead of {expected.get(differing[0])}; run the codebook stage again"
        )
    net.load_state_dict(tensors, strict=False)
