"""Laws of the quantizer, a naive oracle, vector-quantize-pytorch as a second one, two processes against one."""

from datetime import timedelta
from math import isnan
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from einops import rearrange
from torch import Tensor, nn

from physicnet.model.codebook import Codebook, Quantized, perplexity, spread, usage

NUM_CODES, CODE_DIM = 7, 5
DECAY = 0.9


def make_codebook(
    *, num_codes: int = NUM_CODES, decay: float = DECAY, revival: float = 0.0, seed: int = 3, quantize: bool = True
) -> Codebook:
    return Codebook(num_codes, CODE_DIM, ema_decay=decay, revival_threshold=revival, seed=seed, quantize=quantize)


def make_placed(**settings) -> Codebook:
    """A codebook whose codes stay where the seed put them: no k-means."""
    codebook = make_codebook(**settings)
    codebook.initialized.fill_(True)
    return codebook


def learn(codebook: Codebook, latent: Tensor, valid: Tensor | None = None) -> Quantized:
    """A step: quantize, and follow."""
    quantized = codebook(latent, valid)
    codebook.follow(quantized.seen)
    return quantized


def make_latent(seed: int, *, batch: int = 2, height: int = 3, width: int = 4) -> Tensor:
    return torch.randn(batch, CODE_DIM, height, width, generator=torch.Generator().manual_seed(seed))


def make_valid(seed: int, latent: Tensor) -> Tensor:
    return torch.rand(latent[:, 0].shape, generator=torch.Generator().manual_seed(seed)) < 0.6


def state_of(codebook: Codebook) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in codebook.state_dict().items()}


