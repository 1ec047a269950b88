"""The codebook: every latent becomes the nearest of `k` learned codes.

    symbol   here             meaning
    z        latent           what the encoder says of one cell, `d` numbers
    e_k      codes[k]         code k
    q        indices          argmin_k |z - e_k|²
    n_k      counts           latents of this batch that code k is nearest to, when the codes follow
    N_k      cluster_size     running mean of n_k              N_k <- γ N_k + (1 - γ) n_k
    m_k      embed_sum        running mean of their sums       m_k <- γ m_k + (1 - γ) Σ z
    γ        ema_decay

Codes follow the latents by running means, e_k = m_k / N_k, not by gradients (van den Oord et al. 2017, arXiv
1711.00937, appendix A.1); the latents are drawn to the codes by the commitment loss. Left alone, most codes are never
chosen; two remedies: k-means on the first batch places the codes where the latents are, and codes that fall out of use
are revived at those latents of the batch that the other codes say worst (docs/decisions/0013).

Quantizing changes nothing; codes learn when they are told to `follow` what was quantized, after a step of training.
All randomness is drawn from (seed, updates), both part of the module: no global generator is touched and a resumed run
draws what the uninterrupted one would have drawn.
Under `torch.distributed`, all processes learn from the latents of all of them and hold the same codes, bit by bit.

With `quantize` off, the latents pass as they are and are drawn to nothing. The codes follow them unheard, and still
tell what is seen where.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn

# Keeps codes without latents from dividing by zero; the value of vector-quantize-pytorch, against which we are tested.
SMOOTHING = 1e-5
KMEANS_ITERATIONS = 10
# Codes are placed by a look at so many latents per code: more hardly move the means.
LATENTS_PER_CODE = 64


class Seen(NamedTuple):
    """What codes may follow: latents, the codes that they chose, and which of them came from observed data."""

    latent: Float32[Tensor, "b d h w"]
    indices: Int[Tensor, "b h w"]
    valid: Bool[Tensor, "b h w"]


class Quantized(NamedTuple):
    """Latents as codes: the codes (gradients pass straight through), their indices, the commitment loss.

    Without quantization, `code` is the latent itself, and the commitment 0.

    `valid` says which latents came from observed data and count; `latent` has them all, for the codes to follow.
    """

    code: Float[Tensor, "b d h w"]
    indices: Int[Tensor, "b h w"]
    commitment: Float32[Tensor, ""]
    valid: Bool[Tensor, "b h w"]
    latent: Float32[Tensor, "b d h w"]

    @property
    def seen(self) -> Seen:
        """What is kept beyond the step: no gradient goes back from it."""
        return Seen(self.latent, self.indices, self.valid)


class Codebook(nn.Module):
    """`num_codes` codes of width `code_dim`, learned by running means of the latents that choose them.

    A code is dead, and is revived, when it is chosen less often than `revival_threshold` times what codes are on
    average, by the running means; zero revives none.
    """

    initialized: Tensor
    updates: Tensor
    codes: Tensor
    cluster_size: Tensor
    embed_sum: Tensor

    def __init__(
        self,
        num_codes: int,
        code_dim: int,
        *,
        ema_decay: float,
        revival_threshold: float,
        seed: int,
        quantize: bool = True,
    ) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.quantize = quantize
        self.ema_decay = ema_decay
        self.revival_threshold = revival_threshold
        self.seed = seed
        codes = np.random.default_rng([seed, 0]).standard_normal((num_codes, code_dim), dtype=np.float32)
        self.register_buffer("initialized", torch.tensor(False))
        self.register_buffer("updates", torch.tensor(0))
        self.register_buffer("codes", torch.from_numpy(codes))
        self.register_buffer("cluster_size", torch.ones(num_codes))
        self.register_buffer("embed_sum", torch.from_numpy(codes).clone())

    def forward(self, latent: Float[Tensor, "b d h w"], valid: Bool[Tensor, "b h w"] | None = None) -> Quantized:
        """Quantize `latent`.

        Latents where `valid` is False (they come from missing data) get a code too, but neither move the codes nor
        count in the commitment loss, which is the mean squared distance per component and 0 where nothing is valid.
        """
        batch, _, height, width = latent.shape
        with torch.autocast(latent.device.type, enabled=False):  # distances need float32
            flat = rearrange(latent.float(), "b d h w -> (b h w) d")
            observed = torch.ones_like(flat[:, 0], dtype=torch.bool) if valid is None else valid.flatten()
            chosen = nearest(flat, self.codes)
            distance = reduce((flat - self.codes[chosen]).square(), "n d -> n", "mean")
            count = observed.sum()
            if self.training:  # the mean of the processes' losses is that of the latents of all of them
                count = sum_over_processes(count.float()) / num_processes()
            commitment = torch.where(observed, distance, 0.0).sum() / count.clamp(min=1 / num_processes())
            indices, valid = (part.reshape(batch, height, width) for part in (chosen, observed))  # b h w
            code = self.lookup(indices).to(latent.dtype)
        followed = latent.detach().float()
        if not self.quantize:
            return Quantized(latent, indices, torch.zeros_like(commitment), valid, followed)
        # Written so that the value is the code itself, without rounding, and the gradient that of the latent.
        return Quantized(code + (latent - latent.detach()), indices, commitment, valid, followed)

    @torch.no_grad()
    def follow(self, *levels: Seen) -> None:
        """Learn from what was quantized in a step, one level after the other; the first ever places the codes.

        A latent counts for the code that is nearest by now, which the level before may have moved.
        """
        for level in levels:
            latents = rearrange(level.latent, "b d h w -> (b h w) d")[level.valid.flatten()]
            if not self.initialized:
                self._initialize(latents)
            self._move(latents, nearest(latents, self.codes))

    def lookup(self, indices: Int[Tensor, "b h w"]) -> Float32[Tensor, "b d h w"]:
        """Return the codes that `indices` name."""
        return rearrange(self.codes[indices], "b h w d -> b d h w")

    def _initialize(self, latents: Float32[Tensor, "n d"]) -> None:
        """Place the codes by k-means, once, on the first batch of which anything was observed.

        Where it has fewer different latents than there are codes, the other codes stay where they are.
        """
        rng = self._rng()
        drawn = self._sample(latents, rng)
        if len(drawn) == 0:
            return
        means = kmeans(drawn, self.num_codes, rng).to(latents.device)
        self._place(torch.arange(len(means), device=latents.device), means, weight=1.0)
        self.initialized.fill_(True)

    def _move(self, latents: Float32[Tensor, "n d"], indices: Int[Tensor, " n"]) -> None:
        """Move the codes towards the latents that chose them, then revive the dead ones."""
        counts, sums = (sum_over_processes(part) for part in tally(latents, indices, self.num_codes))
        if counts.sum() == 0:  # nothing observed, nothing learned: not even that codes are out of use
            return
        self.updates.add_(1)
        self.cluster_size.lerp_(counts, 1 - self.ema_decay)
        self.embed_sum.lerp_(sums, 1 - self.ema_decay)
        total = self.cluster_size.sum()
        smoothed = total * (self.cluster_size + SMOOTHING) / (total + self.num_codes * SMOOTHING)
        self.codes.copy_(self.embed_sum / smoothed[:, None])
        self._revive(latents)

    def _revive(self, latents: Float32[Tensor, "n d"]) -> None:
        """Place dead codes at latents that are far from all living codes, and from each other.

        Uniform odds would place nearly all of them amid what is most common, such as cells without rain, where the
        living codes soon take their latents away again. Those that the batch has no latent for wait for the next.
        """
        mean = float(self.cluster_size.mean())
        alive = self.cluster_size >= self.revival_threshold * mean
        dead = alive.logical_not().nonzero()[:, 0]
        if len(dead) == 0:
            return
        rng = self._rng()
        drawn, living = self._sample(latents, rng), self.codes[alive].cpu()
        distance = (drawn - living[nearest(drawn, living)]).square().sum(dim=1)
        chosen = spread(drawn, len(dead), rng, distance)
        self._place(dead[: len(chosen)], drawn[chosen].to(latents.device), weight=mean)

    def _sample(self, latents: Float32[Tensor, "n d"], rng: np.random.Generator) -> Float32[Tensor, "m d"]:
        """Draw so many latents of all processes that more would hardly change where codes are placed.

        They come to the host, where sums have one order: GPUs of other makes would place the codes elsewhere.
        """
        return draw(latents, LATENTS_PER_CODE * self.num_codes, rng).cpu()

    def _place(self, indices: Int[Tensor, " k"], codes: Float32[Tensor, "k d"], *, weight: float) -> None:
        """Set codes as if `weight` latents per batch had always been there: old sums would pull them back."""
        self.codes[indices] = codes
        self.cluster_size[indices] = weight
        self.embed_sum[indices] = codes * weight

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, int(self.updates)])


def nearest(latents: Float32[Tensor, "n d"], codes: Float32[Tensor, "k d"]) -> Int[Tensor, " n"]:
    """Return the index of the code nearest to each latent; the lowest of several."""
    # |z - e|² without |z|², which all codes share: the n x k x d differences never exist.
    return (codes.square().sum(dim=1) - 2 * latents @ codes.T).argmin(dim=1)


def tally(
    latents: Float32[Tensor, "n d"], indices: Int[Tensor, " n"], num_codes: int
) -> tuple[Float32[Tensor, " k"], Float32[Tensor, "k d"]]:
    """Return how many latents chose each code, and their sum (as a product: scattered sums vary on GPUs)."""
    choice = F.one_hot(indices, num_codes).float()
    return choice.sum(dim=0), choice.T @ latents


def kmeans(latents: Float32[Tensor, "n d"], num_codes: int, rng: np.random.Generator) -> Float32[Tensor, "m d"]:
    """Return the means of `num_codes` clusters, or of as many as there are different latents."""
    means = latents[spread(latents, num_codes, rng, torch.full_like(latents[:, 0], torch.inf))]
    for _ in range(KMEANS_ITERATIONS):
        counts, sums = tally(latents, nearest(latents, means), len(means))
        means = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp(min=1), means)
    return means


def spread(
    latents: Float32[Tensor, "n d"], num: int, rng: np.random.Generator, distance: Float32[Tensor, " n"]
) -> list[int]:
    """Choose at most `num` different latents far from each other: with odds of the squared distance to those before.

    `distance` is the squared distance to what was there before the first; infinite if nothing was. Fewer are chosen
    where no latent is left that differs from all before.

    This is k-means++ (Arthur and Vassilvitskii 2007): with uniform odds, some clusters start with two means and some
    with none, and stay so.
    """
    chosen: list[int] = []
    while len(chosen) < num and (distance > 0).any():
        odds = distance.isinf().double() if distance.isinf().any() else distance.double()
        heights = np.cumsum(odds.numpy())
        position = int(np.searchsorted(heights, rng.random() * heights[-1], side="right"))
        chosen.append(min(position, int(odds.nonzero()[-1])))
        distance = torch.minimum(distance, (latents - latents[chosen[-1]]).square().sum(dim=1))
    return chosen


def draw(latents: Float32[Tensor, "n d"], num: int, rng: np.random.Generator) -> Float32[Tensor, "m d"]:
    """Draw at most `num` different ones of all processes' latents; every process gets the same."""
    rank = dist.get_rank() if is_distributed() else 0
    sizes = torch.zeros(num_processes(), dtype=torch.int64, device=latents.device)
    sizes[rank] = len(latents)
    sizes = sum_over_processes(sizes)
    total = int(sizes.sum())
    chosen = torch.from_numpy(rng.choice(total, size=min(num, total), replace=False)).to(latents.device)
    local = chosen - sizes[:rank].sum()  # counted through the processes in turn
    mine = (local >= 0) & (local < len(latents))
    drawn = latents.new_zeros(len(chosen), latents.shape[1])
    drawn[mine] = latents[local[mine]]
    return sum_over_processes(drawn)  # every row is zero in all processes but one


def is_distributed() -> bool:
    """Say whether several processes learn together."""
    return dist.is_available() and dist.is_initialized()


def num_processes() -> int:
    """Return how many processes learn together."""
    return dist.get_world_size() if is_distributed() else 1


def sum_over_processes(part: Tensor) -> Tensor:
    """Return the sum of `part` over all processes: the same bits in each."""
    if is_distributed():
        dist.all_reduce(part)
    return part


def usage(counts: Int[Tensor, " k"]) -> float:
    """Return the share of codes chosen at least once, given how often each was."""
    return float((counts > 0).float().mean())


def perplexity(counts: Int[Tensor, " k"]) -> float:
    """Return exp of the entropy of the choices: `k` if all codes are chosen alike, 1 if one is, NaN for no choices."""
    return float(torch.special.entr(counts / counts.sum()).sum().exp())