def assert_same_state(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def assert_close_state(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-5, atol=1e-6)


def test_a_code_quantizes_to_itself():
    codebook = make_placed().eval()
    indices = torch.arange(NUM_CODES).reshape(1, 1, NUM_CODES)
    latent = codebook.lookup(indices)
    quantized = codebook(latent)
    assert torch.equal(quantized.indices, indices)
    assert torch.equal(quantized.code, latent)
    assert quantized.commitment == 0


def test_indices_name_the_nearest_code():
    codebook = make_placed().eval()
    latent = make_latent(1)
    quantized = codebook(latent)
    for b, row, col in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        distances = [float(((latent[b, :, row, col] - code) ** 2).sum()) for code in codebook.codes]
        nearest = min(range(NUM_CODES), key=distances.__getitem__)
        assert quantized.indices[b, row, col] == nearest
        assert torch.equal(quantized.code[b, :, row, col], codebook.codes[nearest])


def test_lookup_inverts_indices():
    codebook = make_placed().eval()
    quantized = codebook(make_latent(1))
    assert torch.equal(codebook.lookup(quantized.indices), quantized.code)


def test_gradients_pass_straight_through():
    latent = make_latent(1).requires_grad_()
    weight = make_latent(2)
    (make_placed().train()(latent).code * weight).sum().backward()
    assert torch.equal(latent.grad, weight)


def test_commitment_is_the_mean_squared_distance_of_valid_latents():
    codebook = make_placed(num_codes=2).eval()
    codebook.codes.copy_(torch.tensor([[0.0] * CODE_DIM, [10.0] * CODE_DIM]))
    latent = torch.tensor([1.0, 2.0, 13.0]).expand(1, CODE_DIM, 1, 3).clone().requires_grad_()
    commitment = codebook(latent).commitment
    torch.testing.assert_close(commitment, torch.tensor((1 + 4 + 9) / 3))
    commitment = codebook(latent, torch.tensor([[[True, False, True]]])).commitment
    torch.testing.assert_close(commitment, torch.tensor((1 + 9) / 2))
    commitment.backward()
    torch.testing.assert_close(latent.grad[0, :, 0], torch.tensor([0.2, 0.0, 0.6]).expand(CODE_DIM, 3))


def test_unquantized_latents_pass_as_they_are_and_the_codes_follow_them_all_the_same():
    unheard, heard = make_codebook(quantize=False).train(), make_codebook().train()
    latent = make_latent(1).requires_grad_()
    passed, quantized = learn(unheard, latent), learn(heard, latent.detach())
    assert torch.equal(passed.code, latent)
    assert torch.equal(passed.indices, quantized.indices)
    assert (passed.commitment, quantized.commitment > 0) == (0, True)
    assert_same_state(state_of(unheard), state_of(heard))
    ((passed.code * 3).sum() + passed.commitment).backward()
    assert (latent.grad == 3).all()


@pytest.mark.parametrize("masked", [False, True])
def test_learning_equals_vector_quantize_pytorch(masked):
    from vector_quantize_pytorch import VectorQuantize  # seconds, which the second process below need not wait

    ours = make_placed().train()
    theirs = VectorQuantize(CODE_DIM, NUM_CODES, decay=DECAY, commitment_weight=1.0, rotation_trick=False).train()
    theirs._codebook.embed.copy_(ours.codes[None])
    theirs._codebook.embed_avg.copy_(ours.codes[None])
    for step in range(6):
        latent = make_latent(step).requires_grad_()
        valid = make_valid(step, latent) if masked else torch.ones(2, 3, 4, dtype=torch.bool)
        code, indices, commitment, *_ = learn(ours, latent, valid)
        flat_code, flat_indices, flat_commitment = theirs(
            rearrange(latent, "b d h w -> b (h w) d"), mask=rearrange(valid, "b h w -> b (h w)") if masked else None
        )
        torch.testing.assert_close(commitment, flat_commitment.squeeze())
        expected = rearrange(flat_code, "b (h w) d -> b h w d", h=3)
        torch.testing.assert_close(rearrange(code, "b d h w -> b h w d")[valid], expected[valid])
        assert torch.equal(indices[valid], flat_indices.reshape(2, 3, 4)[valid])
        torch.testing.assert_close(ours.cluster_size, theirs._codebook.cluster_size[0])
        torch.testing.assert_close(ours.embed_sum, theirs._codebook.embed_avg[0])
        torch.testing.assert_close(ours.codes, theirs._codebook.embed[0])


@pytest.mark.parametrize("training", [False, True])
def test_quantizing_alone_teaches_nothing(training):
    codebook = make_codebook(revival=0.9).train(training)
    before = state_of(codebook)
    codebook(make_latent(1))
    assert_same_state(before, state_of(codebook))


def test_kmeans_finds_separated_clusters():
    generator = torch.Generator().manual_seed(5)
    centres = 20 * torch.eye(NUM_CODES, CODE_DIM) + 20 * torch.arange(NUM_CODES)[:, None]
    members = torch.randint(NUM_CODES, (2, 11, 13), generator=generator)
    noise = 0.1 * torch.randn(2, 11, 13, CODE_DIM, generator=generator)
    latent = rearrange(centres[members] + noise, "b h w d -> b d h w")
    codebook = make_codebook().train()
    learn(codebook, latent)
    assert codebook.initialized
    quantized = codebook(latent)
    assert quantized.commitment < 0.02
    assert len(quantized.indices.unique()) == NUM_CODES
    torch.testing.assert_close(codebook.codes[quantized.indices], centres[members], rtol=0, atol=0.3)


def test_kmeans_runs_once():
    codebook = make_codebook(decay=0.999).train()
    learn(codebook, make_latent(1))
    placed = codebook.codes.clone()
    learn(codebook, make_latent(2) + 50)
    assert (codebook.codes - placed).abs().max() < 10


def test_kmeans_works_with_fewer_latents_than_codes():
    codebook = make_codebook().train()
    latent = make_latent(1, batch=1, height=1, width=3)
    learn(codebook, latent)
    torch.testing.assert_close(codebook(latent).code, latent)
    assert codebook.codes.isfinite().all()


def test_codes_wait_for_the_first_observed_latent():
    codebook = make_codebook(revival=0.5).train()
    before = state_of(codebook)
    latent = make_latent(1)
    assert learn(codebook, latent, torch.zeros(2, 3, 4, dtype=torch.bool)).commitment == 0
    assert_same_state(before, state_of(codebook))
    learn(codebook, latent)
    assert codebook.initialized
    assert codebook.updates == 1


def make_dying(*, dead: slice, seed: int = 3) -> Codebook:
    """A codebook with codes far from all latents, which no latent has chosen for long."""
    codebook = make_placed(revival=0.1, seed=seed).train()
    codebook.codes[dead] += 1000
    codebook.embed_sum[dead] += 1000
    codebook.cluster_size[dead] = 0.01
    return codebook


def test_dead_codes_are_revived_at_latents_and_their_sums_reset():
    codebook = make_dying(dead=slice(2, None))
    latent = make_latent(1)
    learn(codebook, latent)
    flat = rearrange(latent, "b d h w -> (b h w) d")
    for code in codebook.codes[2:]:
        assert (flat == code).all(dim=1).any()
    assert len(codebook.codes.unique(dim=0)) == NUM_CODES
    weight = codebook.cluster_size[2]
    assert torch.equal(codebook.cluster_size[2:], weight.expand(NUM_CODES - 2))
    assert torch.equal(codebook.embed_sum[2:], weight * codebook.codes[2:])
    assert (codebook(latent).indices >= 2).any()


def test_a_revived_code_lives_as_long_as_one_of_mean_use():
    codebook = make_dying(dead=slice(2, None))
    learn(codebook, make_latent(1))
    alive = float(codebook.cluster_size[:2].sum())
    mean = (alive + 5 * DECAY * 0.01) / NUM_CODES  # of the running means after the batch and before the revival
    torch.testing.assert_close(codebook.cluster_size[2:], torch.full((5,), mean))


def test_dead_codes_go_to_what_the_living_say_worst_and_not_to_what_is_common():
    codebook = make_dying(dead=slice(3, None))
    latent = codebook.codes[:1, :, None, None].expand(1, CODE_DIM, 20, 20).clone()
    rare = 20 * torch.eye(CODE_DIM)[:, :4]  # four kinds of latents, one cell each among 396 alike
    latent[0, :, 0, :4] += rare
    learn(codebook, latent)
    revived = codebook.codes[3:]
    found = latent[0, :, 0, :4].T
    assert (torch.cdist(revived, found).argmin(dim=1).sort().values == torch.arange(4)).all()
    torch.testing.assert_close(revived[torch.cdist(revived, found).argmin(dim=0)], found)


def test_revival_never_makes_twins():
    codebook = make_dying(dead=slice(2, None))
    learn(codebook, make_latent(1, batch=1, height=1, width=3))
    revived = codebook.codes[2:][codebook.codes[2:].abs().amax(dim=1) < 100]
    assert 1 <= len(revived) <= 3, "the others wait for latents that no code says yet"
    assert len(revived.unique(dim=0)) == len(revived)


def test_spread_chooses_no_latent_twice_and_none_that_is_already_there():
    latents = torch.tensor([[0.0], [0.0], [4.0], [4.0], [9.0]])
    nothing = torch.full((5,), torch.inf)
    chosen = spread(latents, 5, np.random.default_rng(1), nothing)
    assert sorted(latents[chosen].flatten().tolist()) == [0, 4, 9]
    beside_four = (latents[:, 0] - 4).square()
    chosen = spread(latents, 5, np.random.default_rng(1), beside_four)
    assert sorted(latents[chosen].flatten().tolist()) == [0, 9]


def test_invalid_latents_move_nothing():
    valid = torch.tensor([True, True, False, True]).expand(2, 3, 4)
    clean, polluted = make_codebook(revival=0.5).train(), make_codebook(revival=0.5).train()
    for step in range(4):
        latent = make_latent(step)
        expected = learn(clean, latent, valid)
        actual = learn(polluted, torch.where(valid[:, None], latent, torch.tensor(torch.nan)), valid)
        assert torch.equal(actual.commitment, expected.commitment)
        assert torch.equal(actual.indices[valid], expected.indices[valid])
    assert_same_state(state_of(clean), state_of(polluted))


def test_training_repeats_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    states = []
    for _ in range(2):
        codebook = make_codebook(revival=0.5).train()
        for step in range(5):
            learn(codebook, make_latent(step))
        states.append(state_of(codebook))
    assert_same_state(*states)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_restored_codebook_goes_on_as_the_original():
    original = make_codebook(revival=0.7).train()
    for step in range(3):
        learn(original, make_latent(step))
    restored = make_codebook(revival=0.7).train()
    restored.load_state_dict(state_of(original))
    for step in range(3, 7):
        left, right = learn(original, make_latent(step)), learn(restored, make_latent(step))
        assert torch.equal(left.code, right.code)
    assert_same_state(state_of(original), state_of(restored))
    assert original.updates == 7


def test_every_update_revives_other_latents():
    codebook = make_dying(dead=slice(2, None))
    latent = make_latent(1)
    learn(codebook, latent)
    before = codebook.codes.clone()
    codebook.cluster_size[2:] = 0.0
    learn(codebook, latent[:, :, :1, :1])
    codebook.cluster_size[2:] = 0.0
    learn(codebook, latent)
    assert not torch.equal(codebook.codes[2:], before[2:])


def test_another_seed_revives_other_latents():
    codebooks = [make_dying(dead=slice(2, None), seed=seed) for seed in (3, 4)]
    codebooks[1].load_state_dict(state_of(codebooks[0]))
    for codebook in codebooks:
        learn(codebook, make_latent(1))
    assert not torch.equal(codebooks[0].codes, codebooks[1].codes)


def test_running_means_stay_float32_under_autocast():
    plain, mixed = make_codebook(revival=0.5).train(), make_codebook(revival=0.5).train()
    for step in range(3):
        latent = make_latent(step).bfloat16()
        expected = learn(plain, latent.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = mixed(latent)
        mixed.follow(actual.seen)
        assert actual.code.dtype == torch.bfloat16
        assert torch.equal(actual.indices, expected.indices)
        assert torch.equal(actual.commitment, expected.commitment)
    assert_same_state(state_of(plain), state_of(mixed))


class Plain(nn.Module):
    """A codebook with plain outputs: `torch.export.save` knows no named tuples of ours."""

    def __init__(self, codebook: Codebook) -> None:
        super().__init__()
        self.codebook = codebook

    def forward(self, latent: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.codebook(latent, valid))


def test_the_exported_codebook_takes_any_size(tmp_path):
    codebook = make_codebook().train()
    learn(codebook, make_latent(1))
    codebook.eval()
    latent, dynamic = make_latent(2), torch.export.Dim.DYNAMIC
    sizes = ({0: dynamic, 2: dynamic, 3: dynamic}, {0: dynamic, 1: dynamic, 2: dynamic})
    exported = torch.export.export(Plain(codebook), (latent, make_valid(2, latent)), dynamic_shapes=sizes)
    torch.export.save(exported, tmp_path / "codebook.pt2")
    loaded = torch.export.load(tmp_path / "codebook.pt2").module()
    latent = make_latent(3, batch=3, height=6, width=11)
    valid = make_valid(3, latent)
    for actual, expected in zip(loaded(latent, valid), codebook(latent, valid), strict=True):
        assert torch.equal(actual, expected)


def test_usage_and_perplexity_by_hand():
    assert usage(torch.tensor([3, 0, 3, 0])) == 0.5
    assert perplexity(torch.tensor([3, 0, 3, 0])) == pytest.approx(2.0)
    assert perplexity(torch.tensor([0, 9, 0])) == pytest.approx(1.0)
    assert perplexity(torch.tensor([5, 5, 5, 5, 5])) == pytest.approx(5.0)
    assert usage(torch.tensor([0, 0])) == 0
    assert isnan(perplexity(torch.tensor([0, 0])))


def make_shared_batch(step: int) -> tuple[Tensor, Tensor]:
    """Four samples; the first half of the first step has observed nothing, later halves see unequal shares."""
    latent = make_latent(step, batch=4, height=5)
    valid = make_valid(step, latent)
    valid[:2] &= step > 0
    return latent, valid


def learn_half(rank: int, folder: Path) -> dict[str, Tensor]:
    rendezvous = f"file://{folder / 'rendezvous'}"
    dist.init_process_group("gloo", rendezvous, timedelta(seconds=300), rank=rank, world_size=2)
    codebook = make_codebook(revival=0.9).train()
    for step in range(5):
        latent, valid = (part.chunk(2)[rank] for part in make_shared_batch(step))
        learn(codebook, latent, valid)
    dist.destroy_process_group()
    return state_of(codebook)


def learn_second_half(_: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.save(learn_half(1, folder), folder / "second.pt")


def test_two_processes_learn_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    other = mp.spawn(learn_second_half, args=(tmp_path,), nprocs=1, join=False)
    first = learn_half(0, tmp_path)
    while not other.join():
        pass
    alone = make_codebook(revival=0.9).train()
    for step in range(5):
        learn(alone, *make_shared_batch(step))
    assert len(alone.cluster_size.unique()) < NUM_CODES, "the last step revived several codes from the latents of both"
    assert_same_state(first, torch.load(tmp_path / "second.pt", weights_only=True))
    assert_close_state(first, state_of(alone))
